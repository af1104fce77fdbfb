"""Turn clicks, boxes and masks into tokens and maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.sam2.config import Sam2Config
from surgvos.models.sam2.layers import LayerNorm2d

_NUM_POINT_KINDS = 4  # background, object, box's top left, box's bottom right
_PADDING_LABEL = -1


class RandomFourier(nn.Module):
    """Encode points of the unit square by random Fourier features.

    Reference: Tancik et al., Fourier Features Let Networks Learn High Frequency Functions, 2020.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, num_channels // 2))

    def forward(self, points_xy: Tensor) -> Tensor:
        """Map ``(..., 2)`` in [0, 1] to float32 ``(..., C)``."""
        along_x, along_y = self.positional_encoding_gaussian_matrix.float()
        x, y = (2 * points_xy.float() - 1).unsqueeze(-1).unbind(-2)
        # No matrix product: autocast would round it.
        angle = 2 * math.pi * (x * along_x + y * along_y)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Encode prompts of ``B`` objects."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.pe_layer = RandomFourier(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(_NUM_POINT_KINDS))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, kernel_size=2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def encode_points(self, points_xy: Tensor, labels: Tensor, input_hw: tuple[int, int]) -> Tensor:
        """Encode points ``(B, P, 2)`` in input pixels as ``(B, P + 1, C)``; a padding token ends them.

        Args:
            points_xy: Continuous coordinates.
            labels: ``(B, P)`` as in `PromptBatch`.
            input_hw: Size of the model's input.
        """
        points_xy = F.pad(points_xy, (0, 0, 0, 1))
        labels = F.pad(labels, (0, 1), value=_PADDING_LABEL).long()
        size_xy = points_xy.new_tensor([input_hw[1], input_hw[0]])
        where = self.pe_layer((points_xy + 0.5) / size_xy)
        kinds = [self.not_a_point_embed, *self.point_embeddings]
        what = torch.cat([kind.weight for kind in kinds])[labels - _PADDING_LABEL]
        return torch.where((labels == _PADDING_LABEL).unsqueeze(-1), what, where + what)

    def no_points(self) -> Tensor:
        """Encode the absence of points: ``(1, 2, C)``."""
        return self.not_a_point_embed.weight.expand(1, 2, -1)

    def encode_mask(self, logits: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Encode mask logits ``(B, 1, h, w)`` as ``(B, C, *grid_hw)``."""
        size = (4 * grid_hw[0], 4 * grid_hw[1])
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits.float(), size=size, mode="bilinear", antialias=True)
        return self.mask_downscaling(logits)

    def no_mask(self) -> Tensor:
        """Encode the absence of a mask: ``(1, C, 1, 1)``."""
        return self.no_mask_embed.weight[:, :, None, None]

    def grid_encoding(self, grid_hw: tuple[int, int]) -> Tensor:
        """Encode the cells' centres: float32 ``(1, h * w, C)``."""
        height, width = grid_hw
        device = self.no_mask_embed.weight.device
        y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        return self.pe_layer(torch.stack([grid_x, grid_y], dim=-1).reshape(1, -1, 2))

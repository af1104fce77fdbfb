"""Turn a frame's features and a mask into a memory."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.sam2.config import Sam2Config
from surgvos.models.sam2.layers import LayerNorm2d
from surgvos.models.sam2.linear import linear

_MASK_DIMS = (1, 4, 16, 64, 256)


class MaskDownsampler(nn.Module):
    """Bring a mask from the input's size to the grid of stride 16."""

    def __init__(self, out_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(_MASK_DIMS):
            layers += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), LayerNorm2d(after), nn.GELU()]
        layers.append(nn.Conv2d(_MASK_DIMS[-1], out_dim, kernel_size=1))
        self.encoder = nn.Sequential(*layers)

    def forward(self, mask: Tensor) -> Tensor:
        return self.encoder(mask)


class ConvNeXtBlock(nn.Module):
    """Depth-wise 7x7 convolution and a feed-forward network per pixel, scaled and added.

    Reference: Liu et al., A ConvNet for the 2020s, 2022.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        branch = linear(branch, self.pwconv1.weight, self.pwconv1.bias, activation=F.gelu)
        branch = self.gamma * linear(branch, self.pwconv2.weight, self.pwconv2.bias)
        return x + branch.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """Two ConvNeXt blocks."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNeXtBlock(dim) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class MemoryEncoder(nn.Module):
    """Fuse image features with masks."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.mask_downsampler = MaskDownsampler(dim)
        self.pix_feat_proj = nn.Conv2d(dim, dim, kernel_size=1)
        self.fuser = Fuser(dim)
        self.out_proj = nn.Conv2d(dim, config.memory_dim, kernel_size=1)

    def forward(self, image: Tensor, masks: Tensor) -> Tensor:
        """Encode masks ``(B, 1, H, W)`` scaled to [-10, 10] over an image ``(B or 1, C, h, w)``: ``(B, C_m, h, w)``."""
        return self.out_proj(self.fuser(self.pix_feat_proj(image) + self.mask_downsampler(masks)))

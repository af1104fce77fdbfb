"""Feature pyramid: bring the trunk's stages to one width."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.sam2.config import Sam2Config
from surgvos.models.sam2.hiera import Hiera
from surgvos.models.sam2.layers import apply_as_one
from surgvos.models.sam2.windows import WindowLayout

Stages = list[tuple[Tensor, WindowLayout]]


class Lateral(nn.Module):
    """The 1x1 convolution of one level."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, out_dim, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(N, T, dim)`` to ``(N, T, out_dim)``."""
        return F.linear(x, self.conv.weight.flatten(1), self.conv.bias)


class Neck(nn.Module):
    """Lateral convolutions; stride 16 also receives stride 32, enlarged."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        # Published checkpoints number them from the deepest stage.
        self.convs = nn.ModuleList(Lateral(dim, config.hidden_dim) for dim in reversed(config.stage_dims))

    def forward(self, stages: Stages, reduce: tuple[nn.Conv2d, nn.Conv2d]) -> tuple[Tensor, ...]:
        """Build the levels at strides 4, 8 and 16.

        Args:
            stages: The trunk's outputs ``(N, T, C)`` and their layouts, finest first.
            reduce: 1x1 convolutions that are applied to the two finest levels.

        Returns:
            ``(N, C, h, w)`` each, finest first.
        """
        (x4, layout4), (x8, layout8), (x16, layout16), (x32, layout32) = stages
        at32, at16, at8, at4 = cast(list[Lateral], self.convs)
        fine = layout4.to_grid(apply_as_one(x4, at4.conv, reduce[0]))
        middle = layout8.to_grid(apply_as_one(x8, at8.conv, reduce[1]))
        top = layout32.to_grid(at32(x32)).float()
        coarse = layout16.to_grid(at16(x16)) + F.interpolate(top, scale_factor=2.0, mode="nearest")
        return fine, middle, coarse


class ImageEncoder(nn.Module):
    """Trunk and neck."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.trunk = Hiera(config)
        self.neck = Neck(config)

    def forward(self, images: Tensor, reduce: tuple[nn.Conv2d, nn.Conv2d]) -> tuple[Tensor, ...]:
        """Encode ``(N, 3, H, W)`` into levels at strides 4, 8 and 16 (see `Neck.forward`)."""
        return self.neck(self.trunk(images), reduce)

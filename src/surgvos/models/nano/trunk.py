"""The image trunk: plain residual convolutions at strides 2 to 16."""

from __future__ import annotations

from torch import Tensor, nn

from surgvos.models.nano.layers import ConvUnit, blocks


class Trunk(nn.Module):
    """Image ``(N, 3, H, W)`` -> features at strides 2, 4, 8, 16.

    Args:
        widths: Channels at strides 2, 4, 8 and 16.
        depths: Residual blocks at strides 4, 8 and 16.
    """

    def __init__(self, widths: tuple[int, int, int, int], depths: tuple[int, int, int]) -> None:
        super().__init__()
        self.stem = ConvUnit(3, widths[0], stride=2)
        self.stages = trunk_stages(widths, depths)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        levels = [self.stem(images)]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return tuple(levels)


def trunk_stages(widths: tuple[int, int, int, int], depths: tuple[int, int, int]) -> nn.ModuleList:
    """What follows the stem: one stage each to strides 4, 8 and 16."""
    return nn.ModuleList(
        nn.Sequential(ConvUnit(narrow, wide, stride=2), blocks(wide, depth))
        for narrow, wide, depth in zip(widths[:-1], widths[1:], depths, strict=True)
    )

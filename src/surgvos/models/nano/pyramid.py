"""From a trunk's levels back up to fine ones that know the whole scene."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from surgvos.models.nano.layers import ConvUnit, blocks, upsample_to


class Pyramid(nn.Module):
    """What the whole scene is at twice the coarsest stride, then back up through the levels.

    Reference: Lin et al., Feature Pyramid Networks (CVPR 2017).

    Args:
        widths: Channels of the levels, finest first.
        context_width: Channels at twice the coarsest stride.
        context_depth: Residual blocks there.
    """

    def __init__(self, widths: Sequence[int], context_width: int, context_depth: int = 2) -> None:
        super().__init__()
        wide, narrower = (context_width, *widths[:0:-1]), widths[::-1]
        self.down = nn.Sequential(ConvUnit(widths[-1], context_width, stride=2), blocks(context_width, context_depth))
        self.project = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(wide, narrower, strict=True))
        self.merge = nn.ModuleList(blocks(width, 1) for width in narrower)

    def climb(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels, finest first -> as many of the same shapes, finest first."""
        x = self.down(levels[-1])
        climbed = []
        for level, project, merge in zip(levels[::-1], self.project, self.merge, strict=True):
            x = merge(upsample_to(project(x), level) + level)
            climbed.append(x)
        return tuple(climbed[::-1])

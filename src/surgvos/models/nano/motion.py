"""What moved since the frame before?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.models.nano.layers import ConvUnit

_REACH = 3  # cells of stride 4, each way
_KEY_WIDTH = 16
_WIDTH = 64


class MotionLook(nn.Module):
    """Says of each place at stride 16 where it came from, and where all places came from together.

    Each place at stride 4 is compared with those about it in the frame before (a local correlation: Dosovitskiy et al.,
    FlowNet, ICCV 2015). A camera moves all places alike, an object only its own: so the mean over the image stands
    beside each place. What it says begins as nothing, so that a reader that was trained without it goes on as it is.

    Args:
        in_channels: Of the trunk at stride 4.
        out_channels: Of what is said.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.key = nn.Conv2d(in_channels, _KEY_WIDTH, 1)
        self.log_sharpness = nn.Parameter(torch.tensor(3.0))
        self.to_8 = ConvUnit((2 * _REACH + 1) ** 2 + _KEY_WIDTH, _WIDTH, stride=2)
        self.to_16 = ConvUnit(_WIDTH, _WIDTH, stride=2)
        self.say = nn.Conv2d(2 * _WIDTH, out_channels, 1)
        nn.init.zeros_(self.say.weight)
        assert self.say.bias is not None
        nn.init.zeros_(self.say.bias)

    def forward(self, now: Tensor, before: Tensor) -> Tensor:
        """Compare images with those before them, ``(N, C, h, w)`` at stride 4: ``(N, C', h / 4, w / 4)``."""
        now, before = self.key(now), self.key(before)
        alike = local_resemblance(F.normalize(now, dim=1), F.normalize(before, dim=1), _REACH)
        came_from = (alike * self.log_sharpness.exp()).softmax(dim=1)
        x16 = self.to_16(self.to_8(torch.cat((came_from, now - before), dim=1)))
        return self.say(torch.cat((x16, x16.mean(dim=(2, 3), keepdim=True).expand_as(x16)), dim=1))


def local_resemblance(now: Tensor, before: Tensor, reach: int) -> Tensor:
    """Products of each place with those at most ``reach`` cells away in another map ``(N, C, h, w)``.

    Returns:
        ``(N, (2 * reach + 1)^2, h, w)``, offsets row by row; 0 beyond the border.
    """
    height, width = now.shape[-2:]
    around = F.pad(before, (reach,) * 4)
    steps = range(2 * reach + 1)
    return torch.stack(
        [(now * around[..., dy : dy + height, dx : dx + width]).sum(dim=1) for dy in steps for dx in steps], dim=1
    )

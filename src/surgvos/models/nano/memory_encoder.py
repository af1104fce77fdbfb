"""What one object leaves behind in one frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.models.nano.config import NanoConfig
from surgvos.models.nano.layers import ConvUnit, blocks


class MemoryEncoder(nn.Module):
    """Mask and image -> memory value ``(B, heads * dim, h, w)`` at stride 8.

    The mask, folded from stride 2 to stride 8, goes straight into the value, so that its shape survives; beside it
    a convolutional branch says what the object looks like there.
    """

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        channels = config.num_heads * config.head_dim
        width = config.widths[2]
        self.shape = nn.Conv2d(17, channels, 1)
        self.mask = nn.Conv2d(17, width, 3, padding=1)
        self.image = nn.Conv2d(width, width, 1)
        self.mix = nn.Sequential(ConvUnit(width, width), blocks(width, 1), nn.Conv2d(width, channels, 1))

    def forward(self, level_8: Tensor, logits: Tensor, presence_logits: Tensor) -> Tensor:
        """Encode mask logits ``(B, 1, 4h, 4w)`` over the stride-8 features ``(1 or B, C, h, w)`` of the image."""
        size = (4 * level_8.shape[-2], 4 * level_8.shape[-1])
        # What is judged absent leaves no mask, in training as in use.
        probabilities = logits.float().sigmoid() * (presence_logits > 0)[:, None, None, None]
        if probabilities.shape[-2:] != size:
            probabilities = F.interpolate(probabilities, size=size, mode="area")
        folded = F.pixel_unshuffle(probabilities, 4)
        presence = presence_logits.float().sigmoid()[:, None, None, None].expand(-1, 1, *folded.shape[-2:])
        maps = torch.cat((folded, presence), dim=1).to(level_8.dtype)
        return self.shape(maps) + self.mix(torch.relu(self.mask(maps) + self.image(level_8)))

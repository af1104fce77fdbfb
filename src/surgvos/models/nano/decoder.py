"""From what memory says about every place to a mask: a small U-shaped decoder per object."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgvos.models.interface import take_maps
from surgvos.models.nano.config import NanoConfig
from surgvos.models.nano.layers import ConvUnit, blocks, upsample_to


class MaskDecoder(nn.Module):
    """Conditioned features at stride 8 -> mask logits at stride 2, presence and predicted IoU.

    Image features are projected once per image and added, so that more objects cost only their own part.
    """

    def __init__(self, config: NanoConfig, conditioned_channels: int) -> None:
        super().__init__()
        w2, w4, w8, w16 = config.widths
        d2, d4, d8, d16, d32 = config.decoder_widths
        self.enter = nn.Conv2d(conditioned_channels, d8, 3, padding=1)
        self.image_projections = nn.ModuleList(
            nn.Conv2d(wide, narrow, 1) for wide, narrow in ((w2, d2), (w4, d4), (w8, d8), (w16, d16))
        )
        self.refine_8 = blocks(d8, 1)
        self.down_16, self.refine_16 = ConvUnit(d8, d16, stride=2), blocks(d16, 2)
        self.down_32, self.refine_32 = ConvUnit(d16, d32, stride=2), blocks(d32, 2)
        self.up_16, self.merge_16 = nn.Conv2d(d32, d16, 1), blocks(d16, 1)
        self.up_8, self.merge_8 = nn.Conv2d(d16, d8, 1), blocks(d8, 1)
        self.up_4, self.merge_4 = nn.Conv2d(d8, d4, 1), blocks(d4, 1)
        self.up_2, self.merge_2 = nn.Conv2d(d4, d2, 1), ConvUnit(d2, d2)
        self.to_logits = nn.Conv2d(d2, 1, 3, padding=1)
        self.judge = nn.Sequential(nn.Linear(2 * d32 + d8, 128), nn.ReLU(inplace=True), nn.Linear(128, 2))

    def forward(
        self, levels: tuple[Tensor, ...], conditioned: Tensor, image: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode ``(B, C, h, w)`` at stride 8 with image levels at strides 2, 4, 8, 16.

        Args:
            levels: Of 1 image, of ``B``, or of ``N`` of which ``image`` picks one for each object.
            conditioned: What is known of each object.
            image: int64 ``(B,)`` or None.

        Returns:
            Mask logits ``(B, 1, 4h, 4w)``, presence logits ``(B,)``, IoU logits ``(B,)``.
        """
        seen = [project(level) for project, level in zip(self.image_projections, levels, strict=True)]
        if image is not None:
            seen = [take_maps(level, image) for level in seen]
        x8 = self.refine_8(torch.relu(self.enter(conditioned) + seen[2]))
        x16 = self.refine_16(self.down_16(x8) + seen[3])
        x32 = self.refine_32(self.down_32(x16))
        y16 = self.merge_16(upsample_to(self.up_16(x32), x16) + x16)
        y8 = self.merge_8(upsample_to(self.up_8(y16), x8) + x8)
        y4 = self.merge_4(upsample_to(self.up_4(y8), seen[1]) + seen[1])
        y2 = self.merge_2(upsample_to(self.up_2(y4), seen[0]) + seen[0])
        logits = self.to_logits(y2)
        # Presence may rest on one small place, so the strongest answer counts beside the average one.
        pooled = torch.cat((x32.mean(dim=(2, 3)), x32.amax(dim=(2, 3)), y8.amax(dim=(2, 3))), dim=1)
        presence, iou = self.judge(pooled).unbind(dim=1)
        return logits, presence, iou

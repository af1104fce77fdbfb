"""`NanoModel`: a small promptable video model that reads memory by matching."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.models.interface import (
    ABSENT_LOGIT,
    EncodedMemory,
    ImageFeatures,
    MaskPrediction,
    MemoryBatch,
    PromptBatch,
)
from surgvos.models.nano.config import NanoConfig, hw_of_area
from surgvos.models.nano.decoder import MaskDecoder
from surgvos.models.nano.matching import Matching
from surgvos.models.nano.memory_encoder import MemoryEncoder
from surgvos.models.nano.prompts import PromptMaps
from surgvos.models.nano.trunk import Trunk

MASK_PROMPT_LOGIT = 10.0


class NanoModel(nn.Module):
    """A `VideoModel` of a few million parameters for CPUs.

    A convolutional trunk, matching against remembered frames in one key space (prompted and recent frames by
    separate reads), and a decoder per object. No position table: any input size works.

    Reference: the ideas of space-time memory networks (Oh et al., ICCV 2019) and of matching by image keys alone
    (Cheng et al., STCN, NeurIPS 2021), behind SAM 2's four methods.
    """

    resize: Literal["bicubic", "area"] = "area"
    max_multimask_points = 0
    shares_keys = True
    # All of it is small convolutions: with their weights so, a frame takes a sixth less time on a CPU.
    memory_format = torch.channels_last
    compute_dtype: torch.dtype = torch.float32

    def __init__(self, config: NanoConfig | None = None) -> None:
        super().__init__()
        self.config = config or NanoConfig()
        channels = self.config.num_heads * self.config.head_dim
        eight = self.config.decoder_widths[2]
        self.image_encoder = Trunk(self.config.widths, self.config.depths)
        self.matching = Matching(self.config)
        self.read_projection = nn.Conv2d(2 * channels, eight, 1)
        self.prompt_maps = PromptMaps(self.config.num_heads, self.config.head_dim, eight)
        self.nothing_remembered = nn.Parameter(torch.zeros(eight))
        self.nothing_prompted = nn.Parameter(torch.zeros(eight))
        self.memory_encoder = MemoryEncoder(self.config)
        self.mask_decoder = MaskDecoder(self.config, 2 * eight)

    @property
    def num_recent(self) -> int:
        return self.config.num_recent

    def input_hw(self, video_hw: tuple[int, int]) -> tuple[int, int]:
        """Keep the proportions, at the configured area, in multiples of 32."""
        return hw_of_area(video_hw, self.config.input_area_px)

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode images ``(N, 3, H, W)``, ``H`` and ``W`` multiples of 32, into strides 2, 4, 8, 16 and keys."""
        levels = self.image_encoder(images.contiguous(memory_format=torch.channels_last))
        return ImageFeatures(levels, memory_key=self.matching.keys(levels[2]))

    def condition(self, features: ImageFeatures, memory: MemoryBatch | None) -> Tensor:
        """Read prompted and recent memories: ``(B or N, C, h, w)`` at stride 8."""
        assert features.memory_key is not None
        if memory is None:
            grid = features.memory_key.shape[-2:]
            return self.nothing_remembered[None, :, None, None].expand(features.num_images, -1, *grid)
        assert memory.keys is not None
        prompted, recent = self._split(memory)
        read = [
            self.matching.read(features.memory_key, memory.keys[:, columns], memory.features[:, columns], reach)
            for columns, reach in ((prompted, self.config.prompted_reach), (recent, self.config.recent_reach))
        ]
        return self.read_projection(torch.cat(read, dim=1))

    def _split(self, memory: MemoryBatch) -> tuple[slice, slice]:
        """Columns of prompted memories, which come first, and of recent ones. A missing kind is stood in for."""
        # Objects of one batch hold the same kinds, so the first row speaks for all.
        num_prompted = int((memory.slots[0] == 0).sum())
        prompted, recent = slice(0, num_prompted), slice(num_prompted, memory.slots.shape[1])
        if num_prompted == 0:
            return recent, recent
        return prompted, recent if recent.stop > recent.start else prompted

    def decode(
        self, features: ImageFeatures, conditioned: Tensor, prompts: PromptBatch | None, *, multimask: bool
    ) -> MaskPrediction:
        """Predict one mask per object; the model knows no ambiguity, so ``multimask`` changes nothing."""
        if prompts is not None and prompts.mask is not None:
            return self._adopt(prompts.mask)
        assert features.memory_key is not None
        if prompts is None:
            prompted = self.nothing_prompted[None, :, None, None].expand_as(conditioned)
        else:
            prompted = self.prompt_maps(prompts, features.memory_key)
        num_objects = max(conditioned.shape[0], prompted.shape[0])
        both = [x.expand(num_objects, -1, -1, -1).to(conditioned.dtype) for x in (conditioned, prompted)]
        logits, presence, iou = self.mask_decoder(features.levels, torch.cat(both, dim=1))
        logits, presence = logits.float(), presence.float()
        if not self.training:
            logits = torch.where(presence[:, None, None, None] > 0, logits, ABSENT_LOGIT)
        return MaskPrediction(logits, iou.float().sigmoid()[:, None], presence)

    def _adopt(self, mask: Tensor) -> MaskPrediction:
        """Take a mask ``(B, 1, H, W)`` as the answer, at stride 2."""
        size = (mask.shape[-2] // 2, mask.shape[-1] // 2)
        share = F.interpolate(mask.float(), size=size, mode="area")
        visible = mask.flatten(1).any(dim=1)
        presence = torch.where(visible, MASK_PROMPT_LOGIT, -MASK_PROMPT_LOGIT)
        logits = (2 * share - 1) * MASK_PROMPT_LOGIT
        return MaskPrediction(logits, torch.ones_like(presence)[:, None], presence)

    def encode_memory(
        self, features: ImageFeatures, logits: Tensor, presence_logits: Tensor, *, prompted: bool
    ) -> EncodedMemory:
        """Encode masks into values; the keys are the image's own."""
        values = self.memory_encoder(features.levels[2], logits, presence_logits)
        return EncodedMemory(values, features.memory_key)

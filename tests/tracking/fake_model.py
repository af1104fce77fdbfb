"""A model without a network: it finds the colour that it was shown."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from surgvos.models.interface import EncodedMemory, ImageFeatures, MaskPrediction, MemoryBatch, PromptBatch


class ColorModel(nn.Module):
    """Remembers an object's mean colour; the mask is every pixel near the mean of what is read from memory."""

    resize, max_multimask_points, num_recent, shares_keys = "area", 0, 6, False
    memory_format = torch.contiguous_format
    compute_dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.num_encoded = 0

    def input_hw(self, video_hw: tuple[int, int]) -> tuple[int, int]:
        return video_hw

    def encode_image(self, images: Tensor) -> ImageFeatures:
        self.num_encoded += 1
        return ImageFeatures((images,))

    def condition(self, features: ImageFeatures, memory: MemoryBatch | None) -> Tensor:
        return torch.full((1, 3, 1, 1), torch.nan) if memory is None else memory.features.mean(dim=1)

    def decode(
        self, features: ImageFeatures, conditioned: Tensor, prompts: PromptBatch | None, *, multimask: bool
    ) -> MaskPrediction:
        image = features.levels[0]
        if prompts is not None and prompts.mask is not None:
            return self._prediction(prompts.mask * 20 - 10)
        if prompts is not None and prompts.num_points:
            x, y = prompts.points_xy[:, 0].long().unbind(dim=1)
            conditioned = torch.stack([image[0, :, j, i] for i, j in zip(x, y, strict=True)])[:, :, None, None]
        return self._prediction(10 - 40 * (image - conditioned).abs().amax(dim=1, keepdim=True))

    def encode_memory(
        self, features: ImageFeatures, logits: Tensor, presence_logits: Tensor, *, prompted: bool
    ) -> EncodedMemory:
        inside = (logits > 0).float()
        colors = (features.levels[0] * inside).sum(dim=(2, 3), keepdim=True)
        return EncodedMemory(colors / inside.sum(dim=(2, 3), keepdim=True).clamp(min=1))

    def _prediction(self, logits: Tensor) -> MaskPrediction:
        visible = (logits > 0).flatten(1).any(dim=1).float() * 20 - 10
        return MaskPrediction(logits, torch.ones(len(logits), 1), visible, torch.zeros(len(logits), 1, 4))

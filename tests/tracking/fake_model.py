"""A model without a network: it finds the colour that it was shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from surgvos.models.interface import (
    EncodedMemory,
    ImageFeatures,
    MaskPrediction,
    MemoryBatch,
    PromptBatch,
    TextFeatures,
)
from surgvos.tracking.features import normalize_images


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


class PhraseModel(ColorModel):
    """Also finds what is called by a colour's name, and follows it by its name; how certain it is can be scripted.

    Attributes:
        colors: Phrase -> RGB.
        scores: (phrase, frame) -> (presence, predicted IoU), where it is not (0.99, 0.9) for a visible colour and
            (0.01, 0.1) for another one. Frames are told by their number: see `numbered`.
        blind: Frames in which what is followed is not seen.
        looks: What was asked: (frame, earlier frames, phrases) of every call.
        spoken: What was said while objects were followed: (phrases or None) of every call.
    """

    num_previous = 2
    credible = (0.9, 0.7)

    def __init__(self, colors: dict[str, tuple[int, int, int]]) -> None:
        super().__init__()
        self.colors = colors
        self.scores: dict[tuple[str, int], tuple[float, float]] = {}
        self.blind: Collection[int] = ()
        self.looks: list[tuple[int, list[int], list[str]]] = []
        self.spoken: list[list[str] | None] = []
        self.num_encoded_texts = 0

    def encode_text(self, phrases: Sequence[str]) -> TextFeatures:
        self.num_encoded_texts += len(phrases)
        length = max(len(phrase.split()) for phrase in phrases)
        is_token = torch.tensor([[i < len(phrase.split()) for i in range(length)] for phrase in phrases])
        pooled = torch.tensor([[float(list(self.colors).index(phrase))] for phrase in phrases])
        return TextFeatures(torch.ones(len(phrases), length, 1) * is_token[..., None], is_token, pooled)

    def refer(self, features: ImageFeatures, previous: Sequence[ImageFeatures], text: TextFeatures) -> MaskPrediction:
        phrases = self._phrases(text.pooled)
        assert text.is_token.sum(dim=1).tolist() == [len(phrase.split()) for phrase in phrases]
        frame = number_of(features)
        self.looks.append((frame, [number_of(earlier) for earlier in previous], phrases))
        found = self._prediction(10 - 40 * (features.levels[0] - self._colors(phrases)).abs().amax(dim=1, keepdim=True))
        scores = torch.tensor(
            [
                self.scores.get((phrase, frame), (0.99, 0.9) if logit > 0 else (0.01, 0.1))
                for phrase, logit in zip(phrases, found.presence_logits, strict=True)
            ]
        )
        return MaskPrediction(found.logits, scores[:, 1:], scores[:, 0].logit(), found.pointers)

    def decode(
        self, features: ImageFeatures, conditioned: Tensor, prompts: PromptBatch | None, *, multimask: bool
    ) -> MaskPrediction:
        if prompts is None or prompts.text is None:
            self.spoken.append(None)
        else:
            self.spoken.append(self._phrases(prompts.text))
            conditioned = self._colors(self.spoken[-1])
        if number_of(features) in self.blind:
            return self._prediction(
                torch.full_like(features.levels[0][:, :1], -10.0).expand(len(conditioned), -1, -1, -1)
            )
        return super().decode(features, conditioned, prompts, multimask=multimask)

    def _colors(self, phrases: list[str]) -> Tensor:
        colors = torch.tensor([self.colors[phrase] for phrase in phrases], dtype=torch.uint8)
        return normalize_images(colors[:, :, None, None])

    def _phrases(self, pooled: Tensor) -> list[str]:
        return [list(self.colors)[int(index)] for index in pooled[:, 0]]


def numbered(image: np.ndarray, index: int) -> np.ndarray:
    """Write a frame's number into its first pixel, for `PhraseModel` to read."""
    image[0, 0] = (index % 256, index // 256, 0)
    return image


def number_of(features: ImageFeatures) -> int:
    """The number that `numbered` wrote."""
    zero, one = normalize_images(torch.tensor([0, 1], dtype=torch.uint8)[:, None, None, None].expand(2, 3, 1, 1))[
        :, :, 0, 0
    ]
    low, high, _ = ((features.levels[0][0, :, 0, 0] - zero) / (one - zero)).round().int().tolist()
    return low + 256 * high

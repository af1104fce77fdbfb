"""Which of an image's objects does a phrase mean?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.models.interface import TextFeatures
from surgvos.models.nano.motion import MotionLook
from surgvos.models.nano.objects import ObjectFinderConfig, ObjectMaps, Proposals
from surgvos.models.nano.text import attention_layer

_IMPOSSIBLE = -30.0
NUM_PARTS = 4  # all of it, its tip, its wrist, its shaft
_NUM_SIGNS = 15


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """How well ``B`` phrases match what was proposed.

    Attributes:
        logits: ``(B, M * 4 + 1)``: each proposal whole, its tip, wrist and shaft; last that nothing is meant.
        iou: ``(B, M)`` logits of the IoU of each proposal with what is meant.
        trust: ``(B, M)`` logits of the probability that each, were it chosen, would be right: what is meant, and
            outlined with an IoU above 0.5. How good an outline is on average says less about that than it seems: it
            may be poor for certain, or good or wrong.
    """

    logits: Tensor
    iou: Tensor
    trust: Tensor

    @property
    def chosen(self) -> Tensor:
        """The candidate that each phrase means most probably, if it means any: int64 ``(B,)`` places in `logits`."""
        return self.logits[:, :-1].argmax(dim=1)


class PhraseMatcher(nn.Module):
    """Objects and words attend to each other, so that "the largest" and "on the left" can be told.

    Args:
        finder: Shape of what finds the objects.
        width: Channels of words and of objects.
        depth: Layers in which they attend to each other.
    """

    def __init__(self, finder: ObjectFinderConfig, width: int, depth: int) -> None:
        super().__init__()
        two, four, eight, sixteen = finder.widths
        described = _NUM_SIGNS + finder.name_width + finder.place_width + two + four + eight + sixteen + 3 + 3
        self.enter = nn.Sequential(nn.Linear(described, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.motion = MotionLook(four, width)
        self.nothing, self.kinds = nn.Parameter(torch.randn(width) * 0.1), nn.Parameter(torch.randn(2, width) * 0.1)
        self.layers = nn.ModuleList(attention_layer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.judge = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 3))
        self.part = nn.Linear(width, NUM_PARTS)

    def forward(self, objects: Tensor, is_object: Tensor, text: TextFeatures) -> Matches:
        """Compare what `describe` says of the objects of ``N`` images with ``B`` phrases.

        Args:
            objects: ``(N, M, C)``.
            is_object: bool ``(N, M)``.
            text: The phrases, and of which images they speak.
        """
        if text.image is not None:
            objects, is_object = objects[text.image], is_object[text.image]
        num_phrases, most = len(text.pooled), objects.shape[1]
        objects, is_object = objects.expand(num_phrases, -1, -1), is_object.expand(num_phrases, -1)
        there = torch.cat((is_object, is_object.new_ones((num_phrases, 1))), dim=1)
        nothing = self.nothing.expand(num_phrases, 1, -1).to(objects.dtype)
        words = text.tokens.to(objects.dtype) + self.kinds[1]
        tokens = torch.cat((objects + self.kinds[0], nothing, words), dim=1)
        padded = ~torch.cat((there, text.is_token), dim=1)
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=padded)
        tokens = self.norm(tokens)
        said = (tokens[:, most + 1 :] * text.is_token[..., None]).sum(dim=1)
        said = said / text.is_token.sum(dim=1, keepdim=True)
        seen = tokens[:, : most + 1]
        judged = self.judge(torch.cat((seen, said[:, None].expand_as(seen)), dim=2)).float()
        match, iou, trust = judged.unbind(dim=2)
        match, trust = (logits.masked_fill(~there, _IMPOSSIBLE) for logits in (match, trust))
        parts = self.part(said).float().log_softmax(dim=1)
        each = match[:, :most, None] + parts[:, None]
        return Matches(torch.cat((each.flatten(1), match[:, most:]), dim=1), iou[:, :most], trust[:, :most])

    def describe(self, maps: ObjectMaps, proposals: Proposals, pixels: Tensor, before: Tensor | None = None) -> Tensor:
        """Say of each proposal what it looks like, where it is and how it moves: ``(N, M, C)``.

        Args:
            maps: Of the images.
            proposals: Of the same.
            pixels: The normalised images.
            before: Level at stride 4 of the frames before them; None where there are none.
        """
        share = proposals.outlines.float().sigmoid()
        at_places = proposals.places[:, :, None]
        own = [
            maps_of.flatten(2).transpose(1, 2).gather(1, at_places.expand(-1, -1, maps_of.shape[1]))
            for maps_of in (maps.names, maps.places)
        ]
        mean = [
            pool(level, share)
            for level in (maps.levels[0], *maps.climbed, maps.parts.sigmoid(), F.avg_pool2d(pixels, 4))
        ]
        told = self.enter(torch.cat((_signs(proposals), *own, *mean), dim=2))
        if before is not None:
            told = told + pool(self.motion(maps.levels[1], before), share)
        return told


def pool(level: Tensor, share: Tensor) -> Tensor:
    """Means of a map ``(N, C, h, w)`` over soft masks ``(N, M, h', w')``, brought to one size: ``(N, M, C)``."""
    ratio = share.shape[-1] / level.shape[-1]
    if ratio < 1:
        level = F.avg_pool2d(level, round(1 / ratio))
    elif ratio > 1:
        share = F.avg_pool2d(share, round(ratio))
    weights = share.flatten(2).to(level.dtype)
    return (weights @ level.flatten(2).transpose(1, 2)) / (weights.sum(dim=2, keepdim=True) + 1e-3)


def _signs(proposals: Proposals) -> Tensor:
    """Where outlines are, how large, and how sure of themselves, each about as large as 1: ``(N, M, 15)``."""
    p = proposals.outlines.detach().float().sigmoid()
    inside = (p > 0.5).float()
    area = inside.sum(dim=(2, 3)).clamp(min=1)
    height, width = p.shape[-2:]
    rows = ((torch.arange(height, device=p.device) + 0.5) / height * 2 - 1)[:, None].expand(height, width)
    columns = ((torch.arange(width, device=p.device) + 0.5) / width * 2 - 1).expand(height, width)
    center = [(inside * axis).sum(dim=(2, 3)) / area for axis in (rows, columns)]
    ends = [
        torch.where(inside > 0, sign * axis, -2.0).amax(dim=(2, 3)) for axis in (rows, columns) for sign in (-1.0, 1.0)
    ]
    entropy = (torch.special.entr(p) + torch.special.entr(1 - p)).sum(dim=(2, 3)) / area
    signs = (
        torch.log(area / (height * width)) / 2 + 1.5,
        area / (height * width) * 4 - 0.5,
        *center,
        *ends,
        proposals.quality * 4 - 2,
        torch.log1p(proposals.votes) - 2,
        ((p * inside).sum(dim=(2, 3)) / area - 0.85) * 8,
        torch.log1p(((p > 0.1).sum(dim=(2, 3)) / area).clamp(max=50.0)) * 2 - 2,
        ((p > 0.9).sum(dim=(2, 3)) / area - 0.5) * 3,
        entropy.clamp(max=5.0) - 0.5,
        (inside[:, :, [0, -1]].amax(dim=(2, 3)) + inside[..., [0, -1]].amax(dim=(2, 3))) - 0.5,
    )
    return torch.stack(signs, dim=2)

"""Which of an image's objects does a box enclose?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgvos.models.interface import PromptBatch
from surgvos.models.nano.objects import Proposals

_BACKGROUND, _OBJECT, _TOP_LEFT, _BOTTOM_RIGHT = 0, 1, 2, 3  # labels of `PromptBatch`


@dataclass(frozen=True, slots=True, eq=False)
class Pointed:
    """What the boxes of ``B`` objects enclose.

    Attributes:
        outlines: ``(B, 1, h, w)`` mask logits at stride 4.
        quality: ``(B,)`` predicted IoU in 0..1.
        worth: ``(B,)`` the same times how well it fits what was said; 0 where none does.
    """

    outlines: Tensor
    quality: Tensor
    worth: Tensor


def point_at(proposals: Proposals, prompts: PromptBatch, image: Tensor, stride: float) -> Pointed:
    """Of the proposals that hold all clicks on the object and none beside it, take the one that fills the box best.

    Clicks alone point at nothing: they do not say how far the object goes, and what is wrong with a proposal far from
    them is followed from then on (the card of the box model has figures).

    Args:
        proposals: Of ``N`` images.
        prompts: Boxes of ``B`` objects, and any clicks.
        image: int64 ``(B,)``, of which image.
        stride: Pixels of the model's input for each of the proposals.
    """
    shown = (proposals.outlines[image] > 0) & proposals.is_object[image][:, :, None, None]
    worth = proposals.quality[image] * _holds_clicks(shown, prompts, stride) * shown.flatten(2).any(dim=2)
    labels = prompts.labels[0]  # all are of one make
    corners = [prompts.points_xy[:, labels == corner] / stride for corner in (_TOP_LEFT, _BOTTOM_RIGHT)]
    worth = worth * _box_ious(_extents(shown), torch.cat(corners, dim=2))
    best = worth.argmax(dim=1)
    outlines = proposals.outlines[image, best][:, None]
    return Pointed(outlines, proposals.quality[image, best], worth.gather(1, best[:, None])[:, 0])


def _holds_clicks(shown: Tensor, prompts: PromptBatch, stride: float) -> Tensor:
    """Whether masks ``(B, M, h, w)`` are where clicks say, and are not where they say that not: bool ``(B, M)``."""
    height, width = shown.shape[-2:]
    cells = (prompts.points_xy / stride).long()
    cells = cells[..., 1].clamp(0, height - 1) * width + cells[..., 0].clamp(0, width - 1)
    on_it = shown.flatten(2).gather(2, cells[:, None].expand(-1, shown.shape[1], -1))
    labels = prompts.labels[:, None]
    return ((on_it == (labels == _OBJECT)) | ((labels != _OBJECT) & (labels != _BACKGROUND))).all(dim=2)


def _extents(shown: Tensor) -> Tensor:
    """Boxes of masks ``(B, M, h, w)``, as left, top, right, bottom: float ``(B, M, 4)``."""
    ends = []
    for filled in (shown.any(dim=2), shown.any(dim=3)):  # columns, rows
        filled = filled.int()
        ends += [filled.argmax(dim=2), filled.shape[2] - filled.flip(2).argmax(dim=2)]
    left, right, top, bottom = ends
    return torch.stack((left, top, right, bottom), dim=2).float()


def _box_ious(boxes: Tensor, box: Tensor) -> Tensor:
    """IoU of boxes ``(B, M, 4)`` with one each, ``(B, 1, 4)``: ``(B, M)``."""
    low, high = torch.maximum(boxes[..., :2], box[..., :2]), torch.minimum(boxes[..., 2:], box[..., 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    areas = [(corners[..., 2:] - corners[..., :2]).prod(dim=2) for corners in (boxes, box)]
    return shared / (sum(areas) - shared).clamp(min=1e-6)

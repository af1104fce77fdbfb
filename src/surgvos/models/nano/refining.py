"""Which of an image's objects is the one that is followed?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surgvos.models.nano.objects import SAME_OVERLAP, ObjectMaps, overlap, shown_by_places


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """What is most like each of ``B`` masks.

    Attributes:
        outlines: ``(B, 1, h, w)`` mask logits at stride 4.
        worth: ``(B,)`` predicted IoU times the overlap with the mask, in 0..1; 0 where nothing is like it.
    """

    outlines: Tensor
    worth: Tensor


def most_alike(maps: ObjectMaps, n: int, masks: Tensor) -> Likeness:
    """Ask all places of an image whether what they lie on is what masks show; the best ones of each agree on it.

    Args:
        maps: Of ``N`` images.
        n: Which of them.
        masks: bool ``(B, h, w)`` at stride 8.
    """
    with torch.autocast(masks.device.type, enabled=False):
        kernels, outlines = maps.kernels[n].float().flatten(1).T, maps.outlines[n].float()
        quality = maps.quality[n].float().sigmoid().flatten()
        shown = shown_by_places(kernels, outlines)
        worth, best = (overlap(masks.flatten(1).float(), shown) * quality).max(dim=1)
        says = quality * (overlap(shown[best], shown) > SAME_OVERLAP)
        mixed = says @ kernels / says.sum(dim=1, keepdim=True).clamp(min=1e-6)
        return Likeness(torch.einsum("bc,chw->bhw", mixed, outlines)[:, None], worth)

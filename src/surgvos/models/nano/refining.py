"""Which of an image's objects is the one that is followed?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
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


_MOST_OBJECTS = 6
"""Put together for one mask; each costs time."""
_LEAST_GAIN = 0.1
"""In overlap times predicted IoU, of one more object: a mask that strays a little beyond its own is not to get two."""


def most_alike(maps: ObjectMaps, n: int, masks: Tensor) -> Likeness:
    """Ask the places that a mask covers what they lie on, and put together what is most like the mask.

    Mostly that is one object. Where a mask shows several, as that of a class may, it is as many as make it more alike.

    Args:
        maps: Of ``N`` images.
        n: Which of them.
        masks: bool ``(B, h, w)`` at stride 8.
    """
    with torch.autocast(masks.device.type, enabled=False):
        outlines = maps.outlines[n].float()
        kernels, quality = maps.kernels[n].float().flatten(1).T, maps.quality[n].float().sigmoid().flatten()
        coarse = F.avg_pool2d(outlines, 2)
        found = [_put_together(mask, kernels[mask], quality[mask], outlines, coarse) for mask in masks.flatten(1)]
    likest, worth = (torch.stack(column) for column in zip(*found, strict=True))
    return Likeness(likest, worth)


def _put_together(
    mask: Tensor, kernels: Tensor, quality: Tensor, outlines: Tensor, coarse: Tensor
) -> tuple[Tensor, Tensor]:
    """Of ``P`` places, the objects ``(1, 2h, 2w)`` that are together most like a mask ``(h w,)``, and their worth."""
    shown = shown_by_places(kernels, coarse)
    together, of_all = torch.zeros_like(mask, dtype=shown.dtype), outlines.new_full(outlines.shape[1:], -torch.inf)
    worth, qualities = quality.new_zeros(()), quality.new_zeros(())
    for count in range(1, _MOST_OBJECTS + 1):
        joined = torch.maximum(shown, together)
        likeness = overlap(mask[None].to(shown.dtype), joined)[0] * (qualities + quality) / count
        if not len(likeness) or likeness.max() < worth + _LEAST_GAIN * (count > 1):
            break
        best = likeness.argmax()
        worth, qualities, together = likeness[best], qualities + quality[best], joined[best]
        # All places that mean the same have a say in how it is outlined.
        says = quality * (overlap(shown[best][None], shown)[0] > SAME_OVERLAP)
        of_one = torch.einsum("c,chw->hw", says @ kernels / says.sum().clamp(min=1e-6), outlines)
        of_all = torch.maximum(of_all, of_one)
    return of_all[None].nan_to_num(neginf=0.0), worth

"""Short clips with the masks of a few objects, many clips to a batch.

Letters in shapes: ``T`` frames, ``N`` clips, ``B`` objects of all clips, ``O`` objects of one clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surgvos.errors import InputError
from surgvos.models.devices import upload


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One clip.

    Attributes:
        images: uint8 ``(T, H, W, 3)`` RGB.
        masks: bool ``(T, O, H, W)``; all False where an object is not visible.
        phrases: What each of the ``O`` objects is called, or nothing. A phrase for what is not there has empty masks.
    """

    images: np.ndarray
    masks: np.ndarray
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatch:
    """Clips of one size; their objects are laid out in one row.

    Attributes:
        images: uint8 ``(T, N, 3, H, W)`` RGB, channels last in memory.
        masks: bool ``(T, B, H, W)``; all False where an object is not visible.
        object_image: int64 ``(B,)``: which of the ``N`` clips each object belongs to.
        phrases: One for each object, or none at all.
    """

    images: Tensor
    masks: Tensor
    object_image: Tensor
    phrases: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        return self.images.shape[0]

    @property
    def num_objects(self) -> int:
        return self.masks.shape[1]

    @property
    def visible(self) -> Tensor:
        """bool ``(T, B)``: whether an object shows in a frame."""
        return self.masks.flatten(2).any(dim=2)

    def to(self, device: torch.device | str) -> ClipBatch:
        """The same batch on a device."""
        images, masks, object_image = (upload(x, device) for x in (self.images, self.masks, self.object_image))
        return ClipBatch(images, masks, object_image, self.phrases)

    def pin_memory(self) -> ClipBatch:
        """The same batch in page-locked memory, from where it is copied sooner; data loaders call it."""
        images, masks, object_image = (x.pin_memory() for x in (self.images, self.masks, self.object_image))
        return ClipBatch(images, masks, object_image, self.phrases)


def collate_clips(clips: Sequence[Clip]) -> ClipBatch:
    """Lay clips of one length and size side by side.

    Raises:
        InputError: The clips differ in length or size, hold no object, or have phrases for some objects alone.
    """
    shapes = {clip.images.shape for clip in clips}
    if len(shapes) != 1:
        raise InputError(f"expected clips of one length and size, got {sorted(shapes)}")
    counts = [clip.masks.shape[1] for clip in clips]
    if any(clip.phrases and len(clip.phrases) != count for clip, count in zip(clips, counts, strict=True)):
        raise InputError("expected one phrase for each object of a clip, or none at all")
    if sum(counts) == 0:
        raise InputError("expected at least one object in a batch of clips, got none")
    images = torch.from_numpy(np.stack([clip.images for clip in clips], axis=1)).permute(0, 1, 4, 2, 3)
    masks = torch.from_numpy(np.concatenate([clip.masks for clip in clips], axis=1))
    object_image = torch.arange(len(clips)).repeat_interleave(torch.tensor(counts))
    return ClipBatch(images, masks, object_image, tuple(phrase for clip in clips for phrase in clip.phrases))


def choose_objects(
    label_maps: np.ndarray, max_objects: int, rng: np.random.Generator, min_area_px: int = 1
) -> list[int]:
    """Draw ids among the objects that are visible in the first frame.

    Args:
        label_maps: integer ``(T, h, w)``; 0 is background.
        max_objects: Most ids drawn.
        rng: Source of chance.
        min_area_px: An object with fewer pixels does not count as visible.
    """
    ids, areas = np.unique(label_maps[0], return_counts=True)
    visible = [int(i) for i, area in zip(ids, areas, strict=True) if i != 0 and area >= min_area_px]
    return [visible[i] for i in rng.permutation(len(visible))[:max_objects]]


def masks_of(label_maps: np.ndarray, object_ids: Sequence[int]) -> np.ndarray:
    """Masks ``(T, O, h, w)`` of some ids of label maps ``(T, h, w)``."""
    ids = np.asarray(object_ids, dtype=label_maps.dtype).reshape(1, -1, 1, 1)
    return label_maps[:, None] == ids

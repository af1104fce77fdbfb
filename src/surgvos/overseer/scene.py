"""Detections without overlap, and how alike they are to each other and to a tracker's masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import cv2
import numpy as np

from surgvos.overseer.detection import Detection, count_values

NUM_SAMPLES = 2**15
MIN_SAMPLES = 256


class SampledMask:
    """A mask, looked at in every n-th pixel of every n-th row where it is large.

    Args:
        mask: Bool ``(h, w)``.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask
        step = _step_of(mask)
        self.places = np.flatnonzero(mask[::step, ::step])
        self.is_small = step > 1 and self.places.size < MIN_SAMPLES

    @cached_property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns around it."""
        x, y, width, height = cv2.boundingRect(self.mask.view(np.uint8))
        return slice(y, y + height), slice(x, x + width)


def covered_shares(detection: Detection, masks: Mapping[int, SampledMask]) -> np.ndarray:
    """Share of each instance that the mask of its class covers, float64 ``(n,)``; judged by samples as `Scene.iou`.

    Args:
        detection: The instances.
        masks: Class id -> mask; what is of another class is not covered.
    """
    shares = np.zeros(len(detection.class_ids))
    sample, sample_sizes = _sample_of(detection)
    for class_id in masks.keys() & detection.class_ids.tolist():
        mask, own = masks[class_id], detection.class_ids == class_id
        if mask.is_small:
            inside, sizes = detection.regions[mask.box][mask.mask[mask.box]], detection.sizes_px
        else:
            inside, sizes = sample.ravel()[mask.places], sample_sizes
        members = detection.members[:, own]
        shares[own] = (np.bincount(inside, minlength=len(sizes)) @ members) / np.maximum(sizes @ members, 1)
    return shares


class Scene:
    """A detection without overlap: where several classes are, the smallest lies on top."""

    def __init__(self, detection: Detection, classes: set[int]) -> None:
        self._detection = detection
        self._sample, self._sample_sizes = _sample_of(detection)
        seen = detection.seen
        self._regions: dict[int, np.ndarray] = {}
        free = np.ones(len(detection.sizes_px), dtype=bool)
        for i in sorted(classes.intersection(seen.ids), key=lambda i: (seen.area_px(i), i)):
            self._regions[i] = seen.coverage[:, seen.ids.index(i)] & free
            free &= ~self._regions[i]

    def area_px(self, class_id: int) -> int:
        """Pixels of a class; 0 where it is not seen or hidden by others."""
        return int(self._detection.sizes_px[self._regions[class_id]].sum()) if class_id in self._regions else 0

    def score(self, class_id: int) -> float:
        """The highest score of a class's instances; 0 where it is not seen."""
        return self._detection.seen.score(class_id)

    def mask(self, class_id: int) -> np.ndarray:
        """Where a class is, bool ``(h, w)``."""
        return self._detection.mask_of(self._regions[class_id])

    def iou(self, class_id: int, mask: SampledMask) -> float:
        """IoU with a tracker's mask; of a large mask only every n-th row and column is looked at."""
        chosen = self._regions[class_id]
        if mask.is_small:
            inside, sizes = self._detection.regions[mask.box][mask.mask[mask.box]], self._detection.sizes_px
        else:
            inside, sizes = self._sample.ravel()[mask.places], self._sample_sizes
        shared = np.count_nonzero(chosen[inside])
        union = inside.size + int(sizes[chosen].sum()) - shared
        return shared / union if union > 0 else 0.0

    def ious_with(self, other: Scene) -> dict[int, float]:
        """IoU of each class with itself in another scene, where both show it; samples are those of `iou`."""
        classes = [i for i in self._regions if self.area_px(i) and other.area_px(i)]
        num_slots = 1 + len(classes)
        pairs = self._slots(classes) * num_slots + other._slots(classes)
        table = np.bincount(pairs.ravel(), minlength=num_slots**2).reshape(num_slots, num_slots)
        ious = {}
        for slot, i in enumerate(classes, start=1):
            shared, own, others = table[slot, slot], table[slot].sum(), table[:, slot].sum()
            is_small = self._step > 1 and own < MIN_SAMPLES
            ious[i] = self.iou(i, SampledMask(other.mask(i))) if is_small else float(shared / (own + others - shared))
        return ious

    def _slots(self, classes: Sequence[int]) -> np.ndarray:
        """Of the sampled pixels, 1 + the index of the class that is there; 0 where none of these is."""
        slots = np.zeros(len(self._detection.sizes_px), dtype=np.intp)
        for slot, i in enumerate(classes, start=1):
            slots[self._regions[i]] = slot
        return slots[self._sample]

    @property
    def _step(self) -> int:
        return _step_of(self._detection.regions)


def _sample_of(detection: Detection) -> tuple[np.ndarray, np.ndarray]:
    """Regions of every n-th pixel of every n-th row, and how many of these each region has."""
    step = _step_of(detection.regions)
    sample = np.ascontiguousarray(detection.regions[::step, ::step])
    return sample, count_values(sample, len(detection.sizes_px))


def _step_of(image: np.ndarray) -> int:
    return max(1, math.isqrt(image.size // NUM_SAMPLES))

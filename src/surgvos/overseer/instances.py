"""Which instance of a detector is which object of its class: two graspers stay two, frame after frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from surgvos.core.frame import Frame
from surgvos.core.instances import class_of, free_instance
from surgvos.core.labels import LabelSpace
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import Detector

SAME_OVERLAP = 0.7
"""Share of the smaller of two instances of a class from which they are one thing, seen twice."""

MIN_IOU = 0.1
"""IoU from which what is seen may be what was there before; below, it is something else."""

_NUM_SAMPLES = 2**15


@dataclass(frozen=True, slots=True, eq=False)
class _Thing:
    """Instances of a detection that are one thing.

    Attributes:
        class_id: Their class.
        members: Their positions in the detection.
        place: bool ``(num_samples,)``: where they are, on a grid of pixels.
    """

    class_id: int
    members: tuple[int, ...]
    place: np.ndarray


def tell_apart(window: Sequence[Detection], tracked: Mapping[int, np.ndarray]) -> list[Detection]:
    """Give instances ids of their own, the same ones from frame to frame.

    In the first frame they are compared with the masks that the tracker answers there, in each later one with where
    they were seen last. Of a class, the pair of the highest IoU belongs together first. Where one is then left over on
    either side, it is the same one, elsewhere; otherwise what is left over is new.

    Args:
        window: Detections of a frame and of those that follow, by class id.
        tracked: Instance id -> bool ``(h, w)``: the tracker's answers in the first of the frames.

    Returns:
        The same detections by instance id (`surgvos.core.instances`).
    """
    step = max(1, math.isqrt(window[0].regions.size // _NUM_SAMPLES))
    places = {i: mask[::step, ::step].ravel() for i, mask in tracked.items()}
    told = []
    for detection in window:
        things = _things(detection, step)
        ids = _match(things, places)
        places |= {i: thing.place for i, thing in ids.items()}
        told.append(_renamed(detection, ids))
    return told


class ConnectedInstances:
    """A detector of one mask per class whose connected parts become instances.

    Where one tool lies across another it is cut in two, and two tools that touch are one.

    Args:
        detector: Whose masks are taken apart.
        min_share: Parts with a smaller share of their class's pixels than this are left with the largest part.
    """

    def __init__(self, detector: Detector, min_share: float = 0.1) -> None:
        self.detector, self.min_share = detector, min_share

    @property
    def label_space(self) -> LabelSpace:
        return self.detector.label_space

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        return [self._taken_apart(detection) for detection in self.detector.detect(frames)]

    def _taken_apart(self, detection: Detection) -> Detection:
        masks: list[np.ndarray] = []
        class_ids: list[int] = []
        for class_id in detection.seen.ids:
            parts = _parts(detection.mask(class_id), self.min_share)
            masks += parts
            class_ids += [class_id] * len(parts)
        scores = [detection.seen.score(class_id) for class_id in class_ids]
        taken = Detection.from_masks(np.array(masks, dtype=bool).reshape(-1, *detection.hw), class_ids, scores)
        return replace(taken, annotated=detection.annotated, looks_outside=detection.looks_outside)


def _parts(mask: np.ndarray, min_share: float) -> list[np.ndarray]:
    """Connected parts of a mask, the largest first, with all the small ones."""
    num_parts, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = 1 + np.argsort(-areas, kind="stable")
    large = [int(i) for i in order if areas[i - 1] >= min_share * areas.sum()] or [int(order[0])]
    parts = [numbers == i for i in large]
    others = np.setdiff1d(np.arange(1, num_parts), large)
    parts[0] |= np.isin(numbers, others) if len(others) else False
    return parts


def _things(detection: Detection, step: int) -> list[_Thing]:
    """What is seen, the highest score first; several instances may be one thing."""
    weighted = detection.members * detection.sizes_px[:, None].astype(np.float64)
    shared = weighted.T @ detection.members.astype(np.float64)
    areas = np.diag(shared)
    groups: list[list[int]] = []
    for i in sorted(np.flatnonzero(areas).tolist(), key=lambda i: -detection.scores[i]):
        of_class = [group for group in groups if detection.class_ids[group[0]] == detection.class_ids[i]]
        same = (g for g in of_class if any(shared[i, j] >= SAME_OVERLAP * min(areas[i], areas[j]) for j in g))
        joined = next(same, None)
        if joined is None:
            groups.append([i])
        else:
            joined.append(i)
    sampled = detection.regions[::step, ::step].ravel()
    return [
        _Thing(int(detection.class_ids[g[0]]), tuple(g), np.take(detection.members[:, g].any(axis=1), sampled))
        for g in groups
    ]


def _match(things: Sequence[_Thing], places: Mapping[int, np.ndarray]) -> dict[int, _Thing]:
    """Instance id -> thing: known ids first, then new ones; a thing for which no id is free is left out."""
    matched: dict[int, _Thing] = {}
    for class_id in dict.fromkeys(thing.class_id for thing in things):
        of_class = [thing for thing in things if thing.class_id == class_id]
        known = {i: place for i, place in places.items() if class_of(i) == class_id}
        pairs = _pairs(of_class, known)
        for number, thing in enumerate(of_class):
            instance_id = pairs.get(number) or free_instance(class_id, {*known, *matched})
            if instance_id is not None:
                matched[instance_id] = thing
    return matched


def _pairs(things: Sequence[_Thing], known: Mapping[int, np.ndarray]) -> dict[int, int]:
    """Position of a thing -> instance id, for things of one class that were there before."""
    ious = [(_iou(thing.place, place), -i, n) for n, thing in enumerate(things) for i, place in known.items()]
    pairs: dict[int, int] = {}
    for iou, negative_id, number in sorted(ious, reverse=True):
        if iou >= MIN_IOU and number not in pairs and -negative_id not in pairs.values():
            pairs[number] = -negative_id
    new = [number for number in range(len(things)) if number not in pairs]
    lost = [i for i in known if i not in pairs.values()]
    if len(new) == len(lost) == 1:
        pairs[new[0]] = lost[0]
    return pairs


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    shared = np.count_nonzero(one & other)
    union = np.count_nonzero(one) + np.count_nonzero(other) - shared
    return shared / union if union else 0.0


def _renamed(detection: Detection, ids: Mapping[int, _Thing]) -> Detection:
    """The instances of a detection by new ids; those without one are left out."""
    id_of = {member: i for i, thing in ids.items() for member in thing.members}
    kept = sorted(id_of)
    return replace(
        detection,
        members=detection.members[:, kept],
        class_ids=np.array([id_of[member] for member in kept], dtype=np.int64),
        scores=detection.scores[kept],
    )

"""How steady label maps are from frame to frame, with and without following the motion. No truth is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import cv2
import numpy as np

from surgvos.core.masks import present_ids
from surgvos.evaluation.class_counts import joint_histogram, replace_ids
from surgvos.evaluation.contours import Crossings, contour_distance, contour_of, contour_starts, crossings
from surgvos.evaluation.flow import Flow, can_be_followed, resize_flow, warp
from surgvos.evaluation.protocols import Counted, departures, with_plain_rules

IOU, DISTANCE, FLOW_IOU, FLOW_DICE = "IoU", "contour distance", "flow IoU", "flow Dice"


class FlowUse(StrEnum):
    """Which flow moves the labels of a frame to the next.

    ``BACKWARD``: that from the next frame back to this one, which says where each pixel came from. ``FORWARD``: that
    from this frame to the next, read at the pixels of the next, which moves labels against the motion.
    """

    BACKWARD = "backward"
    FORWARD = "forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalProtocol:
    """Rules of comparing neighbouring frames; the defaults are the plain definition.

    Attributes:
        name: Under which reports and the command line know it.
        image_hw: Size to which label maps are brought, by nearest neighbours; None leaves them as they are.
        background: Whether background is one of the labels.
        contour_starts: How often the first point of a closed contour counts.
        flow: Which flow is used.
        flow_hw: Size to which frames are brought for the flow; None leaves them as they are.
        rescale_flow: Whether vectors are made to fit the size of the label maps.
        truncate: Whether coordinates are cut to integers in place of being rounded.
        hidden_pixels: Whether pixels count that come from outside the image, or that cannot be followed both ways.
    """

    name: str
    image_hw: tuple[int, int] | None = None
    background: Counted = Counted.LEFT_OUT
    contour_starts: int = 1
    flow: FlowUse = FlowUse.BACKWARD
    flow_hw: tuple[int, int] | None = None
    rescale_flow: bool = True
    truncate: bool = False
    hidden_pixels: Counted = Counted.LEFT_OUT

    @property
    def quirks(self) -> dict[str, str]:
        """Rule -> value, of each rule that differs from the plain definition."""
        return departures(self, TEMPORAL)

    def with_plain(self, rules: Collection[str]) -> TemporalProtocol:
        """Take these rules as the plain definition has them; ``all`` stands for every one.

        Raises:
            ConfigError: There is no such rule.
        """
        return with_plain_rules(self, TEMPORAL, rules)


TEMPORAL = TemporalProtocol(name="temporal")
# Reference: Sivakumar et al., SASVi, IPCAI 2025, and its published evaluation. Recorded in
# tests/reference/data/metrics/published_temporal.json; the flow scores follow its description only.
SASVI = TemporalProtocol(
    name="sasvi",
    image_hw=(299, 299),
    background=Counted.SCORED,
    contour_starts=2,
    flow=FlowUse.FORWARD,
    flow_hw=(512, 384),
    rescale_flow=False,
    truncate=True,
    hidden_pixels=Counted.SCORED,
)
TEMPORAL_PROTOCOLS = {protocol.name: protocol for protocol in (TEMPORAL, SASVI)}


@dataclass(eq=False)
class LabelFrame:
    """A label map at the protocol's size, and what is known of it.

    Attributes:
        label_map: ``(h, w)``.
        image: The frame itself, uint8 ``(h, w, 3)`` RGB at the size that the flow wants, or None.
    """

    label_map: np.ndarray
    image: np.ndarray | None = None

    @classmethod
    def of(cls, label_map: np.ndarray, image: np.ndarray | None, protocol: TemporalProtocol) -> LabelFrame:
        """Bring a label map and its frame to the protocol's sizes."""
        if protocol.image_hw is not None:
            label_map = resize_to_lower_pixel(label_map, protocol.image_hw)
        if image is not None and (hw := protocol.flow_hw or label_map.shape[:2]) != image.shape[:2]:
            image = cv2.resize(np.ascontiguousarray(image), hw[::-1], interpolation=cv2.INTER_LINEAR)
        return cls(label_map, image)

    @cached_property
    def ids(self) -> list[int]:
        """The labels that are there, ascending."""
        return present_ids(self.label_map)

    @cached_property
    def crossings(self) -> Crossings:
        """Where labels meet."""
        return crossings(self.label_map)

    def contour(self, label: int, protocol: TemporalProtocol) -> np.ndarray:
        """Points of a label's contour, in half pixels, as often as the protocol counts them."""
        points = contour_of(label, self.crossings)
        if protocol.contour_starts > 1 and len(points):
            starts = contour_starts(self.label_map == label)
            points = np.concatenate([points, *[starts] * (protocol.contour_starts - 1)])
        return points


def resize_to_lower_pixel(label_map: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    """Resize by nearest neighbours in the older convention, which rounds every coordinate down.

    Example:
        >>> resize_to_lower_pixel(np.array([[1, 2, 3]]), (1, 2)).tolist()
        [[1, 2]]
    """
    rows, columns = (
        np.minimum((np.arange(new, dtype=np.float32) * np.float32(old / new)).astype(np.intp), old - 1)
        for new, old in zip(image_hw, label_map.shape, strict=True)
    )
    return label_map[rows[:, None], columns]


@dataclass(slots=True)
class TemporalSums:
    """Sums and counts of scores over pairs of frames; adds up over videos.

    Attributes:
        sums: Score -> label -> [sum over pairs, number of pairs].
        num_pairs: Pairs of frames.
    """

    sums: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    num_pairs: int = 0

    def add(self, score: str, label: int, value: float | None) -> None:
        """Add one pair's score; None leaves the pair out."""
        if value is not None:
            entry = self.sums.setdefault(score, {}).setdefault(label, [0.0, 0.0])
            entry[0] += value
            entry[1] += 1

    def merge(self, other: TemporalSums, times: float = 1) -> None:
        """Take over the sums of other pairs, as if each had been seen so many times."""
        self.num_pairs += int(other.num_pairs * times)
        for score, labels in other.sums.items():
            for label, (total, count) in labels.items():
                entry = self.sums.setdefault(score, {}).setdefault(label, [0.0, 0.0])
                entry[0] += total * times
                entry[1] += count * times

    def per_label(self, score: str) -> dict[int, float]:
        """Label -> mean over pairs."""
        return {label: total / count for label, (total, count) in sorted(self.sums.get(score, {}).items()) if count}

    def macro(self, score: str) -> float | None:
        """Mean over labels, each with the same weight; None without any."""
        means = self.per_label(score).values()
        return float(np.mean(list(means))) if means else None


def compare_neighbours(
    first: LabelFrame, second: LabelFrame, protocol: TemporalProtocol, *, background: int = 0, flow: Flow | None = None
) -> TemporalSums:
    """Score one pair of neighbouring frames.

    Args:
        first: The earlier frame.
        second: The later frame, of the same size.
        protocol: The rules.
        background: Id of background.
        flow: Estimator for the scores that follow the motion; needs both images. None leaves them out.
    """
    found = TemporalSums(num_pairs=1)
    for label, (iou, _) in _overlaps(first.label_map, second.label_map, None).items():
        if label == background and protocol.background is Counted.LEFT_OUT:
            continue
        found.add(IOU, label, iou)
        contours = (frame.contour(label, protocol) for frame in (first, second))
        found.add(DISTANCE, label, contour_distance(*contours))
    if flow is not None:
        for label, (iou, dice) in _followed_overlaps(first, second, protocol, flow).items():
            if label != background or protocol.background is Counted.SCORED:
                found.add(FLOW_IOU, label, iou)
                found.add(FLOW_DICE, label, dice)
    return found


def _followed_overlaps(
    first: LabelFrame, second: LabelFrame, protocol: TemporalProtocol, flow: Flow
) -> dict[int, tuple[float, float]]:
    assert first.image is not None
    assert second.image is not None
    hw = (first.label_map.shape[0], first.label_map.shape[1])

    def estimate(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return resize_flow(flow(one, other), hw, rescale=protocol.rescale_flow)

    is_backward = protocol.flow is FlowUse.BACKWARD
    images = (second.image, first.image) if is_backward else (first.image, second.image)
    motion = estimate(*images)
    moved = warp(first.label_map, motion, truncate=protocol.truncate)
    if protocol.hidden_pixels is Counted.SCORED:
        return _overlaps(moved.labels, second.label_map, None)
    is_scored = moved.is_inside & can_be_followed(motion, estimate(*images[::-1]))
    return _overlaps(moved.labels, second.label_map, is_scored)


def _overlaps(one: np.ndarray, other: np.ndarray, is_scored: np.ndarray | None) -> dict[int, tuple[float, float]]:
    """IoU and Dice of each label that either map shows, over some pixels or over all."""
    ids = sorted({*present_ids(one), *present_ids(other)})
    lookup = np.zeros(ids[-1] + 1, np.uint8 if len(ids) < 256 else np.uint16)
    lookup[ids] = np.arange(len(ids))
    indices = [replace_ids(label_map, lookup) for label_map in (one, other)]
    if is_scored is not None:
        indices[0] = np.where(is_scored, indices[0], lookup.dtype.type(len(ids)))
    table = joint_histogram(indices[0], indices[1], len(ids) + 1)[: len(ids), : len(ids)]
    common, area = np.diagonal(table), table.sum(axis=0) + table.sum(axis=1)
    return {
        label: (float(both / (total - both)), float(2 * both / total))
        for label, both, total in zip(ids, common, area, strict=True)
        if total
    }


def total(parts: Iterable[TemporalSums], weights: Iterable[float] | None = None) -> TemporalSums:
    """Add up, each part so many times, if weights are given."""
    parts = list(parts)
    whole = TemporalSums()
    for part, times in zip(parts, [1.0] * len(parts) if weights is None else weights, strict=True):
        whole.merge(part, times)
    return whole

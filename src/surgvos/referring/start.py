"""When is something that was found by its phrase certain enough to be followed? Pure rules over numbers.

Example:
    >>> policy, run = CredibleStart(window=2), ()
    >>> for frame, iou in enumerate((0.8, 0.6, 0.75, 0.9)):
    ...     run = policy.extend(run, Sighting(frame, presence=0.95, iou=iou))
    >>> policy.anchors(run)[0].frame_index
    3
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeAlias

from surgvos.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a look for a phrase found in one frame.

    Attributes:
        frame_index: Which frame.
        presence: Probability in [0, 1] that what the phrase says is visible.
        iou: Predicted IoU of its mask, in [0, 1].
        overlap: IoU of its mask with the mask of the sighting before, in [0, 1]; 1 where there was none.
    """

    frame_index: int
    presence: float
    iou: float
    overlap: float = 1.0


Run: TypeAlias = tuple[Sighting, ...]
"""Credible sightings of neighbouring frames, in the order seen: forward or backward in time."""


class StartPolicy(Protocol):
    """A frozen dataclass whose fields are its settings; nothing is remembered in it."""

    def extend(self, run: Run, sighting: Sighting) -> Run:
        """The run that goes on with this sighting; bounded, and empty where the sighting is not credible."""
        ...

    def anchors(self, run: Run) -> Run:
        """The sightings from which to follow, in the order seen; none while it is not certain."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CredibleStart:
    """Start when a whole window of neighbouring frames is credible, from the best of them.

    A sighting is credible when both its presence and its predicted IoU lie above their thresholds.

    Reference: Liu et al., ReSurgSAM2 (arXiv 2505.08581), "Credible initial frame selection". The published queue,
    which a frame below the first threshold shortens and one below the second leaves as it is, triggers at the same
    frames: its window must be consecutive (``tests/referring/test_start.py``).

    Attributes:
        min_presence: Presence lies above it.
        min_iou: Predicted IoU lies above it.
        window: So many credible frames in a row are a start.
        num_anchors: So many of them are followed from: those with the highest predicted IoU, of equals the newest.
        min_overlap: The masks of neighbouring frames of the window overlap by this on average (IoU). Published: 0,
            masks are not compared.
    """

    min_presence: float = 0.9
    min_iou: float = 0.7
    window: int = 5
    num_anchors: int = 1
    min_overlap: float = 0.0

    def __post_init__(self) -> None:
        _check_thresholds(self, "min_presence", "min_iou", "min_overlap")
        if not 1 <= self.num_anchors <= self.window:
            raise ConfigError(f"expected 1 <= num_anchors <= window, got {self.num_anchors} and {self.window}")

    def extend(self, run: Run, sighting: Sighting) -> Run:
        if sighting.presence <= self.min_presence or sighting.iou <= self.min_iou:
            return ()
        return (*(run if _goes_on(run, sighting) else ()), sighting)[-self.window :]

    def anchors(self, run: Run) -> Run:
        if len(run) < self.window or self._mean_overlap(run) < self.min_overlap:
            return ()
        best = sorted(run, key=lambda sighting: sighting.iou)[-self.num_anchors :]
        return tuple(sighting for sighting in run if sighting in best)

    def _mean_overlap(self, run: Run) -> float:
        overlaps = [sighting.overlap for sighting in run[1:]]
        return sum(overlaps) / len(overlaps) if overlaps else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Immediate:
    """Start at the first credible frame.

    Attributes:
        min_presence: Presence lies above it.
        min_iou: Predicted IoU lies above it.
    """

    min_presence: float = 0.9
    min_iou: float = 0.7

    def __post_init__(self) -> None:
        _check_thresholds(self, "min_presence", "min_iou")

    def extend(self, run: Run, sighting: Sighting) -> Run:
        return (sighting,) if sighting.presence > self.min_presence and sighting.iou > self.min_iou else ()

    def anchors(self, run: Run) -> Run:
        return run


def _goes_on(run: Run, sighting: Sighting) -> bool:
    """Whether the sighting lies one frame further in the direction of the run."""
    steps = [after.frame_index - before.frame_index for before, after in pairwise((*run[-2:], sighting))]
    return not steps or (abs(steps[-1]) == 1 and steps[0] == steps[-1])


def _check_thresholds(policy: object, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(policy, name) <= 1:
            raise ConfigError(f"expected {name} in 0..1, got {getattr(policy, name)}")

"""Accumulate J, F and Dice per object of each video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from surgvos.errors import InputError
from surgvos.evaluation.functional import region_scores

RECALL_THRESHOLD = 0.5
NUM_DECAY_BINS = 4


class FrameRule(StrEnum):
    """Which frames of an object are scored.

    ``ALL``: every frame. ``INNER``: all but the first and the last. ``TRACKED``: from the frame after the one
    in which the truth first shows the object (there it is prompted) to the last but one.
    """

    ALL = "all"
    INNER = "inner"
    TRACKED = "tracked"


class AbsentRule(StrEnum):
    """What a frame counts in which an object is neither in the truth nor in the prediction.

    ``PERFECT``: it scores 1. ``SKIP``: it is not scored. ``SKIP_UNTIL_SEEN``: it is not scored before the
    first selected frame in which either shows the object, and scores 1 afterwards.
    """

    PERFECT = "perfect"
    SKIP = "skip"
    SKIP_UNTIL_SEEN = "skip_until_seen"


@dataclass(frozen=True, slots=True)
class FrameScore:
    """The scores of one object in one frame, in [0, 1], and who shows the object there."""

    jaccard: float
    boundary_f: float
    dice: float
    in_prediction: bool
    in_truth: bool


ABSENT = FrameScore(1.0, 1.0, 1.0, in_prediction=False, in_truth=False)


@dataclass(frozen=True, slots=True)
class SeriesStatistics:
    """How a score runs over the frames of one object.

    Attributes:
        mean: Mean over frames.
        recall: Share of frames that score above 0.5.
        decay: Mean of the first quarter of the frames less that of the last quarter.
    """

    mean: float
    recall: float
    decay: float

    @classmethod
    def of(cls, values: np.ndarray) -> SeriesStatistics:
        """Summarise scores in frame order, float ``(num_frames,)`` with at least one frame.

        Reference: Perazzi et al., CVPR 2016, section 4.
        """
        # Quarters share their end frames, and halves round up, as in the published evaluation.
        edges = np.floor(np.linspace(1, len(values), NUM_DECAY_BINS + 1) + 0.5 + 1e-10).astype(int) - 1
        first, last = values[edges[0] : edges[1] + 1], values[edges[-2] : edges[-1] + 1]
        return cls(
            mean=float(values.mean()),
            recall=float((values > RECALL_THRESHOLD).mean()),
            decay=float(first.mean() - last.mean()),
        )


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """The scores of one object of one video, in [0, 1].

    Attributes:
        jaccard: Of J.
        boundary_f: Of F.
        dice: Mean Dice coefficient over frames.
        frame_indices: The frames that were scored, ascending.
        true_jaccards: Frame -> J, of those in which the truth shows the object.
    """

    jaccard: SeriesStatistics
    boundary_f: SeriesStatistics
    dice: float
    frame_indices: tuple[int, ...]
    true_jaccards: dict[int, float]


@dataclass(slots=True, kw_only=True)
class RegionMetric:
    """J, F and Dice of each object of each video.

    Frames may come in any order; metrics that saw different frames can be merged.

    Attributes:
        frames: Which frames are scored.
        absent: What a frame counts in which neither mask shows the object.
        tolerance_px: Boundary tolerance of F; None is 0.8 % of the image diagonal.

    Example:
        >>> metric = RegionMetric(frames=FrameRule.ALL, absent=AbsentRule.PERFECT)
        >>> metric.update("case", 1, 0, np.array([[True, True]]), np.array([[True, False]]))
        >>> metric.update("case", 1, 1, None, None)
        >>> metric.compute()["case"][1].jaccard.mean
        0.75
    """

    frames: FrameRule
    absent: AbsentRule
    tolerance_px: int | None = None
    _scores: dict[tuple[str, int], dict[int, FrameScore]] = field(default_factory=dict, init=False, repr=False)

    def update(
        self,
        video: str,
        object_id: int,
        frame_index: int,
        prediction: np.ndarray | None,
        truth: np.ndarray | None,
    ) -> None:
        """Score one object in one frame.

        Args:
            video: Name of the video.
            object_id: The object.
            frame_index: Position of the frame in the video; only the order matters.
            prediction: bool ``(h, w)``, or None where nothing is predicted.
            truth: bool ``(h, w)``, or None where the object is not there.

        Raises:
            InputError: The masks differ in size or are not boolean, or this frame was already scored.
        """
        self._insert(video, object_id, frame_index, self._score(prediction, truth))

    def fill_absent(self, video: str, object_id: int, frame_indices: Iterable[int]) -> None:
        """Score an object as absent from truth and prediction in those of the frames not scored yet."""
        scores = self._scores.setdefault((video, object_id), {})
        for frame_index in frame_indices:
            scores.setdefault(frame_index, ABSENT)

    def merge(self, other: RegionMetric) -> None:
        """Take over the scores of a metric that saw other frames.

        Raises:
            InputError: The two have other rules, or both scored the same frame of an object.
        """
        rules, other_rules = ((m.frames, m.absent, m.tolerance_px) for m in (self, other))
        if rules != other_rules:
            raise InputError(f"expected metrics of the same rules to merge, got {rules} and {other_rules}")
        for (video, object_id), scores in other._scores.items():
            for frame_index, score in scores.items():
                self._insert(video, object_id, frame_index, score)

    def compute(self) -> dict[str, dict[int, ObjectScore]]:
        """Summarise the objects of each video, in ascending order; one with no frame to score is left out."""
        videos: dict[str, dict[int, ObjectScore]] = {}
        for (video, object_id), scores in sorted(self._scores.items()):
            selected = self._select(sorted(scores.items()))
            if selected:
                videos.setdefault(video, {})[object_id] = _summarise(selected)
        return videos

    def _score(self, prediction: np.ndarray | None, truth: np.ndarray | None) -> FrameScore:
        in_prediction = prediction is not None and bool(prediction.any())
        in_truth = truth is not None and bool(truth.any())
        if prediction is None and truth is None:
            return ABSENT
        if prediction is None or truth is None:
            given = prediction if truth is None else truth
            prediction, truth = (np.zeros_like(given) if m is None else m for m in (prediction, truth))
        found = region_scores(prediction, truth, self.tolerance_px)
        return FrameScore(found.jaccard, found.boundary_f, found.dice, in_prediction, in_truth)

    def _insert(self, video: str, object_id: int, frame_index: int, score: FrameScore) -> None:
        scores = self._scores.setdefault((video, object_id), {})
        if frame_index in scores:
            raise InputError(f"expected each frame once, got frame {frame_index} of {video} again")
        scores[frame_index] = score

    def _select(self, scores: list[tuple[int, FrameScore]]) -> list[tuple[int, FrameScore]]:
        if self.frames is FrameRule.INNER:
            scores = scores[1:-1]
        elif self.frames is FrameRule.TRACKED:
            first = next((i for i, (_, score) in enumerate(scores) if score.in_truth), len(scores))
            scores = scores[first + 1 : -1]
        seen = [score.in_truth or score.in_prediction for _, score in scores]
        if self.absent is AbsentRule.SKIP:
            return [score for score, is_seen in zip(scores, seen, strict=True) if is_seen]
        if self.absent is AbsentRule.SKIP_UNTIL_SEEN:
            return scores[seen.index(True) :] if any(seen) else []
        return scores


def _summarise(scores: list[tuple[int, FrameScore]]) -> ObjectScore:
    return ObjectScore(
        jaccard=SeriesStatistics.of(np.array([score.jaccard for _, score in scores])),
        boundary_f=SeriesStatistics.of(np.array([score.boundary_f for _, score in scores])),
        dice=float(np.mean([score.dice for _, score in scores])),
        frame_indices=tuple(index for index, _ in scores),
        true_jaccards={index: score.jaccard for index, score in scores if score.in_truth},
    )

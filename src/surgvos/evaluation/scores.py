"""What an evaluation found, in percent, and its JSON form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgvos.evaluation.metrics import ObjectScore

_JSON_KEYS = {
    "jaccard": "J",
    "boundary_f": "F",
    "dice": "Dice",
    "jaccard_recall": "J_recall",
    "jaccard_decay": "J_decay",
    "boundary_f_recall": "F_recall",
    "boundary_f_decay": "F_decay",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionScore:
    """Scores in percent.

    Attributes:
        jaccard: J, mean over frames.
        boundary_f: F, mean over frames.
        dice: Dice coefficient, mean over frames.
        jaccard_recall: Share of frames with J above 50.
        jaccard_decay: Mean J of the first quarter of the frames less that of the last quarter.
        boundary_f_recall: As for J.
        boundary_f_decay: As for J.
    """

    jaccard: float
    boundary_f: float
    dice: float
    jaccard_recall: float
    jaccard_decay: float
    boundary_f_recall: float
    boundary_f_decay: float

    @property
    def jaccard_and_boundary_f(self) -> float:
        """J&F, the mean of J and F."""
        return (self.jaccard + self.boundary_f) / 2

    @classmethod
    def of(cls, score: ObjectScore) -> RegionScore:
        """Convert the score of one object to percent."""
        return cls(
            jaccard=100 * score.jaccard.mean,
            boundary_f=100 * score.boundary_f.mean,
            dice=100 * score.dice,
            jaccard_recall=100 * score.jaccard.recall,
            jaccard_decay=100 * score.jaccard.decay,
            boundary_f_recall=100 * score.boundary_f.recall,
            boundary_f_decay=100 * score.boundary_f.decay,
        )

    @classmethod
    def mean(cls, scores: Collection[RegionScore]) -> RegionScore:
        """Average scores, each with the same weight; at least one is needed."""
        return cls(**{name: float(np.mean([getattr(s, name) for s in scores])) for name in _JSON_KEYS})

    def to_json(self) -> dict[str, float]:
        """Return the scores under the names of the field; ``J_mean`` and ``F_mean`` are DAVIS's for J and F."""
        scores = {key: getattr(self, name) for name, key in _JSON_KEYS.items()}
        return {
            "J": scores.pop("J"),
            "F": scores.pop("F"),
            "J&F": self.jaccard_and_boundary_f,
            "Dice": scores.pop("Dice"),
            "J_mean": self.jaccard,
            "F_mean": self.boundary_f,
            **scores,
        }

    @classmethod
    def from_json(cls, scores: Mapping[str, float]) -> RegionScore:
        """Read what `to_json` returned."""
        return cls(**{name: scores[key] for name, key in _JSON_KEYS.items()})


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """What was found for one object.

    Attributes:
        score: Over its frames.
        num_frames: Frames scored.
        num_missing_frames: Frames in which the truth shows the object and of which there is no file: those scored
            as predicted empty, or, where the protocol leaves them out, those left out.
    """

    score: RegionScore
    num_frames: int
    num_missing_frames: int

    def to_json(self) -> dict[str, float]:
        """Return the scores and counts in one mapping."""
        counts = {"num_frames": self.num_frames, "num_missing_frames": self.num_missing_frames}
        return self.score.to_json() | counts

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ObjectReport:
        """Read what `to_json` returned."""
        return cls(RegionScore.from_json(entry), entry["num_frames"], entry["num_missing_frames"])


@dataclass(frozen=True, slots=True)
class ChallengeIou:
    """IoU per frame, over the objects that the truth shows there and the protocol scores; then over frames.

    Attributes:
        total: Sum over frames, in percent.
        num_frames: Frames with such an object.

    Reference: Surgical SAM 2, arXiv 2408.07931; as in the EndoVis 2017 challenge, with objects for classes.
    """

    total: float
    num_frames: int

    @classmethod
    def of(cls, scores: Iterable[ObjectScore]) -> ChallengeIou:
        """Compute it from the scores of the objects of one video."""
        frames: dict[int, list[float]] = {}
        for score in scores:
            for frame_index, jaccard in score.true_jaccards.items():
                frames.setdefault(frame_index, []).append(jaccard)
        return cls(100 * sum(float(np.mean(jaccards)) for jaccards in frames.values()), len(frames))

    @property
    def mean(self) -> float | None:
        """Mean over frames, in percent; None without a frame."""
        return self.total / self.num_frames if self.num_frames else None

"""What an evaluation found, in percent, and its JSON form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from surgvos.errors import InputError
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
        num_missing_frames: Frames without a prediction: those scored as predicted empty where the protocol
            scores the truth's frames, else those left out although the truth shows the object.
    """

    score: RegionScore
    num_frames: int
    num_missing_frames: int

    def to_json(self) -> dict[str, float]:
        """Return the scores and counts in one mapping."""
        counts = {"num_frames": self.num_frames, "num_missing_frames": self.num_missing_frames}
        return self.score.to_json() | counts


@dataclass(frozen=True, slots=True)
class Report:
    """The scores of a set of videos.

    Attributes:
        protocol: Name of the rules.
        objects: Video -> object id -> what was found; a video without an object to score is empty.
        warnings: One sentence for each thing that a reader of the scores should know.
    """

    protocol: str
    objects: dict[str, dict[int, ObjectReport]]
    warnings: tuple[str, ...] = ()

    @property
    def mean(self) -> RegionScore:
        """Mean over all objects of all videos, each with the same weight."""
        return RegionScore.mean([o.score for objects in self.objects.values() for o in objects.values()])

    @property
    def videos(self) -> dict[str, RegionScore]:
        """Mean over the objects of each video that has any."""
        return {
            video: RegionScore.mean([o.score for o in objects.values()])
            for video, objects in self.objects.items()
            if objects
        }

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, scores in percent."""
        return {
            "protocol": self.protocol,
            "mean": self.mean.to_json(),
            "videos": {video: score.to_json() for video, score in self.videos.items()},
            "objects": {
                video: {str(object_id): report.to_json() for object_id, report in objects.items()}
                for video, objects in self.objects.items()
            },
            "num_objects": sum(len(objects) for objects in self.objects.values()),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Report:
        """Read what `to_json` returned.

        Raises:
            InputError: A key is missing.
        """
        try:
            objects = {
                video: {
                    int(object_id): ObjectReport(
                        RegionScore.from_json(entry), entry["num_frames"], entry["num_missing_frames"]
                    )
                    for object_id, entry in entries.items()
                }
                for video, entries in document["objects"].items()
            }
            return cls(document["protocol"], objects, tuple(document["warnings"]))
        except KeyError as error:
            raise InputError(f"expected a report with the key {error}, got none; try evaluating again") from error

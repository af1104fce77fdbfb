"""The scores of the objects of a set of videos: means per video and class, intervals, rows, and the JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from surgvos.errors import InputError
from surgvos.evaluation.bootstrap import Bootstrap, Interval, Unit
from surgvos.evaluation.scores import ChallengeIou, ObjectReport, RegionScore
from surgvos.evaluation.tables import Row, ScoreTable

_HEADINGS = ("J&F", "J", "F", "Dice", "CIoU", "frames", "missing")
_CIOU = "CIoU"


@dataclass(frozen=True, slots=True)
class Intervals:
    """Bootstrap intervals of the means of a report, by the name of the score.

    Attributes:
        bootstrap: How they were made.
        mean: Of the mean over all objects.
        videos: Of the mean of each video with two objects or more; none where videos are drawn.
        classes: Of the mean of each class with two units or more.
    """

    bootstrap: Bootstrap
    mean: dict[str, Interval]
    videos: dict[str, dict[str, Interval]] = field(default_factory=dict)
    classes: dict[str, dict[str, Interval]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return intervals as pairs."""
        return self.bootstrap.to_json() | {"mean": self.mean, "videos": self.videos, "classes": self.classes}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Intervals:
        """Read what `to_json` returned."""

        def pairs(found: Mapping[str, Any]) -> dict[str, Interval]:
            return {key: (low, high) for key, (low, high) in found.items()}

        settings = {key: document[key] for key in ("num_samples", "level", "seed")}
        return cls(
            Bootstrap(unit=Unit(document["unit"]), **settings),
            pairs(document["mean"]),
            {video: pairs(found) for video, found in document["videos"].items()},
            {name: pairs(found) for name, found in document["classes"].items()},
        )


@dataclass(frozen=True, slots=True)
class Report:
    """The scores of the objects of a set of videos.

    Attributes:
        protocol: Name of the rules.
        objects: Video -> object id -> what was found; a video without an object to score is empty.
        warnings: One sentence for each thing that a reader of the scores should know.
        challenge: Video -> what its frames add to the challenge IoU.
        quirks: Rule -> value, of each rule that differs from the plain definition.
        object_classes: Video -> object id -> name of its class; empty where not known.
        intervals: Where they were asked for.
    """

    protocol: str
    objects: dict[str, dict[int, ObjectReport]]
    warnings: tuple[str, ...] = ()
    challenge: dict[str, ChallengeIou] = field(default_factory=dict)
    quirks: dict[str, str] = field(default_factory=dict)
    object_classes: dict[str, dict[int, str]] = field(default_factory=dict)
    intervals: Intervals | None = None

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

    @property
    def classes(self) -> dict[str, RegionScore]:
        """Mean over the objects of each class that has any."""
        return {
            name: RegionScore.mean([self.objects[video][object_id].score for video, object_id in members])
            for name, members in sorted(self._members_of_classes().items())
        }

    @property
    def challenge_iou(self) -> float | None:
        """Challenge IoU over the frames of all videos, in percent; None where no frame shows an object."""
        parts = self.challenge.values()
        return ChallengeIou(sum(part.total for part in parts), sum(part.num_frames for part in parts)).mean

    def with_intervals(self, bootstrap: Bootstrap) -> Report:
        """Add bootstrap intervals.

        The challenge IoU has one where videos are drawn; by objects it cannot be drawn, as it is a mean of frames.

        Raises:
            InputError: There are fewer than two units to draw from.
        """
        keys = [(video, object_id) for video, objects in self.objects.items() for object_id in objects]
        mean = self._interval(keys, bootstrap)
        if not mean:
            raise InputError(
                f"expected two {bootstrap.unit.value} or more to draw bootstrap samples from, got one; "
                "try without --bootstrap"
            )
        by_video: dict[str, dict[str, Interval]] = {}
        if bootstrap.unit is Unit.OBJECTS:
            by_video = {v: self._interval([(v, i) for i in objects], bootstrap) for v, objects in self.objects.items()}
        else:
            mean |= self._challenge_interval(bootstrap)
        by_class = {name: self._interval(found, bootstrap) for name, found in self._members_of_classes().items()}
        intervals = Intervals(
            bootstrap,
            mean,
            {video: found for video, found in by_video.items() if found},
            {name: found for name, found in by_class.items() if found},
        )
        return replace(self, intervals=intervals)

    def table(self) -> ScoreTable:
        """Return one row per object, and per mean over a video, a class, and everything."""
        has_classes = bool(self.object_classes)
        rows: list[Row] = []
        for video, objects in self.objects.items():
            for object_id, found in objects.items():
                labels = (video, str(object_id), self._class_of(video, object_id) or "")
                counts = {"frames": found.num_frames, "missing": found.num_missing_frames}
                rows.append(Row(labels, _values(found.score) | counts))
            if len(objects) > 1:
                values = _values(self.videos[video]) | _known(self.challenge[video].mean)
                rows.append(self._summary((video, "mean", ""), values, "videos", video))
        for name, score in self.classes.items():
            rows.append(self._summary(("", "mean", name), _values(score), "classes", name))
        rows.append(self._summary(("mean", "", ""), _values(self.mean) | _known(self.challenge_iou), "mean"))
        if not has_classes:
            rows = [replace(row, labels=row.labels[:2]) for row in rows]
        headings = ("video", "object", "class") if has_classes else ("video", "object")
        return ScoreTable(self._title(), headings, _HEADINGS, tuple(rows))

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, scores in percent."""
        document: dict[str, Any] = {
            "protocol": self.protocol,
            "quirks": self.quirks,
            "mean": self.mean.to_json() | {_CIOU: self.challenge_iou},
            "videos": {
                video: score.to_json() | {_CIOU: self.challenge[video].mean} for video, score in self.videos.items()
            },
            "objects": {
                video: {str(object_id): report.to_json() for object_id, report in objects.items()}
                for video, objects in self.objects.items()
            },
            "challenge": {video: [part.total, part.num_frames] for video, part in self.challenge.items()},
            "num_objects": sum(len(objects) for objects in self.objects.values()),
            "warnings": list(self.warnings),
        }
        if self.object_classes:
            document["classes"] = {name: score.to_json() for name, score in self.classes.items()}
            document["object_classes"] = {
                video: {str(object_id): name for object_id, name in names.items()}
                for video, names in self.object_classes.items()
            }
        if self.intervals is not None:
            document["intervals"] = self.intervals.to_json()
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Report:
        """Read what `to_json` returned.

        Raises:
            InputError: A key is missing.
        """
        try:
            return cls(
                document["protocol"],
                {
                    video: {int(object_id): ObjectReport.from_json(entry) for object_id, entry in entries.items()}
                    for video, entries in document["objects"].items()
                },
                tuple(document["warnings"]),
                {video: ChallengeIou(*part) for video, part in document["challenge"].items()},
                dict(document["quirks"]),
                {
                    video: {int(object_id): name for object_id, name in names.items()}
                    for video, names in document.get("object_classes", {}).items()
                },
                Intervals.from_json(document["intervals"]) if "intervals" in document else None,
            )
        except KeyError as error:
            raise InputError(f"expected a report with the key {error}, got none; try evaluating again") from error

    def _class_of(self, video: str, object_id: int) -> str | None:
        return self.object_classes.get(video, {}).get(object_id)

    def _members_of_classes(self) -> dict[str, list[tuple[str, int]]]:
        members: dict[str, list[tuple[str, int]]] = {}
        for video, objects in self.objects.items():
            for object_id in objects:
                if name := self._class_of(video, object_id):
                    members.setdefault(name, []).append((video, object_id))
        return members

    def _interval(self, keys: list[tuple[str, int]], bootstrap: Bootstrap) -> dict[str, Interval]:
        if not keys:
            return {}
        scores = [self.objects[video][object_id].score.to_json() for video, object_id in keys]
        units = keys if bootstrap.unit is Unit.OBJECTS else [video for video, _ in keys]
        return bootstrap.of_means(scores, units)

    def _challenge_interval(self, bootstrap: Bootstrap) -> dict[str, Interval]:
        parts = [part for part in self.challenge.values() if part.num_frames]
        if len(parts) < 2:
            return {}
        draws = bootstrap.draws(len(parts))
        samples = (draws @ [part.total for part in parts]) / (draws @ [part.num_frames for part in parts])
        interval = bootstrap.interval(samples)
        return {} if interval is None else {_CIOU: interval}

    def _summary(self, labels: tuple[str, ...], values: dict[str, float], group: str, name: str = "") -> Row:
        intervals: Mapping[str, Interval] = {}
        if self.intervals is not None:
            of_group = getattr(self.intervals, group)
            intervals = of_group.get(name, {}) if name else of_group
        shown = {heading: interval for heading, interval in intervals.items() if heading in values}
        return Row(labels, values, shown, is_summary=True)

    def _title(self) -> str:
        title = f"protocol {self.protocol}, percent"
        if self.quirks:
            title += "; not plain: " + ", ".join(f"{rule} {value}" for rule, value in self.quirks.items())
        if self.intervals is not None:
            settings = self.intervals.bootstrap
            title += f"; {settings.level:g} % intervals from {settings.num_samples} draws of {settings.unit.value}"
        return title


def _values(score: RegionScore) -> dict[str, float]:
    return {
        "J&F": score.jaccard_and_boundary_f,
        "J": score.jaccard,
        "F": score.boundary_f,
        "Dice": score.dice,
    }


def _known(challenge_iou: float | None) -> dict[str, float]:
    return {} if challenge_iou is None else {_CIOU: challenge_iou}

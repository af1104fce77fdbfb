"""Score folders of label maps by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.evaluation.bootstrap import Bootstrap, Interval, Unit
from surgvos.evaluation.class_counts import ClassSums, count_pixels
from surgvos.evaluation.class_protocols import ClassProtocol, Scores
from surgvos.evaluation.folders import MaskFolder, VideoMasks
from surgvos.evaluation.object_classes import ObjectClasses
from surgvos.evaluation.pairing import Progress, check_frames_meet, in_order, num_threads, pair_videos
from surgvos.evaluation.tables import Row, ScoreTable

Folds = Mapping[str, Sequence[str]]
"""Name of a fold -> its videos."""


def evaluate_classes(
    predictions: Path,
    ground_truth: Path,
    protocol: ClassProtocol,
    classes: LabelSpace,
    *,
    object_classes: ObjectClasses | None = None,
    true_object_classes: ObjectClasses | None = None,
    folds: Folds | None = None,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> ClassReport:
    """Score every class of every video; a frame of the truth that was not predicted counts as predicted empty.

    Args:
        predictions: ``<video>/<frame>.png``, pixel = class id, or objects as `evaluate_folders` takes them.
        ground_truth: The same.
        protocol: The scores.
        classes: Ids that are scored, that are background, and that are ignored.
        object_classes: Class of each predicted object, where the pixels are object ids.
        true_object_classes: Class of each true object, where the pixels are object ids.
        folds: Groups of videos whose scores are averaged, each group with the same weight.
        num_workers: Threads; None is one per processor.
        progress: Called after each frame.

    Raises:
        InputError: What `evaluate_folders` raises it for, an id without a class, or a fold without a video.
    """
    found = pair_videos(Path(predictions), Path(ground_truth), None, None)
    warnings, num_frames, num_done = list(found.warnings), found.num_frames, 0
    videos: dict[str, ClassSums] = {}
    threads = num_threads(num_workers)
    with ThreadPoolExecutor(threads) as pool:
        for truth, predicted in found.pairs:
            maps = _LabelMaps(
                truth,
                predicted,
                classes,
                None if true_object_classes is None else true_object_classes.ids_of_video(truth.name, classes),
                None if object_classes is None else object_classes.ids_of_video(truth.name, classes),
            )
            frames, names, num_missing = [], [], 0
            for name, is_predicted, sums in in_order(maps.score, truth.frames(), pool, 4 * threads):
                frames.append(sums)
                names.append(name)
                num_missing += not is_predicted
                num_done += 1
                if progress is not None:
                    progress(num_done, num_frames)
            check_frames_meet(truth.name, predicted.frame_names, names)
            videos[truth.name] = ClassSums.stack(frames).total()
            if num_missing:
                warnings.append(f"video {truth.name}: frames without a prediction, scored as empty: {num_missing}")
    return ClassReport(protocol, classes, videos, tuple(warnings), _check_folds(folds or {}, videos))


@dataclass(frozen=True, slots=True)
class ClassIntervals:
    """Bootstrap intervals of the scores over all videos, by the name of the score, and by class."""

    bootstrap: Bootstrap
    overall: dict[str, Interval]
    classes: dict[str, dict[str, Interval]]


@dataclass(frozen=True, slots=True)
class ClassReport:
    """The scores of the classes of a set of videos.

    Attributes:
        protocol: The scores.
        classes: Their names.
        videos: Video -> its sums.
        warnings: One sentence for each thing that a reader of the scores should know.
        folds: Fold -> its videos; empty without folds.
        intervals: Where they were asked for.
    """

    protocol: ClassProtocol
    classes: LabelSpace
    videos: dict[str, ClassSums]
    warnings: tuple[str, ...] = ()
    folds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    intervals: ClassIntervals | None = None

    @property
    def overall(self) -> dict[str, float]:
        """Score -> percent, over the frames of all videos; what has nothing to score is left out."""
        return _known(self.protocol.overall(self._sums(self.videos)))

    @property
    def fold_mean(self) -> dict[str, float]:
        """Score -> percent, mean over folds; empty without folds."""
        found = [self.overall_of(videos) for videos in self.folds.values()]
        return {key: float(np.mean([scores[key] for scores in found])) for key in found[0]} if found else {}

    def overall_of(self, videos: Sequence[str]) -> dict[str, float]:
        """Score -> percent, over the frames of some videos."""
        return _known(self.protocol.overall(self._sums(videos)))

    def classes_of(self, videos: Sequence[str]) -> dict[str, dict[str, float]]:
        """Class -> score -> percent, over the frames of some videos; classes never seen are left out."""
        return self._by_class(self.protocol.per_class(self._sums(videos)))

    def with_intervals(self, bootstrap: Bootstrap) -> ClassReport:
        """Add bootstrap intervals, drawn from videos.

        Raises:
            InputError: There is one video only, or objects are to be drawn, which class scores do not know.
        """
        if bootstrap.unit is not Unit.VIDEOS:
            raise InputError(f"expected videos as the unit of class scores, got {bootstrap.unit}; try --unit videos")
        if len(self.videos) < 2:
            raise InputError("expected two videos or more to draw bootstrap samples from, got one")
        sums = ClassSums.stack(list(self.videos.values())).total(bootstrap.draws(len(self.videos)))

        def intervals(samples: Scores) -> dict[str, Interval]:
            found = {key: bootstrap.interval(100 * values) for key, values in samples.items()}
            return {key: interval for key, interval in found.items() if interval is not None}

        per_class = self.protocol.per_class(sums)
        # Of a class that a single video shows, nothing can be learnt.
        num_videos = sum(found.class_frames > 0 for found in self.videos.values())
        by_class = {
            label.name: intervals({key: values[:, index] for key, values in per_class.items()})
            for index, label in enumerate(self.classes.labels)
            if np.atleast_1d(num_videos)[index] > 1
        }
        return replace(self, intervals=ClassIntervals(bootstrap, intervals(self.protocol.overall(sums)), by_class))

    def table(self) -> ScoreTable:
        """Return one row per class of each video and of all, and per video, fold and all over the classes."""
        rows: list[Row] = []
        groups = {video: [video] for video in self.videos} | (
            {"all": list(self.videos)} if len(self.videos) > 1 else {}
        )
        for group, videos in groups.items():
            is_all = videos == list(self.videos) and self.intervals is not None
            for name, scores in self.classes_of(videos).items():
                intervals = self.intervals.classes.get(name, {}) if is_all and self.intervals else {}
                rows.append(Row((group, name), scores | self._num_frames(videos, name), intervals))
            intervals = self.intervals.overall if is_all and self.intervals else {}
            frames = {"frames": int(self._sums(videos).num_frames)}
            rows.append(Row((group, "all"), self.overall_of(videos) | frames, intervals, is_summary=True))
        for fold, fold_videos in self.folds.items():
            rows.append(Row((f"fold {fold}", "all"), self.overall_of(fold_videos), is_summary=True))
        if self.folds:
            rows.append(Row(("mean of folds", "all"), self.fold_mean, is_summary=True))
        headings = dict.fromkeys(key for row in reversed(rows) for key in row.values if key != "frames")
        return ScoreTable(self._title(), ("video", "class"), (*headings, "frames"), tuple(rows))

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, scores in percent."""
        document: dict[str, Any] = {
            "protocol": self.protocol.name,
            "mean": self.overall,
            "classes": self.classes_of(list(self.videos)),
            "videos": {
                video: {"mean": self.overall_of([video]), "classes": self.classes_of([video])} for video in self.videos
            },
            "num_frames": int(self._sums(self.videos).num_frames),
            "warnings": list(self.warnings),
        }
        if self.folds:
            document["folds"] = {
                fold: {"videos": list(videos), "mean": self.overall_of(videos)} for fold, videos in self.folds.items()
            }
            document["mean_of_folds"] = self.fold_mean
        if self.intervals is not None:
            document["intervals"] = self.intervals.bootstrap.to_json() | {
                "mean": self.intervals.overall,
                "classes": self.intervals.classes,
            }
        return document

    def _sums(self, videos: Sequence[str] | Mapping[str, Any]) -> ClassSums:
        return ClassSums.stack([self.videos[video] for video in videos]).total()

    def _by_class(self, scores: Scores) -> dict[str, dict[str, float]]:
        found = {
            label.name: _known({key: values[index] for key, values in scores.items()})
            for index, label in enumerate(self.classes.labels)
        }
        return {name: known for name, known in found.items() if known}

    def _num_frames(self, videos: Sequence[str], name: str) -> dict[str, int]:
        index = [label.name for label in self.classes.labels].index(name)
        return {"frames": int(self._sums(videos).class_frames[index])}

    def _title(self) -> str:
        title = f"protocol {self.protocol.name}, percent"
        if self.intervals is not None:
            settings = self.intervals.bootstrap
            title += f"; {settings.level:g} % intervals from {settings.num_samples} draws of {settings.unit.value}"
        return title


@dataclass(frozen=True, slots=True)
class _LabelMaps:
    """The label maps of one video on both sides."""

    truth: VideoMasks
    predicted: MaskFolder
    classes: LabelSpace
    true_classes: Mapping[int, int] | None
    predicted_classes: Mapping[int, int] | None

    def score(self, frame: tuple[str, Callable[[], Any]]) -> tuple[str, bool, ClassSums]:
        """Name of a frame, whether there is a prediction, and its sums."""
        name, _ = frame
        if not isinstance(self.truth, MaskFolder):
            raise InputError(f"expected label maps as PNG files for class scores, got the video {self.truth.name}")
        try:
            read_map = partial(MaskFolder.label_map, frame_name=name, background=self.classes.background)
            true = read_map(self.truth, to_classes=self.true_classes)
            predicted = read_map(self.predicted, to_classes=self.predicted_classes)
            assert true is not None
            given = np.full_like(true, self.classes.background) if predicted is None else predicted
            return name, predicted is not None, ClassSums.of_frame(count_pixels(given, true, self.classes))
        except InputError as error:
            raise InputError(f"video {self.truth.name}, frame {name}: {error}") from error


def _check_folds(folds: Folds, videos: Mapping[str, ClassSums]) -> dict[str, tuple[str, ...]]:
    for fold, members in folds.items():
        if not members or (missing := [video for video in members if video not in videos]):
            raise InputError(
                f"expected fold {fold} to be of the videos {', '.join(videos)}, got "
                f"{', '.join(missing) if members else 'none'}"
            )
    return {fold: tuple(members) for fold, members in folds.items()}


def _known(scores: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {key: 100 * float(value) for key, value in scores.items() if not np.isnan(value)}

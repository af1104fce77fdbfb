"""Score folders of predicted label maps by how steady they are over time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from surgvos.core.frame import VideoSource
from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.evaluation.bootstrap import Bootstrap, Interval, Unit
from surgvos.evaluation.flow import Flow
from surgvos.evaluation.folders import MaskFolder, find_videos, frame_key
from surgvos.evaluation.object_classes import ObjectClasses
from surgvos.evaluation.pairing import Progress, in_order, num_threads
from surgvos.evaluation.tables import Row, ScoreTable
from surgvos.evaluation.temporal import (
    DISTANCE,
    FLOW_DICE,
    FLOW_IOU,
    IOU,
    LabelFrame,
    TemporalProtocol,
    TemporalSums,
    compare_neighbours,
    total,
)

_SCORES = (IOU, DISTANCE, FLOW_IOU, FLOW_DICE)
_PIXELS = {DISTANCE}


def evaluate_temporal(
    predictions: Path,
    protocol: TemporalProtocol,
    *,
    frames: Path | None = None,
    flow: Flow | None = None,
    classes: LabelSpace | None = None,
    object_classes: ObjectClasses | None = None,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> TemporalReport:
    """Score how steady the labels of each video are from one frame to the next.

    Args:
        predictions: As `evaluate_folders` takes them; frames in natural order of their names.
        protocol: The rules.
        frames: The videos themselves, ``<video>/<frame>.jpg`` or a video file per video, or those of a single video;
            needed by a flow.
        flow: Estimator for the scores that follow the motion.
        classes: Names of the labels, and the id of background; None takes labels as they come, and 0 for background.
        object_classes: Class of each object, where the pixels are object ids; needs ``classes``.
        num_workers: Threads; None is one per processor.
        progress: Called after each pair of frames.

    Raises:
        InputError: A folder holds no masks, no video has two frames, or masks and frames do not meet.
    """
    if (frames is None) != (flow is None):
        raise InputError("expected frames and a flow together, got one of them; try --frames with --flow")
    found = find_videos(Path(predictions))
    background = 0 if classes is None else classes.background
    num_pairs = sum(max(0, len(video.frame_names) - 1) for video in found.videos.values())
    num_done = 0
    videos: dict[str, TemporalSums] = {}
    threads = num_threads(num_workers)
    with ThreadPoolExecutor(threads) as pool:
        for name, video in found.videos.items():
            images = None if frames is None else _Images(video, _find_frames(Path(frames), name, found.is_single))
            to_classes = None
            if object_classes is not None and classes is not None:
                to_classes = object_classes.ids_of_video(name, classes)
            load = partial(_load, video, protocol, images, background, to_classes)
            sums = TemporalSums()
            compare = partial(_compare, protocol=protocol, background=background, flow=flow)
            loaded: Iterator[LabelFrame] = in_order(load, enumerate(video.frame_names), pool, 4 * threads)
            for pair in in_order(compare, pairwise(loaded), pool, 4 * threads):
                sums.merge(pair)
                num_done += 1
                if progress is not None:
                    progress(num_done, num_pairs)
            videos[name] = sums
    if num_pairs == 0:
        raise InputError(f"expected a video of two frames or more in {predictions}, got none")
    warnings = tuple(f"video {name}: fewer than two frames" for name, sums in videos.items() if not sums.num_pairs)
    names = {} if classes is None else {label.id: label.name for label in classes.labels}
    return TemporalReport(protocol, {n: s for n, s in videos.items() if s.num_pairs}, names, warnings)


@dataclass(frozen=True, slots=True)
class TemporalReport:
    """How steady the labels of a set of videos are.

    Attributes:
        protocol: The rules.
        videos: Video -> its sums.
        names: Label -> name; labels without one are named by their number.
        warnings: One sentence for each thing that a reader of the scores should know.
        intervals: Score -> interval of its mean over labels, drawn from videos, where asked for.
        bootstrap: How the intervals were made.
    """

    protocol: TemporalProtocol
    videos: dict[str, TemporalSums]
    names: dict[int, str]
    warnings: tuple[str, ...] = ()
    intervals: dict[str, Interval] | None = None
    bootstrap: Bootstrap | None = None

    @property
    def scores(self) -> dict[str, float]:
        """Score -> mean over labels, pairs of all videos together: percent, the contour distance in pixels."""
        return _macro(total(self.videos.values()))

    def with_intervals(self, bootstrap: Bootstrap) -> TemporalReport:
        """Add bootstrap intervals, drawn from videos.

        Raises:
            InputError: There is one video only, or objects are to be drawn.
        """
        if bootstrap.unit is not Unit.VIDEOS:
            raise InputError(f"expected videos as the unit of temporal scores, got {bootstrap.unit}; try --unit videos")
        if len(self.videos) < 2:
            raise InputError("expected two videos or more to draw bootstrap samples from, got one")
        samples = [_macro(total(self.videos.values(), draw)) for draw in bootstrap.draws(len(self.videos)).tolist()]
        found = {
            score: bootstrap.interval(np.array([sample.get(score, np.nan) for sample in samples]))
            for score in self.scores
        }
        intervals = {score: interval for score, interval in found.items() if interval is not None}
        return replace(self, intervals=intervals, bootstrap=bootstrap)

    def table(self) -> ScoreTable:
        """Return one row per label of all videos, per video over its labels, and over everything."""
        whole = total(self.videos.values())
        rows = [
            Row(("all", self._name(label)), _of_label(whole, label))
            for label in sorted({label for score in whole.sums.values() for label in score})
        ]
        rows += [
            Row((video, "mean"), _macro(sums) | {"pairs": sums.num_pairs}, is_summary=True)
            for video, sums in self.videos.items()
        ]
        values = _macro(whole) | {"pairs": whole.num_pairs}
        rows.append(Row(("all", "mean"), values, self.intervals or {}, is_summary=True))
        headings = [score for score in _SCORES if score in self.scores]
        return ScoreTable(self._title(), ("video", "label"), (*headings, "pairs"), tuple(rows))

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        whole = total(self.videos.values())
        document: dict[str, Any] = {
            "protocol": self.protocol.name,
            "quirks": self.protocol.quirks,
            "mean": self.scores,
            "labels": {
                score: {self._name(label): _scaled(score, value) for label, value in whole.per_label(score).items()}
                for score in self.scores
            },
            "videos": {video: _macro(sums) | {"num_pairs": sums.num_pairs} for video, sums in self.videos.items()},
            "num_pairs": whole.num_pairs,
            "warnings": list(self.warnings),
        }
        if self.bootstrap is not None:
            document["intervals"] = self.bootstrap.to_json() | {"mean": self.intervals}
        return document

    def _name(self, label: int) -> str:
        return self.names.get(label, str(label))

    def _title(self) -> str:
        title = f"protocol {self.protocol.name}, percent, {DISTANCE} in pixels"
        if self.protocol.quirks:
            title += "; not plain: " + ", ".join(f"{rule} {value}" for rule, value in self.protocol.quirks.items())
        if self.bootstrap is not None:
            title += f"; {self.bootstrap.level:g} % intervals from {self.bootstrap.num_samples} draws of videos"
        return title


class _Images:
    """The frames of a video by the names of its masks: found by name, or by place where the numbers are the same."""

    def __init__(self, video: MaskFolder, source: VideoSource) -> None:
        self.source = source
        by_name = {frame_key(name): index for index, name in enumerate(_names_of(source))}
        names = video.frame_names
        if all(name in by_name for name in names):
            self.indices = [by_name[name] for name in names]
        elif len(source) == len(names):
            self.indices = list(range(len(names)))
        else:
            raise InputError(
                f"video {video.name}: expected a frame for each of {len(names)} masks, such as {names[0]}, got "
                f"{len(source)} frames with other names; try renaming them"
            )

    def __getitem__(self, position: int) -> np.ndarray:
        return self.source[self.indices[position]].image


def _names_of(source: VideoSource) -> list[str]:
    paths = getattr(source, "paths", None)
    return [str(index) for index in range(len(source))] if paths is None else [path.stem for path in paths]


def _find_frames(folder: Path, video: str, is_single: bool) -> VideoSource:
    from surgvos.io.video import open_video

    if is_single and not (folder / video).is_dir():
        source = open_video(folder)
    else:
        candidates = [folder / video, *sorted(folder.glob(f"{video}.*"))]
        path = next((path for path in candidates if path.exists()), None)
        if path is None:
            raise InputError(f"expected the frames of video {video} in {str(folder / video)!r}, got none")
        source = open_video(path)
    if not hasattr(source, "__getitem__"):
        raise InputError(f"expected recorded frames, got the live stream {str(folder)!r}")
    return source  # type: ignore[return-value]


def _load(
    video: MaskFolder,
    protocol: TemporalProtocol,
    images: _Images | None,
    background: int,
    to_classes: dict[int, int] | None,
    frame: tuple[int, str],
) -> LabelFrame:
    position, name = frame
    label_map = video.label_map(name, background=background, to_classes=to_classes)
    assert label_map is not None
    return LabelFrame.of(label_map, None if images is None else images[position], protocol)


def _compare(pair: tuple[LabelFrame, LabelFrame], **rules: Any) -> TemporalSums:
    first, second = pair
    if first.label_map.shape != second.label_map.shape:
        sizes = [f"{frame.label_map.shape[1]}x{frame.label_map.shape[0]}" for frame in pair]
        raise InputError(f"expected the masks of a video to have one size, got {sizes[0]} and then {sizes[1]} pixels")
    return compare_neighbours(first, second, **rules)


def _macro(sums: TemporalSums) -> dict[str, float]:
    return {score: _scaled(score, value) for score in _SCORES if (value := sums.macro(score)) is not None}


def _of_label(sums: TemporalSums, label: int) -> dict[str, float | int]:
    values: dict[str, float | int] = {
        score: _scaled(score, sums.per_label(score)[label]) for score in _SCORES if label in sums.per_label(score)
    }
    return values | {"pairs": int(sums.sums[IOU].get(label, [0, 0])[1])}


def _scaled(score: str, value: float) -> float:
    return value if score in _PIXELS else 100 * value

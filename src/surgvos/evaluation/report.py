"""Score folders of predicted masks against the truth."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surgvos.errors import InputError
from surgvos.evaluation.folders import (
    DEFAULT_THRESHOLD,
    FrameMasks,
    MaskFolder,
    MaskVideo,
    VideoMasks,
    find_videos,
)
from surgvos.evaluation.metrics import ObjectScore, RegionMetric
from surgvos.evaluation.protocols import Protocol, Scope, protocol_by_name
from surgvos.evaluation.scores import ObjectReport, RegionScore, Report


def evaluate_folders(
    predictions: Path,
    ground_truth: Path,
    protocol: Protocol | str,
    *,
    objects: Collection[int] | None = None,
    threshold: int | None = None,
    ignore: int | None = None,
    num_workers: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Report:
    """Score every object of every video.

    Args:
        predictions: ``<video>/<frame>.png`` (pixel = object id), ``<video>/<object, as 001>/<frame>.png``
            (pixel > 0; objects may overlap), or the folder of a single video.
        ground_truth: The same, or a video file of grey masks of one object.
        protocol: The rules, or their name in `PROTOCOLS`.
        objects: Score only these object ids; None scores all.
        threshold: Grey values of the ground truth above it are object 1. None reads object ids from images, and
            stands for 127 where the ground truth is a video file.
        ignore: Pixels with this id in the ground truth are not scored.
        num_workers: Threads; None is one per processor.
        progress: Called after each frame with the number of frames done and of all, None where not known.

    Raises:
        InputError: A folder holds no masks, a file cannot be read, sizes differ, names of videos or frames do
            not meet, or there is no object to score.
        ConfigError: There is no such protocol.
    """
    rules = protocol_by_name(protocol) if isinstance(protocol, str) else protocol
    pairs, warnings = _pair_videos(Path(predictions), Path(ground_truth), threshold, ignore)
    folders = [truth for truth, _ in pairs if isinstance(truth, MaskFolder)]
    num_frames = sum(len(folder.frame_names) for folder in folders) if len(folders) == len(pairs) else None
    num_done = 0
    reports: dict[str, dict[int, ObjectReport]] = {}
    num_threads = num_workers or os.cpu_count() or 1
    with ThreadPoolExecutor(num_threads) as pool:
        for truth, predicted in pairs:
            tally = _VideoTally(truth, predicted, rules, objects)
            for frame in _score_frames(tally, pool, num_ahead=4 * num_threads):
                tally.add(frame)
                num_done += 1
                if progress is not None:
                    progress(num_done, num_frames)
            tally.check_names_meet()
            reports[truth.name] = tally.reports()
            warnings += tally.warnings(reports[truth.name])
    if not any(reports.values()):
        raise InputError(
            f"expected at least one object to score by protocol {rules.name}, got none in {ground_truth}"
            + "".join(f"; {warning}" for warning in warnings)
        )
    return Report(rules.name, reports, tuple(warnings))


@dataclass(frozen=True, slots=True)
class _FrameTally:
    """One scored frame."""

    name: str
    metric: RegionMetric
    true_ids: set[int]
    predicted_ids: set[int]


@dataclass(slots=True)
class _VideoTally:
    """The scored frames of one video and what they say about its objects."""

    truth: VideoMasks
    predicted: MaskFolder
    protocol: Protocol
    objects: Collection[int] | None
    metric: RegionMetric = field(init=False)
    frame_names: list[str] = field(default_factory=list)
    true_frame_names: dict[int, list[str]] = field(default_factory=dict)
    predicted_ids: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.metric = self.protocol.metric()
        self.predicted_ids |= {i for i in self.predicted.object_ids if self.wants(i)}

    def wants(self, object_id: int) -> bool:
        return self.objects is None or object_id in self.objects

    def in_scope(self, object_id: int, frame_name: str) -> bool:
        is_predicted = self.protocol.scope is Scope.TRUTH or self.predicted.covers(object_id, frame_name)
        return is_predicted and self.truth.covers(object_id, frame_name)

    def score_frame(self, index: int, name: str, read_truth: Callable[[], FrameMasks]) -> _FrameTally:
        """Score one frame; changes nothing of the tally, so that frames may be scored by many threads."""
        true, predicted = read_truth(), self.predicted.read(name).masks
        self._check_sizes(name, true, predicted)
        if true.ignored is not None:
            predicted = {object_id: mask & ~true.ignored for object_id, mask in predicted.items()}
        metric = self.protocol.metric()
        for object_id in filter(self.wants, true.masks.keys() | predicted.keys()):
            if self.in_scope(object_id, name):
                masks = predicted.get(object_id), true.masks.get(object_id)
                metric.update(self.truth.name, object_id, index, *masks)
        true_ids, predicted_ids = (
            {object_id for object_id, mask in masks.items() if self.wants(object_id) and mask.any()}
            for masks in (true.masks, predicted)
        )
        return _FrameTally(name, metric, true_ids, predicted_ids)

    def add(self, frame: _FrameTally) -> None:
        self.frame_names.append(frame.name)
        self.metric.merge(frame.metric)
        for object_id in frame.true_ids:
            self.true_frame_names.setdefault(object_id, []).append(frame.name)
        self.predicted_ids |= frame.predicted_ids

    def reports(self) -> dict[int, ObjectReport]:
        """Report on each object that the protocol scores."""
        video, is_truth_scope = self.truth.name, self.protocol.scope is Scope.TRUTH
        for object_id in self.true_frame_names.keys() | self.predicted_ids:
            frame_indices = (i for i, name in enumerate(self.frame_names) if self.in_scope(object_id, name))
            self.metric.fill_absent(video, object_id, frame_indices)
        return {
            object_id: ObjectReport(
                RegionScore.of(score), len(score.frame_indices), self._num_missing(object_id, score)
            )
            for object_id, score in self.metric.compute().get(video, {}).items()
            if (object_id in self.true_frame_names if is_truth_scope else score.num_true_frames)
        }

    def warnings(self, reports: Mapping[int, ObjectReport]) -> list[str]:
        """Say what the scores do not show: what is missing, and what is not scored."""
        fate = "scored as empty" if self.protocol.scope is Scope.TRUTH else "left out"
        true_ids = self.true_frame_names.keys()
        never_predicted = true_ids - self.predicted_ids
        if self.protocol.scope is Scope.TRUTH:
            never_predicted &= reports.keys()  # the others have no frame to score
        findings = [
            (never_predicted, f"never predicted, {fate}"),
            (self.predicted_ids - true_ids, "predicted but not in the ground truth, not scored"),
            (true_ids - reports.keys() - never_predicted, "without a frame that the protocol scores"),
        ]
        warnings = [
            f"video {self.truth.name}: object ids {finding}: {', '.join(map(str, sorted(object_ids)))}"
            for object_ids, finding in findings
            if object_ids
        ]
        return warnings + [
            f"video {self.truth.name}: frames without a prediction of object {object_id}, {fate}: "
            f"{report.num_missing_frames}"
            for object_id, report in reports.items()
            if report.num_missing_frames and object_id not in never_predicted
        ]

    def check_names_meet(self) -> None:
        """Check that some frame of the prediction, if there is any, is one of the truth's."""
        predicted_names = self.predicted.frame_names
        if predicted_names and self.frame_names and not set(predicted_names) & set(self.frame_names):
            raise InputError(
                f"video {self.truth.name}: expected predicted frames named like those of the ground truth, such "
                f"as {self.frame_names[0]}, got {predicted_names[0]} and others; try renaming them"
            )

    def _num_missing(self, object_id: int, score: ObjectScore) -> int:
        if self.protocol.scope is Scope.TRUTH:
            names = [self.frame_names[i] for i in score.frame_indices]
        else:
            names = self.true_frame_names[object_id]
        return sum(not self.predicted.covers(object_id, name) for name in names)

    def _check_sizes(self, frame_name: str, true: FrameMasks, predicted: Mapping[int, np.ndarray]) -> None:
        true_shape = next((mask.shape for mask in true.masks.values()), None)
        for object_id, mask in [*true.masks.items(), *predicted.items()]:
            if true_shape is not None and mask.shape != true_shape:
                raise InputError(
                    f"video {self.truth.name}, frame {frame_name}: expected masks of "
                    f"{true_shape[1]}x{true_shape[0]} pixels like the ground truth, got "
                    f"{mask.shape[1]}x{mask.shape[0]} for object {object_id}; try resizing with nearest-neighbour"
                )


def _score_frames(tally: _VideoTally, pool: ThreadPoolExecutor, num_ahead: int) -> Iterator[_FrameTally]:
    """Score the frames of a video in order, a bounded number of them at a time."""
    running: deque[Future[_FrameTally]] = deque()
    for index, (name, read_truth) in enumerate(tally.truth.frames()):
        running.append(pool.submit(tally.score_frame, index, name, read_truth))
        if len(running) >= num_ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _pair_videos(
    predictions: Path, ground_truth: Path, threshold: int | None, ignore: int | None
) -> tuple[list[tuple[VideoMasks, MaskFolder]], list[str]]:
    """Find the predicted masks of each video of the truth; a single video matches whatever its name."""
    predicted = find_videos(predictions)
    truths: dict[str, VideoMasks]
    if ground_truth.is_file():
        video = MaskVideo(ground_truth, DEFAULT_THRESHOLD if threshold is None else threshold)
        truths, is_single = {video.name: video}, True
    else:
        found = find_videos(ground_truth, threshold=threshold, ignore=ignore)
        truths, is_single = dict(found.videos), found.is_single
    if len(truths) == len(predicted.videos) == 1 and (is_single or predicted.is_single):
        return list(zip(truths.values(), predicted.videos.values(), strict=True)), []
    if not truths.keys() & predicted.videos.keys():
        raise InputError(
            f"expected predictions of the ground truth's videos, such as {min(truths)}, got "
            f"{', '.join(sorted(predicted.videos)[:5])} in {predictions}; try renaming the folders, "
            "or giving the folder of one video"
        )
    warnings = [f"video {name}: no prediction" for name in truths.keys() - predicted.videos.keys()]
    warnings += [
        f"video {name}: predicted but not in the ground truth, not scored"
        for name in predicted.videos.keys() - truths.keys()
    ]
    pairs = [(truth, predicted.videos.get(name, MaskFolder(name, {}))) for name, truth in truths.items()]
    return pairs, sorted(warnings)

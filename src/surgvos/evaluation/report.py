"""Score folders of predicted masks against the truth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surgvos.core.masks import masks_to_label_map
from surgvos.errors import InputError
from surgvos.evaluation.folders import FrameMasks, MaskFolder, VideoMasks
from surgvos.evaluation.metrics import ObjectScore, RegionMetric
from surgvos.evaluation.object_classes import ObjectClasses
from surgvos.evaluation.object_report import Report
from surgvos.evaluation.pairing import Progress, check_frames_meet, in_order, num_threads, pair_videos
from surgvos.evaluation.protocols import Counted, Overlap, Protocol, protocol_by_name
from surgvos.evaluation.scores import ChallengeIou, ObjectReport, RegionScore


def evaluate_folders(
    predictions: Path,
    ground_truth: Path,
    protocol: Protocol | str,
    *,
    objects: Collection[int] | None = None,
    threshold: int | None = None,
    ignore: int | None = None,
    object_classes: ObjectClasses | None = None,
    num_workers: int | None = None,
    progress: Progress | None = None,
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
        object_classes: Class of each object, for means per class.
        num_workers: Threads; None is one per processor.
        progress: Called after each frame with the number of frames done and of all, None where not known.

    Raises:
        InputError: A folder holds no masks, a file cannot be read, sizes differ, names of videos or frames do
            not meet, or there is no object to score.
        ConfigError: There is no such protocol.
    """
    rules = protocol_by_name(protocol) if isinstance(protocol, str) else protocol
    found = pair_videos(Path(predictions), Path(ground_truth), threshold, ignore)
    warnings, num_frames, num_done = found.warnings, found.num_frames, 0
    reports: dict[str, dict[int, ObjectReport]] = {}
    challenge: dict[str, ChallengeIou] = {}
    threads = num_threads(num_workers)
    with ThreadPoolExecutor(threads) as pool:
        for truth, predicted in found.pairs:
            tally = _VideoTally(truth, predicted, rules, objects)
            for frame in in_order(tally.score_frame, enumerate(truth.frames()), pool, num_ahead=4 * threads):
                tally.add(frame)
                num_done += 1
                if progress is not None:
                    progress(num_done, num_frames)
            check_frames_meet(truth.name, predicted.frame_names, tally.frame_names)
            scores = tally.scores()
            reports[truth.name] = tally.reports(scores)
            challenge[truth.name] = ChallengeIou.of(scores.values())
            warnings += tally.warnings(reports[truth.name])
    if not any(reports.values()):
        raise InputError(
            f"expected at least one object to score by protocol {rules.name}, got none in {ground_truth}"
            + "".join(f"; {warning}" for warning in warnings)
        )
    names = {} if object_classes is None else {video: object_classes.names_of_video(video) for video in reports}
    return Report(rules.name, reports, tuple(warnings), challenge, rules.quirks, names)


@dataclass(frozen=True, slots=True)
class _FrameTally:
    """One scored frame."""

    name: str
    metric: RegionMetric
    true_ids: set[int]
    predicted_ids: set[int]
    has_overlap: bool


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
    num_overlaps: int = 0

    def __post_init__(self) -> None:
        self.metric = self.protocol.metric()
        self.predicted_ids |= {i for i in self.predicted.object_ids if self.wants(i)}

    @property
    def is_disjoint(self) -> bool:
        """Whether a pixel is at most one object's; not so where the truth itself may overlap."""
        truth_may_overlap = isinstance(self.truth, MaskFolder) and bool(self.truth.object_ids)
        return self.protocol.overlap is Overlap.LOWEST_ID and not truth_may_overlap

    def wants(self, object_id: int) -> bool:
        return self.objects is None or object_id in self.objects

    def in_scope(self, object_id: int, frame_name: str) -> bool:
        if not self.truth.covers(object_id, frame_name):
            return False
        if self.predicted.covers(object_id, frame_name):
            return True
        has_files = self.predicted.has_files_of(object_id)
        rule = self.protocol.missing_frames if has_files else self.protocol.missing_objects
        return rule is Counted.SCORED

    def score_frame(self, frame: tuple[int, tuple[str, Callable[[], FrameMasks]]]) -> _FrameTally:
        """Score one frame; changes nothing of the tally, so that frames may be scored by many threads."""
        index, (name, read_truth) = frame
        true, predicted = read_truth(), self.predicted.read(name).masks
        self._check_sizes(name, true, predicted)
        has_overlap = self.is_disjoint and _overlaps(predicted)
        if has_overlap:
            predicted = _without_overlap(predicted)
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
        return _FrameTally(name, metric, true_ids, predicted_ids, has_overlap)

    def add(self, frame: _FrameTally) -> None:
        self.frame_names.append(frame.name)
        self.metric.merge(frame.metric)
        for object_id in frame.true_ids:
            self.true_frame_names.setdefault(object_id, []).append(frame.name)
        self.predicted_ids |= frame.predicted_ids
        self.num_overlaps += frame.has_overlap

    def scores(self) -> dict[int, ObjectScore]:
        """Score each object that the protocol scores."""
        video = self.truth.name
        for object_id in self.true_frame_names.keys() | self.predicted_ids:
            frame_indices = (i for i, name in enumerate(self.frame_names) if self.in_scope(object_id, name))
            self.metric.fill_absent(video, object_id, frame_indices)
        keeps_truthless = self.protocol.truthless_objects is Counted.SCORED
        return {
            object_id: score
            for object_id, score in self.metric.compute().get(video, {}).items()
            if (object_id in self.true_frame_names if keeps_truthless else score.true_jaccards)
        }

    def reports(self, scores: Mapping[int, ObjectScore]) -> dict[int, ObjectReport]:
        """Report on each of the objects."""
        return {
            object_id: ObjectReport(
                RegionScore.of(score), len(score.frame_indices), self._num_missing(object_id, score)
            )
            for object_id, score in scores.items()
        }

    def warnings(self, reports: Mapping[int, ObjectReport]) -> list[str]:
        """Say what the scores do not show: what is missing, and what is not scored."""
        fates = {Counted.SCORED: "scored as empty", Counted.LEFT_OUT: "left out"}
        true_ids = self.true_frame_names.keys()
        never_predicted = true_ids - self.predicted_ids
        if self.protocol.missing_objects is Counted.SCORED:
            never_predicted &= reports.keys()  # the others have no frame to score
        findings = [
            (never_predicted, f"never predicted, {fates[self.protocol.missing_objects]}"),
            (self.predicted_ids - true_ids, "predicted but not in the ground truth, not scored"),
            (true_ids - reports.keys() - never_predicted, "without a frame that the protocol scores"),
        ]
        warnings = [
            f"video {self.truth.name}: object ids {finding}: {', '.join(map(str, sorted(object_ids)))}"
            for object_ids, finding in findings
            if object_ids
        ]
        if self.num_overlaps:
            warnings.append(
                f"video {self.truth.name}: frames in which predicted objects overlap, pixels given to the lowest id: "
                f"{self.num_overlaps}"
            )
        return warnings + [
            f"video {self.truth.name}: frames without a prediction of object {object_id}, "
            f"{fates[self.protocol.missing_frames]}: {report.num_missing_frames}"
            for object_id, report in reports.items()
            if report.num_missing_frames and object_id not in never_predicted
        ]

    def _num_missing(self, object_id: int, score: ObjectScore) -> int:
        has_files = self.predicted.has_files_of(object_id)
        rule = self.protocol.missing_frames if has_files else self.protocol.missing_objects
        if rule is Counted.SCORED:
            names = [self.frame_names[i] for i in score.true_jaccards]
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


def _overlaps(masks: Mapping[int, np.ndarray]) -> bool:
    """Tell whether a pixel belongs to several objects."""
    counts = [int(np.count_nonzero(mask)) for mask in masks.values()]
    return len(counts) > 1 and int(np.count_nonzero(np.logical_or.reduce(list(masks.values())))) < sum(counts)


def _without_overlap(masks: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Give each pixel to the lowest of its ids."""
    label_map = masks_to_label_map(masks, next(iter(masks.values())).shape)
    return {object_id: label_map == object_id for object_id in masks}

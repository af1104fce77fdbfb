"""Score runs in which objects were looked for by phrases: their masks, and how they were found."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surgvos.core.results import ObjectResult
from surgvos.errors import ConfigError, InputError
from surgvos.evaluation.bootstrap import Bootstrap
from surgvos.evaluation.folders import FrameMasks, MaskFolder, VideoMasks, frame_key
from surgvos.evaluation.functional import jaccard
from surgvos.evaluation.object_report import Report
from surgvos.evaluation.pairing import Progress, in_order, num_threads, pair_videos
from surgvos.evaluation.protocols import RESURGSAM2, Protocol
from surgvos.evaluation.referring import Finding, FindingRules, FindingScore, Moment, judge
from surgvos.evaluation.report import evaluate_folders
from surgvos.evaluation.scores import RegionScore
from surgvos.evaluation.tables import Row, ScoreTable
from surgvos.io.results import read_frame_log

GROUPS: Mapping[str, Mapping[str, frozenset[int]]] = {
    "ref-endovis18": {"instrument": frozenset(range(1, 11)), "tissue": frozenset((11, 12, 17))},
}
"""Data set -> group -> object ids, where its published scores are reported by group."""

_LOG, _MASKS = "frames.jsonl", "masks"
_REGION_HEADINGS = {"J&F": "jaccard_and_boundary_f", "J": "jaccard", "F": "boundary_f", "Dice": "dice"}
_FINDING_HEADINGS = {
    "found": "found",
    "anchors right": "anchor_accuracy",
    "anchor IoU": "anchor_iou",
    "delay": "delay",
    "found again": "found_again",
    "false presence": "false_presence",
    "false finds": "false_finds",
}
_FOUND = dict[str, dict[int, Finding]]


@dataclass(frozen=True, slots=True)
class ReferringReport:
    """Scores of masks, and how objects were found.

    Attributes:
        regions: The masks' scores.
        findings: Video -> object id -> how it was found, phrases for nothing among them.
        rules: What counted as right.
        groups: Name -> object ids; means are given for each.
    """

    regions: Report
    findings: _FOUND
    rules: FindingRules
    groups: Mapping[str, Collection[int]] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each thing that a reader of the scores should know."""
        unseen = sum(
            found.is_shown and found.is_found and found.anchor_iou is None
            for objects in self.findings.values()
            for found in objects.values()
        )
        if not unseen:
            return self.regions.warnings
        note = f"objects whose anchor has no mask or no truth, left out of the scores of anchors: {unseen}"
        return (*self.regions.warnings, note)

    def score(self, object_ids: Collection[int] | None = None) -> FindingScore:
        """Sum up how objects were found: all, or those with one of these ids."""
        return FindingScore.of(list(self._members(object_ids)), self.rules)

    def with_intervals(self, bootstrap: Bootstrap) -> ReferringReport:
        """Add bootstrap intervals to the means of the masks' scores; see `Report.with_intervals`."""
        return replace(self, regions=self.regions.with_intervals(bootstrap))

    def table(self) -> ScoreTable:
        """Return one row per object, and per mean over a group and over everything."""
        rows = [
            Row(
                (video, str(object_id)),
                self._region_of(video, object_id) | _values(FindingScore.of([found], self.rules)),
            )
            for video, objects in self.findings.items()
            for object_id, found in objects.items()
        ]
        for name, object_ids in self.groups.items():
            rows.append(Row(("mean", name), self._means(object_ids), is_summary=True))
        intervals = {} if self.regions.intervals is None else self.regions.intervals.mean
        means = self._means(None)
        shown = {heading: interval for heading, interval in intervals.items() if heading in means}
        rows.append(Row(("mean", ""), means, shown, is_summary=True))
        return ScoreTable(self._title(), ("video", "object"), (*_REGION_HEADINGS, *_FINDING_HEADINGS), tuple(rows))

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, scores in percent: the masks' as `Report.to_json`, and more."""
        return self.regions.to_json() | {
            "finding": {
                "rules": asdict(self.rules),
                "mean": self.score().to_json(),
                "groups": {name: self._group_to_json(object_ids) for name, object_ids in self.groups.items()},
                "objects": {
                    video: {str(object_id): found.to_json() for object_id, found in objects.items()}
                    for video, objects in self.findings.items()
                },
            },
            "warnings": list(self.warnings),
        }

    def _group_to_json(self, object_ids: Collection[int]) -> dict[str, Any]:
        region = self._region_mean(object_ids)
        return (region.to_json() if region else {}) | self.score(object_ids).to_json()

    def _members(self, object_ids: Collection[int] | None) -> Iterator[Finding]:
        for objects in self.findings.values():
            for object_id, found in objects.items():
                if object_ids is None or object_id in object_ids:
                    yield found

    def _region_of(self, video: str, object_id: int) -> dict[str, float]:
        report = self.regions.objects.get(video, {}).get(object_id)
        return {} if report is None else _region_values(report.score)

    def _region_mean(self, object_ids: Collection[int] | None) -> RegionScore | None:
        scores = [
            report.score
            for objects in self.regions.objects.values()
            for object_id, report in objects.items()
            if object_ids is None or object_id in object_ids
        ]
        return RegionScore.mean(scores) if scores else None

    def _means(self, object_ids: Collection[int] | None) -> dict[str, float]:
        region = self._region_mean(object_ids)
        return ({} if region is None else _region_values(region)) | _values(self.score(object_ids))

    def _title(self) -> str:
        rules = self.rules
        return (
            f"{self.regions.table().title}; right: IoU above {rules.min_iou:g}; found again within {rules.within} "
            "frames; delay in frames"
        )


def evaluate_referring(
    predictions: Path,
    ground_truth: Path,
    protocol: Protocol | str = RESURGSAM2,
    *,
    rules: FindingRules | None = None,
    groups: Mapping[str, Collection[int]] | None = None,
    objects: Collection[int] | None = None,
    threshold: int | None = None,
    ignore: int | None = None,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> ReferringReport:
    """Score what ``surgvos segment`` wrote where objects were looked for by phrases.

    Args:
        predictions: ``<video>/masks`` and ``<video>/frames.jsonl``, or one such video.
        ground_truth: See `evaluate_folders`.
        protocol: Of the masks' scores.
        rules: What counts as right in finding.
        groups: Name -> object ids, for means of their own; see `groups_of`.
        objects: Score only these object ids; None scores all.
        threshold: See `evaluate_folders`.
        ignore: See `evaluate_folders`.
        num_workers: Threads; None is one per processor.
        progress: Called after each frame of the masks' scoring.

    Raises:
        InputError: See `evaluate_folders`; or a video has no log.
    """
    regions = evaluate_folders(
        predictions,
        ground_truth,
        protocol,
        objects=objects,
        threshold=threshold,
        ignore=ignore,
        num_workers=num_workers,
        progress=progress,
    )
    rules, threads = rules or FindingRules(), num_threads(num_workers)
    findings: _FOUND = {}
    with ThreadPoolExecutor(threads) as pool:
        for truth, predicted in pair_videos(predictions, ground_truth, threshold, ignore).pairs:
            if not predicted.layers:
                continue  # the masks' report warns of a video that was not predicted
            log = _VideoLog.read(_log_of(predictions, predicted.name))
            work = partial(_moments_of, truth, predicted, log)
            moments: dict[int, dict[int, Moment]] = {}
            for found in in_order(work, truth.frames(), pool, num_ahead=4 * threads):
                for object_id, (index, moment) in found.items():
                    moments.setdefault(object_id, {})[index] = moment
            findings[truth.name] = {
                object_id: judge(passed, moments.get(object_id, {}), rules)
                for object_id, passed in sorted(log.passed.items())
                if objects is None or object_id in objects
            }
    return ReferringReport(regions, findings, rules, groups or {})


def groups_of(name: str) -> Mapping[str, Collection[int]]:
    """Look up the groups by which a data set's scores are reported.

    Raises:
        ConfigError: No groups of this name are known.
    """
    if name not in GROUPS:
        nearest = difflib.get_close_matches(name, GROUPS, n=1, cutoff=0.0)[0]
        raise ConfigError(f"expected groups of {', '.join(GROUPS)}, got {name!r}; try {nearest!r}")
    return GROUPS[name]


@dataclass(frozen=True, slots=True)
class _VideoLog:
    """A run's log, by object.

    Attributes:
        indices: Frame name -> frame index.
        passed: Object id -> (frame index, what was said of it), in the order written.
    """

    indices: dict[str, int]
    passed: dict[int, list[tuple[int, ObjectResult]]]

    @classmethod
    def read(cls, path: Path) -> _VideoLog:
        indices: dict[str, int] = {}
        passed: dict[int, list[tuple[int, ObjectResult]]] = {}
        for record in read_frame_log(path):
            indices[frame_key(record.name)] = record.index
            for object_id, known in record.objects.items():
                passed.setdefault(object_id, []).append((record.index, known.result))
        return cls(indices, passed)


def _log_of(predictions: Path, video: str) -> Path:
    """The log beside the masks of a video.

    Raises:
        InputError: There is none.
    """
    predictions = predictions.resolve()
    places = [predictions / video / _LOG, predictions / _LOG]
    if predictions.name == _MASKS:
        places.append(predictions.parent / _LOG)
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"expected {_LOG} of video {video}, as surgvos segment writes it, got none beside its masks in "
        f"{str(predictions)!r}; try the folder of the run"
    )


def _moments_of(
    truth: VideoMasks, predicted: MaskFolder, log: _VideoLog, frame: tuple[str, Callable[[], FrameMasks]]
) -> dict[int, tuple[int, Moment]]:
    """What one frame says of each object that the run knows; nothing where the run did not pass it."""
    name, read_truth = frame
    if name not in log.indices:
        return {}
    true, found = read_truth(), predicted.read(name).masks
    return {
        object_id: (log.indices[name], _moment(true.masks.get(object_id), found.get(object_id), true.ignored))
        for object_id in log.passed
        if truth.covers(object_id, name)
    }


def _moment(true: np.ndarray | None, predicted: np.ndarray | None, ignored: np.ndarray | None) -> Moment:
    if predicted is not None and ignored is not None:
        predicted = predicted & ~ignored
    is_visible, is_predicted = true is not None and bool(true.any()), predicted is not None and bool(predicted.any())
    iou = jaccard(predicted, true) if is_visible and is_predicted else 0.0  # type: ignore[arg-type]
    return Moment(is_visible, is_predicted, iou)


def _region_values(score: RegionScore) -> dict[str, float]:
    return {heading: getattr(score, name) for heading, name in _REGION_HEADINGS.items()}


def _values(score: FindingScore) -> dict[str, float]:
    values = {heading: getattr(score, name) for heading, name in _FINDING_HEADINGS.items()}
    return {heading: value for heading, value in values.items() if value is not None}

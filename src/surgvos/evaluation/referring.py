"""How well objects were found by their phrases: where they were followed from, how soon, and in vain how often."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from surgvos.core.results import ObjectResult, Phase
from surgvos.errors import ConfigError

_SEARCHED = (Phase.SEARCHING, Phase.CONFIRMING)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRules:
    """What counts as right.

    Attributes:
        min_iou: A mask is right whose IoU with the truth lies above it.
        within: An object that comes back is found again where one of so many frames has a right mask, the first in
            which it shows again among them.
        min_absence: It comes back after at least so many annotated frames in a row that do not show it.
    """

    min_iou: float = 0.5
    within: int = 25
    min_absence: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.min_iou < 1 or self.within < 1 or self.min_absence < 1:
            raise ConfigError(
                "expected min_iou in 0..1 (without 1), within >= 1 and min_absence >= 1, got "
                f"{self.min_iou}, {self.within} and {self.min_absence}"
            )


@dataclass(frozen=True, slots=True)
class Moment:
    """One object in one frame that the truth says something of.

    Attributes:
        is_visible: Whether the truth shows the object.
        is_predicted: Whether its predicted mask has a pixel.
        iou: Of the two masks, in [0, 1]; 0 where one of them is empty.
    """

    is_visible: bool
    is_predicted: bool
    iou: float


@dataclass(frozen=True, slots=True)
class Start:
    """From where an object was followed first.

    Attributes:
        found_at: Frame index at which it was found.
        anchor: Frame index whose mask was remembered; the same or an earlier one.
    """

    found_at: int
    anchor: int


@dataclass(frozen=True, slots=True)
class Finding:
    """How one object was found; counts are of frames that the run passed and the truth says something of.

    Attributes:
        is_shown: Whether the truth shows it at all; otherwise its phrase is for nothing.
        is_found: Whether it was followed at all.
        anchor_iou: IoU of the anchor's mask with the truth, in [0, 1]; None where there is no anchor, no truth of its
            frame, or no mask of it was written.
        delay: Frames that passed from the first that showed the object to the one in which it was found; None where
            it was not found, or before it showed.
        num_returns: How often it came back.
        num_found_again: How often that was noticed in time.
        num_absent: Frames that do not show it.
        num_false: Those of them in which something was predicted.
    """

    is_shown: bool
    is_found: bool
    anchor_iou: float | None
    delay: int | None
    num_returns: int
    num_found_again: int
    num_absent: int
    num_false: int

    def to_json(self) -> dict[str, Any]:
        """Return the fields, the anchor's IoU in percent."""
        return asdict(self) | {"anchor_iou": None if self.anchor_iou is None else 100 * self.anchor_iou}


@dataclass(frozen=True, slots=True)
class FindingScore:
    """How well the objects of a set were found, in percent; None where there is nothing to count.

    Attributes:
        found: Share of the objects shown by the truth that were found.
        anchor_accuracy: Share of their anchors whose mask is right.
        anchor_iou: Mean IoU of their anchors.
        delay: Mean number of frames until they were found.
        found_again: Share of returns noticed in time, over all objects together.
        false_presence: Share of the frames not showing an object in which it was predicted, over all together.
        false_finds: Share of phrases for nothing for which something was found.
    """

    found: float | None
    anchor_accuracy: float | None
    anchor_iou: float | None
    delay: float | None
    found_again: float | None
    false_presence: float | None
    false_finds: float | None

    @classmethod
    def of(cls, findings: Collection[Finding], rules: FindingRules) -> FindingScore:
        """Sum up.

        Reference: anchor accuracy as reported for ReSurgSAM2 (arXiv 2505.08581): anchors with IoU above 0.5.
        """
        shown = [finding for finding in findings if finding.is_shown]
        anchors = [finding.anchor_iou for finding in shown if finding.anchor_iou is not None]
        delays = [finding.delay for finding in shown if finding.delay is not None]
        in_vain = [finding.is_found for finding in findings if not finding.is_shown]
        return cls(
            found=_percent(sum(finding.is_found for finding in shown), len(shown)),
            anchor_accuracy=_percent(sum(iou > rules.min_iou for iou in anchors), len(anchors)),
            anchor_iou=_percent(math.fsum(anchors), len(anchors)),
            delay=sum(delays) / len(delays) if delays else None,
            found_again=_percent(sum(f.num_found_again for f in findings), sum(f.num_returns for f in findings)),
            false_presence=_percent(sum(f.num_false for f in findings), sum(f.num_absent for f in findings)),
            false_finds=_percent(sum(in_vain), len(in_vain)),
        )

    def to_json(self) -> dict[str, float | None]:
        """Return the scores by name."""
        return asdict(self)


def find_start(passed: Sequence[tuple[int, ObjectResult]]) -> Start | None:
    """Read off a run's log from where an object was followed first; None where it never was.

    The first frame that is followed reads what was remembered until then and nothing else: the anchors. Of several
    the one with the highest predicted IoU is taken, of equals the newest.

    Args:
        passed: (frame index, what was said of the object there), in the order written.
    """
    place = next((i for i, (_, known) in enumerate(passed) if known.phase not in _SEARCHED), None)
    if place is None:
        return None
    found_at = passed[place][0]
    read = next((known.attended_frames for _, known in passed[place:] if known.attended_frames), (found_at,))
    scores = {index: known.predicted_iou for index, known in passed[: place + 1]}
    return Start(found_at, max(read, key=lambda index: (scores.get(index, -1.0), _place_of(index, passed))))


def judge(passed: Sequence[tuple[int, ObjectResult]], moments: Mapping[int, Moment], rules: FindingRules) -> Finding:
    """Say how one object was found.

    Args:
        passed: See `find_start`.
        moments: Frame index -> what masks and truth say, for the frames of which the truth says anything.
        rules: What counts as right.
    """
    order = list(dict.fromkeys(index for index, _ in passed))
    known = {index: moments[index] for index in sorted(order) if index in moments}
    start = find_start(passed)
    anchor = None if start is None else known.get(start.anchor)
    returns = find_returns(known, rules.min_absence)
    absent = [moment for moment in known.values() if not moment.is_visible]
    return Finding(
        is_shown=any(moment.is_visible for moment in known.values()),
        is_found=start is not None,
        anchor_iou=anchor.iou if anchor is not None and anchor.is_predicted else None,
        delay=_delay(order, known, start),
        num_returns=len(returns),
        num_found_again=sum(_is_right_soon(known, index, rules) for index in returns),
        num_absent=len(absent),
        num_false=sum(moment.is_predicted for moment in absent),
    )


def find_returns(moments: Mapping[int, Moment], min_absence: int = 1) -> list[int]:
    """Frames in which an object shows again that showed before and then did not for long enough.

    Args:
        moments: In the order of time.
        min_absence: How many frames are long enough.

    Example:
        >>> shown = [False, True, False, True, True, False, False, True]
        >>> find_returns({i: Moment(visible, False, 0.0) for i, visible in enumerate(shown)}, min_absence=2)
        [7]
    """
    returns, num_hidden, was_shown = [], 0, False
    for index, moment in moments.items():
        if not moment.is_visible:
            num_hidden += 1
            continue
        if was_shown and num_hidden >= min_absence:
            returns.append(index)
        was_shown, num_hidden = True, 0
    return returns


def _is_right_soon(moments: Mapping[int, Moment], since: int, rules: FindingRules) -> bool:
    return any(
        since <= index < since + rules.within and moment.iou > rules.min_iou for index, moment in moments.items()
    )


def _delay(order: Sequence[int], moments: Mapping[int, Moment], start: Start | None) -> int | None:
    shown = next((i for i, index in enumerate(order) if index in moments and moments[index].is_visible), None)
    if start is None or shown is None or order.index(start.found_at) < shown:
        return None
    return order.index(start.found_at) - shown


def _place_of(index: int, passed: Sequence[tuple[int, ObjectResult]]) -> int:
    return next((place for place, (passed_index, _) in enumerate(passed) if passed_index == index), -1)


def _percent(part: float, whole: int) -> float | None:
    return 100 * part / whole if whole else None

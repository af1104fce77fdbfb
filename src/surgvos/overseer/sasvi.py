"""SASVi's rules, mended: classes come and go one by one, and what is stable is left alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import ClassVar

import numpy as np

from surgvos.core.prompts import MaskPrompt
from surgvos.core.results import FrameResult
from surgvos.errors import ConfigError
from surgvos.overseer.corrections import Add, Correction, Drop, Reprompt
from surgvos.overseer.detection import Detection, SeenClasses
from surgvos.overseer.published import PublishedSasvi
from surgvos.overseer.scene import SampledMask, Scene, covered_shares

_HALF = 0.5


@dataclass(frozen=True, slots=True)
class FollowedClass:
    """A class that the tracker follows.

    Attributes:
        class_id: Its id.
        drift: How far the tracker has fallen behind the detector since the class was last shown.
        settled_until: Frame before which it neither leaves nor is shown again: it was annotated.
    """

    class_id: int
    drift: float = 0.0
    settled_until: int = 0


@dataclass(frozen=True, slots=True)
class SasviState:
    """What the rules remember: the classes followed, and the classes seen in the last frames, oldest first."""

    followed: tuple[FollowedClass, ...] = ()
    history: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sasvi:
    """Follow a class while the detector sees it, bridge what it misses, and show it again where the two disagree.

    A class enters in the first frame from which it is seen in most of the next frames, and leaves in the first from
    which it is not seen for long. With a shorter look-ahead the same is decided later, from frames gone by.

    A class is shown again where the tracker has drifted. The detector's gain is how much better its mask foretells
    what is detected in the frames ahead than the tracker's mask does, in IoU: motion, and what a detector gets wrong
    for a moment, make both worse alike, so that only errors of the tracker tell. Gains, weighed by the detector's
    score, are summed less a usual one and never below 0 (a CUSUM), so that a large error is mended at once, a small
    one later, and a passing one never. A piece of a class that the tracker let go and the detector is not sure of does
    not count: of two witnesses one must be sure, or both agree.

    In an annotated frame exactly what is annotated is followed, and for ``annotated_frames`` it is left alone.

    Reference: SASVi (arXiv 2502.09653), section 2; the sum is that of Page, Continuous inspection schemes, Biometrika
    41, 1954.

    Departs: no segments, and no reset of what is stable; thresholds on scores; entering and leaving have
    hysteresis; new classes are prompted by their mask; two names of one thing are told apart by score, not by area;
    a class inside another is followed; nothing waits because something else has just happened
    (``tests/overseer/test_default_traces.py``; docs/overseer.md compares the two). `published` has the original.

    Attributes:
        look_ahead: Frames seen before one is decided, the current one included: a stream is answered
            ``look_ahead - 1`` frames late.
        min_score: Least score of an instance that counts.
        min_scores: Class id -> another threshold for that class.
        unsure_below: The detector is unsure of an instance whose score is less than this share of the way from the
            least that counts to the highest of its class in the frames ahead. Where the tracker has half of it too it
            counts; otherwise it is seen, but nothing is judged by it, and no class enters or is shown again by it.
        enter_hits, enter_frames: A class enters when it is seen in so many of so many frames.
        leave_frames: A class leaves when it is not seen in so many frames in a row.
        overlap: Share of both masks from which two classes are two names of one thing.
        switch_ratio: How much higher than that of a class already followed the scores of another name of the same
            thing must be to take its place.
        num_foretold: In so many frames ahead the gain is taken, evenly spread over the look-ahead.
        usual_gain: Gain that tells nothing: a detector also foretells what it gets wrong time and again.
        usual_agreement: Where there is no detection ahead to foretell, the gain is what the IoU of tracker and detector
            lacks of this.
        max_drift: Sum of gains above the usual one from which a class is shown again.
        annotated_frames: For so many frames an annotated class neither leaves nor is shown again.
    """

    state_class: ClassVar[type[SasviState]] = SasviState

    look_ahead: int = 10
    min_score: float = 0.5
    min_scores: Mapping[int, float] = field(default_factory=dict)
    unsure_below: float = 0.5
    enter_hits: int = 4
    enter_frames: int = 5
    leave_frames: int = 10
    overlap: float = 0.70
    switch_ratio: float = 1.2
    num_foretold: int = 3
    usual_gain: float = 0.05
    usual_agreement: float = 0.55
    max_drift: float = 0.5
    annotated_frames: int = 25

    def __post_init__(self) -> None:
        counts = (self.look_ahead, self.leave_frames, self.annotated_frames, self.num_foretold)
        if min(counts) < 1 or not 1 <= self.enter_hits <= self.enter_frames:
            raise ConfigError(
                "expected look_ahead, leave_frames, annotated_frames and num_foretold of 1 or more, and 1 <= "
                f"enter_hits <= enter_frames, got {', '.join(map(str, counts))}, {self.enter_hits} and "
                f"{self.enter_frames}"
            )
        scores = (self.min_score, *self.min_scores.values())
        shares = (*scores, self.unsure_below, self.overlap, self.usual_gain, self.usual_agreement)
        if not all(0 <= share <= 1 for share in shares) or self.overlap == 0 or self.switch_ratio < 1:
            raise ConfigError(
                "expected scores, unsure_below, overlap, gain and agreement in [0, 1], overlap above 0, switch_ratio "
                f"of 1 or more, got {', '.join(map(str, shares))} and {self.switch_ratio}"
            )
        if self.max_drift <= 0:
            raise ConfigError(f"expected max_drift above 0, got {self.max_drift}")

    @staticmethod
    def published(*, fill_size_px: int | None = None) -> PublishedSasvi:
        """The rules as published; see `PublishedSasvi`.

        Args:
            fill_size_px: 299 with CaDIS, None otherwise.
        """
        return PublishedSasvi(fill_size_px=fill_size_px)

    def review(
        self, result: FrameResult, window: Sequence[Detection], state: SasviState | None
    ) -> tuple[tuple[Correction, ...], SasviState]:
        state, index = state or SasviState(), result.frame_index
        window = [detection.above(self.min_score, self.min_scores) for detection in window]
        if window[0].annotated:
            return self._adopt(index, window[0], state)
        seen = [detection.seen for detection in window]
        moments = [set(s.ids) for s in seen]
        followed = {tracked.class_id: tracked for tracked in state.followed}
        masks = {i: SampledMask(result.masks[i]) for i in followed if i in result.masks}
        limits = self._limits([detection.seen for detection in window if not detection.annotated])
        sure = {n: _without_unsure(window[n], limits, masks) for n in (0, *self._foretold(len(window)))}

        may_leave = [i for i, tracked in followed.items() if index >= tracked.settled_until]
        left = [i for i in may_leave if self._has_left(i, moments, state.history)]
        staying = followed.keys() - left
        entering = [i for i in sure[0].seen.ids if i not in followed and self._has_entered(i, moments, state.history)]
        entered, outdone = self._without_doubles(seen, entering, staying)

        shown = {*staying, *entered} - outdone
        now, *ahead = (Scene(detection, shown) for detection in sure.values())
        whole = Scene(window[0], shown) if entered else now
        entered = [i for i in entered if whole.area_px(i)]
        kept = [followed[i] for i in followed if i in staying - outdone]
        kept, shown_again = self._compare(index, masks, now, ahead, kept)
        corrections: list[Correction] = [Drop(i) for i in followed if i in outdone or i in left]
        corrections += [Reprompt(i, MaskPrompt(now.mask(i))) for i in shown_again]
        corrections += [Add(i, MaskPrompt(whole.mask(i))) for i in entered]
        new = tuple(FollowedClass(i) for i in entered)
        return tuple(corrections), SasviState((*kept, *new), self._remember(state.history, seen[0].ids))

    def _adopt(self, index: int, annotation: Detection, state: SasviState) -> tuple[tuple[Correction, ...], SasviState]:
        """Follow what an annotation says and nothing else."""
        followed = [tracked.class_id for tracked in state.followed]
        present = annotation.seen.ids
        corrections: list[Correction] = [Drop(i) for i in followed if i not in present]
        corrections += [(Reprompt if i in followed else Add)(i, MaskPrompt(annotation.mask(i))) for i in present]
        until = index + self.annotated_frames
        shown = tuple(FollowedClass(i, settled_until=until) for i in present)
        return tuple(corrections), SasviState(shown, self._remember(state.history, present))

    def _limits(self, seen: Sequence[SeenClasses]) -> dict[int, float]:
        """Class id -> score below which the detector is unsure of an instance."""
        limits: dict[int, float] = {}
        for moment in seen:
            for i, score in zip(moment.ids, moment.scores.tolist(), strict=True):
                least = self.min_scores.get(i, self.min_score)
                limits[i] = max(limits.get(i, 0.0), score - (1 - self.unsure_below) * (score - least))
        return limits

    # --- coming and going ----------------------------------------------------------------------------------------

    def _has_entered(self, class_id: int, moments: Sequence[set[int]], history: Sequence[Sequence[int]]) -> bool:
        num_past = max(0, self.enter_frames - self.look_ahead)
        past = history[len(history) - min(num_past, len(history)) :]
        evidence = [class_id in moment for moment in (*past, *moments[: self.enter_frames])]
        # Where the video begins or ends, a like share of the frames that there are.
        return sum(evidence) >= math.ceil(self.enter_hits * len(evidence) / self.enter_frames)

    def _has_left(self, class_id: int, moments: Sequence[set[int]], history: Sequence[Sequence[int]]) -> bool:
        ahead = _num_without(class_id, moments)
        return ahead > 0 and ahead + _num_without(class_id, history[::-1]) >= self.leave_frames

    def _remember(self, history: tuple[tuple[int, ...], ...], now: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        num_needed = max(self.leave_frames - 1, self.enter_frames - 1)
        return (*history, now)[-num_needed:] if num_needed else ()

    # --- two names of one thing ----------------------------------------------------------------------------------

    def _without_doubles(
        self, seen: Sequence[SeenClasses], entering: Sequence[int], staying: set[int]
    ) -> tuple[list[int], set[int]]:
        """Classes that enter, and classes followed that they take the place of."""
        weights = {i: sum(s.score(i) for s in seen) for i in (*staying, *entering)}
        entered: list[int] = []
        outdone: set[int] = set()
        for new in sorted(entering, key=lambda i: (-weights[i], i)):
            doubles = [i for i in (*staying, *entered) if i not in outdone and self._are_one(seen[0], new, i)]
            if all(i in staying and weights[new] >= self.switch_ratio * weights[i] for i in doubles):
                entered.append(new)
                outdone.update(doubles)
        return sorted(entered), outdone

    def _are_one(self, seen: SeenClasses, one: int, other: int) -> bool:
        larger = max(seen.area_px(one), seen.area_px(other))
        return larger > 0 and seen.overlap_px(one, other) / larger >= self.overlap

    # --- drift ---------------------------------------------------------------------------------------------------

    def _foretold(self, num_seen: int) -> list[int]:
        """Frames ahead whose detections are foretold, spread over those that are seen."""
        reach = min(self.look_ahead, num_seen) - 1
        steps = {round(reach * (n + 1) / self.num_foretold) for n in range(self.num_foretold)}
        return sorted(steps - {0})

    def _compare(
        self,
        index: int,
        masks: Mapping[int, SampledMask],
        now: Scene,
        ahead: Sequence[Scene],
        followed: Sequence[FollowedClass],
    ) -> tuple[list[FollowedClass], list[int]]:
        """Sum up the detector's gains; the classes to show again are those of the second list."""
        foretold = [now.ious_with(later) for later in ahead] if followed else []
        kept, shown_again = [], []
        for tracked in followed:
            i = tracked.class_id
            if i in masks and now.area_px(i):
                pairs = zip(foretold, ahead, strict=True)
                gains = [ious[i] - later.iou(i, masks[i]) for ious, later in pairs if i in ious]
                gain = fmean(gains) if gains else self.usual_agreement - now.iou(i, masks[i])
                drift = max(0.0, tracked.drift + self._trust(i, now.score(i)) * gain - self.usual_gain)
                if drift >= self.max_drift and index >= tracked.settled_until:
                    shown_again.append(i)
                    drift = 0.0
                tracked = replace(tracked, drift=drift)
            kept.append(tracked)
        return kept, shown_again

    def _trust(self, class_id: int, score: float) -> float:
        """What a gain counts for: from 0 at the least score that counts to 1 at a score of 1."""
        threshold = self.min_scores.get(class_id, self.min_score)
        return (score - threshold) / (1 - threshold) if threshold < 1 else 1.0


def _without_unsure(detection: Detection, limits: Mapping[int, float], masks: Mapping[int, SampledMask]) -> Detection:
    """A detection without what the detector is unsure of, unless the tracker has it as well."""
    # In the precision of the scores: the surest instance is never below its own score.
    least = np.array([limits.get(i, 0.0) for i in detection.class_ids.tolist()], dtype=np.float32)
    keep = detection.scores >= least
    return detection if keep.all() else detection.only(keep | (covered_shares(detection, masks) >= _HALF))


def _num_without(class_id: int, moments: Sequence[Sequence[int] | set[int]]) -> int:
    """Moments from the first one on until the class is seen."""
    return next((n for n, moment in enumerate(moments) if class_id in moment), len(moments))

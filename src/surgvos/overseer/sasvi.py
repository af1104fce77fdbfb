"""SASVi's rules, mended: classes come and go one by one, and what is stable is left alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import cv2
import numpy as np

from surgvos.core.prompts import MaskPrompt
from surgvos.core.results import FrameResult
from surgvos.errors import ConfigError
from surgvos.overseer.corrections import Add, Correction, Drop, Reprompt
from surgvos.overseer.detection import Detection, SeenClasses, count_values
from surgvos.overseer.published import PublishedSasvi

NUM_SAMPLES = 2**15
MIN_SAMPLES = 256


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
    what is detected in the next frame than the tracker's mask does, in IoU: motion, and what a detector gets wrong by
    chance, make both worse alike, so that only errors of the tracker tell. Gains, weighed by the detector's score, are
    summed less a usual one and never below 0 (a CUSUM), so that a large error is mended at once, a small one later, and
    a passing one never.

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
        enter_hits, enter_frames: A class enters when it is seen in so many of so many frames.
        leave_frames: A class leaves when it is not seen in so many frames in a row.
        overlap: Share of both masks from which two classes are two names of one thing.
        switch_ratio: How much higher than that of a class already followed the scores of another name of the same
            thing must be to take its place.
        usual_gain: Gain that tells nothing: a detector also foretells what it gets wrong time and again.
        usual_agreement: Where there is no next detection to foretell, the gain is what the IoU of tracker and detector
            lacks of this.
        max_drift: Sum of gains above the usual one from which a class is shown again.
        annotated_frames: For so many frames an annotated class neither leaves nor is shown again.
    """

    state_class: ClassVar[type[SasviState]] = SasviState

    look_ahead: int = 10
    min_score: float = 0.5
    min_scores: Mapping[int, float] = field(default_factory=dict)
    enter_hits: int = 4
    enter_frames: int = 5
    leave_frames: int = 10
    overlap: float = 0.70
    switch_ratio: float = 1.2
    usual_gain: float = 0.05
    usual_agreement: float = 0.55
    max_drift: float = 0.5
    annotated_frames: int = 25

    def __post_init__(self) -> None:
        counts = (self.look_ahead, self.leave_frames, self.annotated_frames)
        if min(counts) < 1 or not 1 <= self.enter_hits <= self.enter_frames:
            raise ConfigError(
                "expected look_ahead, leave_frames and annotated_frames of 1 or more, and 1 <= enter_hits <= "
                f"enter_frames, got {', '.join(map(str, counts))}, {self.enter_hits} and {self.enter_frames}"
            )
        shares = (self.min_score, *self.min_scores.values(), self.overlap, self.usual_gain, self.usual_agreement)
        if not all(0 <= share <= 1 for share in shares) or self.overlap == 0 or self.switch_ratio < 1:
            raise ConfigError(
                "expected scores, overlap, gain and agreement in [0, 1], overlap above 0, switch_ratio of 1 or more, "
                f"got {', '.join(map(str, shares))} and {self.switch_ratio}"
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
        state = state or SasviState()
        window = [detection.above(self.min_score, self.min_scores) for detection in window]
        seen = [detection.seen for detection in window]
        if window[0].annotated:
            return self._adopt(result.frame_index, window[0], state)
        moments = [set(s.ids) for s in seen]
        followed = {tracked.class_id: tracked for tracked in state.followed}

        index = result.frame_index
        may_leave = [i for i, tracked in followed.items() if index >= tracked.settled_until]
        left = [i for i in may_leave if self._has_left(i, moments, state.history)]
        staying = followed.keys() - left
        entering = [i for i in seen[0].ids if i not in followed and self._has_entered(i, moments, state.history)]
        entered, outdone = self._without_doubles(seen, entering, staying)

        shown = {*staying, *entered} - outdone
        scene, following = _Scene(window[0], shown), _Scene(window[1], shown) if len(window) > 1 else None
        entered = [i for i in entered if scene.area_px(i)]
        kept = [followed[i] for i in followed if i in staying - outdone]
        kept, shown_again = self._compare(result, scene, following, kept)
        corrections: list[Correction] = [Drop(i) for i in followed if i in outdone or i in left]
        corrections += [Reprompt(i, MaskPrompt(scene.mask(i))) for i in shown_again]
        corrections += [Add(i, MaskPrompt(scene.mask(i))) for i in entered]
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

    def _compare(
        self, result: FrameResult, scene: _Scene, following: _Scene | None, followed: Sequence[FollowedClass]
    ) -> tuple[list[FollowedClass], list[int]]:
        """Sum up the detector's gains; the classes to show again are those of the second list."""
        foretold = scene.ious_with(following) if following and followed else {}
        kept, shown_again = [], []
        for tracked in followed:
            i, mask = tracked.class_id, result.masks.get(tracked.class_id)
            if mask is not None and scene.area_px(i):
                if following and i in foretold:
                    gain = foretold[i] - following.iou(i, mask)
                else:
                    gain = self.usual_agreement - scene.iou(i, mask)
                drift = max(0.0, tracked.drift + self._trust(i, scene.score(i)) * gain - self.usual_gain)
                if drift >= self.max_drift and result.frame_index >= tracked.settled_until:
                    shown_again.append(i)
                    drift = 0.0
                tracked = replace(tracked, drift=drift)
            kept.append(tracked)
        return kept, shown_again

    def _trust(self, class_id: int, score: float) -> float:
        """What a gain counts for: from 0 at the least score that counts to 1 at a score of 1."""
        threshold = self.min_scores.get(class_id, self.min_score)
        return (score - threshold) / (1 - threshold) if threshold < 1 else 1.0


class _Scene:
    """A detection without overlap: where several classes are, the smallest lies on top."""

    def __init__(self, detection: Detection, classes: set[int]) -> None:
        self._detection = detection
        seen = detection.seen
        self._regions: dict[int, np.ndarray] = {}
        free = np.ones(len(detection.sizes_px), dtype=bool)
        for i in sorted(classes.intersection(seen.ids), key=lambda i: (seen.area_px(i), i)):
            self._regions[i] = seen.coverage[:, seen.ids.index(i)] & free
            free &= ~self._regions[i]

    def area_px(self, class_id: int) -> int:
        """Pixels of a class; 0 where it is not seen or hidden by others."""
        return int(self._detection.sizes_px[self._regions[class_id]].sum()) if class_id in self._regions else 0

    def score(self, class_id: int) -> float:
        """The highest score of a class's instances; 0 where it is not seen."""
        return self._detection.seen.score(class_id)

    def mask(self, class_id: int) -> np.ndarray:
        """Where a class is, bool ``(h, w)``."""
        return self._detection.mask_of(self._regions[class_id])

    def iou(self, class_id: int, mask: np.ndarray) -> float:
        """IoU with a tracker's mask, bool ``(h, w)``; of a large mask only every n-th row and column is looked at."""
        step, chosen = self._step, self._regions[class_id]
        inside, sizes = self._sample[mask[::step, ::step]], self._sample_sizes
        if step > 1 and inside.size < MIN_SAMPLES:
            x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
            box = slice(y, y + height), slice(x, x + width)
            inside, sizes = self._detection.regions[box][mask[box]], self._detection.sizes_px
        shared = np.count_nonzero(chosen[inside])
        union = inside.size + int(sizes[chosen].sum()) - shared
        return shared / union if union > 0 else 0.0

    def ious_with(self, other: _Scene) -> dict[int, float]:
        """IoU of each class with itself in another scene, where both show it; samples are those of `iou`."""
        classes = [i for i in self._regions if self.area_px(i) and other.area_px(i)]
        num_slots = 1 + len(classes)
        pairs = self._slots(classes) * num_slots + other._slots(classes)
        table = np.bincount(pairs.ravel(), minlength=num_slots**2).reshape(num_slots, num_slots)
        ious = {}
        for slot, i in enumerate(classes, start=1):
            shared, own, others = table[slot, slot], table[slot].sum(), table[:, slot].sum()
            is_small = self._step > 1 and own < MIN_SAMPLES
            ious[i] = self.iou(i, other.mask(i)) if is_small else float(shared / (own + others - shared))
        return ious

    def _slots(self, classes: Sequence[int]) -> np.ndarray:
        """Of the sampled pixels, 1 + the index of the class that is there; 0 where none of these is."""
        slots = np.zeros(len(self._detection.sizes_px), dtype=np.intp)
        for slot, i in enumerate(classes, start=1):
            slots[self._regions[i]] = slot
        return slots[self._sample]

    @property
    def _step(self) -> int:
        return max(1, math.isqrt(self._detection.regions.size // NUM_SAMPLES))

    @cached_property
    def _sample(self) -> np.ndarray:
        """Regions of every n-th pixel of every n-th row."""
        return np.ascontiguousarray(self._detection.regions[:: self._step, :: self._step])

    @cached_property
    def _sample_sizes(self) -> np.ndarray:
        return count_values(self._sample, len(self._detection.sizes_px))


def _num_without(class_id: int, moments: Sequence[Sequence[int] | set[int]]) -> int:
    """Moments from the first one on until the class is seen."""
    return next((n for n, moment in enumerate(moments) if class_id in moment), len(moments))

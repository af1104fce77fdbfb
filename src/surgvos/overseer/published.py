"""SASVi's rules as published: segments that start anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar

import cv2
import numpy as np

from surgvos.core.prompts import MaskPrompt, PointPrompt
from surgvos.core.results import FrameResult
from surgvos.errors import ConfigError
from surgvos.overseer.corrections import Correction, Restart
from surgvos.overseer.detection import Detection, SeenClasses
from surgvos.overseer.spread_points import spread_points


@dataclass(frozen=True, slots=True)
class PublishedState:
    """What the published rules remember.

    Attributes:
        accepted: Classes believed present.
        frames_left: Frames until a new segment starts in any case.
        skip_once: Whether the next new class waits for one frame.
    """

    accepted: tuple[int, ...]
    frames_left: int
    skip_once: bool = False


@dataclass(frozen=True, slots=True)
class _News:
    """What is new in a frame: classes that appeared, those of them to be prompted, and those that lost to another."""

    appeared: frozenset[int]
    prompted: tuple[int, ...] = ()
    losers: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class PublishedSasvi:
    """Cut the video into segments; at the start of each, forget everything and prompt anew.

    A segment ends when a class appears and stays, or after a fixed number of frames. Classes already accepted are
    prompted by their mask, new ones by points.

    On an annotated frame a segment starts with the masks of all its classes, as it does on the first frame.

    Reference: SASVi (arXiv 2502.09653), section 2, and the program published with it.

    Departs: points are centres of our own k-means, so that they differ in place, not in number; a segment without
    any class is a `Restart` without prompts instead of an empty object
    (``tests/overseer/test_published_traces.py``).

    Attributes:
        look_ahead: Frames over which two names of one thing are compared, the current one included.
        persistence: Frames after its first in which a new class must be seen.
        overlap: Share of both masks, or of one, from which two classes are the same thing, or one lies in the other.
        segment_frames: Longest segment. The first frame of every segment but the first counts twice.
        num_points: Points per new class; a class of fewer pixels is accepted but not prompted.
        seed: Of the points.
        fill_size_px: Before prompting, give pixels where nothing is detected to the class that the tracker had
            there, judged at this width and height (published: 299, with CaDIS only); None to leave them.
    """

    state_class: ClassVar[type[PublishedState]] = PublishedState

    look_ahead: int = 10
    persistence: int = 3
    overlap: float = 0.70
    segment_frames: int = 25
    num_points: int = 20
    seed: int = 0
    fill_size_px: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.persistence < self.look_ahead or self.segment_frames < 2 or self.num_points < 1:
            raise ConfigError(
                "expected 0 <= persistence < look_ahead, segment_frames >= 2 and num_points >= 1, "
                f"got {self.persistence}, {self.look_ahead}, {self.segment_frames}, {self.num_points}"
            )
        if not 0 < self.overlap <= 1:
            raise ConfigError(f"expected overlap in (0, 1], got {self.overlap}")

    def review(
        self, result: FrameResult, window: Sequence[Detection], state: PublishedState | None
    ) -> tuple[tuple[Correction, ...], PublishedState]:
        seen = [detection.seen for detection in window]
        if state is None or window[0].annotated:
            masks = {i: window[0].mask(i) for i in seen[0].ids}
            prompts = {i: MaskPrompt(mask) for i, mask in masks.items()}
            return (Restart(prompts),), PublishedState(seen[0].ids, self.segment_frames)
        if state.frames_left == 1:
            return self._restart(result, window, state, _News(frozenset()))
        news = self._news(seen, seen[0].ids, state.accepted)
        if news.prompted and not state.skip_once:
            return self._restart(result, window, state, news)
        return (), self._go_on(news, seen[0].ids, state)

    def _go_on(self, news: _News, current: tuple[int, ...], state: PublishedState) -> PublishedState:
        if news.prompted:
            return replace(state, frames_left=state.frames_left - 1, skip_once=False)
        return PublishedState(
            accepted=tuple(i for i in state.accepted if i in current),
            frames_left=state.frames_left - 1,
            skip_once=state.skip_once and not news.appeared,
        )

    # --- what is new ---------------------------------------------------------------------------------------------

    def _news(self, seen: Sequence[SeenClasses], current: tuple[int, ...], accepted: tuple[int, ...]) -> _News:
        stays = set(current).difference(accepted).intersection(*(s.ids for s in seen[1 : 1 + self.persistence]))
        appeared = sorted(stays)
        groups, contained = self._doubles(seen[0], appeared, current)
        winners = [self._winner(seen[: self.look_ahead], group) for group in groups]
        doubled = {i for group in groups for i in group}
        free = [i for i in appeared if i not in doubled and i not in contained]
        prompted = [i for i in dict.fromkeys(winners) if i not in accepted] + free
        return _News(frozenset(appeared), tuple(prompted), frozenset(doubled.difference(winners)))

    def _doubles(
        self, seen: SeenClasses, appeared: Sequence[int], current: Sequence[int]
    ) -> tuple[list[list[int]], set[int]]:
        """Groups of classes that are names of one thing, and new classes that lie inside another class."""
        groups: list[list[int]] = []
        contained = set()
        for new in appeared:
            for other in current:
                if other == new or not self._lies_in(seen, new, other):
                    continue
                if not self._lies_in(seen, other, new):
                    contained.add(new)
                    continue
                joined = [group for group in groups if new in group or other in group]
                for group in joined:
                    group.extend(i for i in (other, new) if i not in group)
                if not joined:
                    groups.append([other, new])
        return groups, contained

    def _lies_in(self, seen: SeenClasses, inner: int, outer: int) -> bool:
        area = seen.area_px(inner)
        return area > 0 and seen.overlap_px(inner, outer) / area >= self.overlap

    def _winner(self, seen: Sequence[SeenClasses], group: Sequence[int]) -> int:
        """The class of a group that covers most over the window; the first of equals."""
        areas: dict[int, int] = {}
        for frame in seen:
            present = [i for i in group if i in frame.ids]
            counted = present if len(present) == 1 else self._overlapping(frame, present)
            for i in counted:
                areas[i] = areas.get(i, 0) + frame.area_px(i)
        return max(areas, key=areas.__getitem__)

    def _overlapping(self, seen: SeenClasses, present: Sequence[int]) -> list[int]:
        pairs = [p for p in combinations(present, 2) if self._lies_in(seen, *p) and self._lies_in(seen, *p[::-1])]
        return list(dict.fromkeys(i for pair in pairs for i in pair))

    # --- a new segment -------------------------------------------------------------------------------------------

    def _restart(
        self, result: FrameResult, window: Sequence[Detection], state: PublishedState, news: _News
    ) -> tuple[tuple[Correction, ...], PublishedState]:
        current = window[0].seen.ids
        masks = {i: window[0].mask(i) for i in current}
        if self.fill_size_px is not None:
            self._fill(masks, result, [i for i in state.accepted if i in current])
        prompts: dict[int, MaskPrompt | PointPrompt] = {}
        for i in news.prompted:
            if np.count_nonzero(masks[i]) >= self.num_points:
                prompts[i] = PointPrompt(spread_points(masks[i], self.num_points, self.seed))
            for other in current:
                if other != i:
                    masks[other] &= ~masks[i]
        kept = [i for i in current if i in state.accepted and i not in news.losers]
        prompts |= {i: MaskPrompt(masks[i]) for i in kept}
        accepted = [*(i for i in state.accepted if i in current), *news.prompted]
        started = PublishedState(
            accepted=tuple(i for i in dict.fromkeys(accepted) if i not in news.losers),
            frames_left=self.segment_frames,
            skip_once=True,
        )
        # The first frame of a segment is judged twice, the second time by the masks that were just changed.
        shown = np.array(list(masks.values()), dtype=bool).reshape(-1, *window[0].hw)
        changed = Detection.from_masks(shown, list(masks))
        seen = [changed.seen, *(detection.seen for detection in window[1:])]
        return (Restart(prompts),), self._go_on(self._news(seen, current, started.accepted), current, started)

    def _fill(self, masks: dict[int, np.ndarray], result: FrameResult, classes: Sequence[int]) -> None:
        """Let the tracker's last answer fill what the detector left empty, in place."""
        if not masks:
            return
        free = ~np.logical_or.reduce(list(masks.values()))
        before = _round_trip(result.masks, free.shape, self.fill_size_px or 0)
        for i in classes:
            if i in before:
                masks[i] |= free & before[i]


def _round_trip(masks: Mapping[int, np.ndarray], image_hw: tuple[int, ...], size_px: int) -> dict[int, np.ndarray]:
    """Masks as they come back from a square image of this size."""
    square, back = (size_px, size_px), (image_hw[1], image_hw[0])
    nearest = cv2.INTER_NEAREST_EXACT
    small = {i: cv2.resize(mask.view(np.uint8), square, interpolation=nearest) for i, mask in masks.items()}
    return {i: cv2.resize(mask, back, interpolation=nearest).view(np.bool_) for i, mask in small.items()}

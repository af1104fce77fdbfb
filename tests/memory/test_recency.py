"""SAM 2's memory policy, against the rule written out over a history that forgets nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surgvos.errors import ConfigError
from surgvos.memory import MemoryBank, MemoryEntry, MemoryQuery, MemorySelection, Recent


def entry(frame_index: int, *, prompted: bool = False) -> MemoryEntry:
    """An entry whose pointer holds its frame index."""
    return MemoryEntry(
        frame_index=frame_index,
        features=torch.full((1, 1, 1), float(frame_index)),
        pointer=torch.tensor([float(frame_index)]),
        presence=1.0,
        iou=1.0,
        prompted=prompted,
    )


def bank_of(prompted: list[int], recent: list[int]) -> MemoryBank:
    return MemoryBank(prompted={i: entry(i, prompted=True) for i in prompted}, recent={i: entry(i) for i in recent})


def read(selection: MemorySelection) -> list[tuple[int, int]]:
    return [(held.frame_index, slot) for held, slot in selection.spatial]


def follow(policy: Recent, bank: MemoryBank, frames: range, prompted: tuple[int, ...] = ()) -> None:
    """Admit frames in the order in which a video runs."""
    for index in frames:
        query = MemoryQuery(index, 1 if frames.step > 0 else -1)
        policy.admit(bank, entry(index, prompted=index in prompted), query)


def test_prompted_frames_come_first_then_recent_ones_from_the_oldest() -> None:
    bank = MemoryBank()
    follow(Recent(), bank, range(21), prompted=(0,))
    found = Recent().select(bank, MemoryQuery(21))
    assert read(found) == [(0, 0), (15, 6), (16, 5), (17, 4), (18, 3), (19, 2), (20, 1)]
    assert found.attended_frames == (0, 15, 16, 17, 18, 19, 20)


def test_early_frames_leave_slots_empty() -> None:
    bank = MemoryBank()
    follow(Recent(), bank, range(5), prompted=(0,))
    assert read(Recent().select(bank, MemoryQuery(5))) == [(0, 0), (1, 4), (2, 3), (3, 2), (4, 1)]


def test_backward_reads_what_lies_after() -> None:
    bank = MemoryBank()
    follow(Recent(), bank, range(20, 9, -1), prompted=(20,))
    found = Recent().select(bank, MemoryQuery(9, -1))
    assert read(found) == [(20, 0), (15, 6), (14, 5), (13, 4), (12, 3), (11, 2), (10, 1)]
    assert found.pointer_frames == (20, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)


def test_prompts_ahead_are_attended_but_give_no_pointer() -> None:
    found = Recent().select(bank_of([0, 30], [9]), MemoryQuery(10))
    assert read(found) == [(0, 0), (30, 0), (9, 1)]
    assert found.pointer_frames == (0, 9)


def test_pointer_offsets_are_distances_over_the_span() -> None:
    bank = MemoryBank()
    follow(Recent(), bank, range(41), prompted=(0,))
    found = Recent().select(bank, MemoryQuery(41))
    assert found.pointer_frames == (0, *range(40, 25, -1))
    offsets = [offset for _, offset in found.pointers]
    assert offsets == pytest.approx([41 / 15, *(distance / 15 for distance in range(1, 16))])
    assert [int(pointer) for pointer, _ in found.pointers] == list(found.pointer_frames)


def test_entries_without_pointers_are_attended_all_the_same() -> None:
    bare = MemoryEntry(0, torch.zeros(1, 1, 1), None, presence=1.0, iou=1.0, prompted=True)
    found = Recent().select(MemoryBank(prompted={0: bare}), MemoryQuery(1))
    assert read(found) == [(0, 0)]
    assert found.pointers == ()
    assert found.pointer_frames == ()


def test_no_pointers_when_none_are_wanted() -> None:
    assert Recent(max_pointers=0).select(bank_of([0], [1, 2]), MemoryQuery(3)).pointers == ()


@pytest.mark.parametrize(
    ("now", "direction", "expected"),
    [
        (20, 1, [(9, 5), (12, 4), (15, 3), (18, 2), (19, 1)]),
        (21, 1, [(9, 5), (12, 4), (15, 3), (18, 2), (20, 1)]),
        (23, 1, [(12, 5), (15, 4), (18, 3), (21, 2), (22, 1)]),
        (20, -1, [(33, 5), (30, 4), (27, 3), (24, 2), (21, 1)]),
        (19, -1, [(30, 5), (27, 4), (24, 3), (21, 2), (20, 1)]),
    ],
)
def test_strided_frames_lie_on_a_grid_beyond_the_neighbour(
    now: int, direction: int, expected: list[tuple[int, int]]
) -> None:
    policy = Recent(stride=3, num_recent=5)
    bank = bank_of([], [i for i in range(60) if i != now])
    assert read(policy.select(bank, MemoryQuery(now, direction))) == expected


@pytest.mark.parametrize(
    ("limit", "now", "expected"),
    [
        (2, 25, {20, 30}),  # the nearest before and the nearest after
        (3, 25, {20, 30, 10}),  # of 10 and 40, as close as each other, the one prompted first
        (4, 25, {20, 30, 10, 40}),
        (2, 20, {10, 20}),  # a prompted frame counts as after itself
        (2, 50, {40, 30}),  # nothing lies after: the closest fills the place
        (2, 5, {0, 10}),
        (9, 25, {0, 10, 20, 30, 40}),
    ],
)
def test_limited_prompted_frames_are_those_around_the_moment(limit: int, now: int, expected: set[int]) -> None:
    policy = Recent(max_attended_prompted=limit, num_recent=0)
    found = policy.select(bank_of([0, 10, 20, 30, 40], []), MemoryQuery(now))
    assert set(found.attended_frames) == expected
    assert all(slot == 0 for _, slot in found.spatial)


def test_prompted_frames_left_out_by_the_limit_count_as_recent() -> None:
    policy = Recent(max_attended_prompted=2)
    found = policy.select(bank_of([5, 8, 9, 20], [7]), MemoryQuery(10))
    assert read(found) == [(9, 0), (20, 0), (5, 5), (7, 3), (8, 2)]
    assert found.pointer_frames == (9, 8, 7, 5)


def test_a_prompt_replaces_what_was_followed_and_is_not_replaced_by_it() -> None:
    policy, bank = Recent(), MemoryBank()
    follow(policy, bank, range(4), prompted=(0,))
    policy.admit(bank, entry(2, prompted=True), MemoryQuery(2))
    assert (sorted(bank.prompted), sorted(bank.recent)) == ([0, 2], [1, 3])
    again = bank.prompted[2]
    policy.admit(bank, entry(2), MemoryQuery(2))
    assert bank.prompted[2] is again
    assert 2 not in bank.recent


def test_only_what_is_read_again_is_held() -> None:
    bank = MemoryBank()
    follow(Recent(), bank, range(101), prompted=(0,))
    assert sorted(bank.prompted) == [0]
    # From frame 101 on: pointers of 15 frames back, spatial memory of 6.
    assert sorted(bank.recent) == list(range(86, 101))
    assert [i for i, held in bank.recent.items() if held.features is not None] == list(range(95, 101))


def test_a_prompt_elsewhere_does_not_cost_what_is_remembered_here() -> None:
    policy, bank = Recent(), MemoryBank()
    follow(policy, bank, range(101), prompted=(0,))
    before = read(policy.select(bank, MemoryQuery(101)))
    policy.admit(bank, entry(50, prompted=True), MemoryQuery(50))
    after = read(policy.select(bank, MemoryQuery(101)))
    assert [pair for pair in after if pair != (50, 0)] == before


def test_beyond_the_limit_the_farthest_prompted_frame_goes_but_never_the_first() -> None:
    policy, bank = Recent(max_prompted=3), MemoryBank()
    follow(policy, bank, range(0, 60, 10), prompted=tuple(range(0, 60, 10)))
    assert sorted(bank.prompted) == [0, 40, 50]
    policy.admit(bank, entry(10, prompted=True), MemoryQuery(10))
    assert sorted(bank.prompted) == [0, 10, 40]


def test_keep_history_keeps_all() -> None:
    bank = MemoryBank()
    follow(Recent(keep_history=True), bank, range(200), prompted=(0,))
    assert len(bank.recent) == 199
    assert all(held.features is not None for held in bank)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"num_recent": -1}, "num_recent >= 0.*-1"),
        ({"stride": 0}, "stride >= 1.*0"),
        ({"pointer_span": 0.0}, "pointer_span > 0.*0.0"),
        ({"pointer_span": math.nan}, "pointer_span > 0.*nan"),
        ({"max_attended_prompted": 1}, "max_attended_prompted >= 2 or None, got 1"),
        ({"max_prompted": 0}, "max_prompted >= 2 or None, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recent(**settings_)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Run:
    """One pass over a video: prompts given beforehand, then frames in order, some of them prompted."""

    policy: Recent
    direction: int
    early: list[int]
    frames: list[int]
    prompted: set[int]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    policy = Recent(
        num_recent=draw(st.integers(0, 6)),
        max_pointers=draw(st.integers(0, 9)),
        stride=draw(st.integers(1, 4)),
        max_attended_prompted=draw(st.none() | st.integers(2, 3)),
        max_prompted=None,
    )
    direction = draw(st.sampled_from((1, -1)))
    start = draw(st.integers(0, 12))
    steps = draw(st.lists(st.sampled_from((1, 1, 1, 2, 3)), min_size=1, max_size=40))
    offsets = [start + sum(steps[:i]) for i in range(len(steps))]
    frames = offsets if direction == 1 else [120 - i for i in offsets]
    early = draw(st.lists(st.integers(0, 120), max_size=4, unique=True))
    prompted = draw(st.sets(st.sampled_from(frames), max_size=5))
    return Run(policy, direction, early, frames, prompted)


def described(selection: MemorySelection) -> tuple[object, ...]:
    offsets = [offset for _, offset in selection.pointers]
    return read(selection), selection.pointer_frames, offsets


@settings(max_examples=300)
@given(runs())
def test_what_is_forgotten_is_never_missed(run: Run) -> None:
    """A pass over a video reads the same as with every frame kept."""
    unbounded = Recent(
        num_recent=run.policy.num_recent,
        max_pointers=run.policy.max_pointers,
        stride=run.policy.stride,
        max_attended_prompted=run.policy.max_attended_prompted,
        max_prompted=None,
        keep_history=True,
    )
    bank, history = MemoryBank(), MemoryBank()
    for index in run.early:
        for policy, held in ((run.policy, bank), (unbounded, history)):
            policy.admit(held, entry(index, prompted=True), MemoryQuery(index, run.direction))
    for index in run.frames:
        query = MemoryQuery(index, run.direction)
        assert described(run.policy.select(bank, query)) == described(unbounded.select(history, query))
        for policy, held in ((run.policy, bank), (unbounded, history)):
            policy.admit(held, entry(index, prompted=index in run.prompted), query)


@settings(max_examples=50)
@given(
    num_recent=st.integers(0, 6),
    stride=st.integers(1, 4),
    max_pointers=st.integers(0, 9),
    direction=st.sampled_from((1, -1)),
)
def test_what_is_held_is_read_again(num_recent: int, stride: int, max_pointers: int, direction: int) -> None:
    """Nothing is held that no later frame of the pass reads; spatial memory is dropped before the pointer."""
    policy = Recent(num_recent=num_recent, stride=stride, max_pointers=max_pointers)
    bank, everything = MemoryBank(), MemoryBank()
    for step in range(40):
        index = 200 + direction * step
        policy.admit(bank, entry(index), MemoryQuery(index, direction))
        everything.recent[index] = entry(index)
    later = [MemoryQuery(200 + direction * step, direction) for step in range(40, 80)]
    selections = [policy.select(everything, query) for query in later]
    spatial = {frame for found in selections for frame in found.attended_frames}
    pointers = {frame for found in selections for frame in found.pointer_frames}
    assert set(bank.recent) == spatial | pointers
    assert {i for i, held in bank.recent.items() if held.features is not None} == spatial

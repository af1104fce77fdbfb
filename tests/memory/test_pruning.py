"""Surgical SAM 2's pruning: which memories are left out, in both releases and by default."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import moving_square_frames
from surgvos.core import Frame, MaskPrompt
from surgvos.errors import ConfigError
from surgvos.memory import MemoryBank, MemoryEntry, MemoryQuery, MemorySelection, Pruned, Recent
from surgvos.memory.entry import resolved
from surgvos.memory.pruning import resemblance_to_last
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel

RULES = {"default": Pruned(), "published": Pruned.published(), "first release": Pruned.first_release()}
each_rule = pytest.mark.parametrize("policy", RULES.values(), ids=list(RULES))


def entry(frame_index: int, alike: float = 0.0, *, prompted: bool = False) -> MemoryEntry:
    """An entry whose cosine with one that is 1 alike is ``alike`` at each of its four places."""
    vector = torch.tensor([alike, math.sqrt(1 - alike**2)])
    # Length is not to matter: a cosine compares directions.
    features = 2.0 ** (frame_index % 8) * vector.view(2, 1, 1).expand(2, 2, 2)
    return MemoryEntry(
        frame_index=frame_index,
        features=features.bfloat16(),
        pointer=torch.tensor([float(frame_index)]),
        presence=1.0,
        iou=1.0,
        prompted=prompted,
    )


def bank_of(*entries: MemoryEntry) -> MemoryBank:
    return MemoryBank(
        prompted={e.frame_index: e for e in entries if e.prompted},
        recent={e.frame_index: e for e in entries if not e.prompted},
    )


def followed(last: int, alike: dict[int, float] | None = None, prompted: tuple[int, ...] = (0,)) -> MemoryBank:
    """Frames up to the last one; resemblances to it by frame."""
    alike = {last: 1.0} | (alike or {})
    return bank_of(*(entry(i, alike.get(i, 0.0), prompted=i in prompted) for i in range(last + 1)))


def read(selection: MemorySelection) -> list[tuple[int, int]]:
    return [(held.frame_index, slot) for held, slot in resolved([selection])[0].spatial]


WORKED = {2: 0.9, 3: 0.1, 4: 0.5, 5: 0.7, 6: 0.3}


@each_rule
def test_the_two_most_like_the_newest_are_left_out(policy: Pruned) -> None:
    found = policy.select(followed(7, WORKED), MemoryQuery(8))
    assert read(found) == [(0, 0), (3, 5), (4, 4), (6, 2), (7, 1)]
    assert found.attended_frames == (0, 3, 4, 6, 7)
    assert found.pointer_frames == (0, 7, 6, 5, 4, 3, 2, 1)


@pytest.mark.parametrize(
    ("policy", "left"), [(Pruned.first_release(), (1, 2, 3, 4, 5, 6)), (Pruned(), (1, 2, 3, 4, 5))]
)
def test_how_many_stay_while_memory_fills_up(policy: Pruned, left: tuple[int, ...]) -> None:
    found = [len(policy.select(followed(last), MemoryQuery(last + 1)).attended_frames) for last in range(len(left))]
    assert tuple(found) == left


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (Pruned.first_release(), {5: 5, 6: 6, 7: 5, 8: 6, 9: 7}),
        (Pruned.published(), {5: 5, 6: 5, 7: 5, 8: 5, 9: 5}),
        (Pruned(), {5: 5, 6: 5, 7: 5, 8: 6, 9: 7}),
    ],
    ids=["first release", "published", "default"],
)
def test_how_many_stay_by_how_many_are_there(policy: Pruned, left: dict[int, int]) -> None:
    for there, expected in left.items():
        num_prompted = max(1, there - 6)
        bank = bank_of(
            *(entry(i, prompted=True) for i in range(num_prompted)),
            *(entry(i) for i in range(50 - (there - num_prompted), 50)),
        )
        assert len(policy.select(bank, MemoryQuery(50)).attended_frames) == expected, there


def test_corrections_do_not_cost_recent_memories() -> None:
    bank = followed(29, prompted=(0, 4, 9, 14, 19))
    found = read(Pruned().select(bank, MemoryQuery(30)))
    assert [frame for frame, slot in found if slot == 0] == [0, 4, 9, 14, 19]
    assert len(found) == 5 + 4


def test_a_correction_is_never_left_out_but_the_releases_leave_it_out() -> None:
    bank = followed(7, {**WORKED, 3: 1.0}, prompted=(0, 3))
    assert Pruned().select(bank, MemoryQuery(8)).attended_frames == (0, 3, 4, 5, 6, 7)
    assert Pruned.published().select(bank, MemoryQuery(8)).attended_frames == (0, 4, 5, 6, 7)
    assert Pruned.first_release().select(bank, MemoryQuery(8)).attended_frames == (0, 4, 5, 6, 7)


def test_a_prompted_frame_read_as_a_recent_one_is_protected_too() -> None:
    policy = Pruned(recent=Recent(max_attended_prompted=2), num_pruned=3)
    bank = bank_of(
        *(entry(i, 0.99, prompted=True) for i in (0, 6, 7, 20)),
        *(entry(i, alike) for i, alike in ((4, 0.2), (5, 0.3), (8, 0.5), (9, 1.0))),
    )
    everything = [(7, 0), (20, 0), (4, 6), (5, 5), (6, 4), (8, 2), (9, 1)]
    assert read(policy.recent.select(bank, MemoryQuery(10))) == everything
    assert read(policy.select(bank, MemoryQuery(10))) == [pair for pair in everything if pair != (8, 2)]


@each_rule
def test_of_equals_the_older_go(policy: Pruned) -> None:
    found = policy.select(followed(7, dict.fromkeys(range(2, 7), 0.5)), MemoryQuery(8))
    assert found.attended_frames == (0, 4, 5, 6, 7)


def test_resemblance_is_summed_over_places_in_full_precision() -> None:
    torch.manual_seed(0)
    features = torch.randn(4, 8, 16, 16).bfloat16()
    memories = [replace(entry(i), features=features[i]) for i in range(4)]
    found = resemblance_to_last([memories, memories[::-1]])
    unit = features.double() / features.double().norm(dim=1, keepdim=True)
    gram = torch.einsum("ichw,jchw->ij", unit, unit).float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.stack([gram[3, :3], gram[0, [3, 2, 1]]]), rtol=0, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resemblance_to_last([memories, memories[::-1]]), found)


def test_a_difference_that_half_precision_would_lose_decides() -> None:
    def noisy(index: int, share: float) -> MemoryEntry:
        torch.manual_seed(7)
        base, other = torch.randn(2, 16, 32, 32)
        return replace(entry(index, prompted=index == 0), features=base + share * other)

    # Sums near 1024 that lie within one step of bfloat16, which is 4 there.
    shares = {2: 0.010, 3: 0.030, 4: 0.020, 5: 0.040, 6: 0.025, 7: 0.0}
    bank = bank_of(noisy(0, 1.0), *(noisy(i, share) for i, share in shares.items()))
    scores = resemblance_to_last([list(bank.recent.values())])
    assert len(set(scores.bfloat16()[0].tolist())) == 1
    assert Pruned().select(bank, MemoryQuery(8)).attended_frames == (0, 3, 5, 6, 7)


def test_what_is_left_out_once_may_be_read_again() -> None:
    policy = Pruned()
    bank = followed(7, WORKED)
    assert 5 not in policy.select(bank, MemoryQuery(8)).attended_frames
    policy.admit(bank, replace(entry(8), features=-bank.recent[5].features), MemoryQuery(8))
    assert 5 in policy.select(bank, MemoryQuery(9)).attended_frames


def test_a_model_that_reads_one_recent_frame_has_nothing_to_prune() -> None:
    policy = Pruned.reading(num_recent=1)
    for last in range(6):
        found = policy.select(followed(last), MemoryQuery(last + 1))
        assert found.kept is None
        assert found.attended_frames == ((0,) if last == 0 else (0, last))


def test_pruning_nothing_reads_what_recent_reads() -> None:
    for last in range(12):
        bank, query = followed(last, prompted=(0, 3)), MemoryQuery(last + 1)
        assert read(Pruned(num_pruned=0).select(bank, query)) == read(Recent().select(bank, query))


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_pruned >= 0, got -1"):
        Pruned(num_pruned=-1)


# --- several objects ---------------------------------------------------------------------------------------------

OTHER = {2: 0.1, 3: 0.95, 4: 0.4, 5: 0.6, 6: 0.2}


def test_each_object_has_its_own_choice_unless_they_choose_together() -> None:
    banks, query = [followed(7, WORKED), followed(7, OTHER)], MemoryQuery(8)
    own = Pruned().select_together(banks, query)
    assert [found.attended_frames for found in own] == [(0, 3, 4, 6, 7), (0, 2, 4, 6, 7)]
    # Sums: 1.0, 1.05, 0.9, 1.3, 0.5.
    together = replace(Pruned(), joint=True).select_together(banks, query)
    assert [found.attended_frames for found in together] == [(0, 2, 4, 6, 7)] * 2


def test_objects_that_remember_other_frames_have_no_say() -> None:
    late = bank_of(entry(1, prompted=True), *(entry(i, OTHER.get(i, 1.0)) for i in range(2, 8)))
    found = Pruned.first_release().select_together([followed(7, WORKED), late], MemoryQuery(8))
    assert [f.attended_frames for f in found] == [(0, 3, 4, 6, 7), (1, 2, 4, 6, 7)]


# --- the device --------------------------------------------------------------------------------------------------


def test_choosing_does_not_wait_for_the_device() -> None:
    """Tensors without values: whoever asked for one on the host would fail."""
    bank = followed(7)
    for tier in (bank.prompted, bank.recent):
        tier.update({i: replace(held, features=held.features.to("meta")) for i, held in tier.items()})
    first, second = Pruned.first_release().select_together([bank, bank], MemoryQuery(8))
    assert first.kept.device.type == "meta"
    assert (first.num_attended, second.num_attended) == (5, 5)
    with pytest.raises((RuntimeError, NotImplementedError)):
        _ = first.attended_frames


def test_the_choice_has_no_gradient() -> None:
    bank = followed(7, WORKED)
    bank.recent.update({i: replace(e, features=e.features.float().requires_grad_()) for i, e in bank.recent.items()})
    found = Pruned().select(bank, MemoryQuery(8))
    assert not found.kept.requires_grad
    assert all(held.features.requires_grad for held, slot in found.spatial if slot)


def test_a_session_prunes_by_name_and_says_what_it_read() -> None:
    frames = moving_square_frames(12, hw=(32, 48), side_px=8, step_px=2)
    session = Session(ColorModel(), "pruned")
    session.add_prompt(0, 1, MaskPrompt(frames[1][0]))
    attended = [
        session.step(Frame(index=i, name=str(i), image=image)).objects[1].attended_frames
        for i, image in enumerate(frames[0])
    ]
    assert [len(read) for read in attended] == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5]
    for index, read in enumerate(attended[1:], start=1):
        assert read[0] == 0
        assert read[-1] == index - 1
        assert set(read[1:]) <= set(range(index - 6, index))
        assert list(read) == sorted(read)


# --- whatever happens --------------------------------------------------------------------------------------------

policies = st.builds(
    Pruned,
    recent=st.builds(
        Recent,
        num_recent=st.integers(0, 7),
        stride=st.integers(1, 3),
        max_attended_prompted=st.none() | st.integers(2, 3),
    ),
    num_pruned=st.integers(0, 8),
    protect_prompted=st.booleans(),
    only_when_full=st.booleans(),
    joint=st.booleans(),
)


@st.composite
def banks(draw: st.DrawFn) -> MemoryBank:
    frames = draw(st.sets(st.integers(0, 30), max_size=20))
    return bank_of(*(entry(i, draw(st.floats(-1, 1)), prompted=draw(st.integers(0, 4)) == 0) for i in sorted(frames)))


@settings(max_examples=300, deadline=None)
@given(
    policy=policies,
    held=st.lists(banks(), min_size=1, max_size=3),
    now=st.integers(0, 31),
    way=st.sampled_from((1, -1)),
)
def test_survivors_are_some_of_what_recent_reads(policy: Pruned, held: list[MemoryBank], now: int, way: Any) -> None:
    query = MemoryQuery(now, way)
    for bank, selection in zip(held, policy.select_together(held, query), strict=True):
        everything = policy.recent.select(bank, query)
        found, there = read(selection), read(everything)
        assert [pair for pair in there if pair in found] == found, "not in the same order, or in other slots"
        assert selection.pointer_frames == everything.pointer_frames
        assert len(found) == selection.num_attended
        assert found[:1] == there[:1]
        assert found[-1:] == there[-1:]
        num_lost = len(there) - len(found)
        if policy.only_when_full:
            assert num_lost <= policy.num_pruned
        if policy.protect_prompted:
            assert not any(bank.prompted.get(frame) for frame, _ in set(there) - set(found))
            unprompted = sum(frame not in bank.prompted for frame, _ in found)
            ceiling = max(2, policy.recent.num_recent - policy.num_pruned)
            assert policy.only_when_full or unprompted <= ceiling
            assert num_lost <= policy.num_pruned
        elif not policy.only_when_full:
            assert len(found) <= max(2, policy.recent.num_recent + 1 - policy.num_pruned)

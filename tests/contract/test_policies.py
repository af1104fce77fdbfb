"""What every memory policy promises, whatever it remembers."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surgvos.config.load import from_plain, to_plain
from surgvos.errors import ConfigError
from surgvos.memory import POLICIES, MemoryBank, MemoryEntry, MemoryPolicy, MemoryQuery, policy_by_name
from surgvos.memory.entry import resolved
from surgvos.memory.policy import select_all

LAST_FRAME = 60

each_policy = pytest.mark.parametrize("name", POLICIES)


def entry(frame_index: int, *, prompted: bool = False) -> MemoryEntry:
    """An entry that looks like no other."""
    generator = torch.Generator().manual_seed(frame_index)
    return MemoryEntry(
        frame_index=frame_index,
        features=torch.randn(4, 2, 2, generator=generator),
        pointer=torch.randn(8, generator=generator),
        presence=float(torch.rand((), generator=generator)),
        iou=float(torch.rand((), generator=generator)),
        prompted=prompted,
        logits=torch.zeros(2, 2) if prompted else None,
    )


def follow(policy: MemoryPolicy, bank: MemoryBank, query: MemoryQuery, *, prompted: bool) -> None:
    """Do what a session does in one frame."""
    if not prompted:
        policy.select(bank, query)
    policy.admit(bank, entry(query.frame_index, prompted=prompted), query)


def snapshot(bank: MemoryBank) -> tuple[object, ...]:
    """Everything that a bank holds, by identity and in order."""
    tiers = (bank.prompted, bank.recent, bank.long_term)
    held = [[(index, id(entry)) for index, entry in tier.items()] for tier in tiers]
    return (*held, [id(entry) for entry in bank.candidates])


histories = st.lists(st.tuples(st.integers(0, LAST_FRAME), st.booleans(), st.sampled_from((1, -1))), max_size=60)
"""(frame, prompted, direction): frames in any order, any number of times."""


@each_policy
@settings(max_examples=100)
@given(history=histories, now=st.integers(0, LAST_FRAME), direction=st.sampled_from((1, -1)))
def test_selections_make_sense_after_any_history(name: str, history: list, now: int, direction: Any) -> None:
    policy, bank = POLICIES[name](), MemoryBank()
    for frame_index, prompted, way in history:
        follow(policy, bank, MemoryQuery(frame_index, way), prompted=prompted)
    query = MemoryQuery(now, direction)
    before = snapshot(bank)
    found = policy.select(bank, query)

    assert snapshot(bank) == before, "select wrote to the bank"
    assert policy.select(bank, query).attended_frames == found.attended_frames, "select is not repeatable"
    assert len(set(found.attended_frames)) == len(found.attended_frames), "a frame is read twice"
    held = set(map(id, bank))
    for remembered, slot in resolved([found])[0].spatial:
        assert id(remembered) in held
        assert remembered.features is not None
        if slot > 0:
            assert query.distance(remembered.frame_index) == slot
        if not remembered.prompted:
            assert query.distance(remembered.frame_index) > 0, "a followed frame lies ahead"
    assert len(found.pointers) == len(found.pointer_frames)
    for (pointer, offset), frame_index in zip(found.pointers, found.pointer_frames, strict=True):
        assert pointer.shape == (8,)
        assert query.distance(frame_index) >= 0, "a pointer comes from a frame that lies ahead"
        assert (offset == 0) == (frame_index == now)
        assert offset >= 0


@each_policy
def test_an_empty_bank_gives_an_empty_selection(name: str) -> None:
    found = POLICIES[name]().select(MemoryBank(), MemoryQuery(3))
    assert (found.spatial, found.pointers, found.pointer_frames) == ((), (), ())


@each_policy
@pytest.mark.parametrize("direction", [1, -1])
def test_what_was_just_seen_is_read(name: str, direction: Any) -> None:
    policy, bank = POLICIES[name](), MemoryBank()
    for step in range(30):
        follow(policy, bank, MemoryQuery(100 + direction * step, direction), prompted=step == 0)
    found = policy.select(bank, MemoryQuery(100 + direction * 30, direction))
    assert 100 in found.attended_frames, "the prompted frame is forgotten"
    assert 100 + direction * 29 in found.attended_frames, "the last frame is forgotten"


@each_policy
def test_backward_mirrors_forward(name: str) -> None:
    attended = {}
    for direction in (1, -1):
        policy, bank = POLICIES[name](), MemoryBank()
        for step in range(40):
            # The same looks in the same order, at mirrored places.
            look = replace(entry(step, prompted=step == 0), frame_index=500 + direction * step)
            policy.admit(bank, look, MemoryQuery(look.frame_index, direction))
        found = resolved([policy.select(bank, MemoryQuery(500 + direction * 40, direction))])[0]
        steps = [(direction * (held.frame_index - 500), slot) for held, slot in found.spatial]
        offsets = [offset for _, offset in found.pointers]
        attended[direction] = steps, [direction * (i - 500) for i in found.pointer_frames], offsets
    assert attended[1] == attended[-1]


@each_policy
@pytest.mark.parametrize("direction", [1, -1])
def test_memory_is_bounded(name: str, direction: Any) -> None:
    policy, bank = POLICIES[name](), MemoryBank()
    entries: list[int] = []
    nbytes: list[int] = []
    for step in range(5_000):
        query = MemoryQuery(20_000 + direction * step, direction)
        follow(policy, bank, query, prompted=step % 97 == 0)
        if step % 10 == 0:
            entries.append(sum(1 for _ in bank))
            nbytes.append(sum(bank.storages().values()))
    # Long after the last tier is full, nothing is added any more.
    assert max(entries[-100:]) == max(entries[100:200])
    assert max(nbytes[-100:]) == max(nbytes[100:200])
    assert max(entries) < 100


@each_policy
@settings(max_examples=30)
@given(seed=st.integers(0, 1000))
def test_memory_is_bounded_when_frames_come_in_any_order(name: str, seed: int) -> None:
    policy, bank = POLICIES[name](), MemoryBank()
    rng = random.Random(seed)
    for _ in range(300):
        query = MemoryQuery(rng.randrange(10_000), rng.choice((1, -1)))
        follow(policy, bank, query, prompted=rng.random() < 0.2)
        assert sum(1 for _ in bank) < 100


@each_policy
def test_settings_survive_json(name: str) -> None:
    policy: Any = POLICIES[name]()
    for plain in (asdict(policy), to_plain(policy)):
        assert from_plain(type(policy), json.loads(json.dumps(plain))) == policy


@each_policy
def test_settings_out_of_range_are_refused_by_name(name: str) -> None:
    policy: Any = POLICIES[name]()
    plain = to_plain(policy)
    for setting in fields(policy):
        if isinstance(plain[setting.name], bool):
            continue
        with pytest.raises(ConfigError, match=rf"expected.*{setting.name}.*-7") as refused:
            from_plain(type(policy), {**plain, setting.name: -7})
        assert "got" in str(refused.value)


@each_policy
def test_unknown_settings_are_refused_with_the_nearest_name(name: str) -> None:
    policy: Any = POLICIES[name]()
    known = fields(policy)[0].name
    with pytest.raises(ConfigError, match=f"try '{known}'"):
        from_plain(type(policy), {f"{known}x": 1})


@each_policy
def test_settings_do_not_change(name: str) -> None:
    policy: Any = POLICIES[name]()
    with pytest.raises(AttributeError):
        setattr(policy, fields(policy)[0].name, 3)


@each_policy
@pytest.mark.parametrize("num_recent", [1, 3, 6])
def test_policies_are_found_by_name(name: str, num_recent: int) -> None:
    policy: Any = policy_by_name(name, num_recent)
    assert type(policy) is type(POLICIES[name]())
    bank = MemoryBank()
    for step in range(30):
        follow(policy, bank, MemoryQuery(step), prompted=step == 0)
    found = resolved([policy.select(bank, MemoryQuery(30))])[0]
    slots = [slot for held, slot in found.spatial if not held.prompted]
    assert max(slots) <= num_recent
    assert slots[-1] == 1


@each_policy
def test_all_objects_at_once_are_as_one_by_one_where_they_remember_different_frames(name: str) -> None:
    policy, banks = POLICIES[name](), [MemoryBank() for _ in range(3)]
    for step in range(30):
        for start, bank in enumerate(banks):
            if step >= start:
                follow(policy, bank, MemoryQuery(step), prompted=step == start)
    query = MemoryQuery(30)
    together = [found.attended_frames for found in select_all(policy, banks, query)]
    assert together == [policy.select(bank, query).attended_frames for bank in banks]


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected a memory policy of .*, got 'forever'"):
        policy_by_name("forever", num_recent=6)

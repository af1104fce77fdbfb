"""ReSurgSAM2's long-term memory, against the rule written out and traced by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surgvos.errors import ConfigError
from surgvos.memory import MemoryBank, MemoryEntry, MemoryQuery, MemorySelection, Recent
from surgvos.memory.diversity import Diverse, resemblance


def entry(
    frame_index: int, *, angle: float = 0.0, iou: float = 0.99, presence: float = 1.0, prompted: bool = False
) -> MemoryEntry:
    """An entry whose rows all point the same way; the cosine with another one is that of the angle between."""
    row = torch.tensor([torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))])
    return MemoryEntry(
        frame_index=frame_index,
        features=row.expand(2, 3, 2).clone(),
        pointer=torch.tensor([float(frame_index)]),
        presence=presence,
        iou=iou,
        prompted=prompted,
        logits=torch.zeros(1, 1) if prompted else None,
    )


def follow(policy: Diverse, bank: MemoryBank, entries: list[MemoryEntry], direction: int = 1) -> None:
    for held in entries:
        policy.admit(bank, held, MemoryQuery(held.frame_index, direction))  # type: ignore[arg-type]


def read(selection: MemorySelection) -> list[tuple[int, int]]:
    return [(held.frame_index, slot) for held, slot in selection.spatial]


def held(bank: MemoryBank) -> tuple[list[int], list[int]]:
    return list(bank.long_term), [candidate.frame_index for candidate in bank.candidates]


def test_resemblance_is_a_sum_of_cosines_of_rows() -> None:
    one, two = entry(0, angle=0.3), entry(1, angle=1.4)
    expected = 2 * 3 * torch.cos(torch.tensor(1.1))
    torch.testing.assert_close(resemblance([two, one], one), torch.stack([expected, torch.tensor(6.0)]))
    # Rows count alike, however large their values are: no cosine of the whole map.
    louder = MemoryEntry(2, two.features * torch.tensor([1.0, 100.0])[:, None, None], None, 1, 1, False)  # type: ignore[operator]
    torch.testing.assert_close(resemblance([louder], one), expected[None])


def test_the_least_alike_of_five_joins_and_the_others_are_let_go() -> None:
    policy, bank = Diverse(), MemoryBank()
    angles = [0.1, 0.9, 0.4, 0.2, 0.3]
    follow(policy, bank, [entry(0, prompted=True)])
    follow(policy, bank, [entry(5 + i, angle=angle) for i, angle in enumerate(angles[:4])])
    assert held(bank) == ([], [5, 6, 7, 8])
    follow(policy, bank, [entry(9, angle=angles[4])])
    assert held(bank) == ([6], [])
    # From now on the newest long-term memory is what candidates are compared with: 0.9 is alike, 0.1 is not.
    follow(policy, bank, [entry(10 + i, angle=angle) for i, angle in enumerate([0.9, 0.8, 0.7, 0.1, 0.6])])
    assert held(bank) == ([6, 13], [])


def test_of_equals_the_earliest_joins() -> None:
    policy, bank = Diverse(), MemoryBank()
    follow(policy, bank, [entry(0, prompted=True)])
    follow(policy, bank, [entry(1 + i, angle=angle) for i, angle in enumerate([0.1, 0.7, 0.2, 0.7, 0.7])])
    assert held(bank) == ([2], [])


@pytest.mark.parametrize("direction", [1, -1])
def test_the_reference_is_the_newest_prompted_frame_while_there_is_no_long_term_memory(direction: int) -> None:
    policy, bank = Diverse(), MemoryBank()
    # Given in another order than they lie in time.
    follow(policy, bank, [entry(40 + direction, angle=1.5, prompted=True), entry(40, prompted=True)], direction)
    looks = [entry(40 + direction * (2 + i), angle=angle) for i, angle in enumerate([1.5, 0.1, 1.4, 0.1, 1.5])]
    follow(policy, bank, looks, direction)
    assert held(bank)[0] == [40 + direction * 3]


def test_only_good_masks_are_candidates() -> None:
    policy, bank = Diverse(min_presence=0.5), MemoryBank()
    follow(policy, bank, [entry(0, prompted=True)])
    follow(policy, bank, [entry(1, iou=0.95), entry(2, iou=0.951), entry(3, iou=0.5), entry(4, presence=0.2)])
    assert held(bank) == ([], [2])
    follow(Diverse(), bank, [entry(5, presence=0.2)])
    assert held(bank) == ([], [2, 5])


def test_the_oldest_long_term_memory_goes_first_and_the_prompted_frame_never() -> None:
    policy, bank = Diverse(), MemoryBank()
    follow(policy, bank, [entry(0, prompted=True)])
    seen = []
    for start in range(1, 26, 5):
        follow(policy, bank, [entry(start + i, angle=start + i) for i in range(5)])
        seen.append(list(bank.long_term)[-1])
        assert list(bank.long_term) == seen[-3:]
    assert list(bank.prompted) == [0]


def test_long_term_memories_are_read_last_like_prompted_ones_and_give_no_pointers() -> None:
    policy, bank = Diverse(), MemoryBank()
    follow(policy, bank, [entry(0, prompted=True)])
    follow(policy, bank, [entry(i, angle=i * 0.1, iou=0.99 if i <= 10 else 0.5) for i in range(1, 21)])
    assert held(bank) == ([5, 10], [])
    found = policy.select(bank, MemoryQuery(21))
    assert read(found) == [(0, 0), *((21 - slot, slot) for slot in range(6, 0, -1)), (5, 0), (10, 0)]
    plain = Recent().select(bank, MemoryQuery(21))
    assert found.pointer_frames == plain.pointer_frames


@pytest.mark.parametrize("direction", [1, -1])
def test_long_term_memories_among_the_recent_ones_are_passed_over(direction: int) -> None:
    policy, bank = Diverse(), MemoryBank()
    follow(policy, bank, [entry(50, prompted=True)], direction)
    entries = [entry(50 + direction * i, angle=float(i == 3), iou=0.99 if i <= 5 else 0.5) for i in range(1, 12)]
    for number, held_entry in enumerate(entries, start=1):
        follow(policy, bank, [held_entry], direction)
        found = policy.select(bank, MemoryQuery(50 + direction * (number + 1), direction))  # type: ignore[arg-type]
        is_read_as_long_term = (50 + direction * 3, 0) in read(found)
        # Frame 3 lies among the six recent ones up to frame 9.
        assert is_read_as_long_term == (number + 1 > 9)
        assert len(set(found.attended_frames)) == len(found.attended_frames)


def test_a_prompt_replaces_a_candidate_and_a_long_term_memory() -> None:
    policy, bank = Diverse(), MemoryBank()
    follow(policy, bank, [entry(0, prompted=True), *(entry(1 + i, angle=float(i == 2)) for i in range(7))])
    assert held(bank) == ([3], [6, 7])
    follow(policy, bank, [entry(3, prompted=True), entry(6, prompted=True)])
    assert held(bank) == ([], [7])


def test_what_lies_ahead_is_let_go_when_a_frame_is_followed_again() -> None:
    policy, bank = Diverse(), MemoryBank()
    first_pass = [entry(1 + i, angle=float(i == 2)) for i in range(7)]
    follow(policy, bank, [entry(0, prompted=True), *first_pass])
    follow(policy, bank, [entry(2, prompted=True)])
    assert held(bank) == ([3], [6, 7]), "a prompt costs nothing that is remembered elsewhere"
    follow(policy, bank, [entry(3, iou=0.5)])
    assert held(bank) == ([], [])


@given(
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from((0.9, 0.96)), st.booleans()), max_size=80),
    st.sampled_from((1, -1)),
)
def test_any_history_follows_the_published_rule(looks: list[tuple[float, float, bool]], direction: int) -> None:
    """The rule as published, written with lists of frames over a history that forgets nothing."""
    policy, bank = Diverse(), MemoryBank()
    history = {0: entry(500, prompted=True)}
    follow(policy, bank, [history[0]], direction)
    long_term: list[int] = []
    pool: list[int] = []
    for step, (angle, iou, followed) in enumerate(looks, start=1):
        if not followed:
            continue  # a frame that was not tracked is no candidate
        history[step] = entry(500 + direction * step, angle=angle, iou=iou)
        follow(policy, bank, [history[step]], direction)
        if iou > 0.95:
            pool.append(step)
        if len(pool) == 5:
            reference = history[long_term[-1] if long_term else 0]
            scores = [float(resemblance([history[i]], reference)) for i in pool]
            long_term = [*long_term, pool[scores.index(min(scores))]][-3:]
            pool = []
        assert held(bank) == ([500 + direction * i for i in long_term], [500 + direction * i for i in pool])


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"min_iou": 1.2}, r"min_iou in 0\.\.1, got 1\.2"),
        ({"min_presence": -0.1}, r"min_presence in 0\.\.1, got -0\.1"),
        ({"pool_size": 0}, "pool_size >= 1, got 0"),
        ({"max_long_term": -1}, "max_long_term >= 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Diverse(**settings_)  # type: ignore[arg-type]


def test_without_room_there_is_no_long_term_memory() -> None:
    policy, bank = Diverse(max_long_term=0), MemoryBank()
    follow(policy, bank, [entry(0, prompted=True), *(entry(1 + i) for i in range(9))])
    assert held(bank) == ([], [6, 7, 8, 9])

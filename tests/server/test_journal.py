"""Every edit is written before it counts, can be taken back, and survives a kill."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgvos.core.results import Phase
from surgvos.errors import InputError, SurgvosError
from surgvos.server.label import journal as journal_module
from surgvos.server.label.journal import Journal
from surgvos.server.label.labels import (
    Change,
    LabelledObject,
    Labels,
    ObjectMask,
    Origin,
    SetLock,
    SetMask,
    SetObject,
    changes_from_plain,
    changes_to_plain,
)

HW = (4, 5)


def mask_of(seed: int, **more: Any) -> ObjectMask:
    return ObjectMask.of(np.random.default_rng(seed).random(HW) > 0.5, Origin.CLICK, **more)


def plain(labels: Labels) -> list[Any]:
    """What labels say, whatever the order in which it was said."""
    return sorted(json.dumps(item) for item in changes_to_plain(labels.all()))


masks = st.builds(
    mask_of,
    st.integers(0, 99),
    phase=st.sampled_from(Phase),
    confidence=st.sampled_from([0.0, 0.25, 1.0]),
    points=st.lists(st.tuples(st.floats(0, 4), st.floats(0, 3), st.integers(0, 1)), max_size=2).map(tuple),
)
objects = st.builds(
    LabelledObject,
    name=st.text(max_size=5),
    color=st.tuples(*[st.integers(0, 255)] * 3),
    label=st.none() | st.just("hook"),
)
changes = st.one_of(
    st.builds(SetObject, st.integers(1, 3), st.none() | objects),
    st.builds(SetLock, st.integers(0, 3), st.booleans()),
    st.builds(SetMask, st.integers(0, 3), st.integers(1, 3), st.none() | masks),
)
edits = st.lists(st.lists(changes, max_size=4) | st.sampled_from(["undo", "redo"]), max_size=12)


@given(st.lists(changes, max_size=6), st.lists(changes, max_size=6))
def test_the_inverse_of_changes_takes_them_back(first: list[Change], second: list[Change]) -> None:
    labels = Labels()
    labels.apply(first)
    before = plain(labels)
    inverse = labels.apply(second)
    labels.apply(inverse)
    assert plain(labels) == before


@given(st.lists(changes, max_size=6))
def test_changes_survive_json(made: list[Change]) -> None:
    again = changes_from_plain(json.loads(json.dumps(changes_to_plain(made))), HW)
    assert changes_to_plain(again) == changes_to_plain(made)


@given(masks)
def test_a_mask_is_what_it_was(value: ObjectMask) -> None:
    again = ObjectMask.from_plain(value.to_plain(), HW)
    np.testing.assert_array_equal(again.mask, value.mask)
    assert again.area_px == value.mask.sum()


@settings(max_examples=25, deadline=None)
@given(edits)
def test_what_is_read_again_is_what_was_done(made: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        journal = Journal(path, HW)
        for edit in made:
            if edit == "undo":
                journal.undo()
            elif edit == "redo":
                journal.redo()
            else:
                journal.do("edit", 0, edit)
        # Not closed: a kill closes nothing.
        again = Journal(path, HW)
        assert plain(again.labels) == plain(journal.labels)
        assert [s.number for s in again.done] == [s.number for s in journal.done]
        assert [s.number for s in again.undone] == [s.number for s in journal.undone]
        while journal.undo() is not None:
            again.undo()
        assert plain(journal.labels) == plain(again.labels) == []
        journal.close()
        again.close()


def test_an_edit_of_many_lines_is_taken_back_as_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl", HW)
    step = journal.new_step()
    for frame in range(3):
        journal.do("track", frame, [SetMask(frame, 1, mask_of(frame))], step)
    assert sorted(journal.labels.masks) == [0, 1, 2]
    journal.undo()
    assert journal.labels.masks == {}
    journal.redo()
    assert sorted(journal.labels.masks) == [0, 1, 2]
    journal.close()


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_half_a_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, HW)
    journal.do("lock", 1, [SetLock(1, True)])
    journal.do("lock", 2, [SetLock(2, True)])
    journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, HW)
    assert again.labels.locked == {1}
    again.do("lock", 3, [SetLock(3, True)])
    again.close()
    assert Journal(path, HW).labels.locked == {1, 3}


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b'{"step": 1}',
        b'{"undo": 1}',
        b'{"step": 1, "edit": "x", "frame": 0, "set": [["nothing", 1]]}',
        b'{"step": 1, "edit": "x", "frame": 0, "set": [["mask", 0, 1, {"counts": [3], "origin": "click", '
        b'"phase": "tracking", "confidence": 1}]]}',
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(InputError, match="in line 1 of"):
        Journal(path, HW)


def test_a_long_history_becomes_short_and_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "NUM_KEPT_STEPS", 3)
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, HW)
    for number in range(10):
        journal.do("click", number % 2, [SetMask(number % 2, 1, mask_of(number))])
    journal.undo()
    expected, last = plain(journal.labels), [step.number for step in journal.done][-3:]
    journal.close()
    for _ in range(2):
        again = Journal(path, HW)
        assert plain(again.labels) == expected
        assert [step.number for step in again.done] == last
        assert len(again.undone) == 1
        again.close()
    assert len(path.read_bytes().splitlines()) == 1 + 3 + 1 + 1
    again = Journal(path, HW)
    again.redo()
    np.testing.assert_array_equal(again.labels.masks[1][1].mask, mask_of(9).mask)
    again.close()


@contextmanager
def no_space_beyond(num_bytes: int) -> Iterator[None]:
    """Let the system take no file beyond a size."""
    resource = pytest.importorskip("resource", reason="this system has no limits to set")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_nothing_changes_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, HW)
    journal.do("lock", 1, [SetLock(1, True)])
    for _ in range(2):
        with no_space_beyond(path.stat().st_size + 10), pytest.raises(SurgvosError, match="No space left"):
            journal.do("lock", 2, [SetLock(2, True)])
    assert journal.labels.locked == {1}
    journal.do("lock", 3, [SetLock(3, True)])
    journal.close()
    assert Journal(path, HW).labels.locked == {1, 3}


def test_a_disk_that_fails_is_told_until_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal.jsonl", HW)
    journal.do("lock", 1, [SetLock(1, True)])

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journal_module.os, "fsync", fail)
    for _ in range(2):
        with pytest.raises(SurgvosError, match="Input/output"):
            journal.sync()
    monkeypatch.undo()
    journal.sync()
    monkeypatch.setattr(journal_module.os, "fsync", fail)
    journal.sync()  # nothing is left to wait for
    journal.close()

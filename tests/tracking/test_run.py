"""A video into a folder: what is written, and that kills change nothing."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surgvos.core import Frame, MaskPrompt, PointPrompt, TextPrompt
from surgvos.errors import InputError
from surgvos.io.masks import read_label_map
from surgvos.io.results import read_frame_log
from surgvos.tracking.passes import Direction
from surgvos.tracking.run import RunSettings, RunSummary, segment_video
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel, PhraseModel, numbered

HW = (24, 40)
NUM_FRAMES = 60
RECORD = {"source": "made up"}


def picture(index: int) -> Frame:
    image = np.full((*HW, 3), 90, dtype=np.uint8)
    left = 2 + index % 30
    image[4:10, left : left + 6] = (220, 20, 20)
    image[16:20, 10:30] = (20, 220, 20)
    return Frame(index=index, name=f"{index:05d}", image=image, time_s=index / 25)


class Movie:
    def __len__(self) -> int:
        return NUM_FRAMES

    def __getitem__(self, index: int) -> Frame:
        return picture(index)

    def __iter__(self) -> Iterator[Frame]:
        return (picture(index) for index in range(NUM_FRAMES))


@pytest.fixture(autouse=True)
def a_second_between_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr("surgvos.tracking.run.time.monotonic", lambda: float(next(clock)))


class Killed(BaseException):
    """Stands for a process that is gone: nothing in the run may catch it and save."""


def prompted_session() -> Session:
    session = Session(ColorModel())
    session.add_prompt(3, 1, MaskPrompt((picture(3).image == (220, 20, 20)).all(axis=2)))
    session.add_prompt(3, 2, PointPrompt((15, 17)))
    session.add_prompt(31, 1, PointPrompt((6, 6)))
    return session


def run(
    out: Path, *, resume: bool = False, kill_at: int | None = None, error: type = Killed, **more: object
) -> RunSummary:
    settings = RunSettings(checkpoint_seconds=7, **more)  # type: ignore[arg-type]
    count = 0

    def progress(num_done: int, num_in_all: int | None) -> None:
        nonlocal count
        count += 1
        if kill_at is not None and count == kill_at:
            raise error

    return segment_video(prompted_session(), Movie(), out, settings, RECORD, resume=resume, progress=progress)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "run.json"
    }


def test_a_run_writes_masks_a_log_and_a_record(tmp_path: Path) -> None:
    summary = run(tmp_path / "out")
    assert summary.num_frames == summary.num_frames_now == NUM_FRAMES - 3
    label_map = read_label_map(tmp_path / "out/masks/00010.png")
    assert label_map.shape == HW
    assert np.unique(label_map).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(label_map == 1, (picture(10).image == (220, 20, 20)).all(axis=2))
    records = list(read_frame_log(tmp_path / "out/frames.jsonl"))
    assert [record.index for record in records] == list(range(3, NUM_FRAMES))
    assert records[0].objects[1].result.prompted
    assert records[0].objects[1].area_px == 36
    assert records[1].time_s == pytest.approx(4 / 25)
    written = json.loads((tmp_path / "out/run.json").read_text())
    assert (written["status"], written["num_frames"], written["record"]) == ("done", NUM_FRAMES - 3, RECORD)
    assert not (tmp_path / "out/resume.safetensors").exists()


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("seed", [0, 1])
def test_kills_change_nothing(tmp_path: Path, direction: str, seed: int) -> None:
    run(tmp_path / "whole", direction=direction)
    draw = random.Random(seed)
    for attempt in range(5):
        with pytest.raises(Killed):
            run(tmp_path / "killed", resume=attempt > 0, kill_at=draw.randint(1, 14), direction=direction)
    summary = run(tmp_path / "killed", resume=True, direction=direction)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")
    assert summary.num_frames == NUM_FRAMES - (3 if direction == "forward" else 0)


def test_ctrl_c_loses_not_even_a_frame(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", kill_at=10, error=KeyboardInterrupt)
    assert json.loads((tmp_path / "stopped/run.json").read_text())["status"] == "running"
    assert run(tmp_path / "stopped", resume=True).num_frames_now == NUM_FRAMES - 3 - 10
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path / "out")
    before = files_of(tmp_path / "out")
    assert run(tmp_path / "out", resume=True).num_frames_now == 0
    assert files_of(tmp_path / "out") == before


def test_nothing_finished_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path / "out", kill_at=10)
    with pytest.raises(InputError, match="try --resume"):
        run(tmp_path / "out")


def test_a_run_that_never_began_leaves_the_folder_free(tmp_path: Path) -> None:
    session = Session(ColorModel())
    session.add_prompt(0, 1, PointPrompt((500, 3)))
    with pytest.raises(InputError, match="inside the 40x24 image"):
        segment_video(session, Movie(), tmp_path / "out", RunSettings(), RECORD)
    assert run(tmp_path / "out").num_frames == NUM_FRAMES - 3


def test_another_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path / "out", kill_at=10)
    with pytest.raises(InputError, match=r"settings of the stopped run, got others \(source\)"):
        segment_video(prompted_session(), Movie(), tmp_path / "out", RunSettings(), {"source": "x"}, resume=True)


def test_an_overlay_is_drawn_on_every_frame(tmp_path: Path) -> None:
    from surgvos.io.video import open_video

    run(tmp_path / "out", overlay=True)
    overlay = open_video(tmp_path / "out/overlay.mp4")
    assert len(overlay) == NUM_FRAMES
    assert overlay[0].hw == HW
    # Frame 10 shows both objects, tinted; frame 0 comes before the first prompt.
    assert np.abs(overlay[0].image.astype(int) - picture(0).image).mean() < 6
    assert np.abs(overlay[10].image.astype(int) - picture(10).image).mean() > 6


def test_a_stream_is_written_as_it_comes(tmp_path: Path) -> None:
    class Stream:
        def __iter__(self) -> Iterator[Frame]:
            return (picture(index) for index in range(20))

    session = Session(ColorModel())
    session.add_prompt(0, 2, PointPrompt((15, 17)))
    summary = segment_video(session, Stream(), tmp_path / "out", RunSettings(overlay=True), RECORD)
    assert summary.num_frames == 20
    assert len(list((tmp_path / "out/masks").iterdir())) == 20
    assert (tmp_path / "out/overlay.mp4").stat().st_size > 0
    with pytest.raises(InputError, match="a live stream, which cannot be rewound"):
        segment_video(session, Stream(), tmp_path / "out", RunSettings(), RECORD, resume=True)


def test_state_round_trip_keeps_shared_tensors_shared(tmp_path: Path) -> None:
    from dataclasses import replace

    from surgvos.tracking.state import load_objects

    session = prompted_session()
    for index in range(5):
        session.step(picture(index))
    one, two = session.objects[1].bank, session.objects[2].bank
    shared = one.prompted[3].features
    one.prompted[3], two.prompted[3] = (replace(bank.prompted[3], keys=shared) for bank in (one, two))
    session.save(tmp_path / "state.safetensors", {"note": 7})
    objects, _, progress = load_objects(tmp_path / "state.safetensors", session.model.anchor.device)
    assert progress == {"note": 7}
    assert [o.object_id for o in objects] == [1, 2]
    assert objects[0].bank.prompted[3].keys is objects[1].bank.prompted[3].keys
    assert objects[0].pending.keys() == {31}
    for before, after in zip(session.objects.values(), objects, strict=True):
        assert before.bank.recent.keys() == after.bank.recent.keys()
        assert (before.bank.recent[4].features == after.bank.recent[4].features).all()


def searching_session() -> Session:
    """One object by its phrase, one that is shown late, and one that is nowhere."""
    model = PhraseModel({"the red one": (220, 20, 20), "something blue": (20, 20, 220)})
    session = Session(model)
    session.add_prompt(2, 1, TextPrompt("the red one"))
    session.add_prompt(20, 2, PointPrompt((15, 17)))
    session.add_prompt(2, 3, TextPrompt("something blue"))
    model.scores = {("the red one", index): (0.5, 0.9) for index in range(2, 12)}
    return session


class NumberedMovie(Movie):
    def __getitem__(self, index: int) -> Frame:
        frame = super().__getitem__(index)
        return replace(frame, image=numbered(frame.image, index))


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_what_is_answered_later_joins_what_is_written(tmp_path: Path, direction: Direction) -> None:
    settings = RunSettings(direction=direction, overlay=True)
    summary = segment_video(searching_session(), NumberedMovie(), tmp_path / "out", settings, RECORD)
    is_red = {index: (picture(index).image == (220, 20, 20)).all(axis=2) for index in range(NUM_FRAMES)}
    for index in range(0 if direction == "both" else 2, NUM_FRAMES):
        label_map = read_label_map(tmp_path / f"out/masks/{index:05d}.png")
        # Also before it was certain, and beside the objects that were answered when the frame was passed first.
        np.testing.assert_array_equal(label_map == 1, is_red[index])
        assert (label_map == 2).sum() == (80 if index >= 20 or direction == "both" else 0)
        assert (label_map == 3).sum() == 0
    # Back from the frame at which the red one was certain, or from that in which the late one was shown.
    assert summary.num_frames == (NUM_FRAMES - 2) + (14 if direction == "forward" else 20)
    written = json.loads((tmp_path / "out/run.json").read_text())
    assert written["searched"] == {
        "1": {"phrases": ["the red one"], "found_at": 16},
        "3": {"phrases": ["something blue"], "found_at": None},
    }


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_kills_change_nothing_of_a_search(tmp_path: Path, direction: Direction) -> None:
    def go(name: str, kill_at: int | None = None, *, resume: bool = False) -> RunSummary:
        count = itertools.count(1)

        def progress(num_done: int, num_in_all: int | None) -> None:
            if next(count) == kill_at:
                raise Killed

        settings = RunSettings(direction=direction, checkpoint_seconds=4)
        out = tmp_path / name
        return segment_video(
            searching_session(), NumberedMovie(), out, settings, RECORD, resume=resume, progress=progress
        )

    go("whole")
    draw = random.Random(3)
    for attempt in range(9):
        with pytest.raises(Killed):
            go("killed", draw.randint(2, 11), resume=attempt > 0)
    go("killed", resume=True)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_a_damaged_state_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "state.safetensors").write_bytes(b"not a state")
    with pytest.raises(InputError, match="expected the state of a run"):
        Session(ColorModel()).restore(tmp_path / "state.safetensors")

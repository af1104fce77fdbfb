"""What a live run writes, and that writing keeps nobody waiting."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from live.scripted import HW, Recorded, picture, red_mask
from surgvos.core import PointPrompt
from surgvos.io.results import read_frame_log
from surgvos.io.video import open_video
from surgvos.live.moments import Answer, Arrived, Picture
from surgvos.live.outputs import ObjectLog, Output, Recording


def shown(index: int, at_s: float, hw: tuple[int, int] = HW) -> Picture:
    frame = picture(index, hw)
    return Picture(Arrived(frame, at_s), frame.image, None, False, None, at_s)


def squares(path: Path) -> list[int]:
    """Where the square is in each frame of a recording, as the number of the picture."""
    found = []
    for frame in open_video(path):
        red = (frame.image[..., 0] > 150) & (frame.image[..., 1] < 90)
        found.append(round(float(np.flatnonzero(red.any(axis=0)).min()) / 2))
    return found


def test_the_log_is_that_of_a_file(tmp_path: Path) -> None:
    with ObjectLog(tmp_path / "a" / "objects.jsonl") as log, Recorded([(0, 1, PointPrompt((1, 5)))]) as run:
        run.engine.on_answer.append(log.offer)
        run.send(0, 1, 2)
    records = list(read_frame_log(tmp_path / "a" / "objects.jsonl"))
    assert [(record.index, record.time_s) for record in records] == [(0, 0.0), (1, 0.04), (2, 0.08)]
    assert records[2].objects[1].area_px == red_mask(2).sum()
    assert records[2].objects[1].result.attended_frames == (0, 1)


def test_a_recording_keeps_the_clock_where_pictures_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "case.mp4"
    with Recording(path, fps=25) as recording:
        for index, at_s in [(0, 100.0), (1, 100.045), (2, 100.078), (7, 100.28), (8, 100.321)]:
            recording.offer(shown(index, at_s))
    assert recording.failure is None
    assert squares(path) == [0, 1, 2, 7, 8]
    assert [round(25 * (frame.time_s or 0)) for frame in open_video(path)] == [0, 1, 2, 7, 8]


def test_a_recording_can_be_played_while_it_grows(tmp_path: Path) -> None:
    path, copy = tmp_path / "case.mp4", tmp_path / "copy.mp4"
    with Recording(path, fps=25) as recording:
        for index in range(200):
            while recording._waiting.full():
                threading.Event().wait(0.001)
            recording.offer(shown(index % 20, index / 25))
        copy.write_bytes(path.read_bytes())
    assert len(open_video(path)) == 200
    assert 50 <= len(open_video(copy)) < 200


def test_a_recording_ends_where_the_picture_changes_its_size(tmp_path: Path) -> None:
    path = tmp_path / "case.mp4"
    with Recording(path, fps=25) as recording:
        for index in range(3):
            recording.offer(shown(index, index / 25))
        recording.offer(shown(3, 3 / 25, (30, 50)))
    assert "one size" in str(recording.failure)
    assert squares(path) == [0, 1, 2]


def test_an_output_that_stalls_leaves_out_and_does_not_wait() -> None:
    may_write = threading.Event()

    class Stalled(Output[int]):
        def __init__(self) -> None:
            super().__init__(num_waiting=2)
            self.written: list[int] = []

        def _write(self, thing: int) -> None:
            assert may_write.wait(20)
            self.written.append(thing)

        def _close(self) -> None:
            self.written.append(-1)

    with Stalled() as output:
        for thing in range(10):
            output.offer(thing)
        may_write.set()
    assert output.written[0] == 0
    assert output.written[-1] == -1
    assert output.num_written + output.num_left_out == 10
    assert output.num_written <= 3


def test_a_full_disk_ends_the_log_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ObjectLog(tmp_path / "objects.jsonl")

    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log._log._file, "write", full)
    answers: list[Answer] = []
    with log, Recorded([(0, 1, PointPrompt((1, 5)))]) as run:
        run.engine.on_answer.append(log.offer)
        run.send(0, 1, 2)
        answers += run.answers
    assert len(answers) == 3
    assert "No space left" in str(log.failure)
    assert run.engine.segmenting.failure is None

"""What live runs read, in real time."""

from __future__ import annotations

import socket
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from helpers import moving_square_frames, write_video
from live.scripted import until
from surgvos.core import Frame
from surgvos.errors import InputError
from surgvos.io.video import open_video
from surgvos.live import grabber
from surgvos.live.grabber import Grabber, SourceState
from surgvos.live.moments import Arrived
from surgvos.live.sources import Address, Pattern, Replay, open_live, paced


def numbered(count: int) -> list[Frame]:
    return [Frame(i, f"{i:05d}", np.zeros((4, 4, 3), np.uint8), i / 50) for i in range(count)]


def test_frames_come_when_they_are_due() -> None:
    started_s = time.monotonic()
    came_s = [time.monotonic() - started_s for _ in paced(numbered(11), fps=50)]
    assert all(came >= number / 50 - 1e-3 for number, came in enumerate(came_s))


def test_a_late_frame_does_not_delay_the_ones_behind_it() -> None:
    came_s, started_s = [], time.monotonic()
    for frame in paced(numbered(11), fps=20):
        came_s.append(time.monotonic() - started_s)
        if frame.index == 2:
            time.sleep(0.2)
    assert came_s[10] == pytest.approx(0.5, abs=0.15)


def test_a_file_is_replayed_as_it_is(tmp_path: Path) -> None:
    images, _ = moving_square_frames(6)
    path = write_video(tmp_path / "case.mp4", images, fps=100)
    source = open_live(str(path))
    assert (source.name, source.hw, source.fps, source.ends) == ("case", (96, 128), 100.0, True)
    for frame, expected in zip(source.connect(), open_video(path), strict=True):
        assert (frame.index, frame.name, frame.time_s) == (expected.index, expected.name, expected.time_s)
        np.testing.assert_array_equal(frame.image, expected.image)


def test_a_file_can_be_replayed_over_and_over() -> None:
    arrived: list[Arrived] = []
    stopped = threading.Event()

    def take(one: Arrived) -> None:
        arrived.append(one)
        if len(arrived) == 8:
            stopped.set()

    Grabber(Replay(numbered(3), repeats=True, fps=50), take, lambda sentence: None).run(stopped)
    assert [a.frame.index for a in arrived] == list(range(8))
    assert arrived[-1].frame.name == "00007"
    assert [a.frame.time_s for a in arrived] == pytest.approx([i / 50 for i in range(8)])


def test_the_test_pattern_moves_and_tells_where_its_disc_is() -> None:
    pattern = open_live("test-pattern:320x200@200")
    assert isinstance(pattern, Pattern)
    assert pattern.hw == (200, 320)
    frames = list(islice(pattern.connect(), 3))
    for frame in frames:
        x, y = pattern.disc_centre_xy(frame.index)
        assert frame.image[y, x].tolist() == [24, 40, 150]
    assert not np.array_equal(frames[0].image, frames[2].image)


@pytest.mark.parametrize("text", ["test-pattern:1x1", "test-pattern:9x", "test-pattern:640x480@0", "test-patterns"])
def test_a_pattern_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a test pattern"):
        open_live(text)


@pytest.mark.parametrize("text", ["missing.mp4", "camera:77", "rtsp://127.0.0.1:9/none"])
def test_a_source_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        open_live(text)


def test_a_network_stream_that_breaks_off_is_connected_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grabber, "_FIRST_PAUSE_S", 0.01)
    content = write_video(tmp_path / "s.ts", moving_square_frames(8)[0], container_options={"mpegts_flags": "0"})
    stream = content.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for _ in range(3):
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(stream)

        threading.Thread(target=serve, daemon=True).start()
        source = open_live(f"tcp://127.0.0.1:{listening.getsockname()[1]}")
        assert isinstance(source, Address)
        arrived: list[Arrived] = []
        stopped = threading.Event()
        grabbing = Grabber(source, arrived.append, lambda sentence: None)
        thread = threading.Thread(target=grabbing.run, args=(stopped,), daemon=True)
        thread.start()
        until(lambda: len(arrived) >= 24)
        stopped.set()
    thread.join(5)
    assert [a.frame.index for a in arrived] == list(range(24))
    assert grabbing.num_losses >= 2
    assert grabbing.state == SourceState.ENDED

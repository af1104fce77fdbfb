"""Which pictures are made when: what is asked for comes first, and what nobody asked for waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from surgvos.core.frame import Frame
from surgvos.server.label.pictures import Pictures

PATIENCE_S = 20


class Video:
    """Notes which frames are read."""

    def __init__(self) -> None:
        self.read: list[int] = []
        self.may_read = threading.Event()
        self.may_read.set()
        self.is_reading = threading.Event()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Frame:
        if index == 5:
            raise OSError("damaged")
        self.is_reading.set()
        assert self.may_read.wait(PATIENCE_S)
        self.read.append(index)
        return Frame(index, f"{index:05d}", np.full((60, 80, 3), 10 * index, np.uint8))


@pytest.fixture
def video() -> Video:
    return Video()


@pytest.fixture
def pictures(video: Video) -> Iterator[Pictures]:
    made = Pictures(video, range(8))  # type: ignore[arg-type]
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


def test_nothing_is_made_before_anything_is_asked_for(pictures: Pictures, video: Video) -> None:
    time.sleep(0.05)
    assert video.read == []
    assert pictures.thumbnail(2).result(PATIENCE_S)
    time.sleep(0.05)
    assert video.read == [2]  # a thumbnail tells nothing of where a person looks
    assert pictures.picture(3).result(PATIENCE_S)
    until(lambda: len(video.read) == 8)
    assert video.read[:2] == [2, 3]
    assert sorted(video.read[1:]) == [0, 1, 2, 3, 4, 6, 7]


def test_frames_come_before_thumbnails_and_the_newest_of_them_first(pictures: Pictures, video: Video) -> None:
    video.may_read.clear()
    first = pictures.thumbnail(0)
    until(lambda: video.is_reading.is_set())
    asked = [pictures.picture(3), pictures.thumbnail(1), pictures.thumbnail(2), pictures.picture(4)]
    video.may_read.set()
    assert all(future.result(PATIENCE_S) for future in (first, *asked))
    assert video.read[:5] == [0, 4, 3, 1, 2]


def test_while_it_is_paused_only_what_is_asked_for_is_made(pictures: Pictures, video: Video) -> None:
    pictures.pause()
    pictures.pause()
    assert pictures.picture(4).result(PATIENCE_S)
    pictures.resume()
    time.sleep(0.05)
    assert video.read == [4]
    pictures.resume()
    until(lambda: len(video.read) == 7)


def test_a_frame_that_cannot_be_read_is_told_and_stops_nothing(pictures: Pictures) -> None:
    with pytest.raises(OSError, match="damaged"):
        pictures.picture(5).result(PATIENCE_S)
    assert pictures.picture(6).result(PATIENCE_S)

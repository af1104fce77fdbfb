"""What a live run reads: cameras and addresses as they come, files at their frame rate, a test pattern."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from surgvos.core.frame import Frame, VideoSource
from surgvos.errors import InputError
from surgvos.io.live import LiveStream
from surgvos.io.video import open_video, prefetch

DEFAULT_FPS = 25.0
TEST_PATTERN = "test-pattern"
_NUM_DECODED_AHEAD = 8
_TEST_PATTERN_HW = (720, 1280)
_PATTERN = re.compile(TEST_PATTERN + r"(?::(\d+)x(\d+)(?:@(\d+(?:\.\d+)?))?)?")


class LiveSource(Protocol):
    """Where frames come from in real time.

    Attributes:
        name: Of the stream.
        hw: Height and width of its frames, or None where only the first frame tells.
        fps: Frames per second, or None where nothing is promised.
        ends: Whether the end of the frames is the end of the stream. Otherwise it is a loss, and is connected again.
    """

    @property
    def name(self) -> str: ...

    @property
    def hw(self) -> tuple[int, int] | None: ...

    @property
    def fps(self) -> float | None: ...

    @property
    def ends(self) -> bool: ...

    def connect(self) -> Iterable[Frame]:
        """Frames from now on, each when it is due.

        Raises:
            InputError: Nothing is there.
        """
        ...


class Address:
    """A camera or an address, connected again after each loss."""

    hw = None
    fps = None
    ends = False

    def __init__(self, source: str, opened: LiveStream) -> None:
        self.name = opened.name
        self._source = source
        self._waiting: LiveStream | None = opened

    def connect(self) -> Iterable[Frame]:
        opened, self._waiting = self._waiting, None
        return opened if opened is not None else open_video(self._source)


class Replay:
    """A file or a folder of images, as if it were happening now.

    Args:
        video: What is replayed.
        fps: Frames per second, where the video does not say.
        repeats: Begin again at the end.
    """

    ends = True

    def __init__(self, video: VideoSource, *, repeats: bool = False, fps: float | None = None) -> None:
        self.name: str = getattr(video, "name", "replay")
        self.hw: tuple[int, int] | None = getattr(video, "hw", None)
        self.fps = getattr(video, "fps", None) or fps or DEFAULT_FPS
        self._video = video
        self._repeats = repeats

    def connect(self) -> Iterator[Frame]:
        # To open a file again at its end takes longer than a frame lasts.
        return paced(prefetch(self._frames(), _NUM_DECODED_AHEAD), self.fps)

    def _frames(self) -> Iterator[Frame]:
        num_before = 0
        while True:
            index = -1
            for index, frame in enumerate(self._video):
                if num_before:
                    frame = replace(frame, time_s=(num_before + index) / self.fps)
                yield frame
            num_before += index + 1
            if not self._repeats or num_before == 0:
                return


class Pattern:
    """A dark disc and a bright bar that move over coloured stripes, with a running clock: a source without a source."""

    name = TEST_PATTERN
    ends = True

    def __init__(self, hw: tuple[int, int] = _TEST_PATTERN_HW, fps: float = DEFAULT_FPS) -> None:
        self.hw = hw
        self.fps = fps
        height, width = hw
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        shades = (120 + 24 * np.sin(columns / width * 9 + k) + 16 * np.cos(rows / height * 7 + 2 * k) for k in range(3))
        self._background = np.stack(list(shades), axis=2).clip(0, 255).astype(np.uint8)

    def connect(self) -> Iterator[Frame]:
        return paced(self._frames(), self.fps)

    def disc_centre_xy(self, index: int) -> tuple[int, int]:
        """Where the disc is in a frame."""
        height, width = self._background.shape[:2]
        return round(width * (0.5 + 0.3 * np.sin(index / 40))), round(height * (0.5 + 0.25 * np.cos(index / 55)))

    def _frames(self) -> Iterator[Frame]:
        height, width = self._background.shape[:2]
        index = 0
        while True:
            image = self._background.copy()
            cv2.circle(image, self.disc_centre_xy(index), height // 8, (24, 40, 150), -1, cv2.LINE_AA)
            end_xy = (round(width * (0.3 + 0.15 * np.sin(index / 25))), round(height * 0.6))
            cv2.line(image, (0, round(height * 0.85)), end_xy, (205, 205, 198), max(2, height // 24), cv2.LINE_AA)
            clock = f"{index / self.fps:8.2f} s"
            cv2.putText(image, clock, (width // 40, height // 12), 0, height / 500, (250, 250, 250), 2, cv2.LINE_AA)
            yield Frame(index, f"{index:05d}", image, index / self.fps)
            index += 1


def open_live(source: str, *, repeats: bool = False) -> LiveSource:
    """Open what a live run reads.

    Args:
        source: ``camera:0``, an address such as ``rtsp://host/path``, a video file or a folder of images, which are
            replayed at their frame rate, or ``test-pattern``, also as ``test-pattern:1280x720@25``.
        repeats: Begin a file again at its end.

    Raises:
        InputError: There is no such source, or only files can be repeated.
    """
    if source.startswith(TEST_PATTERN) and not Path(source).exists():
        return _open_pattern(source)
    opened = open_video(source)
    if not isinstance(opened, LiveStream):
        return Replay(opened, repeats=repeats)
    if repeats:
        opened.close()
        raise InputError(f"expected a file to replay, got {source!r}; try it as SOURCE")
    return Address(source, opened)


def paced(frames: Iterable[Frame], fps: float) -> Iterator[Frame]:
    """Hand out each frame when it is due. One that comes late is not waited for, and the next one is due as before."""
    started_s: float | None = None
    for number, frame in enumerate(frames):
        now_s = time.monotonic()
        started_s = now_s if started_s is None else started_s
        time.sleep(max(0.0, started_s + number / fps - now_s))
        yield frame


def _open_pattern(text: str) -> Pattern:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise InputError(f"expected a test pattern as test-pattern:WIDTHxHEIGHT@FPS, got {text!r}")
    width, height, fps = match.groups()
    hw = _TEST_PATTERN_HW if width is None else (int(height), int(width))
    rate = DEFAULT_FPS if fps is None else float(fps)
    if not (32 <= hw[0] <= 4320 and 32 <= hw[1] <= 8192 and 0 < rate <= 240):
        raise InputError(f"expected a test pattern of 32x32 to 8192x4320 pixels at up to 240 frames/s, got {text!r}")
    return Pattern(hw, rate)

"""Take frames in as they come, and connect again when they stop coming."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from surgvos.core.frame import Frame
from surgvos.errors import SurgvosError
from surgvos.live.moments import Arrived
from surgvos.live.sources import LiveSource

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


class SourceState(StrEnum):
    """How a source is: not yet there, giving frames, gone and looked for again, or at its end."""

    CONNECTING = "connecting"
    RUNNING = "running"
    LOST = "lost"
    ENDED = "ended"


class Grabber:
    """Reads a source to its end. Frames are numbered as they come, also over losses and repeats.

    Args:
        source: What is read.
        deliver: Is given each frame; must not wait.
        on_event: Is told in a sentence what happens to the source.

    Attributes:
        state: See `SourceState`.
        num_received: Frames that came.
        num_losses: Times that the source was gone after it had been there.
    """

    def __init__(self, source: LiveSource, deliver: Callable[[Arrived], None], on_event: Callable[[str], None]) -> None:
        self.state = SourceState.CONNECTING
        self.num_received = 0
        self.num_losses = 0
        self._source, self._deliver, self._on_event = source, deliver, on_event
        self._started_s = 0.0

    def run(self, stopped: threading.Event) -> None:
        """Read until the end, or until stopped."""
        pause_s = _FIRST_PAUSE_S
        while not stopped.is_set():
            reason = self._read(stopped)
            if stopped.is_set() or (self._source.ends and reason is None):
                break
            if self.state == SourceState.RUNNING:
                pause_s = _FIRST_PAUSE_S
                self.num_losses += 1
            self.state = SourceState.LOST
            self._on_event(f"lost {self._source.name} ({reason or 'no more frames'}); trying again in {pause_s:g} s")
            stopped.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self.state = SourceState.ENDED

    def _read(self, stopped: threading.Event) -> str | None:
        """Deliver frames until they stop coming; the reason why, if there is one."""
        try:
            offset_s: float | None = None
            for frame in self._source.connect():
                if stopped.is_set():
                    break
                now_s = time.monotonic()
                if offset_s is None:
                    offset_s = self._connected(now_s)
                self._deliver(Arrived(self._numbered(frame, offset_s), now_s))
                self.num_received += 1
        except SurgvosError as error:
            return str(error)
        except Exception as error:  # A device may fail in any way, and a stream has to survive it.
            return f"{type(error).__name__}: {error}"
        return None

    def _connected(self, now_s: float) -> float:
        """Note that frames come; the seconds of the stream before the first of them."""
        if self.state != SourceState.CONNECTING:
            self._on_event(f"{self._source.name} is back")
        else:
            self._started_s = now_s
        self.state = SourceState.RUNNING
        return now_s - self._started_s

    def _numbered(self, frame: Frame, offset_s: float) -> Frame:
        """A frame in the numbers and the clock of the whole stream."""
        if frame.index == self.num_received and offset_s == 0:
            return frame
        time_s = None if frame.time_s is None else frame.time_s + offset_s
        return replace(frame, index=self.num_received, name=f"{self.num_received:05d}", time_s=time_s)

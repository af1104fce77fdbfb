"""What a live run writes, in threads of their own: a disk that stalls costs output, and never the picture."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from surgvos.errors import SurgvosError
from surgvos.io.overlay import OverlayWriter
from surgvos.io.results import FrameLog
from surgvos.live.moments import Answer, Picture

T = TypeVar("T")


class Output(ABC, Generic[T]):
    """Takes things in without waiting, and writes them in order. Use it as a context manager.

    Args:
        num_waiting: How many may wait to be written; what comes then is left out.

    Attributes:
        num_written: Things written.
        num_left_out: Things that came while too many waited, or after it failed.
        failure: What ended the writing, or None.
    """

    def __init__(self, num_waiting: int) -> None:
        self.num_written = 0
        self.num_left_out = 0
        self.failure: SurgvosError | None = None
        self._waiting: queue.Queue[T | None] = queue.Queue(num_waiting)
        self._thread = threading.Thread(target=self._run, name=f"surgvos-{type(self).__name__}", daemon=True)

    def offer(self, thing: T) -> None:
        """Take something in, to be written soon."""
        try:
            if self.failure is None:
                self._waiting.put_nowait(thing)
                return
        except queue.Full:
            pass
        self.num_left_out += 1

    def __enter__(self) -> Output[T]:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.put(None)
        self._thread.join()

    @abstractmethod
    def _write(self, thing: T) -> None:
        """Write one thing."""

    @abstractmethod
    def _close(self) -> None:
        """Finish what is written."""

    def _run(self) -> None:
        try:
            while (thing := self._waiting.get()) is not None:
                if self.failure is None:
                    self._try_to(self._write, thing)
        finally:
            self._try_to(self._close)

    def _try_to(self, do: Callable[..., None], *things: T) -> None:
        try:
            do(*things)
            self.num_written += len(things)
        except SurgvosError as error:
            self.failure = error


class ObjectLog(Output[Answer]):
    """Writes the answers as ``surgvos segment`` does in ``frames.jsonl``.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(num_waiting=256)
        self._log = FrameLog(path)

    def _write(self, thing: Answer) -> None:
        self._log.write(thing.result, thing.arrived.frame.time_s)

    def _close(self) -> None:
        self._log.close()


class Recording(Output[Picture]):
    """Writes the pictures that are shown to an mp4, each at its time.

    Where pictures are missing, the one before is shown for longer, so that the recording lasts as long as what it
    shows. It ends where the picture changes its size. What a kill leaves can be played.

    Args:
        path: Of the file.
        fps: The most frames per second; what comes faster is left out.
    """

    def __init__(self, path: Path, fps: float) -> None:
        super().__init__(num_waiting=8)
        self._path, self._fps = path, fps
        self._file = ExitStack()
        self._writer: OverlayWriter | None = None
        self._started_s = 0.0
        self._place = -1

    def _write(self, thing: Picture) -> None:
        hw = thing.arrived.frame.hw
        if self._writer is None:
            self._writer = self._file.enter_context(OverlayWriter(self._path, self._fps, hw, in_place=True))
            self._started_s = thing.at_s
        if hw != self._writer.hw:
            raise SurgvosError(f"expected pictures of one size in {str(self._path)!r}, got another; it ends there")
        place = round((thing.at_s - self._started_s) * self._fps)
        if place > self._place:
            self._writer.write(thing.image, place)
            self._place = place

    def _close(self) -> None:
        self._file.close()

"""The pictures of the last moments, for clicks on what was seen a moment ago."""

from __future__ import annotations

import threading
from collections import deque

from surgvos.core.frame import Frame

RECALL_S = 2.0
_MAX_BYTES = 256 * 2**20


class Recall:
    """Holds the frames that arrived in the last two seconds, in at most 256 MiB. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: deque[tuple[float, Frame]] = deque()
        self._num_bytes = 0

    def add(self, frame: Frame, now_s: float) -> None:
        """Hold one more, and let go of those that are too old."""
        with self._lock:
            self._held.append((now_s, frame))
            self._num_bytes += frame.image.nbytes
            while len(self._held) > 1 and (self._held[0][0] < now_s - RECALL_S or self._num_bytes > _MAX_BYTES):
                self._num_bytes -= self._held.popleft()[1].image.nbytes

    def find(self, frame_index: int | None) -> Frame | None:
        """This frame while it is held, else the newest one; None before the first."""
        with self._lock:
            if not self._held:
                return None
            newest = self._held[-1][1]
            return next((frame for _, frame in self._held if frame.index == frame_index), newest)

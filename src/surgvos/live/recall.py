"""The pictures of the last moments, for clicks on what was seen a moment ago."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

from surgvos.core.frame import Frame

RECALL_S = 2.0
_MAX_BYTES = 256 * 2**20
_MAX_HELD = 16


class Recall:
    """Holds the frames that arrived in the last two seconds, in at most 256 MiB, and 16 more. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, Frame]] = deque()
        self._num_bytes = 0
        self._held: OrderedDict[int, Frame] = OrderedDict()

    def add(self, frame: Frame, now_s: float) -> None:
        """Hold one more, and let go of those that are too old."""
        with self._lock:
            self._recent.append((now_s, frame))
            self._num_bytes += frame.image.nbytes
            while len(self._recent) > 1 and (self._recent[0][0] < now_s - RECALL_S or self._num_bytes > _MAX_BYTES):
                self._num_bytes -= self._recent.popleft()[1].image.nbytes

    def hold(self, frame_index: int) -> None:
        """Keep a frame that is there, until sixteen others are held: someone is drawing on it."""
        with self._lock:
            found = next((frame for _, frame in self._recent if frame.index == frame_index), None)
            if found is not None:
                self._held[frame_index] = found
                self._held.move_to_end(frame_index)
            while len(self._held) > _MAX_HELD:
                self._held.popitem(last=False)

    def find(self, frame_index: int) -> Frame | None:
        """This frame while it is there, else the newest one; None before the first."""
        with self._lock:
            if not self._recent:
                return None
            newest = self._recent[-1][1]
            there = (*self._held.values(), *(frame for _, frame in self._recent))
            return next((frame for frame in there if frame.index == frame_index), newest)

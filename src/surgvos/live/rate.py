"""How steadily something happens: how often per second, and how long from one to the next."""

from __future__ import annotations

from collections import deque

from surgvos.live.percentiles import Percentiles


class Rate:
    """Counts moments, and holds those of the last second. One thread adds; others may read.

    Attributes:
        num: Moments counted.
        gaps: The times from one of them to the next.
        lowest_hz: The fewest in any second that begins right behind one of them; None before one is over.

    Example:
        >>> rate = Rate()
        >>> for now_s in (0.0, 0.5, 0.9, 1.2, 2.0):
        ...     rate.add(now_s)
        >>> rate.num, rate.lowest_hz, round(rate.gaps.max_s, 2)
        (5, 1, 0.8)
    """

    def __init__(self) -> None:
        self.num = 0
        self.gaps = Percentiles()
        self.lowest_hz: int | None = None
        self._last_second: deque[float] = deque()

    def add(self, now_s: float) -> None:
        """Count a moment."""
        if self._last_second:
            self.gaps.add(now_s - self._last_second[-1])
        while self._last_second and now_s - self._last_second[0] > 1:
            self._last_second.popleft()
            num_behind = len(self._last_second)
            self.lowest_hz = num_behind if self.lowest_hz is None else min(self.lowest_hz, num_behind)
        self._last_second.append(now_s)
        self.num += 1

    def interrupt(self) -> None:
        """Count no gap up to the next moment: what is counted has stopped coming."""
        self._last_second.clear()

    @property
    def mean_hz(self) -> float | None:
        """Over all the time that was not interrupted; None before it lasted."""
        return self.gaps.num / self.gaps.sum_s if self.gaps.sum_s > 0 else None

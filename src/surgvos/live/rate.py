"""How steadily something happens: how often per second, and the longest wait."""

from __future__ import annotations


class Rate:
    """Counts moments by whole seconds of a clock, in a fixed amount of memory. One thread adds; others may read.

    Attributes:
        num: Moments counted.
        longest_gap_s: The longest time between two of them.
        lowest_hz: The fewest in one whole second between the first moment and the last; None before one is full.
        newest_hz: How many in the last whole second; None before one is full.

    Example:
        >>> rate = Rate()
        >>> for now_s in (0.0, 0.5, 0.9, 1.2, 2.0):
        ...     rate.add(now_s)
        >>> rate.num, rate.lowest_hz, round(rate.longest_gap_s, 2)
        (5, 1, 0.8)
    """

    def __init__(self) -> None:
        self.num = 0
        self.longest_gap_s = 0.0
        self.lowest_hz: int | None = None
        self.newest_hz: int | None = None
        self._seconds_before = 0.0
        self._num_gaps = 0
        self._start_s: float | None = None
        self._last_s = 0.0
        self._second = 0
        self._num_in_second = 0

    def add(self, now_s: float) -> None:
        """Count a moment."""
        if self._start_s is None:
            self._start_s, self._second, self._num_in_second = now_s, 0, 0
        else:
            self.longest_gap_s = max(self.longest_gap_s, now_s - self._last_s)
            self._num_gaps += 1
        while self._second < int(now_s - self._start_s):
            self._finish_second()
        self._num_in_second += 1
        self.num += 1
        self._last_s = now_s

    def interrupt(self) -> None:
        """Count no gap up to the next moment: what is counted has stopped coming."""
        if self._start_s is not None:
            self._seconds_before += self._last_s - self._start_s
            self._start_s = None

    @property
    def mean_hz(self) -> float | None:
        """Over all the time that was not interrupted; None before it lasted."""
        seconds = self._seconds_before + (0.0 if self._start_s is None else self._last_s - self._start_s)
        return self._num_gaps / seconds if seconds > 0 else None

    def _finish_second(self) -> None:
        self.newest_hz = self._num_in_second
        self.lowest_hz = self.newest_hz if self.lowest_hz is None else min(self.lowest_hz, self.newest_hz)
        self._num_in_second = 0
        self._second += 1

"""Percentiles of durations over hours, in a fixed amount of memory."""

from __future__ import annotations

import numpy as np

_SHORTEST_S = 1e-4
_LONGEST_S = 1e3
_STEP = 1.02


class Percentiles:
    """Counts durations in bins that grow by 2 %, so that every percentile is known to within 2 %.

    Durations below 0.1 ms count as 0.1 ms, those above 1000 s as 1000 s. One thread adds; others may read.

    Attributes:
        num: Durations counted.
        sum_s: Of all of them, in seconds.
        max_s: The longest.

    Example:
        >>> counted = Percentiles()
        >>> for duration_s in (0.01, 0.01, 0.5):
        ...     counted.add(duration_s)
        >>> round(counted.at(50), 2), round(counted.at(100), 2)
        (0.01, 0.5)
    """

    def __init__(self) -> None:
        num_bins = int(np.ceil(np.log(_LONGEST_S / _SHORTEST_S) / np.log(_STEP))) + 1
        self._counts = np.zeros(num_bins, dtype=np.int64)
        self.num = 0
        self.sum_s = 0.0
        self.max_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one more."""
        place = np.log(max(duration_s, _SHORTEST_S) / _SHORTEST_S) / np.log(_STEP)
        self._counts[min(round(float(place)), len(self._counts) - 1)] += 1
        self.num += 1
        self.sum_s += duration_s
        self.max_s = max(self.max_s, duration_s)

    def at(self, percent: float) -> float | None:
        """The duration in seconds that so many percent do not exceed; None before the first."""
        if self.num == 0:
            return None
        reached = np.cumsum(self._counts)
        place = int(np.searchsorted(reached, max(1, np.ceil(reached[-1] * percent / 100))))
        return _SHORTEST_S * _STEP**place

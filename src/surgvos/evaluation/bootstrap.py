"""How far a mean could be off, had other objects or other videos been recorded: percentile bootstrap intervals."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np

from surgvos.errors import ConfigError

Interval: TypeAlias = tuple[float, float]


class Unit(StrEnum):
    """What is drawn again and again: single objects, or whole videos with everything in them.

    Objects of one video resemble each other, so videos give the wider and more honest intervals; but there have
    to be enough of them. Frames are no unit: neighbours are nearly the same.
    """

    OBJECTS = "objects"
    VIDEOS = "videos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """Settings of an interval.

    Attributes:
        num_samples: How often the units are drawn, with replacement, as many as there are.
        unit: What is drawn.
        level: Percent of the samples inside the interval.
        seed: Of the draws; the same seed, the same intervals.

    Raises:
        ConfigError: A number is out of range.
    """

    num_samples: int
    unit: Unit
    level: float = 95.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ConfigError(f"expected 1 bootstrap sample or more, got {self.num_samples}; try 1000")
        if not 0 < self.level < 100:
            raise ConfigError(f"expected a level between 0 and 100 percent, got {self.level}; try 95")

    def draws(self, num_units: int) -> np.ndarray:
        """Draw: how often each unit is in each sample, int ``(num_samples, num_units)``."""
        drawn = np.random.default_rng(self.seed).integers(0, num_units, (self.num_samples, num_units))
        drawn += num_units * np.arange(self.num_samples)[:, None]
        return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)

    def interval(self, samples: np.ndarray) -> Interval | None:
        """Percentile interval of a score's samples ``(num_samples,)``; None where none has a value.

        Samples without a value (NaN), as of a class that none of the drawn videos shows, are left out.
        """
        known = samples[~np.isnan(samples)]
        if known.size == 0:
            return None
        tail = (100 - self.level) / 2
        low, high = np.percentile(known, (tail, 100 - tail))
        return float(low), float(high)

    def of_means(self, scores: Sequence[Mapping[str, float]], units: Sequence[Hashable]) -> dict[str, Interval]:
        """Intervals of the mean of each score.

        Args:
            scores: One mapping per scored thing, all with the same keys.
            units: To which unit each belongs.

        Returns:
            Key -> interval; empty with fewer than two units, of which nothing can be learnt.

        Example:
            >>> Bootstrap(num_samples=100, unit=Unit.OBJECTS).of_means([{"J": 1.0}, {"J": 1.0}], ["a", "b"])
            {'J': (1.0, 1.0)}
        """
        names = list(dict.fromkeys(units))
        if len(names) < 2:
            return {}
        keys = list(scores[0])
        membership = np.array([[unit == name for unit in units] for name in names], dtype=float)
        sums = membership @ np.array([[score[key] for key in keys] for score in scores], dtype=float)
        draws = self.draws(len(names))
        samples = (draws @ sums) / (draws @ membership.sum(axis=1))[:, None]
        found = {key: self.interval(samples[:, column]) for column, key in enumerate(keys)}
        return {key: interval for key, interval in found.items() if interval is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return {
            "num_samples": self.num_samples,
            "unit": self.unit.value,
            "level": self.level,
            "seed": self.seed,
            "method": "percentile",
        }

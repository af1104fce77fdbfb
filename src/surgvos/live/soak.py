"""Does a live run hold for hours? Latency, drops, and whether memory grows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from surgvos.errors import InputError
from surgvos.live.engine import LiveEngine
from surgvos.live.status import Status, memory_mb, status_of

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
_NUM_SAMPLES_PER_MINUTE = 12
_SAMPLE_S = 60 / _NUM_SAMPLES_PER_MINUTE
_SETTLED_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakReport:
    """How a run held.

    Attributes:
        seconds: How long it ran.
        status: At its end.
        memory_mb: Of the process by the minute: the most that was sampled in each.
        memory_slope_mb_per_h: Of a line through the samples after the first minute; None in shorter runs.
    """

    seconds: float
    status: Status
    memory_mb: tuple[float, ...]
    memory_slope_mb_per_h: float | None


class Soak:
    """Watches a run, and samples the memory of the process twelve times a minute.

    Args:
        engine: Is running.
        on_minute: Is told how many minutes have passed, and how the run is doing.
    """

    def __init__(self, engine: LiveEngine, on_minute: Callable[[int, Status], None]) -> None:
        self._engine, self._on_minute = engine, on_minute
        self._started_s = time.monotonic()
        self._times_s: list[float] = []
        self._samples_mb: list[float] = []

    def watch(self, seconds: float | None) -> None:
        """Watch for so long, or until the source ends; while a model warms up for a file, no time passes."""
        if self._engine.source.hw is not None:
            self._engine.segmenting.is_warm.wait()
        self._started_s = time.monotonic()
        is_over = False
        while not is_over and (seconds is None or self._elapsed_s < seconds):
            next_s = (len(self._times_s) + 1) * _SAMPLE_S
            until_s = next_s if seconds is None else min(next_s, seconds)
            is_over = self._engine.wait(max(0.0, until_s - self._elapsed_s))
            self._times_s.append(self._elapsed_s)
            self._samples_mb.append(memory_mb())
            if len(self._times_s) % _NUM_SAMPLES_PER_MINUTE == 0:
                self._on_minute(len(self._times_s) // _NUM_SAMPLES_PER_MINUTE, status_of(self._engine))

    def report(self) -> SoakReport:
        """How it held so far."""
        samples, step = self._samples_mb, _NUM_SAMPLES_PER_MINUTE
        by_minute = (samples[first : first + step] for first in range(0, len(samples), step))
        return SoakReport(
            seconds=round(self._elapsed_s, 1),
            status=status_of(self._engine),
            memory_mb=tuple(round(max(minute), 1) for minute in by_minute),
            memory_slope_mb_per_h=memory_slope(self._times_s, samples),
        )

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s


def memory_slope(times_s: list[float], samples_mb: list[float]) -> float | None:
    """Megabytes per hour of a straight line through what was sampled after the first minute; None for too few.

    Example:
        >>> memory_slope([60.0 * minute for minute in range(10)], [500.0 + minute for minute in range(10)])
        60.0
    """
    settled = [(time_s / 3600, mb) for time_s, mb in zip(times_s, samples_mb, strict=True) if time_s > _SETTLED_S]
    if len(settled) < 3:
        return None
    hours, held_mb = np.array(settled).T
    hours -= hours.mean()
    return round(float((hours * (held_mb - held_mb.mean())).sum() / (hours**2).sum()), 2)


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``20m`` or ``8h``.

    Raises:
        InputError: It is not written so, or is nothing.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    seconds = 0.0 if match is None else float(match.group(1)) * _UNITS_S[match.group(2)]
    if seconds <= 0:
        raise InputError(f"expected a time such as 90s, 20m or 8h, got {text!r}")
    return seconds

"""How a live run is doing, in numbers that can be written as JSON."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from surgvos.live.engine import LiveEngine
from surgvos.live.grabber import SourceState
from surgvos.live.percentiles import Percentiles

_LONGEST_SILENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Of many durations; None before the first."""

    num: int
    sum_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None

    @classmethod
    def of(cls, counted: Percentiles) -> Durations:
        """What was counted so far."""
        p50, p95, p99 = (_milliseconds(counted.at(percent)) for percent in (50, 95, 99))
        longest = _milliseconds(counted.max_s if counted.num else None)
        return cls(num=counted.num, sum_s=round(counted.sum_s, 3), p50_ms=p50, p95_ms=p95, p99_ms=p99, max_ms=longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A live run at one moment.

    Attributes:
        is_healthy: Pictures come, and are segmented.
        source: Its name.
        state: See `SourceState`.
        failure: Why nothing is segmented any more, or None.
        num_objects: Objects in the newest answer.
        num_received: Frames that came.
        num_segmented: Frames whose masks were made.
        num_dropped: Frames that were never segmented, because a newer one came first.
        num_pictures: Frames shown.
        num_skipped: Frames never shown, because a newer one came first.
        num_losses: Times that the source was gone.
        picture_fps: Pictures per second, on average while they came.
        picture_fps_lowest: The fewest in any second.
        picture_gap: From one picture to the next.
        latency: From a frame's coming to its masks.
        mask_age: From the coming of a frame to the showing of its masks.
        memory_mb: Of the whole process, in megabytes.
    """

    is_healthy: bool
    source: str
    state: str
    failure: str | None
    num_objects: int
    num_received: int
    num_segmented: int
    num_dropped: int
    num_pictures: int
    num_skipped: int
    num_losses: int
    picture_fps: float | None
    picture_fps_lowest: int | None
    picture_gap: Durations
    latency: Durations
    mask_age: Durations
    memory_mb: float


def status_of(engine: LiveEngine) -> Status:
    """How a run is doing now."""
    picture, answer, failure = engine.picture, engine.showing.answer, engine.segmenting.failure
    rate, state = engine.showing.rate, engine.grabber.state
    silence_s = None if picture is None else time.monotonic() - picture.arrived.at_s
    is_seen = state == SourceState.RUNNING and silence_s is not None and silence_s < _LONGEST_SILENCE_S
    return Status(
        is_healthy=is_seen and failure is None,
        source=engine.source.name,
        state=state.value,
        failure=None if failure is None else f"{type(failure).__name__}: {failure}",
        num_objects=0 if answer is None else len(answer.result.objects),
        num_received=engine.grabber.num_received,
        num_segmented=engine.segmenting.num_segmented,
        num_dropped=engine.num_dropped,
        num_pictures=rate.num,
        num_skipped=engine.num_skipped,
        num_losses=engine.grabber.num_losses,
        picture_fps=None if rate.mean_hz is None else round(rate.mean_hz, 2),
        picture_fps_lowest=rate.lowest_hz,
        picture_gap=Durations.of(rate.gaps),
        latency=Durations.of(engine.segmenting.latency),
        mask_age=Durations.of(engine.showing.mask_age),
        memory_mb=memory_mb(),
    )


def memory_mb() -> float:
    """What this process holds in memory, in megabytes."""
    return round(psutil.Process().memory_info().rss / 1e6, 2)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)

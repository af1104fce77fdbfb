"""The state of a run in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from surgvos.live.status import Durations, Status

_COUNTERS = {
    "received": ("num_received", "Frames that came from the source."),
    "segmented": ("num_segmented", "Frames whose masks were made."),
    "dropped": ("num_dropped", "Frames never segmented, because a newer one came first."),
    "shown": ("num_pictures", "Frames shown."),
    "skipped": ("num_skipped", "Frames never shown, because a newer one came first."),
}


def metrics_text(status: Status, num_viewers: int) -> str:
    """Metrics as ``GET /metrics`` answers them."""
    return "\n".join(_lines(status, num_viewers)) + "\n"


def _lines(status: Status, num_viewers: int) -> Iterator[str]:
    for name, (field, help_text) in _COUNTERS.items():
        yield from _metric(f"surgvos_frames_{name}_total", "counter", help_text, getattr(status, field))
    yield from _metric("surgvos_source_losses_total", "counter", "Times that the source was gone.", status.num_losses)
    is_up = int(status.state == "running")
    yield from _metric("surgvos_source_up", "gauge", "Whether the source gives frames.", is_up)
    yield from _metric("surgvos_healthy", "gauge", "Whether pictures come and are segmented.", int(status.is_healthy))
    yield from _metric("surgvos_objects", "gauge", "Objects in the newest answer.", status.num_objects)
    yield from _metric("surgvos_viewers", "gauge", "Pages and programs that watch.", num_viewers)
    yield from _metric(
        "surgvos_resident_memory_bytes", "gauge", "Memory of the process.", int(status.memory_mb * 1_000_000)
    )
    yield from _quantiles("surgvos_mask_latency_seconds", "From a frame's coming to its masks.", status.latency)
    yield from _quantiles(
        "surgvos_mask_age_seconds", "From a frame's coming to the showing of its masks.", status.mask_age
    )


def _metric(name: str, kind: str, help_text: str, value: float) -> Iterator[str]:
    yield from (f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", f"{name} {value}")


def _quantiles(name: str, help_text: str, durations: Durations) -> Iterator[str]:
    yield from (f"# HELP {name} {help_text}", f"# TYPE {name} summary")
    for quantile, milliseconds in ((0.5, durations.p50_ms), (0.95, durations.p95_ms), (0.99, durations.p99_ms)):
        seconds = "NaN" if milliseconds is None else f"{milliseconds / 1000:.6f}"
        yield f'{name}{{quantile="{quantile}"}} {seconds}'
    yield from (f"{name}_sum {durations.sum_s:.6f}", f"{name}_count {durations.num}")

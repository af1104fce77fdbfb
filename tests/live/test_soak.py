"""Whether a run holds, in numbers."""

from __future__ import annotations

import doctest
import json
from dataclasses import asdict

import pytest

from live.scripted import Recorded, picture, until
from surgvos.core import PointPrompt
from surgvos.errors import InputError
from surgvos.live import soak
from surgvos.live.soak import Soak, memory_slope, parse_duration
from surgvos.live.status import status_of


def test_examples_are_true() -> None:
    found = doctest.testmod(soak)
    assert found.attempted
    assert not found.failed


def test_a_run_is_watched_until_its_source_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "_SAMPLE_S", 0.01)
    minutes = []
    with Recorded([(0, 1, PointPrompt((1, 5)))]) as run:
        watched = Soak(run.engine, lambda minute, status: minutes.append((minute, status.num_received)))
        run.send(*range(5))
        run.source.send(None)
        watched.watch(5.0)
        report = watched.report()
    assert report.seconds < 5
    assert report.status.num_segmented == report.status.num_received == 5
    assert report.status.latency.num == 5
    assert json.loads(json.dumps(asdict(report)))["status"]["state"] == "ended"


def test_a_run_is_watched_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "_SAMPLE_S", 0.01)
    minutes = []
    with Recorded() as run:
        run.send(0)
        watched = Soak(run.engine, lambda minute, status: minutes.append(minute))
        watched.watch(0.4)
        assert minutes[:2] == [1, 2]
        assert len(watched.report().memory_mb) >= 2
        assert watched.report().memory_mb[0] > 1


def test_the_slope_leaves_out_the_first_minute() -> None:
    times_s = [5.0 * number for number in range(60)]
    grown = [100 + 10 * min(time_s, 60) for time_s in times_s]
    assert memory_slope(times_s, grown) == 0
    assert memory_slope(times_s[:10], grown[:10]) is None


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("8h", 28800), ("0.5h", 1800)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "0s", "-1h", "8 h", "1d", "nanh"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected a time"):
        parse_duration(text)


def test_a_run_is_healthy_while_pictures_come_and_are_segmented() -> None:
    with Recorded() as run:
        assert not status_of(run.engine).is_healthy
        run.source.send(picture(0))
        until(lambda: run.pictures)
        assert status_of(run.engine).is_healthy
        run.engine.segmenting.failure = RuntimeError("out of memory")
        failed = status_of(run.engine)
        assert (failed.is_healthy, failed.failure) == (False, "RuntimeError: out of memory")
        run.engine.segmenting.failure = None
        run.source.send(None)
        until(lambda: not status_of(run.engine).is_healthy)

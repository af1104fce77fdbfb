"""``surgvos live`` as a command."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from helpers import moving_square_frames, write_video
from surgvos.cli.main import app, load_command
from surgvos.cli.segment_options import ModelOptions
from surgvos.cli.sessions import load_sessions
from surgvos.io.results import read_frame_log
from surgvos.io.video import open_video
from surgvos.tracking.session import Session


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images, _ = moving_square_frames(10)
    return write_video(tmp_path_factory.mktemp("live") / "case.mp4", images, fps=10)


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["live", *words])
    return done.exit_code, done.output


def test_a_file_is_segmented_while_it_is_replayed(case: Path, tmp_path: Path) -> None:
    log, recording = tmp_path / "objects.jsonl", tmp_path / "out.mp4"
    point = "1@0:20,44"
    code, said = run(str(case), "--no-page", "--point", point, "--log", str(log), "--record", str(recording))
    assert code == 0, said
    records = list(read_frame_log(log))
    assert records[0].index == 0
    assert records[0].objects[1].result.prompted
    assert [record.index for record in records] == sorted({record.index for record in records})
    assert records[-1].index == 9
    assert max(frame.time_s or 0 for frame in open_video(recording)) > 0.5  # as long as it was shown
    assert "latency of masks" in said


def test_soaking_says_how_it_held(case: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, said = run("--soak", "2s", "--replay", str(case), "--point", "1@0:20,44", "--json", str(report))
    assert code == 0, said
    found = json.loads(report.read_text())
    assert found["seconds"] == pytest.approx(2, abs=1)
    status = found["status"]
    num_settled = status["num_segmented"] + status["num_dropped"]
    assert 0 <= status["num_received"] - num_settled <= 3  # one waits, one is being segmented, one has just come
    assert np.isfinite([status["latency"][name] for name in ("p50_ms", "p95_ms", "p99_ms")]).all()


@pytest.mark.parametrize(("words", "expected"), [((), False), (("--refine",), True), (("--no-refine",), False)])
def test_masks_that_come_in_time_are_worth_more_than_exact_ones(
    case: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], *, expected: bool
) -> None:
    made = []

    def remember(*args: Any, **kwargs: Any) -> Callable[..., Session]:
        new_session = load_sessions(*args, **kwargs)
        made.append(new_session())
        return new_session

    monkeypatch.setattr("surgvos.cli.live.load_sessions", remember)
    code, said = run(str(case), "--no-page", "--point", "1@0:20,44", *words)
    assert code == 0, said
    assert [session.options.refine for session in made] == [expected]


def test_collecting_garbage_does_not_hold_the_picture() -> None:
    """A full collection looks at all objects while everything waits: once in some minutes, a gap of four pictures."""
    num_before = len(gc.get_objects())
    try:
        load_sessions(ModelOptions())
        assert len(gc.get_objects()) < num_before / 4
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "one source"),
        (["CASE", "--replay", "CASE"], "one source"),
        (["missing.mp4", "--no-page"], "does not exist"),
        (["camera:77", "--no-page"], "camera"),
        (["test-pattern:9x", "--no-page"], "test pattern"),
        (["CASE", "--soak", "8 hours"], "a time such as"),
        (["CASE", "--json", "x.json"], "--json only with --soak"),
        (["CASE", "--host", "0.0.0.0"], "token"),
        (["CASE", "--no-page", "--point", "1@0:9000,5"], "inside the 128x96 image"),
        (["CASE", "--no-page", "--memory", "elephant"], "elephant"),
        (["CASE", "--no-page", "--backend", "elephant"], "elephant"),
    ],
)
def test_wrong_use_is_refused_before_anything_runs(case: Path, words: list[str], reason: str) -> None:
    code, said = run(*(word.replace("CASE", str(case)) for word in words))
    assert code == 2
    assert reason in " ".join(said.split())


def test_every_option_has_help() -> None:
    assert all(parameter.help for parameter in load_command("live").params if parameter.param_type_name == "option")

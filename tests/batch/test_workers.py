"""Workers that share videos: one of them is killed, one video is none, and all the rest is as a single run has it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from typer.testing import CliRunner

from batch.many_videos import (
    CORRUPT,
    LONG,
    NUM_LONG_FRAMES,
    NUM_VIDEOS,
    DeadlyPrompts,
    files_of,
    job_of,
    kill_who_does,
    states_of,
    tasks_of,
    wait_for_the_middle,
    write_cases,
)
from surgvos.batch.attempt import DIED
from surgvos.batch.events import Event, Finished, Lost
from surgvos.batch.local_workers import LocalWorkers
from surgvos.batch.on_ray import RayWorkers
from surgvos.batch.run_batch import Runner, in_this_process, run_batch
from surgvos.cli.main import app
from surgvos.errors import CheckpointError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("many"))


@contextmanager
def one_thread() -> Iterator[None]:
    """As many as a worker of two has on two cores: how many there are shows in the last digits."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def single_run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("single")
    with one_thread():
        failed = run_batch(job_of(root), tasks_of(root, out), out, in_this_process, lambda event: None, resume=False)
    assert list(failed) == [CORRUPT]
    return files_of(out)


@pytest.mark.parametrize(
    "runner", [LocalWorkers(2), pytest.param(RayWorkers("local", 2), marks=pytest.mark.slow)], ids=["processes", "ray"]
)
def test_what_becomes_of_one_video_costs_no_other(
    tmp_path: Path, root: Path, single_run: dict[str, bytes], runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker is killed in the middle of its video, one video is none, and another one kills whoever begins it."""
    # Workers of Ray look for modules, such as that of the deadly prompts, where this says.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    # They would let everything else on a busy machine go first.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    told: list[Event] = []
    killer = threading.Thread(target=kill_who_does, args=(LONG, tmp_path))
    killer.start()
    job, tasks = job_of(root), tasks_of(root, tmp_path)
    deadly = replace(tasks[0], name="deadly", out=tmp_path / "deadly", prompts=DeadlyPrompts())
    failed = run_batch(job, [*tasks, deadly], tmp_path, runner, told.append, resume=False)
    killer.join()
    assert sorted(failed) == [CORRUPT, "deadly"]
    assert CORRUPT in failed[CORRUPT]
    assert failed["deadly"] == DIED
    assert files_of(tmp_path) == single_run
    states = states_of(tmp_path)
    assert states.pop(LONG) == ["started", "lost", "started", "finished"]
    assert states.pop(CORRUPT) == ["started", "failed"]
    assert states.pop("deadly") == ["started", "lost", "started", "failed"]
    assert list(states.values()) == [["started", "finished"]] * (NUM_VIDEOS - 2)
    (long_run,) = [event for event in told if isinstance(event, Finished) and event.video == LONG]
    assert sorted(event.video for event in told if isinstance(event, Lost)) == [LONG, "deadly"]
    assert 0 < long_run.segmented.summary.num_frames_now < NUM_LONG_FRAMES  # it went on where the other had stopped

    again = run_batch(job, tasks, tmp_path, in_this_process, told.append, resume=True)
    assert list(again) == [CORRUPT]
    after = states_of(tmp_path)
    assert after.pop(CORRUPT) == ["started", "failed"] * 2
    assert after.pop("deadly") == ["started", "lost", "started", "failed"]
    assert {video: found.count("finished") for video, found in after.items()} == dict.fromkeys(after, 1)
    assert files_of(tmp_path) == single_run


def test_a_model_that_cannot_be_loaded_ends_the_batch(tmp_path: Path, root: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\x00\x00\x00")
    job = replace(job_of(root), model=str(tmp_path / "broken.safetensors"))
    with pytest.raises(CheckpointError, match="broken"):
        run_batch(job, tasks_of(root, tmp_path)[:2], tmp_path, LocalWorkers(1), lambda event: None, resume=False)


def test_workers_end_with_the_process_that_shares_out_the_work(
    tmp_path: Path, root: Path, single_run: dict[str, bytes]
) -> None:
    words = ["segment", str(root / "cases"), "--out", str(tmp_path), "--prompts", str(root / "masks")]
    words += ["--model", str(root / "tiny.safetensors"), "--device", "cpu", "--dtype", "fp32"]
    caller = subprocess.Popen([sys.executable, "-m", "surgvos", *words, "--workers", "2"], stdout=subprocess.DEVNULL)
    worker = wait_for_the_middle(LONG, tmp_path)
    assert worker != caller.pid
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + 60
    while is_alive(worker):
        assert time.monotonic() < deadline, "the worker goes on for nobody"
        time.sleep(0.02)
    with one_thread():
        resumed = CliRunner().invoke(app, [*words, "--resume"])
    assert resumed.exit_code == 1
    assert f"got 1 that failed ({CORRUPT})" in resumed.stderr
    assert files_of(tmp_path) == single_run


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

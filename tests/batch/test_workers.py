"""Workers that share videos: one of them is killed, one video is none, and all the rest is as a single run has it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from batch.many_videos import (
    CORRUPT,
    LONG,
    NUM_LONG_FRAMES,
    NUM_VIDEOS,
    files_of,
    job_of,
    kill_who_does,
    states_of,
    tasks_of,
    write_cases,
)
from surgvos.batch.events import Event, Finished, Lost
from surgvos.batch.local_workers import LocalWorkers
from surgvos.batch.on_ray import RayWorkers
from surgvos.batch.run_batch import Runner, in_this_process, run_batch


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def single_run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("single")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        failed = run_batch(job_of(root), tasks_of(root, out), out, in_this_process, lambda event: None, resume=False)
    finally:
        torch.set_num_threads(num_threads)
    assert list(failed) == [CORRUPT]
    return files_of(out)


@pytest.mark.parametrize(
    "runner", [LocalWorkers(2), pytest.param(RayWorkers("local", 2), marks=pytest.mark.slow)], ids=["processes", "ray"]
)
def test_one_worker_is_killed_and_one_video_is_none(
    tmp_path: Path, root: Path, single_run: dict[str, bytes], runner: Runner
) -> None:
    told: list[Event] = []
    killer = threading.Thread(target=kill_who_does, args=(LONG, tmp_path))
    killer.start()
    job, tasks = job_of(root), tasks_of(root, tmp_path)
    failed = run_batch(job, tasks, tmp_path, runner, told.append, resume=False)
    killer.join()
    assert list(failed) == [CORRUPT]
    assert CORRUPT in failed[CORRUPT]
    assert files_of(tmp_path) == single_run
    states = states_of(tmp_path)
    assert states.pop(LONG) == ["started", "lost", "started", "finished"]
    assert states.pop(CORRUPT) == ["started", "failed"]
    assert list(states.values()) == [["started", "finished"]] * (NUM_VIDEOS - 2)
    (long_run,) = [event for event in told if isinstance(event, Finished) and event.video == LONG]
    assert [event.video for event in told if isinstance(event, Lost)] == [LONG]
    assert 0 < long_run.segmented.summary.num_frames_now < NUM_LONG_FRAMES  # it went on where the other had stopped

    again = run_batch(job, tasks, tmp_path, in_this_process, told.append, resume=True)
    assert list(again) == [CORRUPT]
    after = states_of(tmp_path)
    assert after.pop(CORRUPT) == ["started", "failed"] * 2
    assert {video: found.count("finished") for video, found in after.items()} == dict.fromkeys(after, 1)
    assert files_of(tmp_path) == single_run

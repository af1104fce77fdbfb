"""The ledger: what is finished stays finished, whatever ends the process that writes it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from surgvos.batch.events import Advanced, Failed, Finished, Lost, Started
from surgvos.batch.job import VideoTask
from surgvos.batch.ledger import LEDGER, Ledger, read_ledger
from surgvos.batch.segmented import Segmented
from surgvos.errors import InputError
from surgvos.tracking.run import RunSummary

SEGMENTED = Segmented(RunSummary(12, 3.5, 12, {2: ("suction",)}), num_objects=2)
PRINT = "f1"


def task_of(out: Path, name: str = "case_1") -> VideoTask:
    return VideoTask(name=name, source=f"{name}.mp4", out=out / name, prompts=None)


def write_done(task: VideoTask, status: str = "done") -> None:
    task.out.mkdir(parents=True, exist_ok=True)
    (task.out / "run.json").write_text(json.dumps({"status": status}))


def finish(out: Path) -> VideoTask:
    task = task_of(out)
    with Ledger(out) as ledger:
        ledger.note(Started(task.name, 0, "host", 1), PRINT)
        ledger.note(Finished(task.name, 0, SEGMENTED), PRINT)
    write_done(task)
    return task


def test_what_is_finished_comes_back_with_nothing_done_now(tmp_path: Path) -> None:
    task = finish(tmp_path)
    with Ledger(tmp_path) as ledger:
        found = ledger.finished_before(task, PRINT)
        assert found == replace(SEGMENTED, summary=RunSummary(12, 3.5, 0, {2: ("suction",)}))
        assert ledger.finished_before(task_of(tmp_path, "case_2"), PRINT) is None


def test_it_is_done_again_where_something_else_is_asked_for_or_it_has_gone(tmp_path: Path) -> None:
    task = finish(tmp_path)
    with Ledger(tmp_path) as ledger:
        assert ledger.finished_before(task, "f2") is None
        write_done(task, "running")
        assert ledger.finished_before(task, PRINT) is None
        (task.out / "run.json").unlink()
        assert ledger.finished_before(task, PRINT) is None


def test_the_last_line_of_a_video_counts(tmp_path: Path) -> None:
    task = finish(tmp_path)
    with Ledger(tmp_path) as ledger:
        ledger.note(Started(task.name, 0, "host", 1), PRINT)
        ledger.note(Advanced(task.name, 0, 1, 12), PRINT)
        ledger.note(Lost(task.name, 0), PRINT)
        ledger.note(Failed(task.name, 1, "a reason"), PRINT)
    with Ledger(tmp_path) as ledger:
        assert ledger.finished_before(task, PRINT) is None
    lines = list(read_ledger(tmp_path / LEDGER))
    assert [line["state"] for line in lines] == ["started", "finished", "started", "lost", "failed"]
    assert lines[-1]["reason"] == "a reason"


def test_half_a_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    task = finish(tmp_path)
    path = tmp_path / LEDGER
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"time": "2026-01-01", "vid')
    assert len(list(read_ledger(path))) == 2
    with Ledger(tmp_path) as ledger:
        assert ledger.finished_before(task, PRINT) is not None
        ledger.note(Failed("case_2", 0, "a reason"), PRINT)
    assert path.read_bytes().startswith(whole)
    assert [line["state"] for line in read_ledger(path)] == ["started", "finished", "failed"]


def test_a_damaged_line_in_the_middle_is_said(tmp_path: Path) -> None:
    (tmp_path / LEDGER).write_text('{"video": "a", "state": "started"}\nnonsense\n{"video": "a", "state": "lost"}\n')
    with pytest.raises(InputError, match=r"in line 2 of .*ledger\.jsonl"):
        Ledger(tmp_path)


def test_two_callers_at_once_are_one_too_many_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from surgvos.batch.ledger import Ledger\n"
    program += "with Ledger(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with pytest.raises(InputError, match="expected a folder in which nobody else is at work"):
        Ledger(tmp_path)
    other.kill()
    other.communicate()
    with Ledger(tmp_path):
        pass

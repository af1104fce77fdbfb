"""The log of a run and atomic JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from surgvos.core import FrameResult, ObjectResult, Phase
from surgvos.errors import InputError, SurgvosError
from surgvos.io.results import FrameLog, read_frame_log, write_json_atomic


def result_of(index: int) -> FrameResult:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:3, 2:7] = True
    return FrameResult(
        frame_index=index,
        frame_name=f"{index:05d}",
        masks={1: mask, 4: np.zeros_like(mask)},
        objects={
            1: ObjectResult(Phase.TRACKING, presence=0.75, predicted_iou=0.5, prompted=True),
            4: ObjectResult(Phase.ABSENT, presence=0.125, predicted_iou=0.0, prompted=False, attended_frames=(0, 3)),
        },
        logits={},
    )


def write_log(path: Path, indices: range, *, resume: bool = False) -> None:
    with FrameLog(path, resume=resume) as log:
        for index in indices:
            log.write(result_of(index), time_s=index / 25)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run" / "frames.jsonl"
    write_log(path, range(3))
    records = list(read_frame_log(path))
    assert [(r.index, r.name, r.time_s) for r in records] == [(i, f"{i:05d}", i / 25) for i in range(3)]
    assert records[1].objects[1].result == result_of(1).objects[1]
    assert records[1].objects[4].result == result_of(1).objects[4]
    assert records[1].objects[1].area_px == 10
    assert records[1].objects[1].box_xyxy == (2, 1, 7, 3)
    assert records[1].objects[4].box_xyxy is None
    keys = {"phase", "presence", "predicted_iou", "prompted", "attended_frames", "area_px", "box_xyxy"}
    assert set(json.loads(path.read_text().splitlines()[0])["objects"]["4"]) == keys


def test_every_line_is_on_disk_before_the_next(tmp_path: Path) -> None:
    with FrameLog(tmp_path / "frames.jsonl") as log:
        for index in range(3):
            log.write(result_of(index))
            assert [r.index for r in read_frame_log(log.path)] == list(range(index + 1))


@pytest.mark.parametrize("num_lost_bytes", [1, 2, 40])
def test_a_truncated_last_line_is_left_out_and_replaced(tmp_path: Path, num_lost_bytes: int) -> None:
    path = tmp_path / "frames.jsonl"
    write_log(path, range(3))
    path.write_bytes(path.read_bytes()[:-num_lost_bytes])
    assert [r.index for r in read_frame_log(path)] == [0, 1]
    write_log(path, range(2, 5), resume=True)
    assert [r.index for r in read_frame_log(path)] == [0, 1, 2, 3, 4]


def test_a_new_log_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    write_log(path, range(3))
    write_log(path, range(7, 8))
    assert [r.index for r in read_frame_log(path)] == [7]


def test_a_resumed_log_that_is_not_there(tmp_path: Path) -> None:
    write_log(tmp_path / "frames.jsonl", range(2), resume=True)
    assert len(list(read_frame_log(tmp_path / "frames.jsonl"))) == 2


def test_a_damaged_line_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    write_log(path, range(3))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], '{"index": 1', lines[2], ""]))
    with pytest.raises(InputError, match=r"line 2 of .*frames.jsonl.*try removing the line"):
        list(read_frame_log(path))
    with pytest.raises(InputError, match=r"expected a frame log, got .*none.jsonl"):
        list(read_frame_log(tmp_path / "none.jsonl"))


def test_json_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run.json"
    write_json_atomic(path, {"b": [1, 2.5]})
    assert json.loads(path.read_text()) == {"b": [1, 2.5]}
    with pytest.raises(TypeError):
        write_json_atomic(path, {"b": object()})
    assert json.loads(path.read_text()) == {"b": [1, 2.5]}
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]
    with pytest.raises(SurgvosError, match="expected to write"):
        write_json_atomic(path / "below a file.json", {})

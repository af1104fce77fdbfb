"""Videos of whole operations are found by name, as files and as folders of frames, and what cannot be read is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from dataset_miniatures import frame
from helpers import moving_square_frames, write_video
from surgvos.cli.main import app
from surgvos.data.datasets import DATASETS
from surgvos.data.operations import OPERATIONS, find_operations, missing_operations
from surgvos.errors import InputError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos 10 and 2 of Cholec80, and 3 as frames; others beside them."""
    folder = tmp_path_factory.mktemp("operations")
    frames = moving_square_frames(3)[0]
    for name in ("videos/video10.mp4", "videos/video02.mp4", "videos/holiday.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / name, frames)
    for name in ("frames/video03/0.png", "frames/video03/1.png", "frames/thumbnails/0.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(frame(1, (48, 64)))
    (folder / "videos/video02-phase.txt").write_text("Frame\tPhase\n")
    return folder


def check(folder: Path, name: str) -> Result:
    return CliRunner().invoke(app, ["data", "check", str(folder), "--dataset", name])


def test_files_and_folders_of_frames_are_found_in_natural_order(root: Path) -> None:
    found, faults = find_operations(OPERATIONS["cholec80"], root)
    assert not faults
    assert [(one.name, one.path.name, one.hw, one.fps, one.num_frames) for one in found] == [
        ("video02", "video02.mp4", (96, 128), 25.0, None),
        ("video03", "video03", (48, 64), None, 2),
        ("video10", "video10.mp4", (96, 128), 25.0, None),
    ]
    missing = missing_operations(OPERATIONS["cholec80"], found)
    assert len(missing) == 77
    assert "video02" not in missing


def test_each_set_knows_its_operations() -> None:
    assert {name: len(known.expected) for name, known in OPERATIONS.items()} == {
        "cholec80": 80,
        "cataracts": 50,
        "cataract1k-videos": 30,
    }
    assert not OPERATIONS.keys() & DATASETS.keys()
    assert set(DATASETS["cataract1k"]().splits["test"]) <= set(OPERATIONS["cataract1k-videos"].expected)


def test_check_lists_them_and_says_what_is_not_there(root: Path) -> None:
    result = check(root, "cholec80")
    assert result.exit_code == 0, result.output
    assert "video02: 128x96, 25 frames/s, " in result.output
    assert "video03: 64x48, 2 frames, " in result.output
    assert "3 videos of Cholec80" in result.output
    assert "not there: video01, video04, video05 and 74 more" in result.output


def test_a_damaged_video_is_named_and_the_others_are_listed(tmp_path: Path) -> None:
    write_video(tmp_path / "train01.mp4", moving_square_frames(3)[0])
    (tmp_path / "train02.mp4").write_bytes(np.arange(200, dtype=np.uint8).tobytes())
    result = check(tmp_path, "cataracts")
    assert result.exit_code == 1
    assert "train01: 128x96" in result.output
    assert "fault: expected" in result.output
    assert "train02.mp4" in result.output


def test_a_folder_without_them_is_refused_with_the_way_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected videos or folders of frames such as train01 in .*try joining https"
    ):
        find_operations(OPERATIONS["cataracts"], tmp_path)
    with pytest.raises(InputError, match="which is none"):
        find_operations(OPERATIONS["cataracts"], tmp_path / "absent")
    assert check(tmp_path, "cataracts").exit_code == 2


def test_preparing_them_is_refused_with_what_to_do(tmp_path: Path) -> None:
    arguments = ["data", "prepare", "cholec80", "--source", str(tmp_path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"try 'surgvos data check {tmp_path} --dataset cholec80'" in " ".join(result.output.split())
    listed = CliRunner().invoke(app, ["data", "list"]).output
    assert all(f"{known.name}: {known.title}" in listed for known in OPERATIONS.values())

"""``surgvos segment`` over many videos: which, what is shown of each, and what is said when something is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from helpers import moving_square_frames, write_video
from surgvos.cli.main import app
from surgvos.io.masks import read_label_map, write_label_map
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoModel
from training.tiny import TINY_NANO

HW = (48, 64)
NUM_FRAMES = 3
NAMES = ("case_1", "case_2", "case_3")
CORRUPT = "case_2"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos and one that is none, their prompts in each of the forms, and label maps for a detector."""
    root = tmp_path_factory.mktemp("many")
    (root / "cases").mkdir()
    for number, name in enumerate(NAMES):
        frames, masks = moving_square_frames(NUM_FRAMES, hw=HW, side_px=16, seed=number)
        if name == CORRUPT:
            (root / f"cases/{name}.mp4").write_bytes(b"no video")
        else:
            write_video(root / f"cases/{name}.mp4", frames)
        for index, mask in enumerate(masks):
            write_label_map(root / f"seen/{name}/{index:05d}.png", mask.astype(np.uint8))
        write_label_map(root / f"masks/{name}.png", masks[0].astype(np.uint8) * 3)
    points = [{"frame": 1, "object": 2, "points": [[20, 20]]}]
    (root / "files").mkdir()
    (root / "files/case_1.json").write_text(json.dumps(points))
    (root / "files/case_3").mkdir()
    (root / "files/case_3/prompts.json").write_text(json.dumps(points))
    (root / "space.yaml").write_text(yaml.safe_dump({"classes": [{"id": 1, "name": "square", "color": [250, 0, 0]}]}))
    torch.manual_seed(0)
    save_model(root / "tiny.safetensors", NanoModel(replace(TINY_NANO, input_area_px=64 * 64)))
    return root


def segment(root: Path, out: Path, *arguments: str, sources: tuple[str, ...] = ("cases",)) -> Result:
    words = ["segment", *(str(root / source) for source in sources), "--out", str(out)]
    return CliRunner().invoke(app, [*words, "--model", str(root / "tiny.safetensors"), *arguments])


def ids_of(out: Path) -> dict[str, list[int]]:
    """Video -> what its first mask holds."""
    folders = [path for path in sorted(out.iterdir()) if (path / "masks").is_dir()]
    return {path.name: np.unique(read_label_map(path / "masks/00000.png")).tolist() for path in folders}


def test_what_fails_is_said_at_the_end_and_the_rest_is_finished(root: Path, tmp_path: Path) -> None:
    result = segment(root, tmp_path / "out", "--prompts", str(root / "masks"))
    assert result.exit_code == 1
    assert f"{CORRUPT}: failed: expected" in result.stderr
    assert f"got 1 that failed ({CORRUPT})" in result.stderr
    assert f"2 of 3 videos in {tmp_path / 'out'}" in result.stdout
    assert "case_1: 3 frames, 1 object, " in result.stdout
    assert ids_of(tmp_path / "out") == {"case_1": [0, 3], "case_3": [0, 3]}
    again = segment(root, tmp_path / "out", "--prompts", str(root / "masks"))
    assert again.exit_code == 2
    assert "with those of case_1; try --resume" in again.stderr
    resumed = segment(root, tmp_path / "out", "--prompts", str(root / "masks"), "--resume")
    assert resumed.exit_code == 1
    assert "case_1: 3 frames, 1 object, finished before" in resumed.stdout


def test_prompts_are_found_by_the_names_of_videos(root: Path, tmp_path: Path) -> None:
    sources = ("cases/case_1.mp4", "cases/case_3.mp4")
    result = segment(root, tmp_path / "out", "--prompts", str(root / "files"), sources=sources)
    assert result.exit_code == 0, result.output
    for name in ("case_1", "case_3"):
        (prompt,) = json.loads((tmp_path / "out" / name / "prompts.json").read_text())
        assert (prompt["video"], prompt["frame"], prompt["object"]) == (name, 1, 2)
    result = segment(root, tmp_path / "none", "--prompts", str(root / "cases"), sources=("cases/case_[13].mp4",))
    assert result.exit_code == 1
    assert "expected case_1/prompts.json, case_1.json or case_1.png in" in result.stderr


def test_label_maps_of_a_detector_are_found_by_the_names_of_videos(root: Path, tmp_path: Path) -> None:
    arguments = ("--overseer", str(root / "seen"), "--label-space", str(root / "space.yaml"), "--no-tracker")
    result = segment(root, tmp_path / "out", *arguments, sources=("cases/case_1.mp4", "cases/case_3.mp4"))
    assert result.exit_code == 0, result.output
    for name in ("case_1", "case_3"):
        for path in (root / "seen" / name).iterdir():
            np.testing.assert_array_equal(
                read_label_map(tmp_path / "out" / name / "masks" / path.name), read_label_map(path)
            )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "expected one of --text, --overseer and --prompts FOLDER for 3 videos"),
        (("--text", "a", "--prompts", "masks"), "expected one of --text, --overseer and --prompts FOLDER"),
        (("--point", "1@0:3,4"), "expected --point only as an option of a single video"),
        (("--mask", "0:a.png"), "expected --mask only as an option of a single video"),
        (("--text", "a", "--stop", "2"), "expected --stop only as an option of a single video"),
        (("--prompts", "prompts.json"), "expected a folder with VIDEO/prompts.json or VIDEO.json or VIDEO.png"),
        (("--text", "a", "--objects", "1"), "expected --objects only as an option of --dataset"),
        (("--text", "a", "--memory", "sieve"), "a memory policy"),
        (("--text", "a", "--device", "abacus"), "expected a device"),
        (("--text", "a", "--model", "no-such-model"), "'no-such-model'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(
    root: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = segment(root, tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_for_every_video_ends_the_batch(root: Path, tmp_path: Path) -> None:
    result = segment(root, tmp_path / "out", "--prompts", str(root / "masks"), "--direction", "up")
    assert result.exit_code == 2
    assert "forward, backward or both, got 'up'" in result.stderr


def test_workers_are_for_many(root: Path, tmp_path: Path) -> None:
    arguments = ("--point", "1@0:20,20", "--workers", "2")
    result = segment(root, tmp_path / "out", *arguments, sources=("cases/case_1.mp4",))
    assert result.exit_code == 2
    assert "expected --workers only where there are many videos" in result.stderr

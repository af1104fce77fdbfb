"""``surgvos segment --backend``: the same masks by another engine, and what is said of a wrong one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from helpers import moving_square_frames, write_video
from surgvos.cli.main import app
from surgvos.io.masks import read_label_map, write_label_map
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoModel
from training.tiny import TINY_NANO


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a video, a mask of its first frame and small weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    frames, masks = moving_square_frames(3, hw=(48, 64), side_px=16)
    write_video(tmp_path / "case.mp4", frames)
    write_label_map(tmp_path / "first.png", masks[0].astype(np.uint8))
    torch.manual_seed(0)
    save_model(tmp_path / "tiny.safetensors", NanoModel(replace(TINY_NANO, input_area_px=64 * 64)))
    return tmp_path


def segment(case: Path, backend: str) -> Result:
    arguments = [case / "case.mp4", "--out", case / backend, "--mask", f"0:{case / 'first.png'}"]
    arguments += ["--model", case / "tiny.safetensors", "--dtype", "fp32", "--device", "cpu", "--backend", backend]
    return CliRunner().invoke(app, ["segment", *map(str, arguments)])


def test_the_masks_are_the_same(case: Path) -> None:
    for backend in ("torch", "onnx"):
        result = segment(case, backend)
        assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (case / "torch" / "masks").iterdir())
    assert len(names) == 3
    for name in names:
        masks = [read_label_map(case / backend / "masks" / name) for backend in ("torch", "onnx")]
        np.testing.assert_array_equal(*masks)
    record = json.loads((case / "onnx" / "run.json").read_text())["record"]
    assert record["model"]["backend"] == "onnx"
    assert len(list((case / "cache" / "surgvos" / "encoders").iterdir())) == 1


def test_an_unknown_backend_is_wrong_use(case: Path) -> None:
    result = segment(case, "tpu")
    assert result.exit_code == 2
    assert "expected a backend, one of torch, compile, onnx, got 'tpu'" in result.output
    assert not (case / "tpu").exists()

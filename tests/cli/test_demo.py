"""``surgvos demo``: with any model, it makes a clip, segments it in several ways, and scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from surgvos.cli.main import app
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoConfig, NanoModel, ReferringNano, ReferringNanoConfig


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_model(tmp_path / "tiny.safetensors", NanoModel(NanoConfig(input_area_px=64 * 96, head_dim=16)))
    return tmp_path / "tiny.safetensors"


def test_demo(tmp_path: Path, weights: Path) -> None:
    out = tmp_path / "demo"
    arguments = ["demo", "--out", str(out), "--model", str(weights), "--frames", "8"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    kinds = ["mask", "click", "box", "overseer"]
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["prompt", *kinds]
    for kind in kinds:
        assert (out / kind / "demo" / "overlay.mp4").stat().st_size > 0
        assert json.loads((out / kind / "demo" / "run.json").read_text())["num_frames"] == 8
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "expected a new folder" in again.stderr


def test_a_model_that_reads_is_told_what_to_look_for(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ReferringNanoConfig(input_area_px=64 * 96, head_dim=16, text_width=16, num_buckets=64)
    save_model(tmp_path / "reader.safetensors", ReferringNano(config))
    arguments = ["demo", "--out", str(tmp_path / "demo"), "--model", str(tmp_path / "reader.safetensors")]
    result = CliRunner().invoke(app, [*arguments, "--frames", "8"])
    assert result.exit_code == 0, result.output
    assert "text" in [line.split()[0] for line in result.stdout.splitlines()]
    told = json.loads((tmp_path / "demo" / "text" / "demo" / "run.json").read_text())
    assert told["num_frames"] == 8

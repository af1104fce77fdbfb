"""``surgvos benchmark``: tiny runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from oracle.test_transformers import TOY
from surgvos.cli.main import app
from surgvos.models.random_weights import ARCHITECTURES

NANO = ("--model", "surgvos-nano", "--random-weights", "--frames", "1", "--video", "96x64", "--dtype", "fp32")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


def test_the_figures_are_shown_and_written(tmp_path: Path) -> None:
    result = run(*NANO, "--objects", "2", "--json", tmp_path / "figures.json")
    assert result.exit_code == 0, result.output
    assert "seconds per frame" in result.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["seconds_per_frame"] > 0
    assert figures["frames_per_second"] == pytest.approx(1 / figures["seconds_per_frame"])
    assert figures["peak_memory_bytes"] > 2**20
    assert figures["objects"] == 2
    assert {"image_encoder", "memory_attention", "mask_decoder", "memory_encoder"} < figures["stages"].keys()
    assert "ratio" not in figures


def test_refining_is_a_stage_and_may_be_left_out(tmp_path: Path) -> None:
    spent = []
    for arguments in ((), ("--no-refine",)):
        result = run("--frames", "4", "--video", "96x64", *arguments, "--json", tmp_path / "figures.json")
        assert result.exit_code == 0, result.output
        figures = json.loads((tmp_path / "figures.json").read_text())
        spent.append((figures["refine"], figures["stages"]["refinement"] > 0))
    assert spent == [(True, True), (False, False)]


def test_transformers_runs_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "toy", lambda: TOY)
    arguments = ("--model", "toy", "--random-weights", "--frames", "2", "--dtype", "fp32", "--versus", "transformers")
    result = run(*arguments, "--json", tmp_path / "figures.json")
    assert result.exit_code == 0, result.output
    assert "its time divided by ours" in result.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["max_logit_difference"] <= 1e-3
    assert figures["ratio"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*NANO, "--versus", "sam3"), "expected --versus transformers"),
        ((*NANO, "--versus", "transformers"), "expected --versus without --video"),
        ((*NANO[:5], "--versus", "transformers"), "expected a SAM 2 model"),
        ((*NANO, "--video", "wide"), "expected a size such as 1280x720"),
        ((*NANO, "--size", "40"), "expected an image size of at least 64, got 40"),
        ((*NANO, "--memory", "elephant"), "expected a memory policy"),
        ((*NANO, "--backend", "tpu"), "expected a backend, one of torch, compile, onnx"),
        ((*NANO, "--dtype", "bf16", "--backend", "onnx"), "expected fp32 on the CPU for backend onnx, got bfloat16"),
        (("--model", "sam9", "--random-weights"), "expected random weights of"),
        (("--model", "sam2.1-hiera-tiny", "--random-weights", "--size", "100"), "multiple of 32"),
    ],
)
def test_wrong_use_is_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert sentence in result.output
    assert result.output.count("\n") == 1

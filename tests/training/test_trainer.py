"""Runs: what they leave behind, and that an interruption changes nothing."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from surgvos.config.load import from_plain
from surgvos.data.batches import BatchShape
from surgvos.errors import CheckpointError, ConfigError, TrainingError
from surgvos.models.checkpoints import load_checkpoint, save_model
from surgvos.training.checkpoint import CheckpointFolder
from surgvos.training.clip import ClipModule
from surgvos.training.config import TrainConfig, Validation
from surgvos.training.networks import build_model
from surgvos.training.trainer import Trainer, train
from training.tiny import tiny_run

Lines = list[dict[str, Any]]


def _log(folder: Path) -> Lines:
    """Lines of the log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    for line in lines:
        assert line.pop("seconds_per_step") > 0
    return lines


def _stop_after(step: int) -> Any:
    def report(now: int, values: dict[str, float]) -> None:
        if now == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return report


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train(tiny_run(), folder, device="cpu")
    return folder


def test_a_run_leaves_weights_log_curves_and_its_configuration(whole_run: Path) -> None:
    assert [line["step"] for line in _log(whole_run)] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "mask", "iou", "presence", "tracked_iou", "learning_rate", "gradient_norm"} <= set(
        _log(whole_run)[0]
    )
    written = json.loads((whole_run / "run.json").read_text())
    assert from_plain(TrainConfig, written["config"]) == tiny_run()
    assert {"surgvos", "torch", "python"} <= set(written["versions"])
    assert list((whole_run / "tensorboard").iterdir())
    assert [path.name for path in CheckpointFolder(whole_run / "checkpoints").paths()] == [
        "step_00000004.pt",
        "step_00000006.pt",
    ]


def test_the_final_weights_are_the_average(whole_run: Path) -> None:
    state = CheckpointFolder(whole_run / "checkpoints").load_last()
    weights = load_file(whole_run / "model.safetensors")
    assert weights.keys() == state["model"].keys()
    assert all(torch.equal(weights[name], state["average"]["values"][name]) for name in weights)
    assert any(not torch.equal(weights[name], state["model"][name]) for name in weights)
    model = load_checkpoint(whole_run / "model.safetensors")
    assert model.config == tiny_run().model


def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not(whole_run: Path, tmp_path: Path) -> None:
    result = train(tiny_run(), tmp_path, device="cpu", report=_stop_after(3))
    assert (result.step, result.finished, result.weights) == (3, False, None)
    assert not (tmp_path / "model.safetensors").exists()
    result = train(tiny_run(), tmp_path, device="cpu", resume=True)
    assert (result.step, result.finished) == (6, True)
    assert _log(tmp_path) == _log(whole_run)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path, whole_run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_killed_run_repeats_the_steps_after_its_last_checkpoint(whole_run: Path, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(step: int, values: dict[str, float]) -> None:
        if step == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train(tiny_run(), tmp_path, device="cpu", report=kill)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "lo')
    train(tiny_run(), tmp_path, device="cpu", resume=True)
    assert _log(tmp_path) == _log(whole_run)


def test_workers_prepare_the_same_batches(whole_run: Path, tmp_path: Path) -> None:
    train(tiny_run(num_workers=1), tmp_path, device="cpu")
    assert _log(tmp_path) == _log(whole_run)


def test_validation_scores_the_same_clips_and_changes_nothing(whole_run: Path, tmp_path: Path) -> None:
    config = tiny_run()
    batch = BatchShape(num_frames=2, image_hw=(64, 64), batch_size=2)
    validation = Validation(data=config.data, batch=batch, num_batches=2, every=3)
    train(replace(config, validation=validation), tmp_path, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    scores = [line for line in lines if "validation_tracked_iou" in line]
    assert [line["step"] for line in scores] == [3, 6]
    assert scores[0]["validation_loss"] != scores[1]["validation_loss"]
    model = load_checkpoint(tmp_path / "model.safetensors")
    source = config.data.open(batch, config.seed + 1)
    module = ClipModule(model, config.task).eval()
    with torch.no_grad():
        losses = [module(source[index], None) for index in range(2)]
    expected = sum(x.total.item() / x.num_items for x in losses) / 2
    assert scores[1]["validation_loss"] == pytest.approx(expected, rel=1e-4)
    kept = [line for line in lines if "loss" in line]
    for line in kept:
        line.pop("seconds_per_step")
    assert kept == _log(whole_run)


def test_a_folder_with_a_run_is_not_overwritten(whole_run: Path) -> None:
    with pytest.raises(ConfigError, match="with a run in it; try --resume"):
        train(tiny_run(), whole_run, device="cpu")


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a checkpoint to resume from"):
        train(tiny_run(), tmp_path, device="cpu", resume=True)


def test_another_model_is_not_resumed(whole_run: Path) -> None:
    config = tiny_run()
    wider = replace(config, model=replace(config.model, depths=(1, 1, 2)))
    with pytest.raises(CheckpointError, match="expected a checkpoint of the configured model"):
        train(wider, whole_run, device="cpu", resume=True)
    with pytest.raises(CheckpointError, match="average_decay"):
        train(replace(config, average_decay=None), whole_run, device="cpu", resume=True)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    CheckpointFolder(folder).save(3, {"step": 3})
    path = folder / "step_00000003.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"damaged file .*step_00000003\.pt"):
        train(tiny_run(), tmp_path, device="cpu", resume=True)


def test_only_the_last_checkpoints_are_kept_and_half_written_ones_do_not_count(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (9, 10, 11):
        folder.save(step, {"step": step})
    (tmp_path / "step_00000012.part.pt").write_bytes(b"half")
    assert [path.name for path in folder.paths()] == ["step_00000010.pt", "step_00000011.pt"]
    assert folder.load_last() == {"step": 11}


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: Any) -> torch.nn.Module:
        model = build_model(config)
        with torch.no_grad():
            model.nothing_remembered.fill_(float("nan"))  # type: ignore[operator, union-attr]
        return model

    monkeypatch.setattr("surgvos.training.trainer.initial_model", lambda config, *beginnings: broken(config))
    with pytest.raises(TrainingError, match=r"expected a finite loss, got nan in step \d; try a lower"):
        train(tiny_run(), tmp_path, device="cpu")


def test_weights_to_start_from_must_be_of_the_configured_model(tmp_path: Path) -> None:
    config = tiny_run()
    path = tmp_path / "start.safetensors"
    torch.manual_seed(5)
    start = build_model(config.model)
    save_model(path, start)
    trainer = Trainer(replace(config, init_from=str(path)), tmp_path, CheckpointFolder(tmp_path), "cpu", None)
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), start.parameters(), strict=True))
    wider = replace(config, init_from=str(path), model=replace(config.model, depths=(1, 1, 2)))
    with pytest.raises(CheckpointError, match="which is of another size or kind"):
        train(wider, tmp_path / "run", device="cpu")


def test_frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    config = replace(tiny_run(2), freeze=("image_encoder",), average_decay=None)
    train(config, tmp_path, device="cpu")
    torch.manual_seed(config.seed)
    start = build_model(config.model).state_dict()
    weights = load_file(tmp_path / "model.safetensors")
    changed = {name.split(".")[0] for name in weights if not torch.equal(weights[name], start[name])}
    assert "mask_decoder" in changed
    assert "image_encoder" not in changed


def test_bf16_runs_under_autocast(tmp_path: Path) -> None:
    train(replace(tiny_run(2), precision="bf16"), tmp_path, device="cpu")
    assert all(value.dtype == torch.float32 for value in load_file(tmp_path / "model.safetensors").values())
    assert [line["step"] for line in _log(tmp_path)] == [1, 2]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one stage"):
        replace(tiny_run(), stages=())
    with pytest.raises(ConfigError, match="average_decay between 0 and 1"):
        replace(tiny_run(), average_decay=1.0)

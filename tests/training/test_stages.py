"""Parts of a run: what is trained in each, and how batches of several shapes are mixed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from surgvos.config.load import from_plain, to_plain
from surgvos.data.batches import BatchShape
from surgvos.errors import ConfigError
from surgvos.training.checkpoint import CheckpointFolder
from surgvos.training.config import Stage, TrainConfig
from surgvos.training.networks import build_model
from surgvos.training.trainer import Trainer, train
from training.tiny import tiny_run

SHORT = BatchShape(num_frames=1, image_hw=(64, 64), batch_size=2)
LONG = replace(SHORT, num_frames=3, batch_size=1)


def mixed_run(num_workers: int = 0) -> TrainConfig:
    stages = (Stage(steps=6, batch=LONG, other_batches=(SHORT,)),)
    return replace(tiny_run(), stages=stages, num_workers=num_workers)


def lengths(config: TrainConfig, folder: Path) -> list[int]:
    trainer = Trainer(config, folder, CheckpointFolder(folder / "checkpoints"), "cpu", None)
    found = []
    for batch in trainer._batches():
        found.append(batch.num_frames)
        trainer.step += 1
    return found


def test_every_shape_has_the_same_chance() -> None:
    stage = Stage(steps=1000, batch=LONG, other_batches=(SHORT,))
    share = sum(stage.shape_of(step, seed=0) == LONG for step in range(1000)) / 1000
    assert share == pytest.approx(0.5, abs=0.05)
    other = [stage.shape_of(step, seed=1) for step in range(50)]
    assert other != [stage.shape_of(step, seed=0) for step in range(50)]
    assert from_plain(Stage, to_plain(stage)) == stage


def test_batches_of_both_shapes_come_in_the_drawn_order(tmp_path: Path) -> None:
    config = mixed_run()
    expected = [config.stages[0].shape_of(step, config.seed).num_frames for step in range(6)]
    assert lengths(config, tmp_path) == expected
    assert set(expected) == {1, 3}
    assert lengths(mixed_run(num_workers=2), tmp_path) == expected


def test_a_mixed_run_that_is_resumed_is_the_run_that_was_not(tmp_path: Path) -> None:
    whole = train(mixed_run(), tmp_path / "whole", device="cpu")
    train(mixed_run(), tmp_path / "cut", device="cpu")
    folder = CheckpointFolder(tmp_path / "cut/checkpoints")
    folder.paths()[-1].unlink()
    resumed = train(mixed_run(), tmp_path / "cut", resume=True, device="cpu")
    assert whole.weights is not None
    assert resumed.weights is not None
    torch.testing.assert_close(load_file(resumed.weights), load_file(whole.weights), rtol=0, atol=0)
    log = [json.loads(line)["loss"] for line in (tmp_path / "cut/log.jsonl").read_text().splitlines()]
    assert log == [json.loads(line)["loss"] for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]


def test_what_a_stage_freezes_joins_in_the_next(tmp_path: Path) -> None:
    frozen = ("image_encoder", "matching")
    config = replace(
        tiny_run(),
        stages=(Stage(steps=2, batch=SHORT, freeze=frozen), Stage(steps=2, batch=LONG)),
        freeze=("mask_decoder",),
        average_decay=None,
        checkpoint_every=2,
    )
    torch.manual_seed(config.seed)
    start = build_model(config.model).state_dict()
    train(config, tmp_path, device="cpu")
    states = [
        torch.load(path, weights_only=True)["model"] for path in CheckpointFolder(tmp_path / "checkpoints").paths()
    ]
    assert len(states) == 2
    changed = [{name.split(".")[0] for name in start if not torch.equal(state[name], start[name])} for state in states]
    assert changed[0]
    assert not changed[0] & {"image_encoder", "matching", "mask_decoder"}
    assert {"image_encoder", "matching"} <= changed[1]
    assert "mask_decoder" not in changed[1]


def test_a_stage_in_which_nothing_is_trained_is_refused_at_once(tmp_path: Path) -> None:
    names = {name.split(".")[0] for name, _ in build_model(tiny_run().model).named_parameters()}
    stage = Stage(steps=2, batch=SHORT, freeze=tuple(names))
    with pytest.raises(ConfigError, match="at least one parameter to train"):
        train(replace(tiny_run(), stages=(Stage(steps=2, batch=SHORT), stage)), tmp_path, device="cpu")
    with pytest.raises(ConfigError, match="got 'encoder'"):
        train(replace(tiny_run(), stages=(replace(stage, freeze=("encoder",)),)), tmp_path, device="cpu")

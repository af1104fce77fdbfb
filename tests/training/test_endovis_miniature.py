"""The recipe of EndoVis18 in miniature: it runs to its end, and what it learns holds for clips it has not seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from models.test_checkpoints import TOY
from surgvos.config.presets import RECIPES
from surgvos.data.batches import BatchShape
from surgvos.data.synthetic import SceneConfig, generate_clip, write_clip
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.memory import Pruned, Recent
from surgvos.models.checkpoints import load_checkpoint
from surgvos.models.sam2 import Sam2Model
from surgvos.training.clip import ClipSettings
from surgvos.training.config import Stage, TrainConfig, Validation
from surgvos.training.prompts import PromptSettings
from surgvos.training.trainer import train

SHAPE = BatchShape(num_frames=3, image_hw=(64, 64), batch_size=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("endovis18")
    scene = SceneConfig(image_hw=(64, 80), num_frames=5, surgical_share=1.0)
    for split, numbers in {"train": (1, 3, 4, 6), "valid": (2, 5)}.items():
        for number in numbers:
            write_clip(generate_clip(number, scene), folder / split, f"seq_{number}")
    return folder


def miniature(root: Path) -> TrainConfig:
    """The recipe with a toy network from random weights; what is left is the way through it."""
    recipe = RECIPES["endovis18_instrument"]()
    assert isinstance(recipe.data, VosFolderConfig)
    assert isinstance(recipe.task, ClipSettings)
    return replace(
        recipe,
        model=TOY,
        init_from=None,
        data=replace(recipe.data, root=str(root / "train")),
        validation=Validation(data=VosFolderConfig(root=str(root / "valid")), batch=SHAPE, num_batches=2, every=10),
        stages=(Stage(steps=20, batch=SHAPE),),
        task=replace(recipe.task, prompts=PromptSettings(num_corrections=1)),
        optimiser=replace(recipe.optimiser, learning_rate=3e-3, image_encoder_rate=3e-3, max_grad_norm=1.0),
        recompute=("image_encoder.trunk.blocks", "memory_attention"),
        num_workers=0,
        checkpoint_every=20,
        log_every=10,
    )


@torch.no_grad()
def held_out_loss(model: nn.Module, config: TrainConfig, root: Path) -> float:
    """Mean loss per object over clips of the other videos, with the same prompts for every model."""
    assert isinstance(config.data, VosFolderConfig)
    source = replace(config.data, root=str(root / "valid")).open(SHAPE, 7)
    module = config.task.module(model.eval())
    torch.manual_seed(0)
    losses = [module(source[index], torch.Generator().manual_seed(index)) for index in range(6)]
    return sum(float(loss.total) / loss.num_items for loss in losses) / len(losses)


def test_the_recipe_learns_what_holds_for_other_videos(root: Path, tmp_path: Path) -> None:
    config = miniature(root)
    torch.manual_seed(config.seed)
    before = held_out_loss(Sam2Model(TOY), config, root)
    result = train(config, tmp_path, device="cpu")
    assert result.finished
    assert result.weights is not None
    after = held_out_loss(load_checkpoint(result.weights), config, root)
    assert after < 0.8 * before
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    scores = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert len(scores) == 2


def test_frozen_encoders_and_pruned_memory_run(root: Path, tmp_path: Path) -> None:
    config = miniature(root)
    config = replace(
        config,
        freeze=("image_encoder", "sam_prompt_encoder"),
        task=replace(config.task, memory=Pruned(recent=Recent(num_recent=2), num_pruned=1)),
        stages=(Stage(steps=2, batch=replace(SHAPE, num_frames=5, batch_size=1)),),
        validation=None,
    )
    torch.manual_seed(config.seed)
    start = Sam2Model(TOY).state_dict()
    result = train(config, tmp_path, device="cpu")
    assert result.weights is not None
    weights = load_checkpoint(result.weights).state_dict()
    changed = {name.split(".")[0] for name in weights if not torch.equal(weights[name], start[name])}
    assert changed >= {"memory_attention", "memory_encoder", "sam_mask_decoder"}
    assert not changed & {"image_encoder", "sam_prompt_encoder"}

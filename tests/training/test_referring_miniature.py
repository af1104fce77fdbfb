"""The two phases of ReSurgSAM2's training in miniature: each runs to its end, and learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from models.test_text_model import TOY
from surgvos.config.presets import RECIPES
from surgvos.data.batches import BatchShape
from surgvos.data.phrases import Phrase, write_phrases
from surgvos.data.vos_phrases import VosPhrasesConfig
from surgvos.io.masks import write_label_map
from surgvos.models.checkpoints import load_checkpoint, save_model
from surgvos.models.resurg import ResurgModel
from surgvos.models.sam2 import Sam2Config, Sam2Model
from surgvos.training.config import Stage, TrainConfig
from surgvos.training.referring import ReferringSettings, forward_referring
from surgvos.training.trainer import train
from tiny_clip import tiny_clip_folder

HW = (48, 64)
COLORS = {1: (230, 40, 40), 2: (40, 220, 40)}
WORDS = {1: "large needle driver is idle", 2: "prograsp forceps are grasping tissue on the left"}
LOOKING = BatchShape(num_frames=3, image_hw=(64, 64), batch_size=2)
FOLLOWING = replace(LOOKING, num_frames=5, batch_size=1)
MODEL = replace(TOY, language_model=str(tiny_clip_folder()))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared set: a red and a green square on brown, the green one not in all frames."""
    folder = tmp_path_factory.mktemp("ref") / "train"
    for video in ("seq_1", "seq_3"):
        (folder / "JPEGImages" / video).mkdir(parents=True)
        for index in range(9):
            label_map = np.zeros(HW, np.uint8)
            left = 4 + 3 * index if video == "seq_1" else 40 - 3 * index
            label_map[4:22, left : left + 18] = 1
            if index < 7:
                label_map[26:44, 60 - left - 18 : 60 - left] = 2
            image = np.full((*HW, 3), (90, 60, 50), np.uint8)
            for object_id, color in COLORS.items():
                image[label_map == object_id] = color
            cv2.imwrite(str(folder / f"JPEGImages/{video}/{index:05d}.png"), image[..., ::-1])
            write_label_map(folder / f"Annotations/{video}/{index:05d}.png", label_map)
    phrases = tuple(Phrase(phrase=text, object=i, start="00000", stop="00008") for i, text in WORDS.items())
    write_phrases(folder / "phrases.json", {"seq_1": phrases, "seq_3": phrases})
    return folder


def miniature(name: str, root: Path, init_from: Path, stages: Sequence[Stage]) -> TrainConfig:
    """A recipe with a toy network and few steps; how it goes about it is left as it is."""
    recipe = RECIPES[name]()
    assert isinstance(recipe.data, VosPhrasesConfig)
    return replace(
        recipe,
        model=replace(MODEL, attend_padding_in_training=True),
        init_from=str(init_from),
        data=replace(recipe.data, root=str(root)),
        stages=tuple(stages),
        optimiser=replace(
            recipe.optimiser,
            learning_rate=2e-3,
            image_encoder_rate=2e-3,
            rates={part: replace(rate, highest=4e-3) for part, rate in recipe.optimiser.rates.items()},
            max_grad_norm=1.0,
            warmup_steps=3,
        ),
        num_workers=0,
        checkpoint_every=100,
        log_every=5,
    )


@torch.no_grad()
def loss_of(model: nn.Module, config: TrainConfig, shape: BatchShape) -> float:
    """Mean loss per object over the same clips for every model."""
    assert isinstance(config.task, ReferringSettings)
    source = config.data.open(shape, 99)
    found = [
        forward_referring(model.eval(), source[i], config.task)  # type: ignore[arg-type]
        for i in range(4)
    ]
    return sum(float(losses.total) / losses.num_items for losses in found) / len(found)


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first phase starts from: a network that reads no phrases."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "sam2.safetensors"
    save_model(path, Sam2Model(Sam2Config(**{field.name: getattr(MODEL, field.name) for field in fields(Sam2Config)})))
    return path


@pytest.fixture(scope="module")
def phase_a(root: Path, sam2: Path) -> TrainConfig:
    name = "resurgsam2_endovis17_phase_a"
    frozen = RECIPES[name]().stages[0].freeze
    return miniature(name, root, sam2, (Stage(steps=3, batch=LOOKING, freeze=frozen), Stage(steps=6, batch=LOOKING)))


@pytest.fixture(scope="module")
def weights_a(phase_a: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = train(phase_a, tmp_path_factory.mktemp("a"), device="cpu").weights
    assert weights is not None
    return weights


def untrained(config: TrainConfig, sam2: Path) -> nn.Module:
    """What the first phase starts with."""
    torch.manual_seed(config.seed)
    model = ResurgModel(MODEL)
    model.load_state_dict(load_checkpoint(sam2).state_dict(), strict=False)
    return model


def changed_parts(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> set[str]:
    return {key.split(".")[0] for key, value in before.items() if not torch.equal(after[key], value)}


def test_looking_is_learned(phase_a: TrainConfig, weights_a: Path, sam2: Path) -> None:
    before = loss_of(untrained(phase_a, sam2), phase_a, LOOKING)
    assert loss_of(load_checkpoint(weights_a), phase_a, LOOKING) < 0.8 * before


def test_at_first_what_sam_2_knew_stays_as_it_was(phase_a: TrainConfig, sam2: Path, tmp_path: Path) -> None:
    stage = replace(phase_a.stages[0], steps=1)
    weights = train(replace(phase_a, stages=(stage,)), tmp_path, device="cpu").weights
    assert weights is not None
    state = load_checkpoint(weights).state_dict()
    # Only a single vector of SAM 2's is of use in looking.
    assert changed_parts(load_checkpoint(sam2).state_dict(), state) == {"no_mem_embed"}
    assert changed_parts(untrained(phase_a, sam2).state_dict(), state) >= {"token_projection", "cross_modal_fusion"}


def test_following_is_learned_from_there(root: Path, weights_a: Path, tmp_path: Path) -> None:
    stages = (Stage(steps=7, batch=FOLLOWING, other_batches=(LOOKING,)),)
    config = miniature("resurgsam2_endovis17_phase_b", root, weights_a, stages)
    weights = train(config, tmp_path, device="cpu").weights
    assert weights is not None
    before, after = load_checkpoint(weights_a), load_checkpoint(weights)
    assert loss_of(after, config, FOLLOWING) < 0.9 * loss_of(before, config, FOLLOWING)
    changed = changed_parts(before.state_dict(), after.state_dict())
    assert changed >= {"memory_attention", "memory_encoder", "cross_modal_fusion", "sam_mask_decoder"}

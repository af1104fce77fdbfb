"""The recipes are what was published, and survive being written to a file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from surgvos.cli.train import resolve
from surgvos.config.load import from_plain, to_plain
from surgvos.config.presets import RECIPES
from surgvos.data.batches import BatchShape
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.data.vos_phrases import VosPhrasesConfig
from surgvos.errors import ConfigError
from surgvos.memory import Pruned, Recent
from surgvos.training.clip import ClipSettings
from surgvos.training.config import TrainConfig
from surgvos.training.networks import build_model
from surgvos.training.optim import Rate, learning_rate_factor
from surgvos.training.referring import ReferringSettings


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_comes_back_from_a_file(name: str) -> None:
    assert from_plain(TrainConfig, to_plain(RECIPES[name]())) == RECIPES[name]()


@pytest.mark.parametrize(
    ("name", "image_encoder_rate", "object_ids", "num_steps"),
    [
        ("endovis18_instrument", 5e-5, tuple(range(1, 11)), 30 * 409),
        ("endovis18", 3e-5, (*range(1, 11), 11, 12, 17), 30 * 409),
        ("endovis17", 5e-5, (), 30 * 450),
    ],
)
def test_surgical_sam_2_is_tuned_as_it_was_released(
    name: str, image_encoder_rate: float, object_ids: tuple[int, ...], num_steps: int
) -> None:
    """Reference: the released configurations of Surgical-SAM-2 (arXiv 2408.07931)."""
    recipe = RECIPES[name]()
    data, clip, optimiser = recipe.data, recipe.task, recipe.optimiser
    assert isinstance(data, VosFolderConfig)
    assert isinstance(clip, ClipSettings)
    assert recipe.init_from == "sam2.1-hiera-small"
    assert (recipe.model.image_size, recipe.model.drop_path_rate) == (512, 0.0)  # type: ignore[union-attr]
    ((stage),) = recipe.stages
    assert (stage.steps, stage.batch.num_frames, stage.batch.batch_size) == (num_steps, 8, 4)
    assert stage.batch.image_hw == (512, 512)
    assert (data.object_ids, data.max_objects, data.stride) == (object_ids, 3, 1)
    augmentation = data.augmentation
    assert (augmentation.max_rotation, augmentation.max_shear, augmentation.flip_probability) == (25, 20, 0.5)
    assert (augmentation.grey_probability, augmentation.reverse_probability) == (0.05, 0)
    prompts, losses = clip.prompts, clip.losses
    assert (prompts.point_probability, prompts.box_probability) == (0.5, 0.5)
    assert (prompts.num_corrections, prompts.true_click_probability) == (7, 0.1)
    assert (prompts.max_initial_frames, prompts.max_corrected_frames) == (1, 1)
    assert (losses.focal, losses.dice, losses.iou, losses.presence) == (20, 1, 1, 1)
    assert (losses.bce, losses.absent, losses.at_logits_resolution) == (0, 0, False)
    assert not clip.detach_memory_masks
    assert clip.memory_noise is None
    assert (optimiser.learning_rate, optimiser.image_encoder_rate) == (5e-5, image_encoder_rate)
    assert (optimiser.schedule, optimiser.final_fraction, optimiser.warmup_steps) == ("cosine", 0.1, 0)
    assert (optimiser.layer_decay, optimiser.weight_decay, optimiser.max_grad_norm) == (0.9, 0.1, 0.1)
    assert (recipe.precision, recipe.seed, recipe.num_workers, recipe.average_decay) == ("bf16", 2024, 8, None)
    assert recipe.checkpoint_every == num_steps // 6
    assert (recipe.freeze, recipe.recompute, recipe.validation) == ((), (), None)


def test_pruning_and_freezing_are_settings() -> None:
    """The paper freezes the encoders of images and prompts; nobody pruned in training."""
    config = resolve(
        "endovis18_instrument",
        [
            "freeze=[image_encoder, sam_prompt_encoder]",
            "recompute=[image_encoder.trunk.blocks, memory_attention]",
            "task.memory.kind=pruned",
            "task.memory.num_pruned=1",
        ],
    )
    assert config.freeze == ("image_encoder", "sam_prompt_encoder")
    assert config.recompute == ("image_encoder.trunk.blocks", "memory_attention")
    assert config.task.memory == Pruned(num_pruned=1)


@pytest.mark.parametrize(
    ("challenge", "object_ids", "rounds_a", "rounds_b"),
    [
        (17, tuple(range(1, 11)), 262, 420),
        (18, (*range(1, 11), 11, 12, 17), 204, 325),
    ],
)
def test_resurgsam2_is_trained_as_it_was_released(
    challenge: int, object_ids: tuple[int, ...], rounds_a: int, rounds_b: int
) -> None:
    """Reference: the released configurations of ReSurgSAM2 (arXiv 2505.08581)."""
    name = f"resurgsam2_endovis{challenge}_phase_a"
    phase_a, phase_b = RECIPES[name](), RECIPES[name.replace("_a", "_b")]()
    for recipe, num_steps in ((phase_a, 60 * rounds_a), (phase_b, 60 * rounds_b)):
        data, clip, optimiser = recipe.data, recipe.task, recipe.optimiser
        assert isinstance(data, VosPhrasesConfig)
        assert isinstance(clip, ReferringSettings)
        assert recipe.num_steps == num_steps
        assert (data.root, data.object_ids) == (f"data/ref-endovis{challenge}/train", object_ids)
        assert (data.max_objects, data.stride, data.num_referring, data.num_spare) == (3, 1, 3, 2)
        augmentation = data.augmentation
        assert (augmentation.max_rotation, augmentation.max_shear, augmentation.flip_probability) == (25, 20, 0.5)
        assert (augmentation.grey_probability, augmentation.reverse_probability) == (0.05, 0.25)
        losses = clip.losses
        assert (losses.focal, losses.dice, losses.iou, losses.presence) == (20, 1, 1, 1)
        assert (losses.bce, losses.absent, losses.at_logits_resolution) == (0, 0, False)
        factors = [learning_rate_factor(step, num_steps, optimiser) for step in (0, optimiser.warmup_steps, num_steps)]
        assert factors == pytest.approx([0.01, 1, 0.1], abs=1e-3)
        assert optimiser.warmup_steps == pytest.approx(0.3 * num_steps, abs=1)
        assert (optimiser.learning_rate, optimiser.image_encoder_rate, optimiser.layer_decay) == (5e-5, 5e-5, 0.9)
        rate = Rate(highest=3e-4, final_fraction=1 / 30)
        assert optimiser.rates == {"token_projection": rate, "cross_modal_fusion": rate}
        assert (optimiser.weight_decay, optimiser.decay_vectors, optimiser.max_grad_norm) == (0.1, True, 0.1)
        assert (recipe.precision, recipe.average_decay, recipe.freeze) == ("bf16", None, ())
        assert clip.memory == Recent()
    first, second = phase_a.stages
    assert (first.steps, second.steps) == (5 * rounds_a, 55 * rounds_a)
    assert second.freeze == ()
    looking = BatchShape(num_frames=3, image_hw=(512, 512), batch_size=8)
    assert first.batch == second.batch == looking
    with torch.device("meta"):
        names = [key for key, _ in build_model(phase_a.model).named_parameters()]
    trained = {key.split(".")[0] for key in names if not key.startswith(first.freeze)}
    assert {"cross_modal_fusion", "token_projection", "maskmem_tpos_enc", "no_mem_embed"} <= trained
    assert not trained & set(first.freeze)
    assert all(any(key.startswith(prefix) for key in names) for prefix in first.freeze)
    (stage,) = phase_b.stages
    assert (stage.batch, stage.other_batches) == (replace(looking, num_frames=10, batch_size=4), (looking,))
    assert (phase_a.init_from, phase_b.init_from) == ("sam2.1-hiera-small", f"runs/{name}/model.safetensors")


def test_data_and_clip_agree_on_where_looking_ends() -> None:
    recipe = RECIPES["resurgsam2_endovis17_phase_a"]()
    with pytest.raises(ConfigError, match="the same num_referring of task and data, got 3 and 2"):
        replace(recipe, data=replace(recipe.data, num_referring=2))  # type: ignore[call-arg]

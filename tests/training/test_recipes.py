"""The recipes are what was published, and survive being written to a file."""

from __future__ import annotations

import pytest

from surgvos.cli.train import resolve
from surgvos.config.load import from_plain, to_plain
from surgvos.config.presets import RECIPES
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.memory import Pruned
from surgvos.training.clip import ClipSettings
from surgvos.training.trainer import TrainConfig


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
    data, clip, optimiser = recipe.data, recipe.clip, recipe.optimiser
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
            "memory.kind=pruned",
            "memory.num_pruned=1",
        ],
    )
    assert config.freeze == ("image_encoder", "sam_prompt_encoder")
    assert config.recompute == ("image_encoder.trunk.blocks", "memory_attention")
    assert config.memory == Pruned(num_pruned=1)

"""Recipes: functions that return whole configurations of training runs."""

from __future__ import annotations

from collections.abc import Callable

from surgvos.data.clips import BatchShape
from surgvos.data.synthetic_clips import SyntheticClipsConfig
from surgvos.memory import Recent
from surgvos.models.nano import NanoConfig
from surgvos.training.clip import ClipSettings
from surgvos.training.losses import LossSettings
from surgvos.training.noise import MaskNoise
from surgvos.training.optim import OptimiserSettings
from surgvos.training.prompts import PromptSettings
from surgvos.training.trainer import Stage, TrainConfig


def nano_clips() -> TrainConfig:
    """The box model on synthetic clips: short ones first, then long ones, then larger images."""

    def stage(steps: int, num_frames: int, image_hw: tuple[int, int], batch_size: int) -> Stage:
        return Stage(steps=steps, batch=BatchShape(num_frames=num_frames, image_hw=image_hw, batch_size=batch_size))

    return TrainConfig(
        model=NanoConfig(),
        data=SyntheticClipsConfig(max_objects=2),
        stages=(
            stage(2200, 3, (160, 192), 8),
            stage(1200, 6, (192, 240), 3),
            stage(600, 4, (256, 320), 2),
        ),
        memory=Recent(num_recent=1, max_pointers=0),
        clip=ClipSettings(
            prompts=PromptSettings(point_probability=0.45, box_probability=0.35, num_corrections=1),
            losses=LossSettings(focal=10.0, bce=2.0, iou=0.5, presence=0.5, at_logits_resolution=True),
            memory_noise=MaskNoise(),
            detach_memory_masks=True,
        ),
        optimiser=OptimiserSettings(
            learning_rate=2e-3,
            weight_decay=0.05,
            decay_vectors=False,
            max_grad_norm=2.0,
            final_fraction=0.01,
            warmup_steps=200,
        ),
        average_decay=0.998,
        checkpoint_every=200,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {"nano_clips": nano_clips}
"""Name on the command line -> recipe. A new recipe is one function and one line here."""

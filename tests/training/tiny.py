"""The smallest runs that still learn something."""

from __future__ import annotations

from surgvos.data.batches import BatchShape
from surgvos.data.synthetic import SceneConfig
from surgvos.data.synthetic_clips import SyntheticClipsConfig
from surgvos.memory import Recent
from surgvos.models.nano import NanoConfig
from surgvos.training.clip import ClipSettings
from surgvos.training.config import Stage, TrainConfig
from surgvos.training.losses import LossSettings
from surgvos.training.optim import OptimiserSettings
from surgvos.training.prompts import PromptSettings

TINY_NANO = NanoConfig(
    widths=(16, 16, 16, 16),
    depths=(1, 1, 1),
    decoder_widths=(16, 16, 16, 16, 16),
    num_heads=1,
    head_dim=16,
    recent_reach=(0.0,),
    prompted_reach=(0.0,),
)


def tiny_run(steps: int = 6, num_workers: int = 0) -> TrainConfig:
    """Clips of two frames, then of three, of 64x64 pixels."""
    first, second = steps // 2, steps - steps // 2
    return TrainConfig(
        model=TINY_NANO,
        data=SyntheticClipsConfig(scene=SceneConfig(num_frames=4), pool_size=3),
        stages=(
            Stage(steps=first, batch=BatchShape(num_frames=2, image_hw=(64, 64), batch_size=2)),
            Stage(steps=second, batch=BatchShape(num_frames=3, image_hw=(64, 64), batch_size=1)),
        ),
        task=ClipSettings(
            memory=Recent(num_recent=1, max_pointers=0),
            prompts=PromptSettings(num_corrections=1),
            losses=LossSettings(bce=1.0, at_logits_resolution=True),
            detach_memory_masks=True,
        ),
        optimiser=OptimiserSettings(learning_rate=3e-3, max_grad_norm=2.0, decay_vectors=False),
        average_decay=0.9,
        precision="fp32",
        num_workers=num_workers,
        checkpoint_every=2,
        log_every=1,
    )

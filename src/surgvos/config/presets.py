"""Recipes: functions that return whole configurations of training runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from surgvos.config.nano_recipes import (
    nano_clips,
    nano_finetune,
    nano_finish,
    nano_images,
    nano_objects,
    nano_objects_further,
    nano_objects_longer,
    nano_overseer,
    nano_overseer_finish,
    nano_overseer_longer,
    nano_overseer_refine,
    nano_phrases,
    nano_phrases_further,
    nano_phrases_longer,
    nano_refine,
    stage_of,
)
from surgvos.config.overseer_recipes import OVERSEER_RECIPES
from surgvos.data.batches import BatchShape
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.data.vos_phrases import VosPhrasesConfig
from surgvos.models.resurg import resurg_small
from surgvos.models.sam2 import small
from surgvos.training.clip import ClipSettings
from surgvos.training.config import Stage, TrainConfig
from surgvos.training.optim import OptimiserSettings, Rate
from surgvos.training.prompts import PromptSettings
from surgvos.training.referring import ReferringSettings


def sam2_finetune() -> TrainConfig:
    """SAM 2.1 small at 512 pixels on videos of one's own, as Surgical-SAM-2 was tuned; see ``endovis18_instrument``.

    Set ``data.root`` to their folder.
    """
    return TrainConfig(
        model=small(image_size=512),
        data=VosFolderConfig(root="data"),
        stages=(stage_of(12300, 8, (512, 512), 4),),
        task=ClipSettings(prompts=PromptSettings(num_corrections=7)),
        optimiser=OptimiserSettings(learning_rate=5e-5, image_encoder_rate=5e-5, layer_decay=0.9),
        init_from="sam2.1-hiera-small",
        num_workers=8,
    )


def endovis18_instrument() -> TrainConfig:
    """SAM 2.1 small at 512 pixels on the instruments of EndoVis18, as Surgical-SAM-2 was tuned for release.

    Set ``data.root`` to the training split. 30 rounds over 11 videos of 149 frames, 4 clips of 8 frames to a batch.

    Reference: Liu et al., Surgical SAM 2 (arXiv 2408.07931), and its released configuration
    ``sam2.1_hiera_s_endovis18_instrument``.

    Departs: a round is not every frame once, but as many draws; a video is drawn as often as it has starts of a clip.
    Pointers' distances are divided by 15, as when videos are followed, and not by the clip's length (`Recent`). Clips
    that run over the end of a video turn back instead of being drawn again.
    """
    return _endovis(num_frames=11 * 149, root="data/vos-endovis18/train", object_ids=tuple(range(1, 11)))


def endovis18() -> TrainConfig:
    """``endovis18_instrument`` with tissue: ids 11, 12 and 17 of the published label maps are followed as well."""
    instruments = endovis18_instrument()
    assert isinstance(instruments.data, VosFolderConfig)
    return replace(
        instruments,
        data=replace(instruments.data, object_ids=(*range(1, 11), 11, 12, 17)),
        optimiser=replace(instruments.optimiser, image_encoder_rate=3e-5),
    )


def endovis17() -> TrainConfig:
    """``endovis18_instrument`` on EndoVis17: 8 videos of 225 frames, all objects. Its authors published no recipe."""
    return _endovis(num_frames=8 * 225, root="data/endovis17/train", object_ids=())


def _endovis(*, num_frames: int, root: str, object_ids: tuple[int, ...]) -> TrainConfig:
    batch_size, num_rounds = 4, 30
    steps_per_round = num_frames // batch_size
    return replace(
        sam2_finetune(),
        data=VosFolderConfig(root=root, object_ids=object_ids),
        stages=(stage_of(num_rounds * steps_per_round, 8, (512, 512), batch_size),),
        seed=2024,
        checkpoint_every=5 * steps_per_round,
    )


def resurgsam2_endovis17_phase_a() -> TrainConfig:
    """ReSurgSAM2 on Ref-EndoVis17, the first of two runs: looking for phrases in three frames, and nothing followed.

    Set ``data.root`` to the training split. 60 rounds over 2100 frames; in the first five only what SAM 2.1 lacks is
    trained.

    Reference: Liu et al., ReSurgSAM2 (arXiv 2505.08581), and its released configurations.

    Departs: what `VosPhrases` says; a round is as many draws, not every frame once. Phrases that are trained on
    together see each other's padding, as published; ``model.attend_padding_in_training=false`` has it as in use.
    """
    return _referring_phase_a(root="data/ref-endovis17/train", object_ids=tuple(range(1, 11)), steps_per_round=262)


def resurgsam2_endovis17_phase_b() -> TrainConfig:
    """ReSurgSAM2 on Ref-EndoVis17, the second run: half of the batches follow what was found for seven frames.

    Departs: each batch is one or the other with the same chance; published, until either kind is used up in a round.
    """
    return _referring_phase_b(resurgsam2_endovis17_phase_a, steps_per_round=210 + 210)


def resurgsam2_endovis18_phase_a() -> TrainConfig:
    """``resurgsam2_endovis17_phase_a`` on Ref-EndoVis18: 1639 frames, instruments and tissue."""
    return _referring_phase_a(
        root="data/ref-endovis18/train", object_ids=(*range(1, 11), 11, 12, 17), steps_per_round=204
    )


def resurgsam2_endovis18_phase_b() -> TrainConfig:
    """``resurgsam2_endovis17_phase_b`` on Ref-EndoVis18."""
    return _referring_phase_b(resurgsam2_endovis18_phase_a, steps_per_round=162 + 163)


_NUM_ROUNDS, _NUM_ROUNDS_FROZEN = 60, 5
_NUM_REFERRING, _NUM_FOLLOWED = 3, 7
_GIVEN_TO_RESURGSAM2 = (
    "image_encoder",
    "mask_downsample",
    "memory_attention",
    "memory_encoder",
    "sam_prompt_encoder",
    "sam_mask_decoder",
    "obj_ptr_proj",
    "obj_ptr_tpos_proj",
)
"""What is not trained at first: what SAM 2.1 knows, but for its single vectors, and the phrase's own prompt token."""


def _referring_phase_a(*, root: str, object_ids: tuple[int, ...], steps_per_round: int) -> TrainConfig:
    looking = BatchShape(num_frames=_NUM_REFERRING, image_hw=(512, 512), batch_size=8)
    new = Rate(highest=3e-4, final_fraction=1 / 30)
    num_steps = _NUM_ROUNDS * steps_per_round
    num_frozen = _NUM_ROUNDS_FROZEN * steps_per_round
    return TrainConfig(
        model=replace(resurg_small(), attend_padding_in_training=True),
        data=VosPhrasesConfig(root=root, object_ids=object_ids, num_referring=_NUM_REFERRING),
        stages=(
            Stage(steps=num_frozen, batch=looking, freeze=_GIVEN_TO_RESURGSAM2),
            Stage(steps=num_steps - num_frozen, batch=looking),
        ),
        task=ReferringSettings(num_referring=_NUM_REFERRING),
        optimiser=OptimiserSettings(
            learning_rate=5e-5,
            image_encoder_rate=5e-5,
            layer_decay=0.9,
            rates={"token_projection": new, "cross_modal_fusion": new},
            warmup_steps=round(0.3 * num_steps),
            warmup_fraction=0.01,
        ),
        init_from="sam2.1-hiera-small",
        num_workers=8,
        seed=123,
        checkpoint_every=steps_per_round,
    )


def _referring_phase_b(recipe_a: Callable[[], TrainConfig], *, steps_per_round: int) -> TrainConfig:
    phase_a = recipe_a()
    looking = phase_a.stages[0].batch
    following = replace(looking, num_frames=_NUM_REFERRING + _NUM_FOLLOWED, batch_size=4)
    num_steps = _NUM_ROUNDS * steps_per_round
    return replace(
        phase_a,
        init_from=f"runs/{recipe_a.__name__}/model.safetensors",
        stages=(Stage(steps=num_steps, batch=following, other_batches=(looking,)),),
        optimiser=replace(phase_a.optimiser, warmup_steps=round(0.3 * num_steps)),
        checkpoint_every=steps_per_round,
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    recipe.__name__: recipe
    for recipe in (
        nano_clips,
        nano_refine,
        nano_images,
        nano_finish,
        nano_objects,
        nano_objects_longer,
        nano_phrases,
        nano_phrases_longer,
        nano_objects_further,
        nano_phrases_further,
        nano_overseer,
        nano_overseer_refine,
        nano_overseer_finish,
        nano_overseer_longer,
        nano_finetune,
        sam2_finetune,
        endovis18_instrument,
        endovis18,
        endovis17,
        resurgsam2_endovis17_phase_a,
        resurgsam2_endovis17_phase_b,
        resurgsam2_endovis18_phase_a,
        resurgsam2_endovis18_phase_b,
        *OVERSEER_RECIPES,
    )
}
"""Name on the command line -> recipe. A new recipe is one function and one name here."""

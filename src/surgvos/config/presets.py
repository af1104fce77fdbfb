"""Recipes: functions that return whole configurations of training runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from surgvos.config.overseer_recipes import OVERSEER_RECIPES
from surgvos.data.batches import BatchShape
from surgvos.data.synthetic import SceneConfig
from surgvos.data.synthetic_classes import SyntheticClassesConfig
from surgvos.data.synthetic_clips import SyntheticClipsConfig
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig
from surgvos.data.synthetic_words import SyntheticWordsConfig
from surgvos.data.transforms import Augmentation
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.data.vos_phrases import VosPhrasesConfig
from surgvos.memory import Recent
from surgvos.models.nano import NanoConfig, ReferringNanoConfig
from surgvos.models.nano.segmenter import NanoSegmenterConfig
from surgvos.models.resurg import resurg_small
from surgvos.models.sam2 import small
from surgvos.training.clip import ClipSettings
from surgvos.training.config import Stage, TrainConfig
from surgvos.training.losses import LossSettings
from surgvos.training.noise import MaskNoise
from surgvos.training.optim import OptimiserSettings, Rate
from surgvos.training.prompts import PromptSettings
from surgvos.training.referring import ReferringSettings
from surgvos.training.segmenting import SegmentingSettings
from surgvos.training.words import WordSettings


def _stage(steps: int, num_frames: int, image_hw: tuple[int, int], batch_size: int) -> Stage:
    return Stage(steps=steps, batch=BatchShape(num_frames=num_frames, image_hw=image_hw, batch_size=batch_size))


def nano_clips() -> TrainConfig:
    """The box model on synthetic clips: short ones first, then long ones, then larger images."""
    return TrainConfig(
        model=NanoConfig(),
        data=SyntheticClipsConfig(scene=SceneConfig(surgical_share=0.65), max_objects=2),
        stages=(
            _stage(2200, 3, (160, 192), 8),
            _stage(900, 6, (192, 240), 3),
            _stage(600, 4, (256, 320), 2),
        ),
        task=ClipSettings(
            memory=Recent(num_recent=1, max_pointers=0),
            prompts=PromptSettings(point_probability=0.65, box_probability=0.3, num_corrections=1),
            losses=LossSettings(focal=10.0, bce=2.0, iou=0.5, presence=0.5, absent=2.0, at_logits_resolution=True),
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


def nano_refine() -> TrainConfig:
    """The second half of the box model's training: ``nano_clips`` goes on with more clicks and more operations."""
    clips = nano_clips()
    assert isinstance(clips.task, ClipSettings)
    return replace(
        clips,
        init_from="runs/nano_clips/model.safetensors",
        data=SyntheticClipsConfig(scene=SceneConfig(surgical_share=0.75), max_objects=2),
        stages=(_stage(900, 3, (192, 240), 6), _stage(400, 4, (256, 320), 2)),
        task=replace(
            clips.task, prompts=PromptSettings(point_probability=0.75, box_probability=0.25, num_corrections=1)
        ),
        optimiser=replace(clips.optimiser, learning_rate=1.2e-3, warmup_steps=50),
        seed=1,
    )


def nano_images() -> TrainConfig:
    """The box model learns outlines: clicks and boxes in single images, after ``nano_refine``."""
    clips = nano_clips()
    assert isinstance(clips.task, ClipSettings)
    return replace(
        clips,
        init_from="runs/nano_refine/model.safetensors",
        data=SyntheticClipsConfig(scene=SceneConfig(surgical_share=0.75), max_objects=4),
        stages=(_stage(2400, 1, (192, 240), 10), _stage(400, 1, (256, 320), 6)),
        task=replace(clips.task, prompts=PromptSettings(box_probability=0.4, num_corrections=1)),
        optimiser=replace(clips.optimiser, learning_rate=1.2e-3, warmup_steps=50),
        seed=2,
    )


def nano_finish() -> TrainConfig:
    """The box model follows again what ``nano_images`` taught it to outline.

    Better on synthetic scenes and worse on the one real sequence at hand, so the weights in the box are those of
    ``nano_refine``; see the model's card.
    """
    refine = nano_refine()
    return replace(
        refine,
        init_from="runs/nano_images/model.safetensors",
        data=SyntheticClipsConfig(scene=SceneConfig(surgical_share=0.75), max_objects=3),
        stages=(_stage(1500, 3, (192, 240), 6), _stage(600, 4, (256, 320), 2)),
        seed=3,
    )


def nano_words() -> TrainConfig:
    """The box model learns what words look like, before ``nano_phrases``; the rest stays as it was."""
    finish = nano_finish()
    return replace(
        finish,
        model=ReferringNanoConfig(),
        init_from="runs/nano_refine/model.safetensors",
        freeze=(
            "image_encoder",
            "matching",
            "read_projection",
            "prompt_maps",
            "nothing_",
            "memory_encoder",
            "mask_decoder",
        ),
        data=SyntheticWordsConfig(),
        stages=(_stage(1200, 1, (160, 192), 16),),
        task=WordSettings(),
        optimiser=replace(finish.optimiser, learning_rate=1.5e-3, warmup_steps=100),
        seed=4,
    )


def nano_phrases() -> TrainConfig:
    """The box model learns to read: phrases in single images, after ``nano_words``; the rest stays as it was."""
    words = nano_words()
    finish = nano_finish()
    assert isinstance(finish.task, ClipSettings)
    return replace(
        words,
        init_from="runs/nano_words/model.safetensors",
        data=SyntheticPhrasesConfig(),
        stages=(_stage(5200, 1, (160, 192), 16), _stage(400, 1, (256, 320), 6)),
        task=ReferringSettings(memory=finish.task.memory, losses=replace(finish.task.losses, presence=1.0)),
        optimiser=replace(finish.optimiser, learning_rate=8e-4, warmup_steps=200),
        seed=5,
    )


def nano_motion() -> TrainConfig:
    """The box model learns to tell what moves from what stands still, after ``nano_phrases``."""
    phrases = nano_phrases()
    assert isinstance(phrases.data, SyntheticPhrasesConfig)
    assert isinstance(phrases.task, ReferringSettings)
    scene = replace(
        phrases.data.scene,
        rest=0.5,
        object_speed_px=(1.0, 10.0),
        # In a clip of two frames all coming and going is a jump.
        insertion=0.08,
        reentry=0.02,
        late_entry=0.02,
        exit=0.02,
    )
    alone, pair = (BatchShape(num_frames=n, image_hw=(160, 192), batch_size=16) for n in (1, 2))
    return replace(
        phrases,
        model=ReferringNanoConfig(sees_motion=True),
        init_from="runs/nano_phrases/model.safetensors",
        data=replace(phrases.data, scene=scene, motion_share=0.45, num_phrases=5, num_absent=2, pool_size=64),
        stages=(
            Stage(steps=1600, batch=pair, other_batches=(pair, pair, alone)),
            _stage(120, 2, (256, 320), 6),
        ),
        task=replace(phrases.task, num_shown=1),
        optimiser=replace(
            phrases.optimiser,
            rates={"phrase_finder.motion_16.": Rate(highest=1.5e-3)},
            warmup_steps=100,
        ),
        seed=8,
    )


def nano_phrases_finish() -> TrainConfig:
    """The box model goes on reading after ``nano_motion``: three batches of single images to one of pairs."""
    motion = nano_motion()
    alone, pair = (BatchShape(num_frames=n, image_hw=(160, 192), batch_size=16) for n in (1, 2))
    large = BatchShape(num_frames=1, image_hw=(256, 320), batch_size=6)
    return replace(
        motion,
        init_from="runs/nano_motion/model.safetensors",
        stages=(
            Stage(steps=3000, batch=alone, other_batches=(alone, alone, pair)),
            Stage(steps=300, batch=large, other_batches=(large, large, replace(large, num_frames=2))),
        ),
        optimiser=replace(motion.optimiser, learning_rate=6e-4, rates={}, warmup_steps=150),
        seed=9,
    )


def nano_judge() -> TrainConfig:
    """The box model learns how far to trust what it read: a judge of outlines, after ``nano_phrases_finish``."""
    finish = nano_phrases_finish()
    assert isinstance(finish.task, ReferringSettings)
    alone = BatchShape(num_frames=1, image_hw=(256, 320), batch_size=8)
    only_judged = replace(finish.task.losses, focal=0.0, dice=0.0, bce=0.0, absent=0.0, iou=4.0)
    return replace(
        finish,
        model=ReferringNanoConfig(sees_motion=True, judges_outlines=True),
        init_from="runs/nano_phrases_finish/model.safetensors",
        freeze=(*finish.freeze, "phrase_encoder", "phrase_finder"),
        stages=(Stage(steps=1200, batch=alone, other_batches=(alone, alone, replace(alone, num_frames=2))),),
        task=replace(finish.task, losses=only_judged),
        optimiser=replace(finish.optimiser, learning_rate=4e-3, rates={}, warmup_steps=50),
        seed=10,
    )


def nano_overseer() -> TrainConfig:
    """The overseer in the box: on the tracker's trunk, it learns which class each pixel of a frame is of."""
    clips = nano_clips()
    return replace(
        clips,
        model=NanoSegmenterConfig(),
        init_from="surgvos-nano",
        data=SyntheticClassesConfig(),
        stages=(_stage(2900, 1, (192, 240), 12), _stage(300, 1, (256, 320), 8)),
        task=SegmentingSettings(),
        optimiser=replace(clips.optimiser, warmup_steps=100),
        seed=5,
    )


def nano_overseer_refine() -> TrainConfig:
    """The overseer in the box goes on from ``nano_overseer``, shown more black borders of endoscopes."""
    first = nano_overseer()
    assert isinstance(first.data, SyntheticClassesConfig)
    return replace(
        first,
        init_from="runs/nano_overseer/model.safetensors",
        data=replace(first.data, scene=replace(first.data.scene, lens_circle=0.2)),
        stages=(_stage(1080, 1, (192, 240), 12), _stage(80, 1, (256, 320), 8)),
        optimiser=replace(first.optimiser, learning_rate=1.4e-3),
        seed=6,
    )


def nano_overseer_finish() -> TrainConfig:
    """The overseer in the box goes on from ``nano_overseer_refine`` for longer than both runs before it."""
    refine = nano_overseer_refine()
    return replace(
        refine,
        init_from="runs/nano_overseer_refine/model.safetensors",
        stages=(_stage(9000, 1, (192, 240), 12), _stage(1200, 1, (256, 320), 8)),
        seed=7,
    )


def nano_overseer_longer() -> TrainConfig:
    """The overseer in the box goes on from ``nano_overseer_finish`` for as long again."""
    finish = nano_overseer_finish()
    return replace(
        finish,
        init_from="runs/nano_overseer_finish/model.safetensors",
        stages=(_stage(10000, 1, (192, 240), 12), _stage(1500, 1, (256, 320), 8)),
        seed=8,
    )


def nano_finetune() -> TrainConfig:
    """The box model on videos of one's own: set ``data.root`` to their folder."""
    clips = nano_clips()
    return replace(
        clips,
        data=VosFolderConfig(root="data", augmentation=Augmentation(max_rotation=10.0, max_shear=5.0, max_zoom=1.5)),
        stages=(_stage(2000, 6, (256, 320), 4),),
        optimiser=replace(clips.optimiser, learning_rate=2e-4, final_fraction=0.05, warmup_steps=50),
        init_from="surgvos-nano",
    )


def sam2_finetune() -> TrainConfig:
    """SAM 2.1 small at 512 pixels on videos of one's own, as Surgical-SAM-2 was tuned; see ``endovis18_instrument``.

    Set ``data.root`` to their folder.
    """
    return TrainConfig(
        model=small(image_size=512),
        data=VosFolderConfig(root="data"),
        stages=(_stage(12300, 8, (512, 512), 4),),
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
        stages=(_stage(num_rounds * steps_per_round, 8, (512, 512), batch_size),),
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
        nano_words,
        nano_phrases,
        nano_motion,
        nano_phrases_finish,
        nano_judge,
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

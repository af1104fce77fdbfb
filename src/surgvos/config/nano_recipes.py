"""Recipes of the models in the box."""

from __future__ import annotations

from dataclasses import replace

from surgvos.data.batches import BatchShape
from surgvos.data.synthetic import SceneConfig
from surgvos.data.synthetic_classes import SyntheticClassesConfig
from surgvos.data.synthetic_clips import SyntheticClipsConfig
from surgvos.data.synthetic_objects import SyntheticObjectsConfig
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig
from surgvos.data.transforms import Augmentation
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.memory import Recent
from surgvos.models.nano import NanoConfig, ReferringNanoConfig
from surgvos.models.nano.segmenter import NanoSegmenterConfig
from surgvos.training.clip import ClipSettings
from surgvos.training.config import Stage, TrainConfig
from surgvos.training.losses import LossSettings
from surgvos.training.matching import MatchSettings
from surgvos.training.noise import MaskNoise
from surgvos.training.objects import ObjectSettings
from surgvos.training.optim import OptimiserSettings
from surgvos.training.prompts import PromptSettings
from surgvos.training.segmenting import SegmentingSettings

_TRACKER = (
    "image_encoder",
    "matching",
    "read_projection",
    "prompt_maps",
    "nothing_",
    "memory_encoder",
    "mask_decoder",
)
"""Beginnings of the names of what follows objects."""


def stage_of(steps: int, num_frames: int, image_hw: tuple[int, int], batch_size: int) -> Stage:
    """Part of a run with batches of one shape."""
    return Stage(steps=steps, batch=BatchShape(num_frames=num_frames, image_hw=image_hw, batch_size=batch_size))


def nano_clips() -> TrainConfig:
    """The box model on synthetic clips: short ones first, then long ones, then larger images."""
    return TrainConfig(
        model=NanoConfig(),
        data=SyntheticClipsConfig(scene=SceneConfig(surgical_share=0.65), max_objects=2),
        stages=(
            stage_of(2200, 3, (160, 192), 8),
            stage_of(900, 6, (192, 240), 3),
            stage_of(600, 4, (256, 320), 2),
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
        stages=(stage_of(900, 3, (192, 240), 6), stage_of(400, 4, (256, 320), 2)),
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
        stages=(stage_of(2400, 1, (192, 240), 10), stage_of(400, 1, (256, 320), 6)),
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
        stages=(stage_of(1500, 3, (192, 240), 6), stage_of(600, 4, (256, 320), 2)),
        seed=3,
    )


def nano_objects() -> TrainConfig:
    """The box model learns to find all objects of an image, from which phrases choose; the tracker stays as it was."""
    finish = nano_finish()
    overseer = "runs/nano_overseer_longer/model.safetensors"
    return replace(
        finish,
        model=ReferringNanoConfig(),
        init_from="runs/nano_refine/model.safetensors",
        init_parts={
            "object_finder.image_encoder.": f"{overseer}:image_encoder.",
            "object_finder.pyramid.": f"{overseer}:class_head.",
        },
        freeze=(*_TRACKER, "phrase_matcher"),
        data=SyntheticObjectsConfig(),
        stages=(stage_of(4200, 1, (192, 240), 12), stage_of(1300, 1, (256, 320), 6)),
        task=ObjectSettings(),
        optimiser=replace(finish.optimiser, learning_rate=1.5e-3, warmup_steps=100),
        seed=4,
    )


def nano_phrases() -> TrainConfig:
    """The box model learns to read: which of the objects of an image does a phrase mean? After ``nano_objects``."""
    objects = nano_objects()
    alone = BatchShape(num_frames=1, image_hw=(256, 320), batch_size=16)
    pair = replace(alone, num_frames=2)
    scene = replace(
        SyntheticPhrasesConfig().scene,
        rest=0.5,
        object_speed_px=(1.0, 10.0),
        # In a clip of two frames all coming and going is a jump.
        insertion=0.08,
        reentry=0.02,
        late_entry=0.02,
        exit=0.02,
    )
    return replace(
        objects,
        init_from="runs/nano_objects/model.safetensors",
        init_parts={},
        freeze=(*_TRACKER, "object_finder", "phrase_name", "phrase_sharpness"),
        data=SyntheticPhrasesConfig(scene=scene, motion_share=0.45, num_phrases=12, phrases_per_object=3, num_absent=4),
        stages=(Stage(steps=1500, batch=alone, other_batches=(pair,)),),
        task=MatchSettings(),
        optimiser=replace(objects.optimiser, learning_rate=1e-3, warmup_steps=100),
        seed=5,
    )


def nano_objects_longer() -> TrainConfig:
    """The box model goes on learning to find objects, in larger images; after ``nano_phrases``."""
    objects = nano_objects()
    return replace(
        objects,
        init_from="runs/nano_phrases/model.safetensors",
        init_parts={},
        stages=(stage_of(3600, 1, (256, 320), 12),),
        seed=9,
    )


def nano_phrases_longer() -> TrainConfig:
    """The box model goes on learning to read, once it finds objects better; after ``nano_objects_longer``."""
    phrases = nano_phrases()
    assert isinstance(phrases.data, SyntheticPhrasesConfig)
    return replace(
        phrases,
        init_from="runs/nano_objects_longer/model.safetensors",
        data=replace(phrases.data, reuse=16),
        stages=(replace(phrases.stages[0], steps=2300),),
        seed=10,
    )


def nano_objects_further() -> TrainConfig:
    """The box model goes on learning to find objects for as long again; after ``nano_phrases_longer``."""
    return replace(
        nano_objects_longer(),
        init_from="runs/nano_phrases_longer/model.safetensors",
        stages=(stage_of(3300, 1, (256, 320), 12),),
        seed=11,
    )


def nano_phrases_further() -> TrainConfig:
    """The box model goes on learning to read, and when to trust what it chose; after ``nano_objects_further``."""
    return replace(nano_phrases_longer(), init_from="runs/nano_objects_further/model.safetensors", seed=12)


def nano_overseer() -> TrainConfig:
    """The overseer in the box: on the tracker's trunk, it learns which class each pixel of a frame is of."""
    clips = nano_clips()
    return replace(
        clips,
        model=NanoSegmenterConfig(),
        init_from="surgvos-nano",
        data=SyntheticClassesConfig(),
        stages=(stage_of(2900, 1, (192, 240), 12), stage_of(300, 1, (256, 320), 8)),
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
        stages=(stage_of(1080, 1, (192, 240), 12), stage_of(80, 1, (256, 320), 8)),
        optimiser=replace(first.optimiser, learning_rate=1.4e-3),
        seed=6,
    )


def nano_overseer_finish() -> TrainConfig:
    """The overseer in the box goes on from ``nano_overseer_refine`` for longer than both runs before it."""
    refine = nano_overseer_refine()
    return replace(
        refine,
        init_from="runs/nano_overseer_refine/model.safetensors",
        stages=(stage_of(9000, 1, (192, 240), 12), stage_of(1200, 1, (256, 320), 8)),
        seed=7,
    )


def nano_overseer_longer() -> TrainConfig:
    """The overseer in the box goes on from ``nano_overseer_finish`` for as long again."""
    finish = nano_overseer_finish()
    return replace(
        finish,
        init_from="runs/nano_overseer_finish/model.safetensors",
        stages=(stage_of(10000, 1, (192, 240), 12), stage_of(1500, 1, (256, 320), 8)),
        seed=8,
    )


def nano_finetune() -> TrainConfig:
    """The box model on videos of one's own: set ``data.root`` to their folder."""
    clips = nano_clips()
    return replace(
        clips,
        data=VosFolderConfig(root="data", augmentation=Augmentation(max_rotation=10.0, max_shear=5.0, max_zoom=1.5)),
        stages=(stage_of(2000, 6, (256, 320), 4),),
        optimiser=replace(clips.optimiser, learning_rate=2e-4, final_fraction=0.05, warmup_steps=50),
        init_from="surgvos-nano",
    )

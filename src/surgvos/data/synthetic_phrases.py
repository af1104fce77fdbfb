"""Batches of synthetic clips with phrases: for what is there, and for what is not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from surgvos.data.batches import BatchShape
from surgvos.data.clips import Clip, ClipBatch, collate_clips
from surgvos.data.phrases import mirrored
from surgvos.data.synthetic import Part, SceneConfig, SyntheticClip, SyntheticObject
from surgvos.data.synthetic.phrases import motion_phrases, motion_phrases_for_none
from surgvos.data.synthetic_pool import ClipPool
from surgvos.data.transforms import Augmentation, ColorJitter, augment
from surgvos.errors import ConfigError

# Nothing that moves things about: a flip is made here, with the words that it turns around.
COLOURS_ONLY = Augmentation(
    flip_probability=0.0,
    max_rotation=0.0,
    max_shear=0.0,
    clip_jitter=ColorJitter(brightness=0.15, contrast=0.15, saturation=0.15, hue=0.01),
    frame_jitter=ColorJitter(),
    grey_probability=0.0,
)
_OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
PART_WORDS = {Part.JAWS: "tip", Part.WRIST: "wrist", Part.SHAFT: "shaft"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticPhrasesConfig:
    """How clips with phrases are drawn.

    Phrases hold in the first frame of a clip; where some tell of motion, in its last one, as clips then run backwards.

    Attributes:
        scene: What a clip contains. Its size and length are overruled by those of the batches.
        augmentation: How colours are varied each time a clip is served.
        num_phrases: Objects of a clip that are asked for, where it has as many.
        phrases_per_object: How often each of them is asked for, each time by a phrase drawn anew.
        num_absent: Phrases of a clip for what is not there.
        part_share: Share of the phrases for an instrument that mean one of its parts.
        motion_share: Share of the phrases that tell what moves from what stands still, as far as a clip of several
            frames has such, for what is there and for what is not.
        min_area_share: What covers a smaller share of the frame in which phrases hold is not asked for.
        reuse: How often a clip is served, on average.
        pool_size: Clips among which each serving is drawn.
    """

    scene: SceneConfig = field(default_factory=lambda: SceneConfig(surgical_share=1.0, recognisable=0.75))
    augmentation: Augmentation = COLOURS_ONLY
    num_phrases: int = 3
    phrases_per_object: int = 1
    num_absent: int = 1
    part_share: float = 0.2
    motion_share: float = 0.0
    min_area_share: float = 0.002
    reuse: int = 8
    pool_size: int = 192

    def __post_init__(self) -> None:
        if min(self.num_phrases, self.phrases_per_object, self.reuse) < 1 or self.num_absent < 0 or self.pool_size < 2:
            raise ConfigError(
                "expected num_phrases, phrases_per_object and reuse >= 1, num_absent >= 0 and pool_size >= 2"
            )
        if not all(0 <= share <= 1 for share in (self.part_share, self.motion_share, self.min_area_share)):
            raise ConfigError("expected part_share, motion_share and min_area_share in 0..1")
        varied = self.augmentation
        if varied.flip_probability or varied.reverse_probability or varied.max_rotation or varied.max_zoom > 1:
            raise ConfigError(
                "expected an augmentation that leaves things where phrases say they are; try colours only"
            )

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> SyntheticPhrases:
        """Make the source of batches of this shape; see `SyntheticClipsConfig.open`."""
        return SyntheticPhrases(self, shape, seed, num_streams)


class Asked(NamedTuple):
    """A phrase and what it means.

    Attributes:
        phrase: What is said.
        object_id: 0 where nothing is meant.
        part: Which part of the object; None: all of it.
    """

    phrase: str
    object_id: int = 0
    part: Part | None = None


class SyntheticPhrases:
    """A `BatchSource` with phrases, a function of the seed and the batch's index alone."""

    def __init__(self, config: SyntheticPhrasesConfig, shape: BatchShape, seed: int, num_streams: int) -> None:
        self.config, self.shape, self.seed, self.num_streams = config, shape, seed, num_streams
        scene = replace(config.scene, image_hw=shape.image_hw, num_frames=shape.num_frames)
        self._pool = ClipPool(scene, (seed, 3), reuse=config.reuse, size=config.pool_size, num_streams=num_streams)

    def __getitem__(self, index: int) -> ClipBatch:
        stream, turn = index % self.num_streams, index // self.num_streams
        rng = np.random.default_rng((self.seed, 2, index))
        first = turn * self.shape.batch_size
        return collate_clips([self._serve(stream, first + i, rng) for i in range(self.shape.batch_size)])

    def _serve(self, stream: int, serving: int, rng: np.random.Generator) -> Clip:
        while True:
            clip = self._pool.draw(stream, serving, rng)
            asked = self._present(clip, rng) + self._absent(clip, self._pool.draw(stream, serving, rng), rng)
            if asked:
                return self._vary(clip, asked, rng)

    def _present(self, clip: SyntheticClip, rng: np.random.Generator) -> list[Asked]:
        """Phrases for some objects of the first frame generated."""
        areas = np.bincount(clip.instances[0].ravel(), minlength=256)
        least_px = self.config.min_area_share * clip.instances[0].size
        told = [item for item in clip.objects if item.phrases and areas[item.id] >= least_px]
        chosen = [told[i] for i in rng.permutation(len(told))[: self.config.num_phrases]]
        return [self._say(clip, item, rng) for item in chosen for _ in range(self.config.phrases_per_object)]

    def _say(self, clip: SyntheticClip, item: SyntheticObject, rng: np.random.Generator) -> Asked:
        if self._tells_of_motion(clip, rng):
            by_motion = motion_phrases(item.id, *moves_of(clip))
            if by_motion:
                return Asked(str(rng.choice(by_motion)), item.id)
        phrase = str(rng.choice(item.phrases))
        if item.kind != "instrument" or rng.random() >= self.config.part_share:
            return Asked(phrase, item.id)
        areas = np.bincount(clip.parts[0][clip.instances[0] == item.id], minlength=len(Part))
        least_px = self.config.min_area_share * clip.parts[0].size
        parts = [part for part in PART_WORDS if areas[part] >= least_px]
        if not parts:
            return Asked(phrase, item.id)
        part = parts[rng.integers(len(parts))]
        return Asked(part_phrase(part, phrase), item.id, part)

    def _absent(self, clip: SyntheticClip, other: SyntheticClip, rng: np.random.Generator) -> list[Asked]:
        """Phrases that hold for nothing in the clip."""
        found = []
        for _ in range(self.config.num_absent):
            phrase = stirred_phrase(clip, rng) if self._tells_of_motion(clip, rng) else None
            if phrase is None and rng.random() < 0.4:
                phrase = misplaced_phrase(clip, rng)
            phrase = phrase or foreign_phrase(clip, other, rng)
            if phrase is not None:
                found.append(Asked(phrase))
        return found

    def _tells_of_motion(self, clip: SyntheticClip, rng: np.random.Generator) -> bool:
        # Drawn only where it is asked for, so that batches without it stay as they were.
        return self.config.motion_share > 0 and len(clip.frames) > 1 and rng.random() < self.config.motion_share

    def _vary(self, clip: SyntheticClip, asked: list[Asked], rng: np.random.Generator) -> Clip:
        # One map for objects and parts, so that both go through the same augmentation.
        frames, labels = clip.frames, clip.instances.astype(np.uint16) * len(Part) + clip.parts
        phrases = [one.phrase for one in asked]
        if self.config.motion_share:
            frames, labels = frames[::-1], labels[::-1]
        if rng.random() < 0.5:
            frames, labels = frames[:, :, ::-1], labels[:, :, ::-1]
            phrases = [mirrored(phrase) for phrase in phrases]
        images, labels = augment(
            np.ascontiguousarray(frames),
            np.ascontiguousarray(labels),
            self.shape.image_hw,
            self.config.augmentation,
            rng,
        )
        masks = np.stack([_meant(labels, one) for one in asked], axis=1)
        return Clip(images, masks, tuple(phrases))


def _meant(labels: np.ndarray, asked: Asked) -> np.ndarray:
    objects, parts = np.divmod(labels, len(Part))
    meant = (objects == asked.object_id) & (asked.object_id != 0)
    return meant if asked.part is None else meant & (parts == asked.part)


def part_phrase(part: Part, phrase: str) -> str:
    """What to say for a part of what a phrase says; ``part`` is one that has a name."""
    return f"the {PART_WORDS[part]} of {phrase if phrase.startswith('the ') else f'the {phrase}'}"


def foreign_phrase(clip: SyntheticClip, other: SyntheticClip, rng: np.random.Generator) -> str | None:
    """A phrase of another clip for a kind of thing that this one does not show; None where it shows all of them."""
    shown = {item.category for item in clip.objects} | clip.resembled
    foreign = [item for item in other.objects if not any(may_mean(item.category, name) for name in shown)]
    phrases = [phrase for item in foreign for phrase in item.phrases if item.category in phrase]
    return str(rng.choice(phrases)) if phrases else None


def may_mean(said: str, category: str) -> bool:
    """Forceps may be bipolar forceps, and the other way round."""
    return f" {said}".endswith(f" {category}") or f" {category}".endswith(f" {said}")


def misplaced_phrase(clip: SyntheticClip, rng: np.random.Generator) -> str | None:
    """A phrase for the only thing of its kind, on the side where it is not; None where there is none such."""
    phrases = [phrase for item in clip.objects if _is_alone(item) for phrase in item.phrases if _side_of(phrase)]
    return _with_words(str(rng.choice(phrases)), _OPPOSITE) if phrases else None


def moves_of(clip: SyntheticClip, frame: int = 1) -> tuple[dict[int, tuple[str, ...]], dict[int, bool | None]]:
    """Object id -> nouns, and object id -> whether it moves, of what a frame or the one before it shows.

    What moves from one frame to the next also moves where the two are shown the other way round.
    """
    shown = set(np.unique(clip.instances[frame - 1 : frame + 1]).tolist())
    told = [item for item in clip.objects if item.id in shown]
    return {item.id: item.nouns for item in told}, {item.id: item.moves[frame] for item in told}


def stirred_phrase(clip: SyntheticClip, rng: np.random.Generator) -> str | None:
    """A phrase by motion for what stands still, or the other way round; None where that is not certain of anything."""
    phrases = motion_phrases_for_none(*moves_of(clip))
    return str(rng.choice(phrases)) if phrases else None


def _is_alone(item: SyntheticObject) -> bool:
    return item.category in item.phrases


def _side_of(phrase: str) -> bool:
    return sum(word in _OPPOSITE for word in phrase.split()) == 1


def _with_words(phrase: str, table: dict[str, str]) -> str:
    return " ".join(table.get(word, word) for word in phrase.split())

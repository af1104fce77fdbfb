"""Batches of synthetic clips with phrases: for what is there, and for what is not."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

import numpy as np

from surgvos.data.batches import BatchShape
from surgvos.data.clips import Clip, ClipBatch, collate_clips, masks_of
from surgvos.data.phrases import mirrored
from surgvos.data.synthetic import SceneConfig, SyntheticClip, SyntheticObject, generate_clip
from surgvos.data.transforms import Augmentation, ColorJitter, augment
from surgvos.errors import ConfigError

# Nothing that moves things about: a flip is made here, with the words that it turns around.
_COLOURS_ONLY = Augmentation(
    flip_probability=0.0,
    max_rotation=0.0,
    max_shear=0.0,
    clip_jitter=ColorJitter(brightness=0.15, contrast=0.15, saturation=0.15, hue=0.01),
    frame_jitter=ColorJitter(),
    grey_probability=0.0,
)
_OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticPhrasesConfig:
    """How clips with phrases are drawn.

    Phrases hold in the first frame of a clip.

    Attributes:
        scene: What a clip contains. Its size and length are overruled by those of the batches.
        augmentation: How colours are varied each time a clip is served.
        num_phrases: Phrases of a clip for what is there, where it has as many objects.
        num_absent: Phrases of a clip for what is not there.
        min_area_px: A smaller object in the first frame is not asked for.
        reuse: How often a clip is served, on average.
        pool_size: Clips among which each serving is drawn.
    """

    scene: SceneConfig = field(default_factory=lambda: SceneConfig(surgical_share=1.0))
    augmentation: Augmentation = _COLOURS_ONLY
    num_phrases: int = 3
    num_absent: int = 1
    min_area_px: int = 40
    reuse: int = 8
    pool_size: int = 192

    def __post_init__(self) -> None:
        if min(self.num_phrases, self.reuse) < 1 or self.num_absent < 0 or self.pool_size < 2:
            raise ConfigError("expected num_phrases and reuse >= 1, num_absent >= 0 and pool_size >= 2")
        varied = self.augmentation
        if varied.flip_probability or varied.reverse_probability or varied.max_rotation or varied.max_zoom > 1:
            raise ConfigError(
                "expected an augmentation that leaves things where phrases say they are; try colours only"
            )

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> SyntheticPhrases:
        """Make the source of batches of this shape; see `SyntheticClipsConfig.open`."""
        return SyntheticPhrases(self, shape, seed, num_streams)


class SyntheticPhrases:
    """A `BatchSource` with phrases, a function of the seed and the batch's index alone."""

    def __init__(self, config: SyntheticPhrasesConfig, shape: BatchShape, seed: int, num_streams: int) -> None:
        self.config, self.shape, self.seed, self.num_streams = config, shape, seed, num_streams
        self._scene = replace(config.scene, image_hw=shape.image_hw, num_frames=shape.num_frames)
        self._cache: OrderedDict[tuple[int, int], SyntheticClip] = OrderedDict()

    def __getitem__(self, index: int) -> ClipBatch:
        stream, turn = index % self.num_streams, index // self.num_streams
        rng = np.random.default_rng((self.seed, 2, index))
        first = turn * self.shape.batch_size
        return collate_clips([self._serve(stream, first + i, rng) for i in range(self.shape.batch_size)])

    def _serve(self, stream: int, serving: int, rng: np.random.Generator) -> Clip:
        while True:
            clip = self._draw(stream, serving, rng)
            asked = self._present(clip, rng) + self._absent(clip, self._draw(stream, serving, rng), rng)
            if asked:
                return self._vary(clip, asked, rng)

    def _draw(self, stream: int, serving: int, rng: np.random.Generator) -> SyntheticClip:
        key = (stream, serving // self.config.reuse + int(rng.integers(self.config.pool_size)))
        if key not in self._cache:
            state = np.random.SeedSequence((self.seed, 3, *key)).generate_state(1, np.uint64)
            self._cache[key] = generate_clip(int(state[0]), self._scene)
            if len(self._cache) > self.config.pool_size * self.num_streams:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _present(self, clip: SyntheticClip, rng: np.random.Generator) -> list[tuple[str, int]]:
        """(phrase, object id) of some objects of the first frame, one phrase each."""
        areas = np.bincount(clip.instances[0].ravel(), minlength=256)
        told = [item for item in clip.objects if item.phrases and areas[item.id] >= self.config.min_area_px]
        chosen = [told[i] for i in rng.permutation(len(told))[: self.config.num_phrases]]
        return [(str(rng.choice(item.phrases)), item.id) for item in chosen]

    def _absent(self, clip: SyntheticClip, other: SyntheticClip, rng: np.random.Generator) -> list[tuple[str, int]]:
        """Phrases that hold for nothing in the clip, with the id of nothing."""
        found = []
        for _ in range(self.config.num_absent):
            phrase = misplaced_phrase(clip, rng) if rng.random() < 0.4 else None
            phrase = phrase or foreign_phrase(clip, other, rng)
            if phrase is not None:
                found.append((phrase, 0))
        return found

    def _vary(self, clip: SyntheticClip, asked: list[tuple[str, int]], rng: np.random.Generator) -> Clip:
        frames, labels = clip.frames, clip.instances
        phrases = [phrase for phrase, _ in asked]
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
        masks = masks_of(labels, [object_id for _, object_id in asked])
        masks[:, [object_id == 0 for _, object_id in asked]] = False
        return Clip(images, masks, tuple(phrases))


def foreign_phrase(clip: SyntheticClip, other: SyntheticClip, rng: np.random.Generator) -> str | None:
    """A phrase of another clip for a kind of thing that this one does not hold; None where all are held."""
    held = {item.category.split()[-1] for item in clip.objects}
    foreign = [item for item in other.objects if item.category.split()[-1] not in held]
    phrases = [phrase for item in foreign for phrase in item.phrases if item.category in phrase]
    return str(rng.choice(phrases)) if phrases else None


def misplaced_phrase(clip: SyntheticClip, rng: np.random.Generator) -> str | None:
    """A phrase for the only thing of its kind, on the side where it is not; None where there is none such."""
    phrases = [phrase for item in clip.objects if _is_alone(item) for phrase in item.phrases if _side_of(phrase)]
    return _with_words(str(rng.choice(phrases)), _OPPOSITE) if phrases else None


def _is_alone(item: SyntheticObject) -> bool:
    return item.category in item.phrases


def _side_of(phrase: str) -> bool:
    return sum(word in _OPPOSITE for word in phrase.split()) == 1


def _with_words(phrase: str, table: dict[str, str]) -> str:
    return " ".join(table.get(word, word) for word in phrase.split())

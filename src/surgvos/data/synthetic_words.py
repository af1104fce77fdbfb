"""Batches of single synthetic images with words: where each of them holds, and which hold nowhere."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from surgvos.data.batches import BatchShape
from surgvos.data.clips import Clip, ClipBatch, collate_clips
from surgvos.data.synthetic import SURGICAL_CATEGORIES, SceneConfig, SyntheticClip
from surgvos.data.synthetic_phrases import COLOURS_ONLY, PART_WORDS, may_mean
from surgvos.data.synthetic_pool import ClipPool
from surgvos.data.transforms import Augmentation, augment
from surgvos.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticWordsConfig:
    """How images with words are drawn.

    Attributes:
        scene: What an image contains. Its size is overruled by that of the batches.
        augmentation: How colours are varied each time an image is served.
        reuse: How often an image is served, on average.
        pool_size: Images among which each serving is drawn.
    """

    scene: SceneConfig = field(default_factory=lambda: SceneConfig(surgical_share=1.0, recognisable=0.75))
    augmentation: Augmentation = COLOURS_ONLY
    reuse: int = 8
    pool_size: int = 192

    def __post_init__(self) -> None:
        if min(self.reuse, self.pool_size) < 1:
            raise ConfigError(f"expected reuse and pool_size of 1 or more, got {self.reuse} and {self.pool_size}")

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> SyntheticWords:
        """Make the source of batches of this shape; see `SyntheticClipsConfig.open`.

        Raises:
            ConfigError: More than one frame is asked for.
        """
        return SyntheticWords(self, shape, seed, num_streams)


class SyntheticWords:
    """A `BatchSource` of single images; a word has a row of masks in each image where it is known where it holds."""

    def __init__(self, config: SyntheticWordsConfig, shape: BatchShape, seed: int, num_streams: int) -> None:
        if shape.num_frames != 1:
            raise ConfigError(f"expected single images, got clips of {shape.num_frames} frames; try num_frames=1")
        self.config, self.shape, self.seed, self.num_streams = config, shape, seed, num_streams
        scene = replace(config.scene, image_hw=shape.image_hw, num_frames=1)
        self._pool = ClipPool(scene, (seed, 7), reuse=config.reuse, size=config.pool_size, num_streams=num_streams)

    def __getitem__(self, index: int) -> ClipBatch:
        stream, turn = index % self.num_streams, index // self.num_streams
        rng = np.random.default_rng((self.seed, 8, index))
        first = turn * self.shape.batch_size
        return collate_clips([self._serve(stream, first + i, rng) for i in range(self.shape.batch_size)])

    def _serve(self, stream: int, serving: int, rng: np.random.Generator) -> Clip:
        clip = self._pool.draw(stream, serving, rng)
        words = words_in(clip)
        step = 1 if rng.random() < 0.5 else -1
        masks = np.stack(list(words.values()))[None, :, :, ::step]
        frames = np.ascontiguousarray(clip.frames[:, :, ::step])
        nothing = np.zeros(frames.shape[:3], np.uint8)
        images, _ = augment(frames, nothing, self.shape.image_hw, self.config.augmentation, rng)
        return Clip(images, np.ascontiguousarray(masks), tuple(words))


def words_in(clip: SyntheticClip) -> dict[str, np.ndarray]:
    """Word -> where it holds in the first frame, bool ``(h, w)``; empty where it holds nowhere.

    A word of which that is not known is left out: a tool without its colours may be of any category, and tissue
    without a label may look like an organ.
    """
    instances, parts = clip.instances[0], clip.parts[0]
    words = {word: parts == part for part, word in PART_WORDS.items()}
    words["instrument"] = np.zeros(instances.shape, dtype=bool)
    for item in clip.objects:
        for noun in item.nouns:
            words[noun] = words.get(noun, False) | (instances == item.id)
    unsure = {item.category for item in clip.objects} | clip.resembled
    for category in SURGICAL_CATEGORIES:
        if category not in words and not any(may_mean(category, name) for name in unsure):
            words[category] = np.zeros(instances.shape, dtype=bool)
    return words

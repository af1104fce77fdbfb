"""Batches of single synthetic images with all of their objects, and what each is called."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from surgvos.data.batches import BatchShape
from surgvos.data.clips import Clip, ClipBatch, collate_clips, masks_of
from surgvos.data.synthetic import Part, SceneConfig
from surgvos.data.synthetic_phrases import PART_WORDS
from surgvos.data.synthetic_pool import ClipPool
from surgvos.data.transforms import Augmentation, ColorJitter, augment
from surgvos.errors import ConfigError

_LOOK = Augmentation(
    max_rotation=0.0,
    max_shear=0.0,
    max_zoom=1.4,
    clip_jitter=ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
    frame_jitter=ColorJitter(),
    grey_probability=0.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticObjectsConfig:
    """How images with all of their objects are drawn.

    Attributes:
        scene: What an image contains. Its size is overruled by that of the batches.
        augmentation: How an image is varied each time it is served.
        reuse: How often an image is served, on average.
        pool_size: Images among which each serving is drawn.
    """

    scene: SceneConfig = field(default_factory=lambda: SceneConfig(surgical_share=1.0, recognisable=0.75))
    augmentation: Augmentation = _LOOK
    reuse: int = 8
    pool_size: int = 192

    def __post_init__(self) -> None:
        if min(self.reuse, self.pool_size) < 1:
            raise ConfigError(f"expected reuse and pool_size of 1 or more, got {self.reuse} and {self.pool_size}")

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> SyntheticObjects:
        """Make the source of batches of this shape; see `SyntheticClipsConfig.open`.

        Raises:
            ConfigError: More than one frame is asked for.
        """
        return SyntheticObjects(self, shape, seed, num_streams)


class SyntheticObjects:
    """A `BatchSource` of single images.

    An image has a row of masks for each object, with the most special of its nouns as its phrase, and one for each of
    `PART_WORDS`: where all tips, wrists and shafts are.
    """

    def __init__(self, config: SyntheticObjectsConfig, shape: BatchShape, seed: int, num_streams: int) -> None:
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
        # One map for objects and parts, so that both go through the same augmentation.
        both = clip.instances.astype(np.uint16) * len(Part) + clip.parts
        images, labels = augment(clip.frames, both, self.shape.image_hw, self.config.augmentation, rng)
        instances, parts = np.divmod(labels, len(Part))
        named = [item for item in clip.objects if item.nouns]
        masks = np.concatenate((masks_of(instances, [item.id for item in named]), masks_of(parts, list(PART_WORDS))), 1)
        return Clip(images, masks, (*(item.nouns[0] for item in named), *PART_WORDS.values()))

"""Batches of synthetic clips, each clip drawn once and served several times in different guises."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from surgvos.data.batches import BatchShape
from surgvos.data.clips import Clip, ClipBatch, choose_objects, collate_clips, masks_of
from surgvos.data.synthetic import SceneConfig, SyntheticClip
from surgvos.data.synthetic_pool import ClipPool
from surgvos.data.transforms import Augmentation, ColorJitter, augment
from surgvos.errors import ConfigError

_LOOK = Augmentation(
    reverse_probability=0.5,
    max_rotation=0.0,
    max_shear=0.0,
    max_zoom=1.5,
    clip_jitter=ColorJitter(brightness=0.15, contrast=0.15, saturation=0.3, hue=0.03),
    frame_jitter=ColorJitter(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticClipsConfig:
    """How synthetic clips are drawn and varied.

    Attributes:
        scene: What a clip contains. Its size is overruled by the size of the batches.
        augmentation: How a clip is varied each time it is served.
        max_objects: Most objects of a clip.
        min_area_px: A smaller object in the first frame is not asked for.
        max_stride: Largest step between the frames that are taken.
        late_probability: Of one more object that is not visible in the first frame.
        cut_probability: Of one later frame from another scene, where nothing that was asked for is visible.
        reuse: How often a clip is served, on average.
        pool_size: Clips among which each serving is drawn.
    """

    scene: SceneConfig = field(default_factory=SceneConfig)
    augmentation: Augmentation = _LOOK
    max_objects: int = 3
    min_area_px: int = 24
    max_stride: int = 2
    late_probability: float = 0.1
    cut_probability: float = 0.05
    reuse: int = 8
    pool_size: int = 96

    def __post_init__(self) -> None:
        counts = (self.max_objects, self.max_stride, self.reuse, self.pool_size)
        if min(counts) < 1:
            raise ConfigError(
                f"expected max_objects, max_stride, reuse and pool_size of 1 or more, got {', '.join(map(str, counts))}"
            )

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> SyntheticClips:
        """Make the source of batches of this shape.

        Args:
            shape: Of the batches.
            seed: Of everything drawn.
            num_streams: Independent pools, served in turn: one per data worker, so that none draws another's
                clips.

        Raises:
            ConfigError: The scene has fewer frames than a clip.
        """
        return SyntheticClips(self, shape, seed, num_streams)


class SyntheticClips:
    """A `BatchSource` over `generate_clip`.

    Which clip is served where, and how it is varied, is a function of the seed and the batch's index.
    """

    def __init__(self, config: SyntheticClipsConfig, shape: BatchShape, seed: int, num_streams: int) -> None:
        if config.scene.num_frames < shape.num_frames:
            raise ConfigError(
                f"expected scene.num_frames of at least the {shape.num_frames} frames of a clip, got "
                f"{config.scene.num_frames}"
            )
        self.config = config
        self.shape = shape
        self.seed = seed
        self.num_streams = num_streams
        scene = replace(config.scene, image_hw=shape.image_hw)
        self._pool = ClipPool(scene, (seed, 1), reuse=config.reuse, size=config.pool_size, num_streams=num_streams)

    def __getitem__(self, index: int) -> ClipBatch:
        stream, turn = index % self.num_streams, index // self.num_streams
        rng = np.random.default_rng((self.seed, 0, index))
        first = turn * self.shape.batch_size
        clips = [self._serve(stream, first + i, rng) for i in range(self.shape.batch_size)]
        if self.shape.num_frames > 1:
            clips = [self._cut(clip, clips[i - 1], rng) for i, clip in enumerate(clips)]
        return collate_clips(clips)

    def _serve(self, stream: int, serving: int, rng: np.random.Generator) -> Clip:
        while True:
            clip = self._vary(self._pool.draw(stream, serving, rng), rng)
            if clip is not None:
                return clip

    def _vary(self, clip: SyntheticClip, rng: np.random.Generator) -> Clip | None:
        """Take some frames and some objects; None where nothing is visible at first."""
        config = self.config
        length = self.shape.num_frames
        longest = (len(clip.frames) - 1) // max(length - 1, 1)
        stride = int(rng.integers(1, min(config.max_stride, max(longest, 1)) + 1))
        start = int(rng.integers(len(clip.frames) - (length - 1) * stride))
        chosen = slice(start, start + (length - 1) * stride + 1, stride)
        images, labels = augment(
            clip.frames[chosen], clip.instances[chosen], self.shape.image_hw, config.augmentation, rng
        )
        ids = choose_objects(labels, config.max_objects, rng, config.min_area_px)
        if not ids:
            return None
        late = sorted(set(np.unique(labels).tolist()) - set(np.unique(labels[0]).tolist()) - {0})
        if late and len(ids) < config.max_objects and rng.random() < config.late_probability:
            ids.append(int(rng.choice(late)))
        return Clip(images, masks_of(labels, ids))

    def _cut(self, clip: Clip, other: Clip, rng: np.random.Generator) -> Clip:
        """Perhaps show another scene for a moment."""
        if other is clip or rng.random() >= self.config.cut_probability:
            return clip
        frame = int(rng.integers(1, len(clip.images)))
        images, masks = clip.images.copy(), clip.masks.copy()
        images[frame], masks[frame] = other.images[frame], False
        return Clip(images, masks)

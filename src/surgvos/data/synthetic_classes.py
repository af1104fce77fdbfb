"""Batches of single synthetic frames with a class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from surgvos.core.label_tables import LABEL_SPACES
from surgvos.data.batches import BatchShape
from surgvos.data.frames import FrameBatch, collate_frames, labels_of
from surgvos.data.synthetic import SceneConfig, SyntheticClip, SyntheticObject
from surgvos.data.synthetic_pool import ClipPool
from surgvos.data.transforms import Augmentation, ColorJitter, augment
from surgvos.errors import ConfigError

SYNTHETIC_CLASSES = LABEL_SPACES["surgvos-nano"]

_IDS = {label.name: label.id for label in SYNTHETIC_CLASSES.labels}
_TUBES = dict.fromkeys(("vessel", "ureter", "cystic duct"), "vessel")
_ORGANS = dict.fromkeys(("bowel", "fat", "kidney", "peritoneum", "liver", "gallbladder"), "organ")
_HARDLY_SEEN = dict.fromkeys(("thread", "polyp", "fold"), None)
"""A pixel wide, or of what lies behind: a small network does not learn them."""
_CLASS_OF_CATEGORY: dict[str, str | None] = {
    "articulated shape": "instrument",
    **{name: name for name in ("needle", "iris", "pupil")},
    **_TUBES,
    **_ORGANS,
    **_HARDLY_SEEN,
}

_LOOK = Augmentation(
    max_rotation=0.0,
    max_shear=0.0,
    max_zoom=1.6,
    clip_jitter=ColorJitter(brightness=0.2, contrast=0.2, saturation=0.3, hue=0.02),
    frame_jitter=ColorJitter(),
)


def class_of(item: SyntheticObject) -> int:
    """Class id of an object; background for what has no class."""
    name = _CLASS_OF_CATEGORY.get(item.category, "instrument" if item.kind == "instrument" else None)
    return SYNTHETIC_CLASSES.background if name is None else _IDS[name]


def class_maps(clip: SyntheticClip) -> np.ndarray:
    """Class ids of a clip's pixels, uint8 ``(T, h, w)``."""
    table = np.full(256, SYNTHETIC_CLASSES.background, dtype=np.uint8)
    for item in clip.objects:
        table[item.id] = class_of(item)
    return table[clip.instances]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticClassesConfig:
    """How single frames with classes are drawn.

    Attributes:
        scene: What a clip contains; one of its frames is taken. Its size is overruled by the size of the batches.
            Unlabelled tissue in front looks like an organ, so there should be none.
        augmentation: How a frame is varied each time it is served.
        reuse: How often a clip is served, on average.
        pool_size: Clips among which each serving is drawn.
    """

    scene: SceneConfig = field(
        default_factory=lambda: SceneConfig(num_frames=3, surgical_share=0.9, occluder=0.0, strand=0.4)
    )
    augmentation: Augmentation = _LOOK
    reuse: int = 10
    pool_size: int = 192

    def __post_init__(self) -> None:
        if min(self.reuse, self.pool_size) < 1:
            raise ConfigError(f"expected reuse and pool_size of 1 or more, got {self.reuse} and {self.pool_size}")

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> SyntheticClasses:
        """Make the source of batches of this shape; see `SyntheticClipsConfig.open`.

        Raises:
            ConfigError: More than one frame is asked for.
        """
        return SyntheticClasses(self, shape, seed, num_streams)


class SyntheticClasses:
    """A `BatchSource` of single frames with the classes of `SYNTHETIC_CLASSES`."""

    def __init__(self, config: SyntheticClassesConfig, shape: BatchShape, seed: int, num_streams: int) -> None:
        if shape.num_frames != 1:
            raise ConfigError(f"expected single frames, got clips of {shape.num_frames}; try num_frames=1")
        self.config, self.shape, self.seed, self.num_streams = config, shape, seed, num_streams
        scene = replace(config.scene, image_hw=shape.image_hw)
        self._pool = ClipPool(scene, (seed, 5), reuse=config.reuse, size=config.pool_size, num_streams=num_streams)

    def __getitem__(self, index: int) -> FrameBatch:
        stream, turn = index % self.num_streams, index // self.num_streams
        rng = np.random.default_rng((self.seed, 4, index))
        first = turn * self.shape.batch_size
        served = [self._serve(stream, first + i, rng) for i in range(self.shape.batch_size)]
        images, labels = zip(*served, strict=True)
        # No class counts more for being rare: the Dice loss sees to that.
        return collate_frames(images, labels, [1.0] * len(SYNTHETIC_CLASSES))

    def _serve(self, stream: int, serving: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One frame and its labels."""
        clip = self._pool.draw(stream, serving, rng)
        frame = int(rng.integers(len(clip.frames)))
        chosen = slice(frame, frame + 1)
        images, label_maps = augment(
            clip.frames[chosen], class_maps(clip)[chosen], self.shape.image_hw, self.config.augmentation, rng
        )
        return images[0], labels_of(label_maps[0], SYNTHETIC_CLASSES)

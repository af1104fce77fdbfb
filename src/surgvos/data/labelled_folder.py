"""Single frames with classes from a folder of videos in the layout of DAVIS, such as a prepared data set."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from surgvos.data.batches import BatchShape
from surgvos.data.cholecseg8k import read_frame_split
from surgvos.data.frames import UNLABELLED, FrameBatch, collate_frames, labels_of
from surgvos.data.transforms import Augmentation, augment
from surgvos.data.vos_folder import find_videos
from surgvos.errors import ConfigError, InputError
from surgvos.io.image_folder import read_image
from surgvos.io.label_spaces import find_label_space
from surgvos.io.masks import read_label_map

_MAX_TRIES = 200
_RARITY_EXPONENT, _LEAST_SHARE = 0.2, 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFolderConfig:
    """A folder with ``JPEGImages/<video>/<frame>`` and label maps beside it, pixel = class id.

    Attributes:
        root: The folder, such as a split of a prepared data set.
        label_space: Of the ids: a name such as ``cadis-2``, or a YAML file.
        labels: Folder of the label maps below ``root``: ``<labels>/<video>/<frame>.png``.
        raw: The values are those of the data set's own files, not ids of the label space.
        videos: Names of videos to use; empty uses all.
        frame_split: ``train``, ``val`` or ``test`` of the split by frame of a prepared CholecSeg8k; ``root`` is then
            the folder above its splits by operation.
        fraction: Share of the frames to use. Smaller shares are parts of larger ones.
        subset: Which of the many subsets of that share.
        favour_rare: Draw frames with rare classes more often, and let rare classes count more where a task asks.
        augmentation: How a frame is varied.

    Reference: SASVi (arXiv 2502.09653): the published scripts train on all frames, or on 1, 10 and 50 % of them.
    """

    root: str
    label_space: str
    labels: str = "Labels/classes"
    raw: bool = False
    videos: tuple[str, ...] = ()
    frame_split: Literal["train", "val", "test"] | None = None
    fraction: float = 1.0
    subset: int = 0
    favour_rare: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"expected a fraction above 0 and up to 1, got {self.fraction}")

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> LabelledFolder:
        """Make the source of batches of this shape; any number of workers may share it.

        Raises:
            ConfigError: More than one frame to a clip is asked for.
            InputError: The folder has another layout, or lacks a video; there is no such label space.
        """
        return LabelledFolder(self, shape, seed)


class LabelledFolder:
    """A `BatchSource` of random frames.

    Departs: the published scripts go through all frames in random order before one comes again; here each frame of a
    batch is drawn by itself, so that a batch is a function of its index. Shares of classes are measured on the label
    maps as they are, not as they were varied, and what never occurs weighs nothing
    (``tests/data/test_labelled_folder.py``).
    """

    def __init__(self, config: LabelledFolderConfig, shape: BatchShape, seed: int) -> None:
        if shape.num_frames != 1:
            raise ConfigError(f"expected single frames, got clips of {shape.num_frames}; try num_frames=1")
        self.config, self.shape, self.seed = config, shape, seed
        self.label_space = find_label_space(config.label_space)
        self.frames = _subset(_find_frames(config), config.fraction, config.subset)
        self.class_weights = np.ones(len(self.label_space))
        self.chances: np.ndarray | None = None
        if config.favour_rare:
            areas = self._class_areas()
            self.class_weights = rarity_weights(areas.sum(axis=0))
            self.chances = frame_chances(areas > 0, self.class_weights)

    def __len__(self) -> int:
        """Number of different frames."""
        return len(self.frames)

    def __getitem__(self, index: int) -> FrameBatch:
        rng = np.random.default_rng((self.seed, index))
        drawn = [self._draw(rng) for _ in range(self.shape.batch_size)]
        images, labels = zip(*drawn, strict=True)
        return collate_frames(images, labels, self.class_weights.tolist())

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A random frame that shows a class."""
        for _ in range(_MAX_TRIES):
            image_path, label_path = self.frames[rng.choice(len(self), p=self.chances)]
            labels = self._labels(label_path)
            if np.isin(labels, (0, UNLABELLED)).all():
                continue
            image = read_image(image_path)
            if image.shape[:2] != labels.shape:
                raise InputError(f"expected an image and labels of one size, got others in {str(label_path)!r}")
            images, varied = augment(image[None], labels[None], self.shape.image_hw, self.config.augmentation, rng)
            return images[0], varied[0]
        raise InputError(
            f"expected classes in the frames of {self.config.root!r}, got none in {_MAX_TRIES} random frames; try "
            "other videos or another label_space"
        )

    def _labels(self, path: Path) -> np.ndarray:
        label_map = read_label_map(path)
        return labels_of(self.label_space.from_raw(label_map) if self.config.raw else label_map, self.label_space)

    def _class_areas(self) -> np.ndarray:
        """Share of each frame's pixels that is of each class, ``(frames, classes)``."""

        def of(path: Path) -> np.ndarray:
            labels = self._labels(path)
            return np.bincount(labels.ravel(), minlength=UNLABELLED)[1 : len(self.label_space) + 1] / labels.size

        with ThreadPoolExecutor(max_workers=4) as pool:
            return np.stack(list(pool.map(of, (path for _, path in self.frames))))


def rarity_weights(areas: np.ndarray) -> np.ndarray:
    """How much each class counts: the fifth root of how rare it is, 1 on average over the classes that occur.

    Args:
        areas: ``(K,)`` pixels of each class, in any unit.

    Returns:
        ``(K,)``; 0 for a class that does not occur.

    Reference: SASVi's published training scripts.
    """
    occurs = areas > 0
    weights = np.where(occurs, (areas / max(areas.sum(), 1e-12) + _LEAST_SHARE) ** -_RARITY_EXPONENT, 0.0)
    return weights * occurs.sum() / max(weights.sum(), 1e-12)


def frame_chances(shows: np.ndarray, class_weights: np.ndarray) -> np.ndarray:
    """Chance of each frame to be drawn: in proportion to the mean weight of the classes that it shows.

    Args:
        shows: bool ``(frames, K)``.
        class_weights: ``(K,)``.
    """
    chances = (shows * class_weights).sum(axis=1) / np.maximum(shows.sum(axis=1), 1)
    total = chances.sum()
    return chances / total if total else np.full(len(chances), 1 / len(chances))


def _find_frames(config: LabelledFolderConfig) -> list[tuple[Path, Path]]:
    """Images and label maps of all frames, in order."""
    root = Path(config.root)
    if config.frame_split is None:
        return [pair for video in find_videos(root, config.videos, config.labels) for pair in video.frames]
    split = read_frame_split(root)[config.frame_split]
    names = {name: set(frames) for name, frames in split.items() if not config.videos or name in config.videos}
    videos = [video for part in ("train", "valid") for video in find_videos(root / part, (), config.labels)]
    return [pair for video in videos for pair in video.frames if pair[0].stem in names.get(video.name, ())]


def _subset(frames: Sequence[tuple[Path, Path]], fraction: float, subset: int) -> list[tuple[Path, Path]]:
    """The first of all frames in a random order, in the order in which they were; at least one."""
    order = np.random.default_rng(subset).permutation(len(frames))
    return [frames[i] for i in sorted(order[: max(int(len(frames) * fraction), 1)])]

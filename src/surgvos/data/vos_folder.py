"""Clips from a folder of videos in the layout of DAVIS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surgvos.data.batches import BatchShape
from surgvos.data.clips import Clip, ClipBatch, choose_objects, collate_clips, masks_of
from surgvos.data.transforms import Augmentation, augment
from surgvos.errors import ConfigError, InputError
from surgvos.io.image_folder import list_images, read_image
from surgvos.io.masks import read_label_map

_MAX_TRIES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class VosFolderConfig:
    """A folder with ``JPEGImages/<video>/<frame>`` and ``Annotations/<video>/<frame>.png``, pixel = object id.

    Attributes:
        root: The folder.
        videos: Names of videos to use; empty uses all.
        object_ids: Ids to use; empty uses all but 0.
        ignore: Id of pixels without a label, such as 255, taken as background; None: there are none.
        augmentation: How a clip is varied.
        max_objects: Most objects of a clip, drawn among those visible in its first frame.
        stride: Step between the annotated frames that are taken.
    """

    root: str
    videos: tuple[str, ...] = ()
    object_ids: tuple[int, ...] = ()
    ignore: int | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    max_objects: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        if self.max_objects < 1 or self.stride < 1:
            raise ConfigError(f"expected max_objects >= 1 and stride >= 1, got {self.max_objects} and {self.stride}")

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> VosFolder:
        """Make the source of batches of this shape; any number of workers may share it.

        Raises:
            InputError: The folder has another layout, or lacks a video.
        """
        return VosFolder(self, shape, seed)


@dataclass(frozen=True, slots=True)
class Video:
    """Annotated frames of a video, in order: pairs of an image and a label map."""

    name: str
    frames: tuple[tuple[Path, Path], ...]


class VosFolder:
    """A `BatchSource` over annotated videos: a random video, a random start, consecutive annotated frames.

    Each video is drawn as often as it has starts. Where a clip runs over the end of its video it turns back, so
    that short videos serve too.

    Args:
        config: Where clips come from.
        shape: Of the batches.
        seed: Of everything drawn.
        num_spare: Frames by which the stretch of video from which a clip is taken is longer than the clip.
    """

    def __init__(self, config: VosFolderConfig, shape: BatchShape, seed: int, num_spare: int = 0) -> None:
        self.config = config
        self.shape = shape
        self.seed = seed
        self.videos = find_videos(Path(config.root), config.videos)
        self._steps = np.arange(shape.num_frames + num_spare) * config.stride
        starts = np.array([max(len(video.frames) - int(self._steps[-1]), 1) for video in self.videos])
        self._ends = np.cumsum(starts)

    def __len__(self) -> int:
        """Number of different starts of a clip."""
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> ClipBatch:
        rng = np.random.default_rng((self.seed, index))
        return collate_clips([self._draw(rng) for _ in range(self.shape.batch_size)])

    def _draw(self, rng: np.random.Generator) -> Clip:
        """A random clip whose first frame shows an object."""
        for _ in range(_MAX_TRIES):
            place = int(rng.integers(len(self)))
            number = int(np.searchsorted(self._ends, place, side="right"))
            video = self.videos[number]
            start = place - (int(self._ends[number - 1]) if number else 0)
            if clip := self._read(video, start, rng):
                return clip
        raise InputError(
            f"expected objects in the videos of {self.config.root!r}, got none in {_MAX_TRIES} random frames; "
            "try fewer object_ids or other videos"
        )

    def _read(self, video: Video, start: int, rng: np.random.Generator) -> Clip | None:
        frames = self._stretch(video, start)
        label_maps = self._label_maps(frames)
        if not label_maps[0].any() and not label_maps[-1].any():
            return None
        images = self._images(video, frames, label_maps)
        images, label_maps = augment(images, label_maps, self.shape.image_hw, self.config.augmentation, rng)
        ids = choose_objects(label_maps, self.config.max_objects, rng)
        return Clip(images, masks_of(label_maps, ids)) if ids else None

    def _stretch(self, video: Video, start: int) -> list[tuple[Path, Path]]:
        return [video.frames[i] for i in _turn_back(start + self._steps, len(video.frames))]

    def _label_maps(self, frames: Sequence[tuple[Path, Path]]) -> np.ndarray:
        return np.stack([self._labels(path) for _, path in frames])

    def _images(self, video: Video, frames: Sequence[tuple[Path, Path]], label_maps: np.ndarray) -> np.ndarray:
        images = np.stack([read_image(path) for path, _ in frames])
        if images.shape[1:3] != label_maps.shape[1:]:
            raise InputError(
                f"expected images and annotations of one size, got {images.shape[2]}x{images.shape[1]} and "
                f"{label_maps.shape[2]}x{label_maps.shape[1]} pixels in video {video.name!r}"
            )
        return images

    def _labels(self, path: Path) -> np.ndarray:
        label_map = read_label_map(path)
        if self.config.ignore is not None:
            label_map = np.where(label_map == self.config.ignore, 0, label_map)
        if self.config.object_ids:
            label_map = np.where(np.isin(label_map, self.config.object_ids), label_map, 0)
        return label_map


def _turn_back(positions: np.ndarray, length: int) -> np.ndarray:
    """Reflect positions into 0..length-1: 0 1 2 1 0 1 2 ..."""
    period = max(2 * (length - 1), 1)
    folded = positions % period
    return np.where(folded < length, folded, period - folded)


def find_videos(root: Path, names: tuple[str, ...], labels: str = "Annotations") -> list[Video]:
    """The videos of a folder in the layout of DAVIS.

    Args:
        root: The folder.
        names: Of videos to use; empty uses all.
        labels: Folder of the label maps below it.

    Raises:
        InputError: The folder has another layout, lacks a video, or holds no frame with labels.
    """
    images, annotations = root / "JPEGImages", root / labels
    if not images.is_dir() or not annotations.is_dir():
        raise InputError(f"expected folders JPEGImages and {labels} in {str(root)!r}, got none of them or one")
    found = sorted(path.name for path in annotations.iterdir() if path.is_dir())
    missing = sorted(set(names) - set(found))
    if missing:
        raise InputError(f"expected videos of {str(annotations)!r}, got {missing[0]!r}, which is not there")
    videos = [Video(name, _pair(images / name, annotations / name)) for name in names or found]
    videos = [video for video in videos if video.frames]
    if not videos:
        raise InputError(f"expected videos with annotated frames in {str(root)!r}, got none")
    return videos


def _pair(images: Path, annotations: Path) -> tuple[tuple[Path, Path], ...]:
    """Images of a video that have an annotation, with it, in natural order."""
    if not images.is_dir():
        raise InputError(f"expected the images of an annotated video in {str(images)!r}, got no such folder")
    labels = {path.stem: path for path in annotations.glob("*.png")}
    return tuple((path, labels[path.stem]) for path in list_images(images) if path.stem in labels)

"""Clips with phrases from a prepared data set of videos, label maps and ``phrases.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from surgvos.data.batches import BatchShape
from surgvos.data.clips import Clip, choose_objects, masks_of
from surgvos.data.phrases import PHRASES, Phrase, mirrored, read_phrases
from surgvos.data.transforms import Augmentation, augment
from surgvos.data.vos_folder import Video, VosFolder, VosFolderConfig
from surgvos.errors import ConfigError, InputError
from surgvos.io.image_folder import natural_key


@dataclass(frozen=True, slots=True, kw_only=True)
class VosPhrasesConfig(VosFolderConfig):
    """A folder as of `VosFolderConfig` that also holds ``phrases.json``, such as ``surgvos data prepare`` writes.

    What ``augmentation`` says of flips and of time is done here, as phrases depend on it.

    Attributes:
        num_referring: Frames at the start of a clip in which objects are to be looked for; the last of them is the
            one in which its phrases hold and its objects are visible. As in `ReferringSettings`.
        num_spare: Frames by which the stretch is longer from which the earlier ones of them are drawn.
    """

    augmentation: Augmentation = field(default_factory=lambda: Augmentation(reverse_probability=0.25))
    num_referring: int = 3
    num_spare: int = 2

    def __post_init__(self) -> None:
        # super() without arguments finds no cell in a class with slots.
        super(VosPhrasesConfig, self).__post_init__()
        if self.num_referring < 1 or self.num_spare < 0:
            raise ConfigError(
                f"expected num_referring >= 1 and num_spare >= 0, got {self.num_referring} and {self.num_spare}"
            )

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> VosPhrases:
        """Make the source of batches of this shape; any number of workers may share it.

        Raises:
            InputError: The folder has another layout, or a video has no phrases.
            ConfigError: Clips are shorter than ``num_referring``.
        """
        return VosPhrases(self, shape, seed)


class VosPhrases(VosFolder):
    """A `BatchSource` with phrases: objects are looked for first, and followed in the frames after that.

    A stretch of consecutive frames is taken, in a share of the draws backward. Phrases hold and objects are visible in
    the frame with which looking ends; the other frames in which they are looked for come from before it, in any
    order; the frames after it follow in theirs. An object that is not visible in another frame has an empty mask there.

    Reference: Liu et al., ReSurgSAM2 (arXiv 2505.08581), and its released training program.

    Departs: a video is drawn as often as it has starts, not frames; a stretch that runs over the end of its video turns
    back; a geometry that loses an object of the first frame is left out (`augment`).
    """

    config: VosPhrasesConfig

    def __init__(self, config: VosPhrasesConfig, shape: BatchShape, seed: int) -> None:
        if shape.num_frames < config.num_referring:
            raise ConfigError(
                f"expected clips of at least {config.num_referring} frames, in which objects are looked for, got "
                f"{shape.num_frames}; try a smaller num_referring"
            )
        super().__init__(config, shape, seed, config.num_spare)
        self._phrases = _phrases_of(Path(config.root), self.videos)
        # What was done here is not done again.
        self._rest = replace(config.augmentation, flip_probability=0.0, reverse_probability=0.0)

    def _read(self, video: Video, start: int, rng: np.random.Generator) -> Clip | None:
        stretch = self._stretch(video, start)
        if rng.random() < self.config.augmentation.reverse_probability:
            stretch.reverse()
        frames = [stretch[i] for i in self._order(rng)]
        label_maps = self._label_maps(frames)
        at = self.config.num_referring - 1
        told = _told(self._phrases[video.name], frames[at][1].stem)
        named = np.where(np.isin(label_maps[at], list(told)), label_maps[at], 0)
        ids = choose_objects(named[None], self.config.max_objects, rng)
        if not ids:
            return None
        phrases = [told[i][int(rng.integers(len(told[i])))] for i in ids]
        images = self._images(video, frames, label_maps)
        if rng.random() < self.config.augmentation.flip_probability:
            images, label_maps = images[:, :, ::-1], label_maps[:, :, ::-1]
            phrases = [mirrored(phrase) for phrase in phrases]
        images, label_maps = augment(images, label_maps, self.shape.image_hw, self._rest, rng)
        return Clip(images, masks_of(label_maps, ids), tuple(phrases))

    def _order(self, rng: np.random.Generator) -> list[int]:
        """Places in the stretch, in the order of the clip."""
        last = self.config.num_spare + self.config.num_referring - 1
        earlier = rng.permutation(last)[: self.config.num_referring - 1]
        return [*map(int, earlier), *range(last, len(self._steps))]


def _phrases_of(root: Path, videos: Sequence[Video]) -> dict[str, tuple[Phrase, ...]]:
    book = read_phrases(root / PHRASES)
    silent = [video.name for video in videos if not any(item.object for item in book.get(video.name, ()))]
    if silent:
        raise InputError(
            f"expected phrases for objects of video {silent[0]!r} in {str(root / PHRASES)!r}, got none; try naming the "
            "videos to use"
        )
    return book


def _told(phrases: Sequence[Phrase], frame: str) -> dict[int, list[str]]:
    """Object id -> the phrases that are true in a frame."""
    told: dict[int, list[str]] = {}
    for item in phrases:
        begun = item.start is None or _time(item.start) <= _time(frame)
        if item.object is not None and begun and (item.stop is None or _time(frame) <= _time(item.stop)):
            told.setdefault(item.object, []).append(item.phrase)
    return told


def _time(frame: str) -> tuple[tuple[int, int | str], ...]:
    """Where a frame stands among others, by its name."""
    return natural_key(Path(frame))[0]

"""What every format writes and reads: a video of masks, frame by frame, and what their ids mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from surgvos.core.frame import VideoSource
from surgvos.core.labels import Label, LabelSpace, object_palette
from surgvos.core.masks import masks_to_label_map
from surgvos.errors import InputError

MAX_PIXELS = 2**28
"""Eight times the pixels of a frame of 8K video: a file that speaks of more is not believed."""

_OBJECT = re.compile(r"object (\d+)")


@dataclass(frozen=True, slots=True)
class FrameHead:
    """What is known of a frame before its masks are read.

    Attributes:
        index: Index in the source of the video.
        name: Stem of its files.
        time_s: Presentation time in seconds, or None.
        image_name: Name of its image, for formats that refer to one.
    """

    index: int
    name: str
    time_s: float | None = None
    image_name: str = ""

    def __post_init__(self) -> None:
        # Names come from files of others, and name files of ours.
        if self.name in ("", ".", "..") or Path(self.name).name != self.name:
            raise InputError(f"expected a frame name that can name a file, got {self.name!r}; try '00017'")
        if not self.image_name:
            object.__setattr__(self, "image_name", f"{self.name}.jpg")


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """The masks of a video, read when they are asked for.

    Attributes:
        name: Of the video.
        image_hw: Height and width in pixels.
        labels: What the ids mean: classes, or objects by number.
        heads: The frames, in order.
        read: Position in ``heads`` -> id -> bool ``(h, w)``; only what is visible. May be called in any order, and
            is cheapest in order.
        fps: Frames per second, where known.
        source: The frames themselves, where they are at hand.
    """

    name: str
    image_hw: tuple[int, int]
    labels: LabelSpace
    heads: Sequence[FrameHead]
    read: Callable[[int], dict[int, np.ndarray]]
    fps: float | None = None
    source: VideoSource | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.heads)

    def __iter__(self) -> Iterator[tuple[FrameHead, dict[int, np.ndarray]]]:
        """Yield each frame with its masks; no more than one frame is held.

        Raises:
            InputError: A mask is damaged, of another size, or of an id that has no label.
        """
        known = self.labels.ids
        for position, head in enumerate(self.heads):
            masks = self.read(position)
            for number, mask in masks.items():
                if number not in known:
                    raise InputError(
                        f"expected the ids of {self.name!r} in {list(known)}, got {number} in frame "
                        f"{head.name!r}; try another --label-space"
                    )
                if mask.shape != self.image_hw:
                    raise InputError(
                        f"expected masks of {self.image_hw[1]}x{self.image_hw[0]} pixels in {self.name!r}, got "
                        f"{mask.shape[1]}x{mask.shape[0]} in frame {head.name!r}; try one export per video"
                    )
            yield head, masks

    def paint(self, masks: Mapping[int, np.ndarray]) -> np.ndarray:
        """One label map of these masks; where they overlap, the lowest id wins.

        Returns:
            uint8 ``(h, w)``, or uint16 where an id exceeds 255.
        """
        if self.labels.background == 0:
            return masks_to_label_map(masks, self.image_hw)
        return self.labels.paint(masks, self.image_hw)

    def images(self) -> Iterator[np.ndarray]:
        """Yield the image of each frame, uint8 ``(h, w, 3)`` RGB.

        Raises:
            InputError: The video is not at hand, shorter, or of another size.
        """
        if self.source is None:
            raise InputError(f"expected the frames of {self.name!r}, which this format holds, got none; try --video")
        for head in self.heads:
            if head.index >= len(self.source):
                raise InputError(
                    f"expected a video with frame {head.index}, got one of {len(self.source)} frames; "
                    "try the --video that was segmented"
                )
            frame = self.source[head.index]
            if frame.hw != self.image_hw:
                raise InputError(
                    f"expected frames of {self.image_hw[1]}x{self.image_hw[0]} pixels like the masks, got "
                    f"{frame.hw[1]}x{frame.hw[0]}; try the --video that was segmented"
                )
            yield frame.image


class ExportFormat(Protocol):
    """One format: how a video of masks becomes its files, and how they are read."""

    @property
    def summary(self) -> str:
        """What is written, in a few words."""
        ...

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write into an empty folder.

        Raises:
            InputError: The format cannot hold this video.
            MissingExtraError: A package lacks.
        """
        ...

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open what `write`, or the tool whose format it is, has written.

        Args:
            path: The folder, or the file that matters.
            labels: What ids or names mean, where it is known; else the file says it.

        Raises:
            InputError: There is no such file, or it is damaged or of another format.
            MissingExtraError: A package lacks.
        """
        ...


def join_masks(found: Iterable[tuple[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """One mask per id, ascending: what is said of an id several times is joined, empty masks are left out."""
    masks: dict[int, np.ndarray] = {}
    for number, mask in found:
        masks[number] = masks[number] | mask if number in masks else mask
    return {number: masks[number] for number in sorted(masks) if masks[number].any()}


def one_size(sizes: Collection[tuple[int, int]], path: Path) -> tuple[int, int]:
    """The size ``(h, w)`` that all images of a file have.

    Raises:
        InputError: They have none, several, or one beyond reason.
    """
    distinct = set(sizes)
    if len(distinct) != 1:
        raise InputError(
            f"expected images of one size in {str(path)!r}, got {len(distinct)} sizes; try one file per video"
        )
    height, width = (int(length) for length in distinct.pop())
    if not (height >= 1 and width >= 1 and height * width <= MAX_PIXELS):
        raise InputError(f"expected images of up to {MAX_PIXELS} pixels in {str(path)!r}, got {width}x{height}")
    return height, width


def object_labels(ids: Iterable[int]) -> LabelSpace:
    """Name objects by their ids: ``object 3``."""
    return named_labels({number: f"object {number}" for number in ids})


def named_labels(names: Mapping[int, str]) -> LabelSpace:
    """A label space of these names, in the colours of `object_palette`; a name that repeats gets its id.

    Args:
        names: Id, from 1 -> name.
    """
    palette = object_palette()
    shared = {name for name in names.values() if list(names.values()).count(name) > 1}
    labels = []
    for number, name in sorted(names.items()):
        red, green, blue = (int(value) for value in palette[number % len(palette)])
        labels.append(Label(number, f"{name} {number}" if name in shared else name, (red, green, blue)))
    return LabelSpace(tuple(labels))


def ids_of_names(names: Sequence[str], labels: LabelSpace | None) -> dict[str, int]:
    """Find the ids of names in a file that has names alone.

    Names of ``labels`` have their ids there. Otherwise ``object 3`` is 3 if all names are of that form, and names
    are numbered from 1 in their order if not.

    Raises:
        InputError: A label space is given that does not have such a name.
    """
    if labels is not None:
        known = {label.name: label.id for label in labels.labels}
        if strange := [name for name in names if name not in known]:
            raise InputError(
                f"expected names of the label space ({', '.join(known)}), got {strange[0]!r}; try another --label-space"
            )
        return {name: known[name] for name in names}
    objects = [_OBJECT.fullmatch(name) for name in names]
    if all(objects):
        return {name: int(match[1]) for name, match in zip(names, objects, strict=True) if match}
    return {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}

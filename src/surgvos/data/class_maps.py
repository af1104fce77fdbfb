"""Data sets that label classes, not objects: label maps of each task, and object maps where an object is a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from surgvos.core.labels import LabelSpace
from surgvos.data.archives import FileTree
from surgvos.data.prepared import ANNOTATIONS, FRAMES, VideoPlan
from surgvos.errors import InputError
from surgvos.io.image_folder import decode_image

FrameKey: TypeAlias = tuple[str, int]
"""Video and frame number."""


@dataclass(frozen=True, slots=True)
class ClassMaps:
    """How the label map of a frame becomes ``Labels/<family>`` and ``Annotations``.

    An object is one class and its id is that of the class, or one more where 0 is a class. Background and pixels
    that are not scored belong to no object.

    Attributes:
        spaces: Family -> its label space, with the values of the files as ``raw_ids``.
        family: The one whose classes are the objects.
        image_hw: Height and width of all frames, in pixels.
    """

    spaces: Mapping[str, LabelSpace]
    family: str
    image_hw: tuple[int, int]

    @property
    def suffixes(self) -> dict[str, str]:
        """Folders of a frame's files, as in `VideoPlan`."""
        return dict.fromkeys((FRAMES, ANNOTATIONS, *map(_folder, self.spaces)), ".png")

    @property
    def palettes(self) -> dict[str, np.ndarray]:
        """Published colours of the label maps, as in `VideoPlan`."""
        return {_folder(family): space.palette() for family, space in self.spaces.items()}

    @property
    def categories(self) -> dict[int, str]:
        """Object id -> name of the class."""
        return {label.id + self._shift: label.name for label in self.spaces[self.family].labels}

    def make(self, raw: np.ndarray, where: str) -> dict[str, np.ndarray]:
        """Make the label maps of a frame.

        Args:
            raw: uint8 ``(h, w)``, as in the data set's files.
            where: The file, for messages.

        Raises:
            InputError: It has another size, or a value that means nothing.
        """
        self.check_size(raw, where)
        try:
            made = {_folder(family): space.from_raw(raw) for family, space in self.spaces.items()}
        except InputError as error:
            raise InputError(f"{error} in {where!r}") from error
        space, classes = self.spaces[self.family], made[_folder(self.family)]
        is_class = ~np.isin(classes, space.nothing)
        return {**made, ANNOTATIONS: np.where(is_class, classes + np.uint8(self._shift), np.uint8(0))}

    def checked_frame(self, content: bytes, where: str) -> bytes:
        """The content of an image file, unchanged.

        Raises:
            InputError: It is damaged or of another size.
        """
        self.check_size(decode_image(content, where), where)
        return content

    def check_size(self, pixels: np.ndarray, where: str) -> None:
        """Refuse an image or label map of another size.

        Raises:
            InputError: The size is another.
        """
        if pixels.shape[:2] != self.image_hw:
            raise InputError(
                f"expected frames and labels of {self.image_hw[1]}x{self.image_hw[0]}, got "
                f"{pixels.shape[1]}x{pixels.shape[0]} in {where!r}; try the files as they were released"
            )

    @property
    def _shift(self) -> int:
        """0 is nothing in an object map, so classes that are counted from 0 move up."""
        return int(0 in self.spaces[self.family].ids)


class LabelledFrames:
    """Where the image and the labels of each frame lie, and how the files of a frame are made of them.

    Args:
        files: The source.
        maps: What labels become.
        found: ("frames" or "labels", (video, frame number), name of the file); of several, the first counts.
        decode: Content of a file of labels and its name for messages -> values as in the data set's files, uint8
            ``(h, w)``.
    """

    def __init__(
        self,
        files: FileTree,
        maps: ClassMaps,
        found: Iterable[tuple[str, FrameKey, str]],
        decode: Callable[[bytes, str], np.ndarray],
    ) -> None:
        self._files, self._maps, self._decode = files, maps, decode
        self._names: dict[str, dict[FrameKey, str]] = {"frames": {}, "labels": {}}
        for what, key, name in found:
            self._names[what].setdefault(key, name)

    def numbers(self, video: str) -> list[int]:
        """Numbers of a video's frames that have an image or labels."""
        return sorted({number for found in self._names.values() for of, number in found if of == video})

    def has(self, what: str, video: str, number: int) -> bool:
        """Whether there is the image or are the labels of a frame."""
        return (video, number) in self._names[what]

    def plan(self, video: str, frames: tuple[int, ...], name: str | None = None) -> VideoPlan:
        """How frames of a video are made, under the video's name or another one."""
        return VideoPlan(
            name=name or video,
            frames=frames,
            suffixes=self._maps.suffixes,
            make=partial(self._make, video),
            categories=self._maps.categories,
            palettes=self._maps.palettes,
        )

    def _make(self, video: str, number: int) -> dict[str, np.ndarray | bytes]:
        image, labels = (self._names[what][video, number] for what in ("frames", "labels"))
        frame = self._maps.checked_frame(self._files.read(image), self._files.where(image))
        where = self._files.where(labels)
        return {FRAMES: frame, **self._maps.make(self._decode(self._files.read(labels), where), where)}


def _folder(family: str) -> str:
    return f"Labels/{family}"

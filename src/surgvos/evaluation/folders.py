"""Find the masks of one or many videos on disk and read them frame by frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from surgvos.core.masks import label_map_to_masks, present_ids
from surgvos.errors import InputError
from surgvos.evaluation.reading import read_grey_image, read_grey_video
from surgvos.io.masks import read_label_map

DEFAULT_THRESHOLD = 127
_SEGMENTED = "masks"  # where surgvos segment puts the masks of a video
_LABEL_MAPS = None  # the key of the layer that holds all objects in one label map per frame


Layers: TypeAlias = dict[int | None, dict[str, Path]]


@dataclass(frozen=True, slots=True, eq=False)
class FrameMasks:
    """The masks of one frame.

    Attributes:
        masks: Object id -> bool ``(h, w)``.
        ignored: bool ``(h, w)``: pixels that must not be scored; None where all are.
    """

    masks: dict[int, np.ndarray]
    ignored: np.ndarray | None = None


class VideoMasks(Protocol):
    """The masks of one video."""

    @property
    def name(self) -> str: ...

    def frames(self) -> Iterator[tuple[str, Callable[[], FrameMasks]]]:
        """Yield each frame's name and a function that reads its masks, callable from any thread, in order."""

    def covers(self, object_id: int, frame_name: str) -> bool:
        """Tell whether this frame says anything about the object, be it that the object is not there."""


@dataclass(frozen=True, slots=True)
class MaskFolder:
    """One video's PNG files.

    Attributes:
        name: Name of the video.
        layers: Frame name -> file, per object id, or under None for label maps that hold all objects.
        threshold: Grey values above it are object 1; None reads object ids.
        ignore: Id in label maps of pixels that must not be scored.
    """

    name: str
    layers: Layers
    threshold: int | None = None
    ignore: int | None = None

    @property
    def object_ids(self) -> set[int]:
        """The objects that have a folder of their own."""
        return {object_id for object_id in self.layers if object_id is not None}

    @property
    def frame_names(self) -> list[str]:
        """Names of all frames, in natural order."""
        return sorted({name for files in self.layers.values() for name in files}, key=_natural_order)

    def frames(self) -> Iterator[tuple[str, Callable[[], FrameMasks]]]:
        """Yield each frame's name and the function that reads it."""
        for name in self.frame_names:
            yield name, partial(self.read, name)

    def covers(self, object_id: int, frame_name: str) -> bool:
        """Tell whether there is a file for this object in this frame."""
        return frame_name in self.layers.get(object_id, self.layers.get(_LABEL_MAPS, {}))

    def has_files_of(self, object_id: int) -> bool:
        """Tell whether any file could show the object."""
        return object_id in self.layers or _LABEL_MAPS in self.layers

    def read(self, frame_name: str) -> FrameMasks:
        """Read the masks of one frame; a frame without files has none.

        Raises:
            InputError: A file is not an image with one channel.
        """
        masks: dict[int, np.ndarray] = {}
        ignored = None
        for object_id, files in self.layers.items():
            if frame_name not in files:
                continue
            if object_id is not _LABEL_MAPS:
                masks[object_id] = read_label_map(files[frame_name]) > 0
            elif self.threshold is not None:
                masks[1] = read_grey_image(files[frame_name]) > self.threshold
            else:
                label_map = read_label_map(files[frame_name])
                masks = label_map_to_masks(label_map, self.ignore)
                ignored = None if self.ignore is None else label_map == self.ignore
        return FrameMasks(masks, ignored)

    def label_map(
        self, frame_name: str, *, background: int = 0, to_classes: Mapping[int, int] | None = None
    ) -> np.ndarray | None:
        """Read one frame as a label map; None where there is no file.

        Args:
            frame_name: Name of the frame.
            background: Id of the pixels that no object's own file covers.
            to_classes: Object id -> class id; None where the pixels are classes already. Where objects of two
                classes overlap, the lower class id wins.

        Raises:
            InputError: A file is not an image with one channel, or an object has no class.
        """
        maps = {i: read_label_map(files[frame_name]) for i, files in self.layers.items() if frame_name in files}
        if not maps:
            return None
        if _LABEL_MAPS in maps:
            whole = maps[_LABEL_MAPS]
            return whole if to_classes is None else _to_classes(whole, to_classes, background)
        ids = {i: _class_of(i, to_classes) for i in maps if i is not None}
        painted = np.full(next(iter(maps.values())).shape, background, np.uint16)
        for object_id in sorted(ids, key=lambda i: (ids[i], i), reverse=True):
            painted[maps[object_id] > 0] = ids[object_id]
        return painted


@dataclass(frozen=True, slots=True)
class MaskVideo:
    """A video file whose bright pixels are object 1; its frames are named 0, 1, 2 ..."""

    path: Path
    threshold: int

    @property
    def name(self) -> str:
        """Name of the file without its suffix."""
        return self.path.stem

    def frames(self) -> Iterator[tuple[str, Callable[[], FrameMasks]]]:
        """Decode frame by frame; what is yielded with each name is already in memory."""
        for index, grey in enumerate(read_grey_video(self.path)):
            yield str(index), partial(FrameMasks, {1: grey > self.threshold})

    def covers(self, object_id: int, frame_name: str) -> bool:
        """Every frame tells about object 1 and that there is no other."""
        return True


@dataclass(frozen=True, slots=True)
class FolderContents:
    """What was found under a path: one video given as such, or a folder of videos."""

    videos: dict[str, MaskFolder]
    is_single: bool


def find_videos(root: Path, *, threshold: int | None = None, ignore: int | None = None) -> FolderContents:
    """Find the masks under a folder.

    ``<video>/<frame>.png`` and ``<video>/<object %03d>/<frame>.png`` are understood, as are the folder of a
    single video and, in place of a video's folder, one that holds its files under ``masks``, as ``surgvos
    segment`` writes it. A folder with three or more digits for a name is an object's, unless one of its files
    shows several objects: then it is a video's.

    Raises:
        InputError: The folder does not exist or holds no masks.
    """
    if not root.is_dir():
        raise InputError(f"expected a folder of masks, got {root}, which {_what_is(root)}")
    single = _layers(root)
    found = {_name_of(root): single} if single else {p.name: _layers(p) for p in _subfolders(root)}
    videos = {name: MaskFolder(name, layers, threshold, ignore) for name, layers in found.items() if layers}
    if not videos:
        raise InputError(
            f"expected <video>/<frame>.png or <video>/<object, such as 001>/<frame>.png, got no PNG file there "
            f"in {root}; try the folder that holds the masks"
        )
    if (threshold is not None or ignore is not None) and any(v.object_ids for v in videos.values()):
        raise InputError(
            f"expected one image per frame in {root} for a threshold or an ignored id, got a folder per object; "
            "try without that option"
        )
    return FolderContents(videos, is_single=bool(single))


def _class_of(object_id: int, to_classes: Mapping[int, int] | None) -> int:
    if to_classes is None:
        return object_id
    if object_id not in to_classes:
        raise InputError(f"expected a class for every object, got none for object {object_id}; try adding it")
    return to_classes[object_id]


def _to_classes(label_map: np.ndarray, to_classes: Mapping[int, int], background: int) -> np.ndarray:
    lookup = np.full(int(label_map.max(initial=0)) + 1, background, np.uint16)
    for object_id in present_ids(label_map):
        if object_id != 0:
            lookup[object_id] = _class_of(object_id, to_classes)
    return lookup[label_map]


def _layers(folder: Path) -> Layers:
    """Find the files of one video, by object and frame; none where the folder is not a video's."""
    objects: Layers = {
        int(p.name): files
        for p in _subfolders(folder)
        if re.fullmatch(r"\d{3,}", p.name) and int(p.name) > 0 and (files := _frame_files(p))
    }
    if objects and not any(_shows_several_objects(files) for files in objects.values()):
        return objects
    if files := _frame_files(folder):
        return {_LABEL_MAPS: files}
    written_by_segment = folder / _SEGMENTED
    return _layers(written_by_segment) if written_by_segment.is_dir() else {}


def _frame_files(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() == ".png" and p.name[0] != "."):
        name = frame_key(path.stem)
        if name in files:
            raise InputError(f"expected one file per frame, got {files[name].name} and {path.name} in {folder}")
        files[name] = path
    return files


def _name_of(folder: Path) -> str:
    """Name of the video in a folder."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == _SEGMENTED else folder.name


def frame_key(stem: str) -> str:
    """Return the name of a frame: 7.png, 007.png and frame 7 of a video are the same one."""
    return str(int(stem)) if stem.isascii() and stem.isdigit() else stem


def _shows_several_objects(files: Mapping[str, Path]) -> bool:
    paths = list(files.values())
    return any(np.unique(read_label_map(path)).size > 2 for path in {paths[0], paths[-1]})


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _natural_order(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _what_is(path: Path) -> str:
    return "is a file" if path.exists() else "does not exist"

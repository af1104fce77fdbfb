"""EndoVis 2018, Robotic Scene Segmentation: fifteen da Vinci nephrectomies, scene labels in colours."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from surgvos.core.label_tables import label_space_by_name
from surgvos.core.labels import LabelSpace
from surgvos.data.archives import FileTree
from surgvos.data.dataset import Access, Archive, DataSet, Part, Plan, PrepareOptions, collect, seq_names
from surgvos.data.prepared import ANNOTATIONS, FRAMES, VideoPlan
from surgvos.errors import InputError
from surgvos.io.image_folder import decode_image

FRAME_HW = (1024, 1280)

SCENE = label_space_by_name("endovis18-scene")
"""The classes of the challenge's ``labels.json``; 0 is background tissue."""

TYPES = label_space_by_name("endovis18-types")

ACCESS = Access(
    address="https://endovissub2018-roboticscenesegmentation.grand-challenge.org/Downloads/",
    steps="joining the challenge at https://endovissub2018-roboticscenesegmentation.grand-challenge.org "
    "(an account is needed) and downloading",
    licence="The terms of the challenge, which are accepted on joining; ask its organisers before other uses.",
)
TYPE_ACCESS = Access(
    address="https://github.com/BCV-Uniandes/ISINet",
    steps="asking the authors of ISINet (https://github.com/BCV-Uniandes/ISINet, data/README.md) for",
    licence="As the authors of ISINet say.",
)

TRAIN = seq_names(1, 3, 4, 6, 7, 10, 11, 12, 13, 14, 16)
VALID = seq_names(2, 5, 9, 15)


def release(name: str, *numbers: int) -> Archive:
    """An archive of the challenge."""
    return Archive(name=name, holds=("frames", "labels"), splits=("train", "valid"), videos=seq_names(*numbers))


FRAME_ARCHIVES = (
    release("miccai_challenge_2018_release_1.zip", 1, 2, 3, 4),
    release("miccai_challenge_release_2.zip", 5, 6, 7),
    release("miccai_challenge_release_3.zip", 9, 10, 11, 12),
    release("miccai_challenge_release_4.zip", 13, 14, 15, 16),
)

_FRAME = re.compile(r"(?:^|/)seq_0*(\d+)/left_frames/frame(\d+)\.png$")
_SCENE_MAP = re.compile(r"(?:^|/)seq_0*(\d+)/labels/frame(\d+)\.png$")
_TYPE_MASK = re.compile(r"(?:^|/)seq_0*(\d+)/instrument_labels_2017/(?:\w*_)?frame(\d+)_(?:\w*_)?class(\d+)\w*\.png$")
_REPAIR = re.compile(r"(?:^|/)repairs/(?:.*/)?seq_0*(\d+)_frame(\d+)\.png$")
_CLASS_TABLE = re.compile(r"(?:^|/)(?:\w*labels\w*)\.json$")
_TEST = re.compile(r"(?:^|/)test")
"""The challenge's test sequences are numbered from 1 again; they are other operations."""


@dataclass(frozen=True)
class EndoVis18(DataSet):
    """The challenge's own files, 149 frames of 15 sequences, with the type annotations of ISINet where they are.

    Beside the object maps there are ``Labels/scene``, the challenge's classes. With the masks of ISINet
    (``seq_<n>/instrument_labels_2017``) an object is one tool type and its id is the class in the names of their
    files, which is what the files say and no more: what a class is called is taken from a table
    (``[{"name": ..., "classid": ...}]``) that lies with them. Without them an object is one class of the scene.
    Corrections are the organisers' ``repairs.zip``, where it is there.

    Reference: Allan et al., arXiv 2001.11190 (challenge); Gonzalez et al., "ISINet", arXiv 2007.05533 (types, split).
    """

    name: ClassVar[str] = "endovis18"
    title: ClassVar[str] = "EndoVis 2018 Robotic Scene Segmentation"
    access: ClassVar[Access] = ACCESS
    archives: ClassVar[tuple[Archive, ...]] = (
        *FRAME_ARCHIVES,
        Archive(name="repairs.zip", holds=(), splits=("train",), videos=seq_names(1, 4), optional=True),
        Archive(
            name="type annotations of ISINet",
            holds=(),
            splits=("train", "valid"),
            videos=TRAIN + VALID,
            access=TYPE_ACCESS,
            optional=True,
        ),
    )
    label_spaces: ClassVar[Mapping[str, LabelSpace]] = {"scene": SCENE, "type": TYPES}
    has_corrections: ClassVar[bool] = True

    parts: tuple[Part, ...] = (
        Part("train", "train", TRAIN, range(149)),
        Part("valid", "valid", VALID, range(149)),
    )

    def plan(self, files: FileTree, options: PrepareOptions) -> Plan:
        """See `DataSet.plan`."""
        source = Source18(files)
        if not options.corrections:
            source.repairs.clear()
        videos, gaps = collect(self.parts, lambda _, *key: source.has(*key))
        expected = {(video, number) for _, video, frames in videos for number in frames}
        num_repairs = len(expected & source.repairs.keys())
        notes = [f"{num_repairs} label maps taken from repairs.zip"] if num_repairs else []
        if not source.type_masks:
            notes.append("no type annotations of ISINet: an object is one class of the scene")
        return Plan(tuple((part, source.video(video, frames)) for part, video, frames in videos), gaps, tuple(notes))


class Source18:
    """What the challenge's files hold, found by their names; class tables are read."""

    def __init__(self, files: FileTree) -> None:
        self.files = files
        self.frames: dict[tuple[str, int], str] = {}
        self.scene_maps: dict[tuple[str, int], str] = {}
        self.repairs: dict[tuple[str, int], str] = {}
        self.type_masks: dict[str, dict[int, dict[str, int]]] = {}
        self.colors = {(0, 0, 0): 0, **{label.color: label.id for label in SCENE.labels}}
        self.type_names: dict[int, str] = {}
        for name in files:
            if not _TEST.search(name.lower()):
                self._sort_in(name)

    def _sort_in(self, name: str) -> None:
        for pattern, found_names in ((_FRAME, self.frames), (_SCENE_MAP, self.scene_maps), (_REPAIR, self.repairs)):
            if found := pattern.search(name):
                found_names.setdefault((f"seq_{found[1]}", int(found[2])), name)
        if found := _TYPE_MASK.search(name):
            masks = self.type_masks.setdefault(f"seq_{found[1]}", {}).setdefault(int(found[2]), {})
            masks[name] = int(found[3])
        elif _CLASS_TABLE.search(name):
            self._read_class_table(name)

    def _read_class_table(self, name: str) -> None:
        """Learn what colours (scene) or classes (types) mean from a table that comes with the data."""
        for entry in parse_class_table(self.files.read(name), self.files.where(name)):
            if entry.color is None:
                self.type_names.setdefault(entry.id, entry.name)
            elif self.colors.setdefault(entry.color, entry.id) != entry.id:
                raise InputError(
                    f"expected class {self.colors[entry.color]} for the colour {entry.color}, got {entry.id} in "
                    f"{self.files.where(name)!r}"
                )

    def has(self, what: str, video: str, number: int) -> bool:
        """Whether there is a frame, or labels of it."""
        return (video, number) in (self.frames if what == "frames" else self.scene_maps)

    def video(self, video: str, frames: tuple[int, ...]) -> VideoPlan:
        """How a video is made; its objects are types where any of its frames has type masks."""
        has_types = video in self.type_masks
        classes = {i for masks in self.type_masks.get(video, {}).values() for i in masks.values()}
        categories = {i: self.type_names.get(i, f"class {i}") for i in classes}
        return VideoPlan(
            name=video,
            frames=frames,
            suffixes={FRAMES: ".png", ANNOTATIONS: ".png", "Labels/scene": ".png"},
            make=partial(self._make, video, has_types),
            categories=categories if has_types else {label.id: label.name for label in SCENE.labels},
        )

    def frame(self, video: str, number: int) -> bytes:
        """A frame as it was released."""
        name = self.frames[video, number]
        content = self.files.read(name)
        _check_size(decode_image(content, self.files.where(name)), self.files.where(name))
        return content

    def _make(self, video: str, has_types: bool, number: int) -> dict[str, np.ndarray | bytes]:
        name = self.repairs.get((video, number), self.scene_maps[video, number])
        where = self.files.where(name)
        scene = scene_map(decode_image(self.files.read(name), where), self.colors, where)
        objects = self._types(video, number, scene.shape) if has_types else scene
        return {FRAMES: self.frame(video, number), ANNOTATIONS: objects, "Labels/scene": scene}

    def _types(self, video: str, number: int, image_hw: tuple[int, ...]) -> np.ndarray:
        type_map = np.zeros(image_hw, np.uint8)
        masks = self.type_masks[video].get(number, {})
        for name, type_id in sorted(masks.items(), key=lambda item: (-item[1], item[0])):
            # Some of these masks are coloured: whatever is not black is the tool.
            mask = decode_image(self.files.read(name), self.files.where(name)).max(axis=2) > 0
            _check_size(mask, self.files.where(name))
            type_map[mask] = type_id
        return type_map


@dataclass(frozen=True, slots=True)
class ClassEntry:
    """One line of a class table; ``color`` is None in tables of types."""

    id: int
    name: str
    color: tuple[int, int, int] | None


def parse_class_table(content: bytes, where: str) -> list[ClassEntry]:
    """Read a class table of EndoVis 2018: a list, or ``{"classes": [...]}``; ids and colours may be strings.

    Raises:
        InputError: It is no JSON, or an entry has no name or id.
    """
    try:
        plain = json.loads(content)
        entries = plain["classes"] if isinstance(plain, dict) else plain
        return [_class_entry(entry) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected a class table ([{{'name': ..., 'classid': ..., 'color': [r, g, b]}}]), got {where!r} "
            f"({type(error).__name__}: {error})"
        ) from error


def _class_entry(entry: Mapping[str, Any]) -> ClassEntry:
    color = entry.get("color")
    if isinstance(color, str):
        color = json.loads(color)
    # Test tables have a fourth channel, the opacity for display.
    rgb = None if color is None else (int(color[0]), int(color[1]), int(color[2]))
    return ClassEntry(int(entry["classid"] if "classid" in entry else entry["id"]), str(entry["name"]), rgb)


def scene_map(image: np.ndarray, colors: Mapping[tuple[int, int, int], int], where: str) -> np.ndarray:
    """Turn colours into class ids.

    Args:
        image: uint8 ``(h, w, 3)`` RGB.
        colors: Colour -> class id.
        where: The file, for messages.

    Returns:
        uint8 ``(h, w)``.

    Raises:
        InputError: A colour is not in the table, or the size is another.
    """
    _check_size(image, where)
    channels = image.astype(np.uint32)
    packed = channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]
    ids = np.zeros(packed.shape, np.uint8)
    is_known = np.zeros(packed.shape, bool)
    for (red, green, blue), class_id in colors.items():
        hit = packed == (red << 16 | green << 8 | blue)
        ids[hit] = class_id
        is_known |= hit
    if not is_known.all():
        red, green, blue = image[~is_known][0].tolist()
        raise InputError(
            f"expected the colours of the class table, got {(red, green, blue)} in {where!r}; try labels.json of the "
            "release beside it"
        )
    return ids


def _check_size(pixels: np.ndarray, where: str) -> None:
    if pixels.shape[:2] != FRAME_HW:
        raise InputError(
            f"expected frames and labels of {FRAME_HW[1]}x{FRAME_HW[0]}, got {pixels.shape[1]}x{pixels.shape[0]} in "
            f"{where!r}; try the challenge's own archive"
        )

"""EndoVis 2017, Robotic Instrument Segmentation: ten da Vinci procedures, one label file per tool."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import cv2
import numpy as np

from surgvos.core import masks_to_label_map
from surgvos.core.label_tables import label_space_by_name
from surgvos.core.labels import LabelSpace
from surgvos.data.archives import FileTree
from surgvos.data.dataset import Access, Archive, DataSet, Part, Plan, PrepareOptions, collect, seq_names
from surgvos.data.prepared import ANNOTATIONS, FRAMES, VideoPlan
from surgvos.errors import InputError
from surgvos.io.image_folder import decode_image
from surgvos.io.masks import decode_label_map

SOURCE_HW = (1080, 1920)
CROP = (slice(28, 28 + 1024), slice(320, 320 + 1280))
"""Where the camera's image lies in a frame of the challenge: rows, columns."""

TYPES = label_space_by_name("endovis17-types")
OTHER = 7
PARTS = label_space_by_name("endovis17-parts")
BINARY = LabelSpace.from_names(["instrument"])
_PART_OF_VALUE = {0: 0, 10: 1, 20: 2, 30: 3}

ACCESS = Access(
    address="https://endovissub2017-roboticinstrumentsegmentation.grand-challenge.org/Downloads/",
    steps="joining the challenge at https://endovissub2017-roboticinstrumentsegmentation.grand-challenge.org "
    "(an account is needed) and downloading",
    licence="The terms of the challenge, which are accepted on joining; ask its organisers before other uses.",
)

FRAME_ARCHIVES = (
    Archive(
        name="instrument_1_4_training.zip", holds=("frames", "labels"), splits=("train",), videos=seq_names(1, 2, 3, 4)
    ),
    Archive(
        name="instrument_5_8_training.zip", holds=("frames", "labels"), splits=("train",), videos=seq_names(5, 6, 7, 8)
    ),
    Archive(name="instrument_1_4_testing.zip", holds=("frames",), splits=("test",), videos=seq_names(1, 2, 3, 4)),
    Archive(name="instrument_5_8_testing.zip", holds=("frames",), splits=("test",), videos=seq_names(5, 6, 7, 8)),
    Archive(name="instrument_9_10_testing.zip", holds=("frames",), splits=("holdout",), videos=seq_names(9, 10)),
)

_FRAME = re.compile(r"(?:^|/)instrument_dataset_0*(\d+)/left_frames/frame(\d+)\.png$")
_TYPE_MAP = re.compile(r"(?:^|/)instrument_dataset_0*(\d+)/(?:gt/|ground_truth/)?TypeSegmentation/frame(\d+)\.png$")
_TOOL_MAP = re.compile(r"(?:^|/)instrument_dataset_0*(\d+)/ground_truth/([^/]+)/frame(\d+)\.png$")
_NO_TOOL = re.compile(r"(Binary|Parts|Type)Segmentation")

_Key = tuple[str, int]
"""Video and frame number."""


@dataclass(frozen=True)
class EndoVis17(DataSet):
    """The challenge's own files: 225 training frames of sequences 1-8, test parts of 75, hold-out 9 and 10 of 300.

    Beside the object maps there are ``Labels/type`` and ``Labels/binary``, and ``Labels/parts`` in training. An
    object is one tool file in training, numbered in the order of their names, and one tool type in the test parts,
    whose labels are type maps. The type "other" (drop-in probes, laparoscopic tools) is no robotic instrument:
    ``binary`` and ``parts`` leave it out, as the challenge does. Where two tool files claim a pixel, the first wins.

    Reference: Allan et al., arXiv 1902.06426 (challenge); Shvets et al., arXiv 1803.01207 (crop and folds).
    """

    name: ClassVar[str] = "endovis17"
    title: ClassVar[str] = "EndoVis 2017 Robotic Instrument Segmentation"
    access: ClassVar[Access] = ACCESS
    archives: ClassVar[tuple[Archive, ...]] = (
        *FRAME_ARCHIVES,
        Archive(
            name="instrument_2017_test.zip",
            holds=("labels",),
            splits=("test", "holdout"),
            videos=seq_names(*range(1, 11)),
        ),
    )
    label_spaces: ClassVar[Mapping[str, LabelSpace]] = {"type": TYPES, "parts": PARTS, "binary": BINARY}
    folds: ClassVar[tuple[tuple[str, ...], ...]] = (
        seq_names(1, 3),
        seq_names(2, 5),
        seq_names(4, 8),
        seq_names(6, 7),
    )

    parts: tuple[Part, ...] = (
        Part("train", "train", seq_names(*range(1, 9)), range(225)),
        Part("test", "valid", seq_names(*range(1, 9)), range(225, 300)),
        Part("holdout", "valid", seq_names(9, 10), range(300)),
    )

    def plan(self, files: FileTree, options: PrepareOptions) -> Plan:
        """See `DataSet.plan`."""
        source = Source17(files)
        videos, gaps = collect(self.parts, lambda _, *key: source.has(*key))
        return Plan(tuple((part, source.video(video, frames)) for part, video, frames in videos), gaps)


class Source17:
    """What the challenge's files hold, found by their names alone."""

    def __init__(self, files: FileTree) -> None:
        self.files = files
        self.frames: dict[_Key, str] = {}
        self.type_maps: dict[_Key, str] = {}
        self.tools: dict[str, dict[str, dict[int, str]]] = {}
        for name in files:
            if found := _FRAME.search(name):
                self.frames.setdefault((f"seq_{found[1]}", int(found[2])), name)
            elif found := _TYPE_MAP.search(name):
                self.type_maps.setdefault((f"seq_{found[1]}", int(found[2])), name)
            elif (found := _TOOL_MAP.search(name)) and not _NO_TOOL.match(found[2]):
                tools = self.tools.setdefault(f"seq_{found[1]}", {})
                tools.setdefault(found[2], {}).setdefault(int(found[3]), name)

    def has(self, what: str, video: str, number: int) -> bool:
        """Whether there is a frame, or all labels of it."""
        if what == "frames":
            return (video, number) in self.frames
        tools = self.tools.get(video, {})
        has_tool_maps = bool(tools) and all(number in frames for frames in tools.values())
        return has_tool_maps or (video, number) in self.type_maps

    def video(self, video: str, frames: tuple[int, ...]) -> VideoPlan:
        """How a video is made: from tool files where all frames have them, else from type maps."""
        suffixes = {FRAMES: ".png", ANNOTATIONS: ".png", "Labels/type": ".png", "Labels/binary": ".png"}
        tools = sorted(self.tools.get(video, {}), key=str.lower)
        if tools and all(number in self.tools[video][tool] for tool in tools for number in frames):
            types = [type_of_tool(tool) for tool in tools]
            return VideoPlan(
                name=video,
                frames=frames,
                suffixes={**suffixes, "Labels/parts": ".png"},
                make=partial(self._from_tools, video, tools, types),
                categories={i: TYPES[type_id].name for i, type_id in enumerate(types, start=1)},
            )
        return VideoPlan(
            name=video,
            frames=frames,
            suffixes=suffixes,
            make=partial(self._from_types, video),
            categories={label.id: label.name for label in TYPES.labels},
        )

    def frame(self, video: str, number: int) -> bytes:
        """A frame, cropped to what the camera saw, as a PNG."""
        name = self.frames[video, number]
        image = decode_image(self.files.read(name), self.files.where(name))
        return encode_png(_cropped(image, self.files.where(name)))

    def _from_tools(
        self, video: str, tools: Sequence[str], types: Sequence[int], number: int
    ) -> dict[str, np.ndarray | bytes]:
        masks: dict[int, np.ndarray] = {}
        parts = np.zeros((CROP[0].stop - CROP[0].start, CROP[1].stop - CROP[1].start), np.uint8)
        for object_id, (tool, type_id) in enumerate(zip(tools, types, strict=True), start=1):
            name = self.tools[video][tool][number]
            values = self._label_map(name)
            masks[object_id] = values > 0
            if type_id != OTHER:
                _check_values(values, _PART_OF_VALUE, self.files.where(name))
                # The first tool keeps its pixels, as in the object map.
                parts = np.where(parts > 0, parts, _lookup(_PART_OF_VALUE)[values])
        objects = masks_to_label_map(masks, parts.shape)
        type_map = _lookup({0: 0, **dict(enumerate(types, start=1))})[objects]
        parts[(type_map == OTHER) | (type_map == 0)] = 0
        return {
            FRAMES: self.frame(video, number),
            ANNOTATIONS: objects,
            "Labels/type": type_map,
            "Labels/binary": _binary(type_map),
            "Labels/parts": parts,
        }

    def _from_types(self, video: str, number: int) -> dict[str, np.ndarray | bytes]:
        name = self.type_maps[video, number]
        type_map = self._label_map(name)
        _check_values(type_map, {0, *(label.id for label in TYPES.labels)}, self.files.where(name))
        return {
            FRAMES: self.frame(video, number),
            ANNOTATIONS: type_map,
            "Labels/type": type_map,
            "Labels/binary": _binary(type_map),
        }

    def _label_map(self, name: str) -> np.ndarray:
        return _cropped(decode_label_map(self.files.read(name), self.files.where(name)), self.files.where(name))


def type_of_tool(folder: str) -> int:
    """Id of the type that a tool's folder is named after: ``Left_Prograsp_Forceps_labels`` -> 2.

    Raises:
        InputError: It is named after no known type.
    """
    words = folder.lower().replace("_", " ")
    for label in TYPES.labels:
        if label.name in words:
            return label.id
    known = ", ".join(label.name for label in TYPES.labels)
    raise InputError(f"expected a folder of labels named after a tool ({known}), got {folder!r}")


def encode_png(image: np.ndarray) -> bytes:
    """Encode uint8 ``(h, w, 3)`` RGB as PNG, losslessly; OpenCV is several times faster here than Pillow."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def _cropped(pixels: np.ndarray, where: str) -> np.ndarray:
    if pixels.shape[:2] != SOURCE_HW:
        raise InputError(
            f"expected frames and labels as released, of {SOURCE_HW[1]}x{SOURCE_HW[0]}, got "
            f"{pixels.shape[1]}x{pixels.shape[0]} in {where!r}; try the challenge's own archive"
        )
    return np.ascontiguousarray(pixels[CROP])


def _check_values(label_map: np.ndarray, known: Mapping[int, int] | set[int], where: str) -> None:
    values = np.flatnonzero(np.bincount(label_map.ravel()))
    unknown = [int(value) for value in values if value not in known]
    if unknown:
        raise InputError(f"expected label values in {sorted(known)}, got {unknown[0]} in {where!r}")


def _lookup(table: Mapping[int, int]) -> np.ndarray:
    """A table as an array that can be indexed by a label map whose values are all in it."""
    array = np.zeros(max(table) + 1, np.uint8)
    array[list(table)] = list(table.values())
    return array


def _binary(type_map: np.ndarray) -> np.ndarray:
    return ((type_map > 0) & (type_map != OTHER)).astype(np.uint8)

"""Cataract-1K, segmentation part: frames of 30 cataract operations with polygons of anatomy and instruments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageDraw

from surgvos.core.label_tables import label_space_by_name
from surgvos.core.labels import LabelSpace
from surgvos.data.archives import FileTree
from surgvos.data.class_maps import ClassMaps, FrameKey, LabelledFrames
from surgvos.data.dataset import Access, Archive, DataSet, Part, Plan, PrepareOptions, collect
from surgvos.errors import InputError

MAPS = ClassMaps({"classes": label_space_by_name("cataract1k")}, "classes", (768, 1024))
_ID_OF_NAME = {label.name.lower(): label.id for label in MAPS.spaces["classes"].labels}
_SIZE = f"{MAPS.image_hw[1]}x{MAPS.image_hw[0]}"
_FAR_PX = 1e5
"""Corners that are drawn a little over the border are cut off; what is so far away is a broken number."""

_FIRST = tuple(_ID_OF_NAME[name] for name in ("cornea", "pupil", "lens"))
"""Classes that are painted first, in this order, so that instruments lie on top."""


def _case_names(*numbers: int) -> tuple[str, ...]:
    return tuple(f"case_{number}" for number in numbers)


TRAIN = _case_names(
    *(5013, 5014, 5015, 5016, 5017, 5032, 5051, 5057, 5058, 5063),
    *(5072, 5104, 5108, 5299, 5300, 5301, 5303, 5304, 5305, 5309),
)
VAL = _case_names(5315, 5316, 5317, 5319, 5325)
TEST = _case_names(5329, 5334, 5335, 5340, 5353)

_FRAME = re.compile(r"(?:^|/)case_(\d+)/img/([^/]*\d)\.png$")
_POLYGONS = re.compile(r"(?:^|/)case_(\d+)/ann/([^/]*\d)\.png\.json$")


@dataclass(frozen=True)
class Cataract1k(DataSet):
    """Frames of 1024x768 with polygons in the format of Supervisely, split by case as SASVi does.

    Beside the object maps there are ``Labels/classes``; an object is one class. Polygons are painted in the published
    order: cornea, pupil, lens, then instruments as they stand in the file; later ones cover earlier ones, and holes
    are filled. Which frames are labelled is said by the files alone.

    Reference: Ghamsarian et al., "Cataract-1K", arXiv 2312.06295; SASVi, arXiv 2502.09653 (split, painting).
    """

    name: ClassVar[str] = "cataract1k"
    title: ClassVar[str] = "Cataract-1K, segmentation part"
    access: ClassVar[Access] = Access(
        address="https://github.com/Negin-Ghamsarian/Cataract-1K",
        steps="following https://github.com/Negin-Ghamsarian/Cataract-1K to the segmentation part and downloading",
        licence="CC BY 4.0.",
    )
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            name="Images-and-Supervisely-Annotations",
            holds=("frames", "labels"),
            splits=("train", "val", "test"),
            videos=TRAIN + VAL + TEST,
        ),
    )
    label_spaces: ClassVar[Mapping[str, LabelSpace]] = MAPS.spaces
    image_hw: ClassVar[tuple[int, int]] = MAPS.image_hw

    parts: tuple[Part, ...] = (
        Part("train", "train", TRAIN, None),
        Part("val", "valid", VAL, None),
        Part("test", "valid", TEST, None),
    )

    def plan(self, files: FileTree, options: PrepareOptions) -> Plan:
        """See `DataSet.plan`."""
        source = LabelledFrames(files, MAPS, _find(files), paint_polygons)
        videos, gaps = collect(self.parts, lambda _, *key: source.has(*key), numbers=source.numbers)
        return Plan(tuple((part, source.plan(video, frames)) for part, video, frames in videos), gaps)


def _find(files: FileTree) -> Iterator[tuple[str, FrameKey, str]]:
    for name in files:
        for what, pattern in (("frames", _FRAME), ("labels", _POLYGONS)):
            if found := pattern.search(name):
                yield what, (f"case_{found[1]}", _number(found[1], found[2])), name


def _number(case: str, stem: str) -> int:
    """Number of a frame: the digits of its name without those of the case; ``case_50131_07`` of 5013 is 107."""
    return int(re.sub(r"\D", "", stem).removeprefix(case) or 0)


def paint_polygons(content: bytes, where: str) -> np.ndarray:
    """Paint the polygons of a Supervisely file into one label map.

    What of a polygon lies outside the image is cut off.

    Args:
        content: The file.
        where: Its name, for messages.

    Returns:
        uint8 ``(h, w)``, ids of the label space ``cataract1k``.

    Raises:
        InputError: It is no such file, states another size, has an unknown class, a shape that is no polygon, or one
            outside the image.
    """
    try:
        plain = json.loads(content)
        width, height = plain["size"]["width"], plain["size"]["height"]
        if (height, width) != MAPS.image_hw:
            raise InputError(f"expected polygons on frames of {_SIZE}, got {width}x{height} in {where!r}")
        found = [_polygon(entry, where) for entry in plain["objects"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected polygons of Supervisely ({{'size': ..., 'objects': [...]}}), got {where!r} "
            f"({type(error).__name__}: {error})"
        ) from error
    rank = {class_id: place for place, class_id in enumerate(_FIRST)}
    canvas = Image.new("L", MAPS.image_hw[::-1])
    draw = ImageDraw.Draw(canvas)
    for class_id, corners in sorted(found, key=lambda polygon: rank.get(polygon[0], len(rank))):
        draw.polygon(corners, fill=class_id)
    return np.array(canvas)


def class_of_title(title: str, where: str) -> int:
    """Id of the class that a title means; capitals and a number at the end, as in ``cornea1``, do not count.

    Raises:
        InputError: It means no class.
    """
    class_id = _ID_OF_NAME.get(re.sub(r"[\s\d]+$", "", title.strip()).lower())
    if class_id is None:
        known = ", ".join(label.name for label in MAPS.spaces["classes"].labels)
        raise InputError(f"expected a class of Cataract-1K ({known}), got {title!r} in {where!r}")
    return class_id


def _polygon(entry: Mapping[str, Any], where: str) -> tuple[int, list[tuple[float, float]]]:
    title = str(entry["classTitle"])
    class_id = class_of_title(title, where)
    shape = entry.get("geometryType", "polygon")
    if shape != "polygon":
        raise InputError(f"expected polygons, got a {shape} for {title!r} in {where!r}")
    corners = [(float(x), float(y)) for x, y in entry["points"]["exterior"]]
    if len(corners) < 3:
        raise InputError(f"expected polygons of three or more corners, got {len(corners)} of {title!r} in {where!r}")
    columns, rows = zip(*corners, strict=True)
    height, width = MAPS.image_hw
    is_sane = all(abs(value) < _FAR_PX for value in (*columns, *rows))
    if not is_sane or max(columns) < 0 or max(rows) < 0 or min(columns) >= width or min(rows) >= height:
        raise InputError(
            f"expected polygons within the image of {_SIZE}, got one of {title!r} from "
            f"({min(columns):g}, {min(rows):g}) to ({max(columns):g}, {max(rows):g}) in {where!r}"
        )
    return class_id, corners

"""CVAT for images 1.1: one XML file of masks, which CVAT takes in for tasks made of images and of videos alike.

Its other XML format, for videos, knows tracks; but the tracks of CVAT hold boxes and polygons between which it
interpolates, and a mask of every frame is none of these.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from surgvos.core.labels import LabelSpace
from surgvos.core.masks import decode_run_length, encode_run_length, mask_to_box_xyxy
from surgvos.errors import InputError
from surgvos.export.interface import FrameHead, LabelledVideo, ids_of_names, join_masks, named_labels, one_size
from surgvos.export.json_files import explaining, file_in
from surgvos.export.polygons import fill_rings
from surgvos.io.extras import import_extra

FILE, LABELS, _WHAT = "annotations.xml", "labels.json", "an XML file of CVAT for images 1.1"


@dataclass(frozen=True, slots=True)
class Cvat:
    """CVAT for images 1.1, with masks as run lengths inside their boxes; nothing is lost."""

    summary = "XML of CVAT for images 1.1, and labels.json for its label constructor"

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write ``annotations.xml``, and ``labels.json`` to make a task with the same labels."""
        labels = [
            {"name": label.name, "color": _hex(label.color), "type": "mask", "attributes": []}
            for label in video.labels.labels
        ]
        (folder / LABELS).write_text(json.dumps(labels, indent=1) + "\n", encoding="utf-8")
        with (folder / FILE).open("w", encoding="utf-8", newline="\n") as file:
            _write_meta(file, video)
            for head, masks in video:
                _write_image(file, video, head, masks)
            file.write("</annotations>\n")

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open a file with masks or polygons. Objects are told apart by their label."""
        file = file_in(path, FILE, "*.xml")
        with explaining(file, _WHAT):
            names, images = _parse(file)
            image_hw = one_size([(image.height, image.width) for image in images], file)
            ids = ids_of_names(names, labels)

        def read(position: int) -> dict[int, np.ndarray]:
            with explaining(file, _WHAT):
                return join_masks((ids[shape["label"]], _decode(shape, image_hw)) for shape in images[position].shapes)

        found = named_labels({number: name for name, number in ids.items()}) if labels is None else labels
        return LabelledVideo(file.stem, image_hw, found, [image.head for image in images], read)


@dataclass(frozen=True, slots=True)
class _Image:
    head: FrameHead
    height: int
    width: int
    shapes: list[dict[str, str]]


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _write_meta(file: TextIO, video: LabelledVideo) -> None:
    labels = "".join(
        f"        <label><name>{escape(label.name)}</name><color>{_hex(label.color)}</color><type>mask</type>"
        "<attributes></attributes></label>\n"
        for label in video.labels.labels
    )
    file.write(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
        f"      <name>{escape(video.name)}</name>\n      <size>{len(video)}</size>\n      <mode>annotation</mode>\n"
        f"      <labels>\n{labels}      </labels>\n    </task>\n  </meta>\n"
    )


def _write_image(file: TextIO, video: LabelledVideo, head: FrameHead, masks: dict[int, np.ndarray]) -> None:
    height, width = video.image_hw
    name = quoteattr(head.image_name)
    file.write(f'  <image id="{head.index}" name={name} width="{width}" height="{height}">\n')
    for object_id, mask in masks.items():
        x0, y0, x1, y1 = mask_to_box_xyxy(mask) or (0, 0, 1, 1)
        # The house's run lengths go down columns, CVAT's along rows.
        runs = encode_run_length(mask[y0:y1, x0:x1].T)["counts"]
        file.write(
            f'    <mask label={quoteattr(video.labels[object_id].name)} source="auto" occluded="0" '
            f'rle="{", ".join(map(str, runs))}" left="{x0}" top="{y0}" width="{x1 - x0}" height="{y1 - y0}" '
            'z_order="0"></mask>\n'
        )
    file.write("  </image>\n")


def _parse(path: Path) -> tuple[list[str], list[_Image]]:
    """Names of labels, and images with their shapes as text. Entities are refused."""
    parser = import_extra("defusedxml.ElementTree", "export")
    names: list[str] = []
    images: list[_Image] = []
    try:
        for _, element in parser.iterparse(str(path), forbid_dtd=True):
            if element.tag == "label" and element.find("name") is not None:
                names.append(element.findtext("name"))
            if element.tag == "track":
                raise InputError(f"expected {_WHAT}, got {str(path)!r} of CVAT for video; try exporting it for images")
            if element.tag == "image":
                images.append(_image(element, len(images)))
                element.clear()
    except (OSError, SyntaxError) as error:
        raise InputError(f"expected {_WHAT}, got {str(path)!r} ({error}); try exporting it again") from error
    return list(dict.fromkeys([*names, *(shape["label"] for image in images for shape in image.shapes)])), images


def _image(element: Any, position: int) -> _Image:
    name = PurePosixPath(element.attrib["name"].replace("\\", "/"))
    shapes = [{"kind": shape.tag, **shape.attrib} for shape in element if shape.tag in ("mask", "polygon")]
    head = FrameHead(int(element.attrib.get("id", position)), name.stem, image_name=name.name)
    return _Image(head, int(element.attrib["height"]), int(element.attrib["width"]), shapes)


def _decode(shape: dict[str, str], image_hw: tuple[int, int]) -> np.ndarray:
    if shape["kind"] == "polygon":
        ring = np.array([corner.split(",") for corner in shape["points"].split(";")], dtype=float)
        return fill_rings([np.floor(ring)], image_hw)
    left, top, width, height = (int(shape[key]) for key in ("left", "top", "width", "height"))
    mask = np.zeros(image_hw, dtype=bool)
    if not (0 <= left <= left + width <= image_hw[1] and 0 <= top <= top + height <= image_hw[0]):
        raise ValueError("a mask that lies outside its image")
    counts = [int(count) for count in shape["rle"].split(",")]
    mask[top : top + height, left : left + width] = decode_run_length({"size": [width, height], "counts": counts}).T
    return mask

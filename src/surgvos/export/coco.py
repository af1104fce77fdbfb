"""COCO instances: one JSON file, masks as run lengths or polygons, ids as categories and as ``track_id``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from surgvos.core.labels import LabelSpace
from surgvos.core.masks import decode_run_length, encode_run_length, mask_to_box_xyxy
from surgvos.errors import InputError
from surgvos.export.interface import FrameHead, LabelledVideo, join_masks, named_labels, one_size
from surgvos.export.json_files import explaining, file_in, read_json_file, write_object
from surgvos.export.polygons import mask_to_outlines
from surgvos.io.extras import import_extra

FILE, _WHAT = "annotations.json", "a COCO file of instances"


@dataclass(frozen=True, slots=True)
class Coco:
    """COCO instances.

    Attributes:
        polygons: Write polygons along the edges of pixels, for tools that read no run lengths; neither loses anything.
    """

    polygons: bool = False

    @property
    def summary(self) -> str:
        """What is written, in a few words."""
        return f"one JSON file of instances, {'polygons' if self.polygons else 'run lengths'}, with track_id"

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write ``annotations.json``; image ids count from 1, ``frame_index`` says where in the video."""
        categories = [{"id": label.id, "name": label.name, "supercategory": ""} for label in video.labels.labels]
        with (folder / FILE).open("w", encoding="utf-8", newline="\n") as file:
            write_object(
                file,
                {
                    "info": {"description": video.name},
                    "licenses": [],
                    "categories": categories,
                    "images": (_image(video, head) for head in video.heads),
                    "annotations": self._annotations(video),
                },
            )

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open a file of one video. ``track_id`` is the id where every annotation has one, else the category."""
        file = file_in(path, FILE, "*.json")
        found = read_json_file(file, _WHAT)
        with explaining(file, _WHAT):
            return _open(found, file, labels)

    def _annotations(self, video: LabelledVideo) -> Iterator[dict[str, Any]]:
        number = 0
        for head, masks in video:
            for object_id, mask in masks.items():
                number += 1
                yield {
                    "id": number,
                    "image_id": head.index + 1,
                    "category_id": object_id,
                    "track_id": object_id,
                    "iscrowd": 0,
                    "area": int(mask.sum()),
                    "bbox": _box_xywh(mask),
                    "segmentation": _outlines(mask) if self.polygons else encode_run_length(mask),
                }


def _image(video: LabelledVideo, head: FrameHead) -> dict[str, Any]:
    height, width = video.image_hw
    return {
        "id": head.index + 1,
        "file_name": head.image_name,
        "width": width,
        "height": height,
        "frame_index": head.index,
    }


def _box_xywh(mask: np.ndarray) -> list[int]:
    x0, y0, x1, y1 = mask_to_box_xyxy(mask) or (0, 0, 0, 0)
    return [x0, y0, x1 - x0, y1 - y0]


def _outlines(mask: np.ndarray) -> list[list[int]]:
    return [ring.ravel().tolist() for ring in mask_to_outlines(mask)]


def _open(found: Any, file: Path, labels: LabelSpace | None) -> LabelledVideo:
    images, annotations = found["images"], found["annotations"]
    image_hw = one_size([(image["height"], image["width"]) for image in images], file)
    has_tracks = bool(annotations) and all("track_id" in annotation for annotation in annotations)
    key = "track_id" if has_tracks else "category_id"
    by_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    for annotation in annotations:
        by_image[annotation["image_id"]].append(annotation)
    heads = _heads(images, file)

    def read(position: int) -> dict[int, np.ndarray]:
        with explaining(file, _WHAT):
            shown = by_image[images[position]["id"]]
            return join_masks((int(each[key]), _decode(each["segmentation"], image_hw)) for each in shown)

    if labels is None:
        names = {int(category["id"]): str(category["name"]) for category in found["categories"]}
        if has_tracks:
            names = {int(a["track_id"]): names[int(a["category_id"])] for a in annotations}
        labels = named_labels(names)
    return LabelledVideo(file.stem, image_hw, labels, heads, read)


def _heads(images: list[dict[str, Any]], file: Path) -> list[FrameHead]:
    heads = []
    for position, image in enumerate(images):
        name = PurePosixPath(str(image["file_name"]).replace("\\", "/"))
        heads.append(FrameHead(int(image.get("frame_index", position)), name.stem, image_name=name.name))
    if len({head.name for head in heads}) < len(heads):
        raise InputError(
            f"expected distinct names of images in {str(file)!r}, got a repetition; try one video per file"
        )
    return heads


def _decode(segmentation: Any, image_hw: tuple[int, int]) -> np.ndarray:
    """Whatever COCO allows: polygons, run lengths as numbers, run lengths as text."""
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
        if tuple(segmentation["size"]) != image_hw:
            raise ValueError(f"run lengths of size {segmentation['size']}")
        return decode_run_length({"size": list(image_hw), "counts": segmentation["counts"]})
    coding = import_extra("pycocotools.mask", "export")
    if isinstance(segmentation, dict):
        if tuple(segmentation["size"]) != image_hw:
            raise ValueError(f"run lengths of size {segmentation['size']}")
        return coding.decode(segmentation).astype(bool)
    if not isinstance(segmentation, list):
        raise TypeError(f"a segmentation of {segmentation!r}")
    parts = coding.frPyObjects(segmentation, *image_hw)
    return coding.decode(coding.merge(parts)).astype(bool)

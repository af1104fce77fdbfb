"""YOLO's segmentation labels: one text file per frame, one polygon per object, in fractions of the image.

A row is one ring, so that parts of an object are joined by lines, as `ultralytics` joins those of COCO. Corners are the
centres of pixels: `ultralytics` cuts coordinates down to whole pixels and draws outlines, which gives the very mask,
but for the pixels on lines between parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.export.frame_images import write_frame_images
from surgvos.export.interface import FrameHead, LabelledVideo, ids_of_names, join_masks, named_labels
from surgvos.export.json_files import explaining
from surgvos.export.polygons import fill_rings, join_rings, mask_to_rings
from surgvos.io.files import replacing
from surgvos.io.image_folder import READ_ERRORS, list_images, unreadable_image

DESCRIPTION, IMAGES, LABELS = "data.yaml", "images", "labels"
_WHAT = "a data set of YOLO segmentation"


@dataclass(frozen=True, slots=True)
class YoloSeg:
    """YOLO's segmentation labels; classes are numbered from 0 in the order of the ids."""

    summary = "images/ and labels/ with one polygon per object, data.yaml"

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write ``images/``, ``labels/`` and ``data.yaml``; a frame without objects has an empty file."""
        write_frame_images(video, folder / IMAGES)
        names = {number: video.labels[object_id].name for number, object_id in enumerate(video.labels.ids)}
        class_of = {object_id: number for number, object_id in enumerate(video.labels.ids)}
        for head, masks in video:
            rows = (_to_row(class_of[object_id], mask) for object_id, mask in masks.items())
            with replacing(folder / LABELS / f"{head.name}.txt") as part:
                part.write_text("".join(rows), encoding="utf-8")
        # Without "path" the folder is where this file lies, wherever it is moved to.
        content = {"train": IMAGES, "val": IMAGES, "names": names}
        with replacing(folder / DESCRIPTION) as part:
            part.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open a folder with ``data.yaml``, ``images/`` and ``labels/`` of one video."""
        folder = path.parent if path.is_file() else path
        names = _read_names(folder / DESCRIPTION if path.is_dir() else path)
        if not (folder / IMAGES).is_dir():
            raise InputError(f"expected {_WHAT}, got {str(folder)!r} without {IMAGES}/; try the folder of data.yaml")
        paths = list_images(folder / IMAGES)
        image_hw = _hw_of(paths[0])
        ids = ids_of_names(names, labels)
        heads = [FrameHead(index, path.stem, image_name=path.name) for index, path in enumerate(paths)]

        def read(position: int) -> dict[int, np.ndarray]:
            rows = _rows_of(folder / LABELS / f"{heads[position].name}.txt", len(names))
            # Cut down to whole pixels, as ultralytics does.
            return join_masks(
                (ids[names[number]], fill_rings([np.floor(ring * image_hw[::-1])], image_hw)) for number, ring in rows
            )

        found = named_labels({number: name for name, number in ids.items()}) if labels is None else labels
        return LabelledVideo(folder.resolve().name, image_hw, found, heads, read)


def _to_row(class_number: int, mask: np.ndarray) -> str:
    height, width = mask.shape
    ring = join_rings(mask_to_rings(mask))
    # A row of fewer than three corners would be read as a box.
    corners = np.resize(ring, (max(len(ring), 3), 2)) + 0.5
    return " ".join([str(class_number), *(f"{value:.7f}" for value in (corners / (width, height)).ravel())]) + "\n"


def _rows_of(path: Path, num_classes: int) -> Iterator[tuple[int, np.ndarray]]:
    """Class and corners of each row; no file is a frame without objects, as it is to YOLO."""
    if not path.exists():
        return
    with explaining(path, "rows of a class and a polygon"):
        for line in path.read_text(encoding="utf-8").splitlines():
            number, *numbers = line.split() or ["0"]
            if not line.strip():
                continue
            if not 0 <= int(number) < num_classes:
                raise ValueError(f"class {number} of {num_classes}")
            ring = np.array(numbers, dtype=float).reshape(-1, 2)
            if len(ring) < 3 or not ((ring >= 0) & (ring <= 1)).all():
                raise ValueError(f"{line[:40]!r}, which is no polygon in fractions of the image")
            yield int(number), ring


def _read_names(path: Path) -> list[str]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"expected {_WHAT}, got {str(path)!r}, which cannot be read; try its folder") from error
    with explaining(path, _WHAT):
        names = content["names"]
        return [str(names[number]) for number in range(len(names))]


def _hw_of(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except READ_ERRORS as error:
        raise unreadable_image(path, error) from error

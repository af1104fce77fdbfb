"""nnU-Net v2: a data set of one video to train on, and its label maps or predictions back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from surgvos.core.labels import LabelSpace
from surgvos.core.masks import label_map_to_masks
from surgvos.errors import InputError
from surgvos.export.interface import FrameHead, LabelledVideo, named_labels
from surgvos.export.json_files import explaining, read_json_file
from surgvos.io.image_folder import list_images
from surgvos.io.masks import read_label_map, write_label_map

DESCRIPTION, _FAMILY, _WHAT = "dataset.json", "masks", "a data set or predictions of nnU-Net"
_NOTHING = ("background", "ignore")


@dataclass(frozen=True, slots=True)
class Nnunet:
    """nnU-Net's raw layout: ``Dataset001_<video>`` with ``imagesTr``, ``labelsTr`` and ``dataset.json``.

    Classes are numbered from 1 in the order of the ids. The number of the data set is in the name of its folder, where
    it may be changed.
    """

    summary = "Dataset001_VIDEO of nnU-Net v2 with imagesTr/ and labelsTr/"

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write frames without loss, and label maps; where masks overlap, the lowest id wins."""
        from surgvos.data.nnunet_layout import NnunetDataSet, export_dataset

        name = re.sub(r"\W", "_", video.name)
        target = NnunetDataSet(
            number=1, name=name if name.isidentifier() else f"video_{name}", label_space=video.labels
        )
        with TemporaryDirectory(dir=folder) as prepared:
            images = Path(prepared, "train", "JPEGImages", video.name)
            labels = Path(prepared, "train", "Labels", _FAMILY, video.name)
            images.mkdir(parents=True)
            for (head, masks), image in zip(video, video.images(), strict=True):
                Image.fromarray(image).save(images / f"{head.name}.png", compress_level=1)
                write_label_map(labels / f"{head.name}.png", video.paint(masks))
            export_dataset(prepared, folder, _FAMILY, target)

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open a data set, its ``labelsTr``, or predictions with nnU-Net's ``dataset.json`` beside them."""
        from surgvos.overseer.nnunet import ids_of_numbers

        description, folder = _find(path)
        found = read_json_file(description, _WHAT)
        with explaining(description, _WHAT):
            numbers: dict[str, Any] = found["labels"]
            if labels is None:
                labels = named_labels({int(n): name for name, n in numbers.items() if name.lower() not in _NOTHING})
            ids = ids_of_numbers(numbers, labels)
        paths = list_images(folder)
        videos = {file.stem.rpartition("__")[0] for file in paths}
        if len(videos) != 1:
            raise InputError(f"expected cases of one video in {str(folder)!r}, got {len(videos)}; try those of one")
        first = read_label_map(paths[0])

        def read(position: int) -> dict[int, np.ndarray]:
            masks = label_map_to_masks(read_label_map(paths[position]), nothing=())
            with explaining(paths[position], _WHAT):
                return {ids[number]: mask for number, mask in masks.items() if ids[number] not in labels.nothing}

        heads = [FrameHead(index, file.stem.rpartition("__")[2]) for index, file in enumerate(paths)]
        return LabelledVideo(videos.pop() or folder.name, (first.shape[0], first.shape[1]), labels, heads, read)


def _find(path: Path) -> tuple[Path, Path]:
    """The description, and the folder of label maps."""
    for folder in (path, *sorted(path.glob("Dataset*"))):
        if (folder / DESCRIPTION).is_file():
            labels = folder / "labelsTr"
            return folder / DESCRIPTION, labels if labels.is_dir() else folder
    beside = path.parent / DESCRIPTION
    if path.is_dir() and beside.is_file():
        return beside, path
    raise InputError(f"expected {_WHAT}, got {str(path)!r} without {DESCRIPTION}; try the folder of the data set")

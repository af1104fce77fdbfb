"""The layout of DAVIS: ``JPEGImages/<video>/<frame>.jpg`` and ``Annotations/<video>/<frame>.png``, ids as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.export.frame_images import write_frame_images
from surgvos.export.interface import FrameHead, LabelledVideo, object_labels
from surgvos.io.masks import MaskWriter, read_mask_folder

IMAGES, ANNOTATIONS = "JPEGImages", "Annotations"


@dataclass(frozen=True, slots=True)
class Davis:
    """The layout of DAVIS, as ``surgvos data check`` and ``surgvos train`` read it; palette PNGs."""

    summary = "JPEGImages/ and Annotations/ with palette PNGs"

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write frames and label maps; where masks overlap, the lowest id wins."""
        write_frame_images(video, folder / IMAGES / video.name)
        with MaskWriter(folder / ANNOTATIONS / video.name, palette=video.labels.palette()) as writer:
            for head, masks in video:
                writer.write(head.name, video.paint(masks))

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open one video of ``Annotations``: its folder, or a data set that holds no other."""
        folder = _video_folder(path)
        masks = read_mask_folder(folder, (0,) if labels is None else labels.nothing)
        names = masks.frame_names
        if labels is None:
            labels = object_labels({number for found in masks.values() for number in found})
        first = masks.label_map(names[0])

        def read(position: int) -> dict[int, np.ndarray]:
            return masks[names[position]]

        heads = [FrameHead(index, name) for index, name in enumerate(names)]
        return LabelledVideo(folder.resolve().name, (first.shape[0], first.shape[1]), labels, heads, read)


def _video_folder(path: Path) -> Path:
    if not path.is_dir():
        raise InputError(f"expected a folder with {ANNOTATIONS}/, got {str(path)!r}, which is none")
    annotations = path / ANNOTATIONS
    if not annotations.is_dir():
        return path
    videos = sorted(folder for folder in annotations.iterdir() if folder.is_dir())
    if len(videos) != 1:
        raise InputError(
            f"expected one video in {str(annotations)!r}, got {len(videos)}; try the folder of one, such as "
            f"{str(videos[0] if videos else annotations / 'VIDEO')!r}"
        )
    return videos[0]

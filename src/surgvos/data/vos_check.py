"""Whether a folder in the layout of DAVIS is what it should be, before hours of training or scoring depend on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from surgvos.errors import InputError
from surgvos.io.image_folder import READ_ERRORS, list_images, unreadable_image
from surgvos.io.masks import read_label_map

IMAGES, ANNOTATIONS = "JPEGImages", "Annotations"


@dataclass(frozen=True, slots=True)
class VideoCheck:
    """What was found in one video.

    Attributes:
        name: Of its folders.
        num_frames: Images.
        num_annotated: Images with a label map.
        num_empty: Label maps without any object.
        objects: Object id -> number of frames in which it is seen.
        image_hw: Height and width of the images, or None where none can be read.
        faults: What must be repaired, one sentence each.
    """

    name: str
    num_frames: int
    num_annotated: int
    num_empty: int
    objects: dict[int, int]
    image_hw: tuple[int, int] | None
    faults: tuple[str, ...]


def check_vos_folder(root: str | Path, progress: Callable[[int, int | None], None] | None = None) -> list[VideoCheck]:
    """Check ``JPEGImages/<video>/<frame>.jpg`` with ``Annotations/<video>/<frame>.png`` (pixel = object id).

    Faults are: a video in one folder only, an image or label map that cannot be read, sizes that differ within a
    video, a label map without an image, and a video without any object. Frames without a label map are none, as
    many data sets annotate every fifth frame or the first alone.

    Args:
        root: Folder that holds both.
        progress: Called with videos done and videos in all.

    Raises:
        InputError: There are no such folders.
    """
    images, annotations = Path(root) / IMAGES, Path(root) / ANNOTATIONS
    for folder in (images, annotations):
        if not folder.is_dir():
            raise InputError(f"expected {IMAGES} and {ANNOTATIONS} in {str(root)!r}, got no {folder.name}")
    names = sorted({path.name for folder in (images, annotations) for path in folder.iterdir() if path.is_dir()})
    if not names:
        raise InputError(f"expected a folder per video in {str(images)!r}, got none")
    found = []
    with ThreadPoolExecutor() as pool:
        for checked in pool.map(lambda name: check_video(images / name, annotations / name), names):
            found.append(checked)
            if progress is not None:
                progress(len(found), len(names))
    return found


def vos_roots(root: str | Path) -> list[Path]:
    """Find the folders in the layout of DAVIS: the folder itself, or those of its splits.

    Raises:
        InputError: There are none.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"expected the folder of a data set, got {str(root)!r}, which is none")
    inside = [path for path in sorted(root.iterdir()) if (path / IMAGES).is_dir()]
    if (root / IMAGES).is_dir() or not inside:
        return [root]
    return inside


def check_video(images: Path, annotations: Path) -> VideoCheck:
    """Check one video: its folder of images against its folder of label maps."""
    faults: list[str] = []
    frames = _files(images, faults)
    label_maps = _files(annotations, faults)
    video_hw = None
    sizes: dict[str, tuple[int, int]] = {}
    for frame, path in frames.items():
        try:
            sizes[frame] = _image_hw(path)
        except InputError as error:
            faults.append(str(error))
            continue
        video_hw = video_hw or sizes[frame]
        if sizes[frame] != video_hw:
            faults.append(f"expected images of {_size(video_hw)}, got {_size(sizes[frame])} in {path.name}")
    seen: Counter[int] = Counter()
    num_empty = 0
    for frame, path in label_maps.items():
        if frame not in frames:
            faults.append(f"expected an image for every label map, got none for {path.name}")
        try:
            label_map = read_label_map(path)
        except InputError as error:
            faults.append(str(error))
            continue
        if frame in sizes and label_map.shape != sizes[frame]:
            faults.append(f"expected a label map of {_size(sizes[frame])}, got {_size(label_map.shape)} in {path.name}")
        ids = [int(i) for i in np.unique(label_map) if i]
        num_empty += not ids
        seen.update(ids)
    if label_maps and not seen:
        faults.append("expected at least one object, got label maps without any")
    return VideoCheck(
        name=images.name,
        num_frames=len(frames),
        num_annotated=len(frames.keys() & label_maps.keys()),
        num_empty=num_empty,
        objects=dict(sorted(seen.items())),
        image_hw=video_hw,
        faults=tuple(faults),
    )


def _files(folder: Path, faults: list[str]) -> dict[str, Path]:
    """Frame name -> file; a missing or empty folder is a fault."""
    try:
        return {path.stem: path for path in list_images(folder)}
    except FileNotFoundError:
        faults.append(f"expected {folder.parent.name}/{folder.name}, which does not exist")
    except InputError as error:
        faults.append(str(error))
    return {}


def _image_hw(path: Path) -> tuple[int, int]:
    """Read a whole image, as a truncated one has a sound header."""
    try:
        with Image.open(path) as image:
            image.load()
            return image.height, image.width
    except READ_ERRORS as error:
        raise unreadable_image(path, error) from error


def _size(hw: tuple[int, ...]) -> str:
    return f"{hw[1]}x{hw[0]}"


def faults_of(checks: list[VideoCheck]) -> Iterator[str]:
    """All faults, each with the name of its video."""
    return (f"{checked.name}: {fault}" for checked in checks for fault in checked.faults)

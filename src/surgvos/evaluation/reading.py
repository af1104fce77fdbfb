"""Read label maps and grey masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from surgvos.errors import InputError


def read_label_map(path: Path) -> np.ndarray:
    """Read the ids in a palette, grey or black-and-white PNG.

    Returns:
        Unsigned integers ``(h, w)``.

    Raises:
        InputError: The file is no image, or one with colour channels.
    """
    label_map, mode = _read(path)
    if label_map.ndim != 2:
        raise InputError(
            f"expected a palette or grey PNG whose pixels are object ids, got mode {mode} in {path}; "
            "try saving one channel"
        )
    return label_map.astype(np.uint8) if label_map.dtype == np.bool_ else label_map


def read_grey_image(path: Path) -> np.ndarray:
    """Read an image as grey values, uint8 ``(h, w)``.

    Raises:
        InputError: The file is no image.
    """
    return _read(path, as_mode="L")[0]


def read_grey_video(path: Path) -> Iterator[np.ndarray]:
    """Decode a video file as grey values, uint8 ``(h, w)`` per frame.

    Raises:
        InputError: The file is no video.
    """
    from surgvos.io.video import open_video

    for frame in open_video(path):
        yield cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)


def _read(path: Path, as_mode: str | None = None) -> tuple[np.ndarray, str]:
    try:
        with Image.open(path) as image:
            return np.asarray(image if as_mode is None else image.convert(as_mode)), image.mode
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise InputError(f"expected an image, got {path}, which cannot be read: {error}") from error

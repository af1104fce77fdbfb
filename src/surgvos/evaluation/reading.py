"""Read grey masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from surgvos.io.image_folder import READ_ERRORS, unreadable_image


def read_grey_image(path: Path) -> np.ndarray:
    """Read an image as grey values, uint8 ``(h, w)``.

    Raises:
        InputError: The file is no image.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except READ_ERRORS as error:
        raise unreadable_image(path, error) from error


def read_grey_video(path: Path) -> Iterator[np.ndarray]:
    """Decode a video file as grey values, uint8 ``(h, w)`` per frame.

    Raises:
        InputError: The file is no video.
    """
    from surgvos.io.video import open_video

    for frame in open_video(path):
        yield cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)

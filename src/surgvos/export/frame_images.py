"""The frames of a video as JPEG files, for formats that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from surgvos.export.interface import LabelledVideo
from surgvos.io.files import replacing

_OPTIONS = (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422)
"""Colours at half the width and full height: the sampling that DICOM has a name for."""


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encode an image.

    Args:
        image: uint8 ``(h, w, 3)`` RGB.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, _OPTIONS)[1].tobytes()


def jpegs_of(video: LabelledVideo) -> Iterator[bytes]:
    """Yield each frame of a video, encoded.

    Raises:
        InputError: The frames are not at hand.
    """
    return map(encode_jpeg, video.images())


def write_frame_images(video: LabelledVideo, folder: Path) -> None:
    """Write ``<frame>.jpg`` for every frame.

    Raises:
        InputError: The frames are not at hand.
        SurgvosError: The disk is full.
    """
    for head, jpeg in zip(video.heads, jpegs_of(video), strict=True):
        with replacing(folder / f"{head.name}.jpg") as part:
            part.write_bytes(jpeg)

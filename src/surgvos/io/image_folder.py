"""Folders of images as sequences of frames."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from surgvos.core import Frame
from surgvos.errors import InputError
from surgvos.io.files import is_part

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})

_ORIENTATION_TAG = 0x0112
READ_ERRORS = (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)


class ImageSequence:
    """Image files of one size as a `VideoSource`; each is read when it is asked for.

    Attributes:
        paths: The files, in order.
        name: Name under which results of this video are written.
        hw: Height and width in pixels, EXIF orientation applied.
        fps: None: images have no clock.
    """

    fps: float | None = None

    def __init__(self, paths: Sequence[Path], *, name: str) -> None:
        """Check that all headers are readable and agree, so that a long run does not fail half way.

        Raises:
            InputError: A file is unreadable, of another size, or shares its stem with another.
        """
        self.paths = tuple(paths)
        self.name = name
        seen: dict[str, Path] = {}
        for path in self.paths:
            if path.stem in seen:
                raise InputError(
                    f"expected one image per frame name, got {seen[path.stem].name!r} and {path.name!r} in "
                    f"{str(path.parent)!r}; try moving one of them elsewhere"
                )
            seen[path.stem] = path
        self.hw = _upright_hw(self.paths[0])
        for path in self.paths[1:]:
            hw = _upright_hw(path)
            if hw != self.hw:
                raise _other_size(path, self.hw, hw, self.paths[0])

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"expected a frame index below {len(self)}, got {index}")
        position %= len(self)
        path = self.paths[position]
        image = read_image(path)
        if image.shape[:2] != self.hw:
            raise _other_size(path, self.hw, (image.shape[0], image.shape[1]), self.paths[0])
        return Frame(position, path.stem, image)


def list_images(folder: Path) -> list[Path]:
    """List the images of a folder in natural order, hidden and half-written files left out.

    Raises:
        InputError: There are none.
    """
    files = [p for p in folder.iterdir() if p.is_file() and not (p.name.startswith(".") or is_part(p))]
    images = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        others = sorted({p.suffix.lower() for p in files if p.suffix}) or ["no such files"]
        raise InputError(
            f"expected a folder of jpg, png, bmp or tif images, got {str(folder)!r} with {', '.join(others)}; "
            "try one of its files or sub-folders"
        )
    return sorted(images, key=natural_key)


def natural_key(path: Path) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """Sort key that puts ``frame2`` in front of ``frame10``."""
    parts = re.split(r"(\d+)", path.stem.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part), path.name


def read_image(path: Path) -> np.ndarray:
    """Read an image file as upright RGB; deeper pixels are scaled to 8 bits, transparency is dropped.

    Returns:
        uint8 ``(h, w, 3)``.

    Raises:
        InputError: The file is missing, damaged or no image.
    """
    return _decode(path, path)


def decode_image(content: bytes, name: str) -> np.ndarray:
    """Read an image from the content of a file, as `read_image` does; ``name`` stands in messages."""
    return _decode(BytesIO(content), Path(name))


def _decode(source: Path | BytesIO, path: Path) -> np.ndarray:
    try:
        with Image.open(source) as file:
            image = ImageOps.exif_transpose(file) if _has_exif_header(file) else file
            if image.mode.startswith("I"):
                gray = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(gray[..., None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except READ_ERRORS as error:
        raise unreadable_image(path, error) from error


def _upright_hw(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as file:
            width, height = file.size
            is_turned = _has_exif_header(file) and file.getexif().get(_ORIENTATION_TAG, 1) >= 5
    except READ_ERRORS as error:
        raise unreadable_image(path, error) from error
    return (width, height) if is_turned else (height, width)


def _has_exif_header(file: Image.Image) -> bool:
    """Whether this kind of file is known to be turned by EXIF; asking a PNG would read all of it."""
    return file.format in ("JPEG", "MPO", "TIFF")


def unreadable_image(path: Path, error: Exception) -> InputError:
    """The error for an image that cannot be read."""
    is_empty = path.is_file() and path.stat().st_size == 0
    reason = "0 bytes" if is_empty else re.split(r": '| <_io", str(error))[0]
    return InputError(f"expected a readable image, got {str(path)!r} ({reason}); try copying it again or removing it")


def _other_size(path: Path, expected_hw: tuple[int, int], got_hw: tuple[int, int], first: Path) -> InputError:
    return InputError(
        f"expected every image to have {expected_hw[1]}x{expected_hw[0]} pixels like {first.name!r}, got "
        f"{got_hw[1]}x{got_hw[0]} in {str(path)!r}; try one folder per video"
    )

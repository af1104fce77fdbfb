"""Label maps and masks as files: palette PNGs, folders of them, and mask videos."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from PIL import Image

from surgvos.core import label_map_to_masks, masks_to_label_map, object_palette
from surgvos.errors import InputError
from surgvos.io.files import replacing
from surgvos.io.image_folder import READ_ERRORS, list_images, natural_key, unreadable_image
from surgvos.io.video_file import VideoFile


def read_label_map(path: str | Path) -> np.ndarray:
    """Read an image whose pixels are ids: palette (raw indices), grey of 1 to 16 bits, or equal colour channels.

    Returns:
        uint8 ``(h, w)``, or uint16 for 16-bit images; an alpha channel is ignored.

    Raises:
        InputError: The file is missing, damaged, a lossy JPEG, or in colour.
    """
    return _as_label_map(_read_pixels(Path(path)), str(path))


def decode_label_map(content: bytes, name: str) -> np.ndarray:
    """Read a label map from the content of a file, as `read_label_map` does; ``name`` stands in messages."""
    return _as_label_map(_decode_pixels(BytesIO(content), Path(name)), name)


def read_binary_mask(path: str | Path) -> np.ndarray:
    """Read an image as one mask: whatever is not black (or palette index 0) belongs to the object.

    Returns:
        bool ``(h, w)``; an alpha channel is ignored.

    Raises:
        InputError: The file is missing, damaged or a lossy JPEG.
    """
    pixels = _read_pixels(Path(path))
    return np.greater(pixels if pixels.ndim == 2 else pixels.max(axis=2), 0)


def write_label_map(path: str | Path, label_map: np.ndarray, palette: np.ndarray | None = None) -> None:
    """Write a label map as PNG, whole or not at all: with a palette up to id 255, 16-bit grey beyond.

    Args:
        path: Where to write; a file that is there is replaced.
        label_map: Integers or bool ``(h, w)``, ids in 0..65535.
        palette: uint8 ``(n, 3)`` RGB colours of ids 0..n-1; by default `surgvos.core.object_palette`.

    Raises:
        InputError: The label map has another shape or range.
        SurgvosError: The disk is full or the folder not writable.
    """
    image = Image.fromarray(_as_ids(label_map))
    if image.mode == "L":
        image.putpalette(_default_palette() if palette is None else np.ascontiguousarray(palette).tobytes())
    with replacing(Path(path)) as part:
        image.save(part, format="png", compress_level=1)


class MaskWriter:
    """Write label maps as ``<folder>/<frame name>.png`` in background threads.

    Use it as a context manager. A failed write is raised by the next `write` or by `close`.

    Args:
        folder: Where to write; made with the first mask.
        palette: See `write_label_map`.
        num_threads: Compression leaves the interpreter free, so two keep up with any model.
        depth: Label maps that may wait; `write` blocks beyond that.
    """

    def __init__(
        self, folder: str | Path, *, palette: np.ndarray | None = None, num_threads: int = 2, depth: int = 16
    ) -> None:
        self.folder = Path(folder)
        self._palette = palette
        self._depth = depth
        self._free = threading.Semaphore(depth)
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="surgvos-masks")
        self._first_error: BaseException | None = None

    def write(self, frame_name: str, label_map: np.ndarray) -> None:
        """Queue a label map, which must not be changed afterwards.

        Raises:
            InputError: The name is no file name, or an earlier label map was not valid.
            SurgvosError: An earlier label map could not be written.
        """
        self._queue(self.folder, frame_name, label_map)

    def write_per_object(self, frame_name: str, masks: Mapping[int, np.ndarray]) -> None:
        """Queue one label map per object as ``<folder>/<object, as 001>/<frame name>.png``; objects may overlap.

        Args:
            frame_name: Of the files.
            masks: Object id in 1..65535 -> bool ``(h, w)``.

        Raises:
            InputError: As `write`.
            SurgvosError: As `write`.
        """
        for object_id, mask in masks.items():
            label_map = masks_to_label_map({object_id: mask}, (mask.shape[0], mask.shape[1]))
            self._queue(self.folder / f"{object_id:03d}", frame_name, label_map)

    def _queue(self, folder: Path, frame_name: str, label_map: np.ndarray) -> None:
        if Path(frame_name).name != frame_name:
            raise InputError(f"expected a frame name that can name a file, got {frame_name!r}; try '00017'")
        self._raise_first_error()
        self._free.acquire()
        path = folder / f"{frame_name}.png"
        self._pool.submit(write_label_map, path, label_map, self._palette).add_done_callback(self._on_done)

    def flush(self) -> None:
        """Wait until everything queued so far is written.

        Raises:
            SurgvosError: Something could not be written.
        """
        # All places are free only when nothing waits and nothing is being written.
        for _ in range(self._depth):
            self._free.acquire()
        self._free.release(self._depth)
        self._raise_first_error()

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
            SurgvosError: Something could not be written.
        """
        self._pool.shutdown(wait=True)
        self._raise_first_error()

    def __enter__(self) -> MaskWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._pool.shutdown(wait=True)

    def _on_done(self, future: Future[None]) -> None:
        self._first_error = self._first_error or future.exception()
        self._free.release()

    def _raise_first_error(self) -> None:
        if self._first_error is not None:
            error, self._first_error = self._first_error, None
            raise error


class MaskFolder(Mapping[str, dict[int, np.ndarray]]):
    """A folder of masks as a mapping from frame name to masks by object id; files are read when asked for.

    Two layouts are known: ``<frame>.png`` (pixel = object id), and ``<object id>/<frame>.png`` (pixel > 0 is the
    object), where objects may overlap. Frames are in natural order. Absent objects have no entry.

    Example:
        >>> for frame_name, masks in read_mask_folder("masks").items():  # doctest: +SKIP
        ...     print(frame_name, sorted(masks))
    """

    def __init__(self, path: str | Path, nothing: Collection[int] = (0,)) -> None:
        self.path = Path(path)
        self._nothing = nothing
        if not self.path.is_dir():
            raise InputError(f"expected a folder of masks, got {str(path)!r}, which is none; try its parent folder")
        object_folders = {int(p.name): p for p in self.path.iterdir() if p.is_dir() and p.name.isdecimal()}
        has_label_maps = any(p.suffix.lower() == ".png" for p in self.path.iterdir() if p.is_file())
        self._label_maps: dict[str, Path] = {}
        self._object_masks: dict[str, dict[int, Path]] = {}
        if has_label_maps or not object_folders:
            self._label_maps = {p.stem: p for p in list_images(self.path)}
            self.frame_names = tuple(self._label_maps)
            return
        for object_id, folder in sorted(object_folders.items()):
            for path_of_mask in list_images(folder):
                self._object_masks.setdefault(path_of_mask.stem, {})[object_id] = path_of_mask
        self.frame_names = tuple(sorted(self._object_masks, key=lambda name: natural_key(Path(name + ".png"))))

    def __getitem__(self, frame_name: str) -> dict[int, np.ndarray]:
        if frame_name in self._label_maps:
            return label_map_to_masks(read_label_map(self._label_maps[frame_name]), nothing=self._nothing)
        masks = {i: read_binary_mask(path) for i, path in self._object_masks[frame_name].items()}
        return {object_id: mask for object_id, mask in masks.items() if mask.any()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.frame_names)

    def __len__(self) -> int:
        return len(self.frame_names)

    def __contains__(self, frame_name: object) -> bool:
        return frame_name in self._label_maps or frame_name in self._object_masks

    def label_map(self, frame_name: str) -> np.ndarray:
        """Read one frame as a label map; where objects overlap, the lowest id wins."""
        if frame_name in self._label_maps:
            return read_label_map(self._label_maps[frame_name])
        masks = {i: read_binary_mask(path) for i, path in self._object_masks[frame_name].items()}
        return masks_to_label_map(masks, next(iter(masks.values())).shape)


class MaskVideo(Mapping[str, dict[int, np.ndarray]]):
    """A grey video as a mapping from frame name to masks by object id: brighter than a threshold is the object.

    Compression blurs grey levels, so they are compared with thresholds and never for equality; objects overlap
    where a pixel passes several.
    """

    def __init__(self, path: str | Path, thresholds: Mapping[int, float]) -> None:
        self._video = VideoFile(path)
        self._thresholds = dict(thresholds)
        self.frame_names = tuple(f"{index:05d}" for index in range(len(self._video)))
        self._index_of = {name: index for index, name in enumerate(self.frame_names)}

    def __getitem__(self, frame_name: str) -> dict[int, np.ndarray]:
        gray = cv2.cvtColor(self._video[self._index_of[frame_name]].image, cv2.COLOR_RGB2GRAY)
        masks = {object_id: gray > threshold for object_id, threshold in self._thresholds.items()}
        return {object_id: mask for object_id, mask in masks.items() if mask.any()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.frame_names)

    def __len__(self) -> int:
        return len(self.frame_names)


def read_mask_folder(path: str | Path, nothing: Collection[int] = (0,)) -> MaskFolder:
    """Open a folder of masks in either layout; see `MaskFolder`.

    Args:
        path: The folder.
        nothing: Values of label maps that are no object.

    Raises:
        InputError: There is no such folder, or no image in it.
    """
    return MaskFolder(path, nothing)


def read_mask_video(path: str | Path, thresholds: Mapping[int, float]) -> MaskVideo:
    """Open a mask video as ground truth.

    Args:
        path: The video file.
        thresholds: Object id -> grey level in 0..255 above which a pixel belongs to the object.

    Raises:
        InputError: The file is no readable video, or a threshold is out of range.
    """
    bad = [value for value in thresholds.values() if not 0 <= value < 255]
    if bad or not thresholds:
        raise InputError(f"expected thresholds in 0..254, got {bad[0] if bad else 'none'}; try 127")
    return MaskVideo(path, thresholds)


def _as_label_map(pixels: np.ndarray, name: str) -> np.ndarray:
    if pixels.ndim == 2:
        return pixels
    if (pixels != pixels[..., :1]).any():
        raise InputError(
            f"expected a label map (palette, grey, or equal colour channels), got colours in {name!r}; "
            "try saving it as a palette PNG whose indices are the ids"
        )
    return np.ascontiguousarray(pixels[..., 0])


def _read_pixels(path: Path) -> np.ndarray:
    return _decode_pixels(path, path)


def _decode_pixels(file: Path | BytesIO, path: Path) -> np.ndarray:
    """Pixels as stored, alpha left out: ``(h, w)`` uint8 or uint16, or uint8 ``(h, w, 3)``."""
    try:
        with Image.open(file) as image:
            if image.format in ("JPEG", "MPO"):
                raise InputError(
                    f"expected a mask stored without loss, got the JPEG {str(path)!r}, whose compression changes "
                    "pixels; try PNG"
                )
            if image.mode.startswith("I"):
                return np.array(image).astype(np.uint16)
            if image.mode in ("L", "P", "1"):
                return np.array(image).astype(np.uint8)
            if image.mode in ("LA", "PA"):
                return np.array(image)[..., 0]
            return np.array(image.convert("RGB"))
    except READ_ERRORS as error:
        if isinstance(error, InputError):
            raise
        raise unreadable_image(path, error) from error


def _as_ids(label_map: np.ndarray) -> np.ndarray:
    array = np.asarray(label_map)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "bui":
        raise InputError(f"expected a label map of integers (h, w), got {array.dtype} {array.shape}")
    if array.dtype == np.uint8:
        return array
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest > 65535:
        raise InputError(f"expected ids in 0..65535, got {lowest if lowest < 0 else highest}")
    return array.astype(np.uint8 if highest <= 255 else np.uint16)


@lru_cache(maxsize=1)
def _default_palette() -> bytes:
    return object_palette().tobytes()

"""One compressed NumPy file per video.

Keys of ``masks.npz``:

=================  ================================================================================================
``masks``          uint8 ``(frames, ids, h, ceil(w / 8))``: a bit per pixel, as ``np.packbits(..., axis=-1)`` has it
``ids``            uint16 ``(ids,)``: what the second axis stands for
``names``          text ``(ids,)``: of the objects or classes
``image_hw``       int64 ``(2,)``
``frame_names``    text ``(frames,)``
``frame_indices``  int64 ``(frames,)``: where in the source
``times_s``        float64 ``(frames,)``: presentation times, NaN where there are none
=================  ================================================================================================

``np.unpackbits(masks, axis=-1, count=w).astype(bool)`` gives the masks back.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.export.interface import FrameHead, LabelledVideo, named_labels
from surgvos.export.json_files import explaining, file_in

FILE, _WHAT = "masks.npz", "an export to npz"
MAX_DESCRIPTION_BYTES = 2**28
_BROKEN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class Packed:
    """One compressed NumPy file; nothing is lost, objects may overlap."""

    summary = "one compressed NumPy file, a bit per pixel"

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write ``masks.npz``, one frame in memory at a time."""
        height, width = video.image_hw
        ids = video.labels.ids
        heads = video.heads
        with zipfile.ZipFile(folder / FILE, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
            for key, array in {
                "ids": np.array(ids, np.uint16),
                "names": np.array([video.labels[number].name for number in ids], np.str_),
                "image_hw": np.array(video.image_hw, np.int64),
                "frame_names": np.array([head.name for head in heads], np.str_),
                "frame_indices": np.array([head.index for head in heads], np.int64),
                "times_s": np.array([np.nan if head.time_s is None else head.time_s for head in heads], np.float64),
            }.items():
                with archive.open(f"{key}.npy", "w") as file:
                    npy.write_array(file, array, allow_pickle=False)
            with archive.open("masks.npy", "w", force_zip64=True) as file:
                shape = (len(heads), len(ids), height, -(-width // 8))
                npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                for _, masks in video:
                    nothing = np.zeros(video.image_hw, bool)
                    stacked = np.stack([masks.get(number, nothing) for number in ids]) if ids else nothing[:0]
                    file.write(np.packbits(stacked, axis=-1).tobytes())

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open ``masks.npz``; frames are unpacked one by one."""
        file = file_in(path, FILE, "*.npz")
        with _readable(file), zipfile.ZipFile(file) as archive:
            if (
                sum(member.file_size for member in archive.infolist() if member.filename != "masks.npy")
                > MAX_DESCRIPTION_BYTES
            ):
                raise ValueError("names beyond reason")
        with _readable(file), explaining(file, _WHAT), np.load(file, allow_pickle=False) as found:
            keys = ("ids", "names", "image_hw", "frame_names", "frame_indices", "times_s")
            ids, names, image_hw, frame_names, indices, times = (found[key].tolist() for key in keys)
            heads = [
                FrameHead(index, name, None if np.isnan(time_s) else time_s)
                for index, name, time_s in zip(indices, frame_names, times, strict=True)
            ]
            height, width = map(int, image_hw)
            frames = _PackedFrames(file, (len(heads), len(ids), height, -(-width // 8)))

        def read(position: int) -> dict[int, np.ndarray]:
            masks = np.unpackbits(frames[position], axis=-1, count=width).astype(bool)
            return {number: mask for number, mask in zip(ids, masks, strict=True) if mask.any()}

        if labels is None:
            labels = named_labels(dict(zip(ids, names, strict=True)))
        return LabelledVideo(file.stem, (height, width), labels, heads, read)


class _PackedFrames:
    """Frames of ``masks.npy``, read in order from the open archive; going back opens it anew."""

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self._path, self._shape = path, shape
        self._next = 0
        with _readable(path), explaining(path, _WHAT):
            self._file = self._open()

    def __getitem__(self, position: int) -> np.ndarray:
        num_bytes = int(np.prod(self._shape[1:], dtype=np.int64))
        with _readable(self._path), explaining(self._path, _WHAT):
            if position < self._next:
                self._file = self._open()
            while self._next < position:
                self._file.read(num_bytes)
                self._next += 1
            content = self._file.read(num_bytes)
            self._next += 1
            return np.frombuffer(content, np.uint8).reshape(self._shape[1:])

    def _open(self) -> IO[bytes]:
        self._next = 0
        file = zipfile.ZipFile(self._path).open("masks.npy")  # noqa: SIM115 (closed with this object)
        if npy.read_magic(file) != (1, 0):
            raise ValueError("another version of npy")
        shape, fortran_order, dtype = npy.read_array_header_1_0(file)
        if (shape, fortran_order, dtype) != (self._shape, False, np.uint8):
            raise ValueError(f"masks {dtype} {shape}")
        return file


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(f"expected {_WHAT}, got {str(path)!r}, which is damaged; try exporting it again") from error

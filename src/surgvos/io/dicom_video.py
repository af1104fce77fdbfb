"""Multi-frame DICOM as a sequence of frames: endoscopes, microscopes and ultrasound store their videos so."""

from __future__ import annotations

import operator
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from surgvos.core import Frame
from surgvos.errors import InputError
from surgvos.io.extras import import_extra
from surgvos.io.video_file import VideoFile

EXTRA = "dicom"
_PREAMBLE_BYTES, _MAGIC = 128, b"DICM"
_VIDEO_CODECS = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?")
"""Transfer syntaxes of MPEG-2, MPEG-4 and HEVC: the pixel data is the file of a video."""
_CHUNK_BYTES = 2**20
_EXPLICIT_HEADER_BYTES, _IMPLICIT_HEADER_BYTES = 12, 8


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its name or by its first bytes."""
    if path.suffix.lower() in (".dcm", ".dicom"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE_BYTES + len(_MAGIC))[_PREAMBLE_BYTES:] == _MAGIC
    except OSError:
        return False


class DicomVideo:
    """A DICOM file as a `VideoSource`: uncompressed, JPEG and its kin, RLE, or a video stream.

    Frames are read and decoded when they are asked for. Grey images become RGB of equal channels, deeper ones are
    scaled to 8 bits; a display window is not applied.

    Attributes:
        path: The file.
        name: Name under which results of this video are written; by default the file's stem.
        hw: Height and width of the frames in pixels.
        fps: Frames per second as the file says, or None.
    """

    def __init__(self, path: str | Path, *, name: str | None = None) -> None:
        """Open a file.

        Raises:
            InputError: It is no DICOM, damaged, or holds no image.
            MissingExtraError: pydicom is not installed.
        """
        self.path = Path(path)
        self.name = self.path.stem if name is None else name
        self._lock = threading.Lock()
        self._header, start = read_dicom_header(self.path)
        self.hw = (int(self._header.Rows), int(self._header.Columns))
        self.fps = _frame_rate(self._header)
        self._stream: VideoFile | None = None
        syntax = self._header.file_meta.TransferSyntaxUID
        self._is_encapsulated = bool(syntax.is_encapsulated)
        if _VIDEO_CODECS.fullmatch(str(syntax)):
            # What is taken out of the file lies on disk for as long as this object lives.
            self._folder = tempfile.TemporaryDirectory(prefix="surgvos-")
            self._stream = self._open_stream(start, Path(self._folder.name) / "stream")
            self.hw, self.fps = self._stream.hw, self.fps or self._stream.fps
        else:
            self._spans = self._find_frames(start)

    def __len__(self) -> int:
        return len(self._stream) if self._stream is not None else len(self._spans)

    def __iter__(self) -> Iterator[Frame]:
        if self._stream is not None:
            return (self._frame(frame.index, frame.image) for frame in self._stream)
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"expected a frame index below {len(self)}, got {index}")
        position %= len(self)
        if self._stream is not None:
            return self._frame(position, self._stream[position].image)
        with self._lock:
            return self._frame(position, self._decode(position))

    def _frame(self, index: int, image: np.ndarray) -> Frame:
        return Frame(index, f"{index:05d}", image, None if self.fps is None else index / self.fps)

    def _decode(self, position: int) -> np.ndarray:
        """One frame, as a file of one frame would hold it."""
        pixels = import_extra("pydicom.pixels", EXTRA)
        try:
            with self.path.open("rb") as file:
                content = b"".join(_read_at(file, start, size) for start, size in self._spans[position])
            if self._is_encapsulated:
                content = import_extra("pydicom.encaps", EXTRA).encapsulate([content])
            self._header.PixelData = content + b"\0" * (len(content) % 2)
            self._header["PixelData"].is_undefined_length = self._is_encapsulated
            decoded = pixels.pixel_array(self._header)
        except Exception as error:  # decoders of many formats, each with errors of its own
            raise _damaged(self.path, f"frame {position}: {error}") from error
        return _to_rgb(decoded, self._header)

    def _find_frames(self, start: int) -> list[list[tuple[int, int]]]:
        """Where each frame lies: spans of bytes, from the start of the file."""
        num_frames = int(self._header.get("NumberOfFrames") or 1)
        self._header.NumberOfFrames = 1
        if self._is_encapsulated:
            return self._find_fragments(start, num_frames)
        size = import_extra("pydicom.pixels.utils", EXTRA).get_expected_length(self._header)
        if self.path.stat().st_size < start + num_frames * size:
            raise _damaged(self.path, f"it ends before frame {num_frames - 1}")
        return [[(start + index * size, size)] for index in range(num_frames)]

    def _find_fragments(self, start: int, num_frames: int) -> list[list[tuple[int, int]]]:
        fragments, first_of_frame = _fragments(self.path, start)
        if len(fragments) == num_frames:
            return [[span] for span in fragments]
        if num_frames == 1:
            return [fragments]
        if len(first_of_frame) != num_frames:
            raise _damaged(
                self.path, f"{len(fragments)} pieces of {num_frames} frames, and no table of their beginnings"
            )
        bounds = [*first_of_frame, 1 << 62]
        return [
            [span for span in fragments if bounds[index] <= span[0] < bounds[index + 1]] for index in range(num_frames)
        ]

    def _open_stream(self, start: int, path: Path) -> VideoFile:
        spans, _ = _fragments(self.path, start)
        with self.path.open("rb") as file, path.open("wb") as out:
            for begin, size in spans:
                file.seek(begin)
                for left in range(size, 0, -_CHUNK_BYTES):
                    out.write(file.read(min(left, _CHUNK_BYTES)))
        try:
            return VideoFile(path, name=self.name)
        except InputError as error:
            raise _damaged(self.path, "a video stream that cannot be decoded") from error


def read_dicom_header(path: Path) -> tuple[Any, int]:
    """Read everything before the pixels.

    Returns:
        A `pydicom.Dataset`, and the position in the file at which the pixels begin.

    Raises:
        InputError: The file is no DICOM, damaged, or holds no image.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = import_extra("pydicom", EXTRA)
    try:
        with path.open("rb") as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            at = file.tell()
            tag = file.read(4)
    except OSError as error:
        raise InputError(f"expected a DICOM file, got {str(path)!r} ({error.strerror}); try another path") from error
    except Exception as error:  # pydicom raises whatever a damaged file leads it to
        raise InputError(f"expected a DICOM file, got {str(path)!r} ({error}); try exporting it again") from error
    if tag != b"\xe0\x7f\x10\x00" or "Rows" not in header:
        raise InputError(f"expected a DICOM file with frames, got {str(path)!r}, which holds none; try another file")
    is_implicit = header.file_meta.TransferSyntaxUID.is_implicit_VR
    return header, at + (_IMPLICIT_HEADER_BYTES if is_implicit else _EXPLICIT_HEADER_BYTES)


def _fragments(path: Path, start: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Spans of the pieces of encapsulated pixels, and where frames begin, if the file has a table of that."""
    spans: list[tuple[int, int]] = []
    table = b""
    with path.open("rb") as file:
        file.seek(start)
        while (head := file.read(8))[:4] == b"\xfe\xff\x00\xe0" and len(head) == 8:
            size = int.from_bytes(head[4:], "little")
            spans.append((file.tell(), size))
            if len(spans) == 1:
                table = file.read(size)
            else:
                file.seek(size, 1)
    if len(spans) < 2 or spans[-1][0] + spans[-1][1] > path.stat().st_size:
        raise _damaged(path, "it ends within its pixels")
    pieces = spans[1:]
    offsets = np.frombuffer(table[: len(table) // 4 * 4], "<u4").tolist()
    return pieces, [pieces[0][0] + offset for offset in offsets]


def _read_at(file: IO[bytes], start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _to_rgb(pixels: np.ndarray, header: Any) -> np.ndarray:
    if header.PhotometricInterpretation == "PALETTE COLOR":
        colors = import_extra("pydicom.pixels", EXTRA).apply_color_lut(pixels, header)
        return colors if colors.dtype == np.uint8 else (colors >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8:
        bits = int(header.BitsStored)
        lowest = -(2 ** (bits - 1)) if pixels.dtype.kind == "i" else 0
        pixels = ((pixels.astype(np.int64) - lowest) * 255 // (2**bits - 1)).clip(0, 255).astype(np.uint8)
    if pixels.ndim == 3:
        return np.ascontiguousarray(pixels[..., :3])
    if header.PhotometricInterpretation == "MONOCHROME1":
        pixels = 255 - pixels
    return np.repeat(pixels[..., None], 3, axis=2)


def _frame_rate(header: Any) -> float | None:
    rate = header.get("CineRate") or header.get("RecommendedDisplayFrameRate")
    if rate:
        return float(rate)
    times_ms = header.get("FrameTime") or np.mean(header.get("FrameTimeVector", [0])[1:] or [0])
    return 1000 / float(times_ms) if times_ms else None


def _damaged(path: Path, what: str) -> InputError:
    reason = " ".join(what.split())
    return InputError(f"expected a whole DICOM file, got {str(path)!r} ({reason}); try exporting it again")

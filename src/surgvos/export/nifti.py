"""NIfTI: a label volume ``(x, y, 1, t)``, as viewers of medical images read it."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surgvos.core.labels import LabelSpace
from surgvos.core.masks import label_map_to_masks
from surgvos.errors import InputError
from surgvos.export.interface import FrameHead, LabelledVideo, object_labels
from surgvos.export.json_files import file_in
from surgvos.io.extras import import_extra

FILE, _WHAT = "masks.nii.gz", "a label volume in NIfTI"
MAX_FRAMES = 32767
"""Sizes are 16-bit numbers in NIfTI-1."""


@dataclass(frozen=True, slots=True)
class Nifti:
    """NIfTI-1.

    A pixel is one unit wide, of no known length: a video has no place in a patient. The affine turns columns to the
    left and rows to the back, so that viewers show the picture upright. The fourth axis is time, in seconds.
    """

    summary = "one label volume (x, y, 1, time), compressed"

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write ``masks.nii.gz``, one frame in memory at a time; where masks overlap, the lowest id wins."""
        nibabel = import_extra("nibabel", "export")
        if len(video) > MAX_FRAMES:
            raise InputError(f"expected at most {MAX_FRAMES} frames for NIfTI, got {len(video)}; try --to npz")
        height, width = video.image_hw
        dtype = np.uint8 if max((*video.labels.ids, *video.labels.nothing)) <= 255 else np.uint16
        header = nibabel.Nifti1Header(endianness="<")
        header.set_data_dtype(dtype)
        header.set_data_shape((width, height, 1, len(video)))
        header.set_zooms((1.0, 1.0, 1.0, 1.0 / (video.fps or 1.0)))
        header.set_sform(np.diag([-1.0, -1.0, 1.0, 1.0]), code="aligned")
        header.set_xyzt_units("unknown", "sec")
        header["descrip"] = b"surgvos masks; pixel = id"
        header["magic"] = b"n+1"
        header["vox_offset"] = 352
        with gzip.GzipFile(folder / FILE, "wb", compresslevel=6, mtime=0) as file:
            header.write_to(file)
            for _, masks in video:
                # Rows of a frame lie one after the other, as x runs fastest in the volume.
                file.write(video.paint(masks).astype(np.dtype(dtype).newbyteorder("<")).tobytes())

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open a volume ``(x, y)``, ``(x, y, t)`` or ``(x, y, 1, t)`` of whole numbers; frames are numbered from 0."""
        nibabel = import_extra("nibabel", "export")
        file = file_in(path, FILE, "*.nii.gz", "*.nii")
        broken = (OSError, ValueError, EOFError, nibabel.filebasedimages.ImageFileError)
        try:
            image = nibabel.load(file, keep_file_open=True)
        except broken as error:
            raise InputError(f"expected {_WHAT}, got {str(file)!r} ({error}); try another file") from error
        shape = image.shape[:2] + tuple(size for size in image.shape[2:] if size != 1)
        if len(image.shape) < 2 or len(shape) > 3 or image.get_data_dtype().kind not in "ui":
            raise InputError(
                f"expected {_WHAT}, whole numbers (x, y, 1, t), got {image.get_data_dtype()} {image.shape} "
                f"in {str(file)!r}"
            )
        width, height, num_frames = (*shape, 1)[:3]

        def label_map(position: int) -> np.ndarray:
            slices = (slice(None),) * 2 + tuple(position if size == num_frames else 0 for size in image.shape[2:])
            try:
                frame = np.asanyarray(image.dataobj[slices])
            except broken as error:
                raise InputError(f"expected {_WHAT}, got {str(file)!r}, which is damaged") from error
            if frame.min() < 0 or frame.max() > 65535:
                raise InputError(f"expected ids in 0..65535 in {str(file)!r}, got {frame.min()}..{frame.max()}")
            return frame.T.astype(np.uint16)

        def read(position: int) -> dict[int, np.ndarray]:
            return label_map_to_masks(label_map(position), nothing=nothing)

        nothing = (0,) if labels is None else labels.nothing
        if labels is None:
            labels = object_labels({number for position in range(num_frames) for number in read(position)})
        heads = [FrameHead(position, f"{position:05d}") for position in range(num_frames)]
        return LabelledVideo(file.name.partition(".")[0], (height, width), labels, heads, read)

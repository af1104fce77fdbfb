"""The formats by name, and the two ways: out of a result folder, and into one."""

from __future__ import annotations

import difflib
from pathlib import Path

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.export.coco import Coco
from surgvos.export.cvat import Cvat
from surgvos.export.davis import Davis
from surgvos.export.dicom_seg import DicomSeg
from surgvos.export.interface import ExportFormat, LabelledVideo
from surgvos.export.label_studio import LabelStudio
from surgvos.export.nifti import Nifti
from surgvos.export.nnunet import Nnunet
from surgvos.export.packed import Packed
from surgvos.export.result_folder import LABEL_SPACE, write_results
from surgvos.export.yolo_seg import YoloSeg
from surgvos.io.files import new_folder
from surgvos.io.label_spaces import read_label_space, write_label_space

FORMATS: dict[str, ExportFormat] = {
    "coco": Coco(),
    "coco-polygons": Coco(polygons=True),
    "yolo-seg": YoloSeg(),
    "davis": Davis(),
    "npz": Packed(),
    "nifti": Nifti(),
    "dicom-seg": DicomSeg(),
    "cvat": Cvat(),
    "labelstudio": LabelStudio(),
    "nnunet": Nnunet(),
}


def format_by_name(name: str) -> ExportFormat:
    """Find a format.

    Raises:
        InputError: There is none of that name.
    """
    if name not in FORMATS:
        nearest = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.0)[0]
        raise InputError(f"expected a format of {', '.join(FORMATS)}, got {name!r}; try {nearest!r}")
    return FORMATS[name]


def export_video(video: LabelledVideo, name: str, out: Path) -> None:
    """Write a video of masks in a format, into a new folder, whole or not at all.

    ``label_space.json`` beside what the format has says which id has which name, so that all ids can be read back.

    Args:
        video: See `read_results`.
        name: Of the format.
        out: A new or empty folder.

    Raises:
        InputError: The format is not known or cannot hold the video, or the folder holds something.
        MissingExtraError: A package lacks.
        SurgvosError: The disk is full.
    """
    chosen = format_by_name(name)
    with new_folder(out) as part:
        chosen.write(video, part)
        write_label_space(part / LABEL_SPACE, video.labels)


def open_export(path: Path, name: str, labels: LabelSpace | None = None) -> LabelledVideo:
    """Open masks in a format.

    Args:
        path: A folder or a file.
        name: Of the format.
        labels: What ids and names mean; None takes ``label_space.json`` beside the file, if there is one.

    Raises:
        InputError: The format is not known, or the file is damaged or of another format.
        MissingExtraError: A package lacks.
    """
    chosen = format_by_name(name)
    if not path.exists():
        raise InputError(f"expected a file or folder to read, got {str(path)!r}, which does not exist")
    beside = (path if path.is_dir() else path.parent) / LABEL_SPACE
    if labels is None and beside.exists():
        labels = read_label_space(beside)
    return chosen.read(path, labels)


def import_video(
    path: Path, name: str, out: Path, labels: LabelSpace | None = None, *, per_object: bool = False
) -> int:
    """Turn masks in a format into a result folder; see `open_export` and `write_results`.

    Returns:
        The number of frames.
    """
    return write_results(open_export(path, name, labels), out, per_object=per_object)

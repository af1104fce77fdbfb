"""A video that is no DICOM, as a DICOM image that segmentations can refer to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from surgvos.errors import InputError
from surgvos.export.frame_images import jpegs_of
from surgvos.export.interface import LabelledVideo
from surgvos.io.extras import import_extra

MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.4"
_ITEM = b"\xfe\xff\x00\xe0"


def write_source(video: LabelledVideo, path: Path) -> Any:
    """Write the frames of a video as a multi-frame secondary capture, JPEG-compressed, without a patient.

    It claims no more than is known: a derived image of unknown modality, lossily compressed, in which something may be
    burned in; patient and study are left empty.

    Args:
        video: With its source.
        path: The file.

    Returns:
        Its header, a `pydicom.Dataset` without pixels.

    Raises:
        InputError: The frames are not at hand.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = import_extra("pydicom", "export")
    header = _header(pydicom, video)
    pixels = path.with_suffix(".pixels")
    try:
        with pixels.open("w+b") as file:
            num_bytes = _write_items(file, jpegs_of(video))
            raw_bytes = len(video) * video.image_hw[0] * video.image_hw[1] * 3
            header.LossyImageCompressionRatio = round(max(raw_bytes / num_bytes, 1), 2)
            file.seek(0)
            header.PixelData = file
            header["PixelData"].VR = "OB"
            header["PixelData"].is_undefined_length = True
            pydicom.dcmwrite(path, header, enforce_file_format=True)
            del header.PixelData
    finally:
        pixels.unlink(missing_ok=True)
    return header


def _write_items(file: IO[bytes], frames: Iterator[bytes]) -> int:
    """Write an empty table of offsets, and one item per frame; returns the bytes of all frames."""
    file.write(_ITEM + b"\0" * 4)
    num_bytes = 0
    for frame in frames:
        padded = frame + b"\0" * (len(frame) % 2)
        file.write(_ITEM + len(padded).to_bytes(4, "little") + padded)
        num_bytes += len(frame)
    return num_bytes


def _header(pydicom: Any, video: LabelledVideo) -> Any:
    uid, syntaxes = pydicom.uid.generate_uid, pydicom.uid
    if not video.heads:
        raise InputError(f"expected frames in {video.name!r}, got none")
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntaxes.JPEGBaseline8Bit
    header.SOPClassUID = MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE
    header.SOPInstanceUID, header.StudyInstanceUID, header.SeriesInstanceUID = uid(), uid(), uid()
    for empty in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
        "Manufacturer",
        "PatientOrientation",
    ):
        setattr(header, empty, "")
    header.SpecificCharacterSet = "ISO_IR 192"
    header.Modality = "OT"
    header.ConversionType = "WSD"
    header.ImageType = ["DERIVED", "SECONDARY"]
    header.BurnedInAnnotation = "YES"
    header.SeriesNumber = header.InstanceNumber = 1
    header.SeriesDescription = f"Video {video.name}"[:64]
    header.Rows, header.Columns = video.image_hw
    header.NumberOfFrames = len(video)
    header.FrameTime = round(1000 / (video.fps or 1), 6)
    header.FrameIncrementPointer = 0x00181063
    header.SamplesPerPixel = 3
    header.PhotometricInterpretation = "YBR_FULL_422"
    header.PlanarConfiguration = 0
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit = 7
    header.PixelRepresentation = 0
    header.LossyImageCompression = "01"
    header.LossyImageCompressionMethod = "ISO_10918_1"
    return header

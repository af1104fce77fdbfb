"""DICOM segmentations: one binary segment per id, each frame referring to the frame of the video that it shows.

highdicom makes the header for one frame, and checks it. It takes several frames only of images that have a place in a
patient, which a video has not; so the other frames are added here, as the standard describes them: each says its
segment, its place in time, and the frame that it was derived from. `highdicom.seg.segread` reads the result, and finds
masks by source frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np

from surgvos.core.labels import Label, LabelSpace
from surgvos.errors import InputError
from surgvos.export.dicom_source import write_source
from surgvos.export.interface import FrameHead, LabelledVideo, ids_of_names, join_masks, named_labels
from surgvos.export.json_files import explaining, file_in
from surgvos.io.dicom_video import DicomVideo, read_dicom_header
from surgvos.io.extras import import_extra

FILE, SOURCE, _WHAT = "segmentation.dcm", "source.dcm", "a DICOM segmentation of a video"
MANUFACTURER = "SurgVOS"
MAX_BYTES = 2**32 - 2
"""Pixels of one file that are not compressed; their length is a 32-bit number."""

_TISSUES = (
    "tissue", "pupil", "iris", "skin", "cornea", "lens", "abdominal wall", "liver", "gi tract", "fat", "cystic duct",
    "gallbladder", "vein", "artery", "kidney", "intestine", "ligament", "nerve", "ureter", "uterus", "vessel",
)  # fmt: skip
_INSTRUMENTS = (
    "instrument", "forceps", "scissors", "knife", "grasper", "hook", "driver", "retractor", "cannula", "handpiece",
    "cystotome", "micromanipulator", "suction", "probe", "clip applier", "vessel sealer", "lens injector",
    "needle holder", "spatula", "stapler", "trocar", "irrigat", "gauge", "phacoemulsification", "shaft", "wrist",
    "clasper",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DicomSeg:
    """DICOM segmentations, binary, uncompressed; objects may overlap, nothing is lost."""

    summary = "a DICOM segmentation, and source.dcm where the video is no DICOM"

    def write(self, video: LabelledVideo, folder: Path) -> None:
        """Write ``segmentation.dcm``, and ``source.dcm`` unless the video is a DICOM file itself."""
        import_extra("highdicom", "export")
        if not video.labels.ids:
            raise InputError(f"expected objects in {video.name!r}, got none; a DICOM segmentation needs one")
        if isinstance(video.source, DicomVideo):
            source, _ = read_dicom_header(video.source.path)
            number_of = [head.index + 1 for head in video.heads]
        else:
            source, number_of = write_source(video, folder / SOURCE), list(range(1, len(video) + 1))
        _write_segmentation(video, source, number_of, folder / FILE)

    def read(self, path: Path, labels: LabelSpace | None) -> LabelledVideo:
        """Open a segmentation of the frames of one multi-frame image, binary or of labels."""
        highdicom = import_extra("highdicom", "export")
        file = file_in(path, FILE, "*.dcm")
        try:
            found = highdicom.seg.segread(file, lazy_frame_retrieval=True)
        except Exception as error:  # pydicom and highdicom raise whatever a damaged file leads them to
            reason = " ".join(str(error).split())
            raise InputError(f"expected {_WHAT}, got {str(file)!r} ({reason}); try another file") from error
        if found.SegmentationType not in ("BINARY", "LABELMAP"):
            raise InputError(f"expected {_WHAT}, binary or of labels, got {found.SegmentationType} in {str(file)!r}")
        with explaining(file, _WHAT):
            return _open(found, file, labels)


def _write_segmentation(video: LabelledVideo, source: Any, number_of: list[int], path: Path) -> None:
    pydicom = import_extra("pydicom", "export")
    segmentation = _one_frame(video, source)
    template = segmentation.PerFrameFunctionalGroupsSequence[0]
    _index_by_time(segmentation)
    pixels = path.with_suffix(".pixels")
    groups = []
    try:
        with pixels.open("w+b") as file:
            writer = _BitWriter(file)
            for position, segment, mask in _shown(video):
                groups.append(_group(template, segment, position, number_of[position]))
                writer.write(mask)
            writer.finish()
            file.seek(0)
            segmentation.NumberOfFrames = len(groups)
            segmentation.PerFrameFunctionalGroupsSequence = groups
            segmentation["PixelData"] = pydicom.DataElement("PixelData", "OB", file)
            pydicom.dcmwrite(path, segmentation, enforce_file_format=True)
    finally:
        pixels.unlink(missing_ok=True)


def _shown(video: LabelledVideo) -> Iterator[tuple[int, int, np.ndarray]]:
    """Position, segment and mask of all that is to be seen.

    The first and the last frame are always there, if need be with an empty mask: they say how long the video is.
    """
    segment_of = {object_id: number for number, object_id in enumerate(video.labels.ids, start=1)}
    for position, (_, masks) in enumerate(video):
        visible = {segment_of[object_id]: mask for object_id, mask in masks.items() if mask.any()}
        if not visible and position in (0, len(video) - 1):
            visible = {1: np.zeros(video.image_hw, dtype=bool)}
        for segment, mask in sorted(visible.items()):
            yield position, segment, mask


class _BitWriter:
    """Pixels as bits, the first in the lowest, without a gap between frames."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = np.zeros(0, dtype=bool)
        self._num_bytes = 0

    def write(self, mask: np.ndarray) -> None:
        bits = np.concatenate((self._left, mask.ravel()))
        whole = bits.size // 8 * 8
        self._put(bits[:whole])
        self._left = bits[whole:]

    def finish(self) -> None:
        self._put(self._left)
        self._file.write(b"\0" * (self._num_bytes % 2))

    def _put(self, bits: np.ndarray) -> None:
        content = np.packbits(bits, bitorder="little").tobytes()
        self._num_bytes += len(content)
        if self._num_bytes > MAX_BYTES:
            raise InputError("expected masks of at most 4 GB for one DICOM segmentation, got more; try a shorter video")
        self._file.write(content)


class _BitReader:
    """Frames of bits, one by one: highdicom, asked so, loses the end of frames that do not fill whole bytes."""

    def __init__(self, header: Any, path: Path) -> None:
        self._path, self._hw = path, (int(header.Rows), int(header.Columns))
        _, self._start = read_dicom_header(path)

    def read(self, number: int) -> np.ndarray:
        """Frame, counted from 1; bool ``(h, w)``."""
        size = self._hw[0] * self._hw[1]
        first_bit = (number - 1) * size
        with self._path.open("rb") as file:
            file.seek(self._start + first_bit // 8)
            content = file.read((first_bit % 8 + size + 7) // 8)
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
        return bits[first_bit % 8 :][:size].astype(bool).reshape(self._hw)


def _one_frame(video: LabelledVideo, source: Any) -> Any:
    """A segmentation of the first frame alone, whose header highdicom has made and checked."""
    highdicom = import_extra("highdicom", "export")
    first = deepcopy(source)
    first.NumberOfFrames = 1
    first.pop("FrameOfReferenceUID", None)
    # highdicom demands the size of pixels in a patient; what is said here is taken out again by `_index_by_time`.
    shared = import_extra("pydicom", "export").Dataset()
    shared.PixelMeasuresSequence = highdicom.PixelMeasuresSequence(pixel_spacing=(1.0, 1.0), slice_thickness=None)
    first.SharedFunctionalGroupsSequence = [shared]
    arguments = _arguments(video, source)
    try:
        return highdicom.seg.Segmentation(source_images=[first], **arguments)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"expected a DICOM video that a segmentation can refer to, got {video.name!r} ({error}); "
            "try the video as a file of another kind"
        ) from error


def _arguments(video: LabelledVideo, source: Any) -> dict[str, Any]:
    uid = import_extra("pydicom.uid", "export").generate_uid
    labels = [video.labels[object_id] for object_id in video.labels.ids]
    return {
        "pixel_array": np.ones((1, *video.image_hw), dtype=np.uint8),
        "segmentation_type": "BINARY",
        "segment_descriptions": [_describe(number, label) for number, label in enumerate(labels, start=1)],
        "series_instance_uid": uid(),
        "series_number": int(source.get("SeriesNumber") or 0) + 1,
        "sop_instance_uid": uid(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": "SurgVOS",
        "software_versions": version("surgvos"),
        "device_serial_number": "0",
        "content_description": f"Masks of {video.name}"[:64],
        "content_label": "MASKS",
    }


def _describe(number: int, label: Label) -> Any:
    highdicom = import_extra("highdicom", "export")
    codes = import_extra("pydicom.sr.codedict", "export").codes
    category, kind = _property_of(label.name.lower(), codes)
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name[:64],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="SurgVOS", version=version("surgvos"), family=codes.cid7162.ArtificialIntelligence
        ),
        tracking_uid=import_extra("pydicom.uid", "export").generate_uid(),
        tracking_id=str(label.id),
        display_color=highdicom.color.CIELabColor.from_rgb(*label.color),
    )


def _property_of(name: str, codes: Any) -> tuple[Any, Any]:
    """What a label is said to be: an instrument, tissue, or, where its name tells neither, a physical object."""
    if any(word in name for word in _INSTRUMENTS):
        return codes.SCT.PhysicalObject, codes.SCT.InstrumentDevice
    if any(word in name for word in _TISSUES):
        return codes.SCT.Tissue, codes.SCT.Tissue
    return codes.SCT.PhysicalObject, codes.SCT.PhysicalObject


def _index_by_time(segmentation: Any) -> None:
    """Let frames be ordered by segment, then by their position in the stack of all frames: time."""
    pydicom = import_extra("pydicom", "export")
    by_segment = next(item for item in segmentation.DimensionIndexSequence if item.DimensionIndexPointer == 0x0062000B)
    by_position = pydicom.Dataset()
    by_position.DimensionIndexPointer = 0x00209057
    by_position.FunctionalGroupPointer = 0x00209111
    by_position.DimensionOrganizationUID = by_segment.DimensionOrganizationUID
    by_position.DimensionDescriptionLabel = "Frame of the video"
    segmentation.DimensionIndexSequence = [by_segment, by_position]
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for tag in ("SegmentIdentificationSequence", "PixelMeasuresSequence"):
        if tag in shared:
            delattr(shared, tag)


def _group(template: Any, segment: int, position: int, source_frame: int) -> Any:
    """What one frame says of itself: its segment, its place in time, and the frame it was derived from."""
    pydicom = import_extra("pydicom", "export")
    group = deepcopy(template)
    content = pydicom.Dataset()
    content.StackID = "1"
    content.InStackPositionNumber = position + 1
    content.DimensionIndexValues = [segment, position + 1]
    group.FrameContentSequence = [content]
    identification = pydicom.Dataset()
    identification.ReferencedSegmentNumber = segment
    group.SegmentIdentificationSequence = [identification]
    group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = source_frame
    return group


def _open(found: Any, file: Path, labels: LabelSpace | None) -> LabelledVideo:
    # The background of a segmentation of labels is its segment 0.
    segments = {int(item.SegmentNumber): item for item in found.SegmentSequence if item.SegmentNumber > 0}
    names = {number: str(item.SegmentLabel) for number, item in segments.items()}
    if found.get("Manufacturer") == MANUFACTURER:
        ids = {number: int(item.TrackingID) for number, item in segments.items()}
    elif labels is not None:
        by_name = ids_of_names(list(names.values()), labels)
        ids = {number: by_name[name] for number, name in names.items()}
    else:
        ids = {number: number for number in segments}
    shared = found.SharedFunctionalGroupsSequence[0]
    frames: dict[int, list[tuple[int, int]]] = {}
    for number, group in enumerate(found.PerFrameFunctionalGroupsSequence, start=1):
        frames.setdefault(_source_frame(group, shared), []).append((number, _segment_of(group, shared)))
    heads = [FrameHead(number - 1, f"{number - 1:05d}") for number in range(min(frames), max(frames) + 1)]
    is_binary = found.SegmentationType == "BINARY"
    frame = _BitReader(found, file).read if is_binary and not _is_compressed(found) else found.get_stored_frame

    def read(position: int) -> dict[int, np.ndarray]:
        with explaining(file, _WHAT):
            shown: list[tuple[int, np.ndarray]] = []
            for number, segment in frames.get(heads[position].index + 1, []):
                pixels = frame(number)
                parts = [(segment, pixels > 0)] if is_binary else [(value, pixels == value) for value in segments]
                shown += [(ids[value], mask) for value, mask in parts]
            return join_masks(shown)

    space = named_labels({ids[number]: name for number, name in names.items()}) if labels is None else labels
    return LabelledVideo(file.stem, (int(found.Rows), int(found.Columns)), space, heads, read)


def _is_compressed(found: Any) -> bool:
    return bool(found.file_meta.TransferSyntaxUID.is_encapsulated)


def _source_frame(group: Any, shared: Any) -> int:
    derivation = group.get("DerivationImageSequence") or shared.DerivationImageSequence
    return int(derivation[0].SourceImageSequence[0].ReferencedFrameNumber)


def _segment_of(group: Any, shared: Any) -> int:
    found = group.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
    return int(found[0].ReferencedSegmentNumber) if found else 0

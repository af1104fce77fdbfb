"""DICOM videos: every way in which pixels are stored gives the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG4HP41,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)

from helpers import moving_square_frames, write_video
from surgvos.core.frame import VideoSource
from surgvos.errors import InputError
from surgvos.io.dicom_video import DicomVideo
from surgvos.io.video import open_video
from surgvos.io.video_file import VideoFile

HW = (48, 64)


def frames() -> np.ndarray:
    return np.stack(moving_square_frames(5, hw=HW)[0])


def dataset(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **more: Any) -> pydicom.Dataset:
    """A multi-frame image, ``(t, h, w)`` or ``(t, h, w, 3)``, of the class of endoscopic videos."""
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    made.SOPInstanceUID = pydicom.uid.generate_uid()
    made.NumberOfFrames, made.Rows, made.Columns = pixels.shape[:3]
    made.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    made.PhotometricInterpretation = "RGB" if pixels.ndim == 4 else "MONOCHROME2"
    if pixels.ndim == 4:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = pixels.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.FrameTime = 40
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OB" if pixels.dtype == np.uint8 else "OW"
    for name, value in more.items():
        setattr(made, name, value)
    return made


def save(made: pydicom.Dataset, path: Path) -> Path:
    made["PixelData"].is_undefined_length = made.file_meta.TransferSyntaxUID.is_encapsulated
    pydicom.dcmwrite(path, made, enforce_file_format=True)
    return path


def jpegs(images: Sequence[np.ndarray]) -> list[bytes]:
    encoded = []
    for image in images:
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=95)
        encoded.append(file.getvalue())
    return encoded


def encapsulated(contents: list[bytes], *, has_table: bool = True, pieces: int = 1, **more: Any) -> pydicom.Dataset:
    return dataset(frames(), JPEGBaseline8Bit, PhotometricInterpretation="YBR_FULL_422",
                   PixelData=encapsulate(contents, fragments_per_frame=pieces, has_bot=has_table), **more)  # fmt: skip


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_frames_that_are_not_compressed(tmp_path: Path, syntax: str) -> None:
    video = open_video(save(dataset(frames(), syntax), tmp_path / "case.dcm"))
    assert isinstance(video, DicomVideo)
    assert isinstance(video, VideoSource)
    assert (video.name, video.hw, video.fps, len(video)) == ("case", HW, 25.0, 5)
    for index, frame in enumerate(video):
        assert (frame.index, frame.name, frame.time_s) == (index, f"{index:05d}", index / 25)
        assert np.array_equal(frame.image, frames()[index])
    assert np.array_equal(video[-1].image, frames()[4])
    assert np.array_equal(video[1].image, frames()[1])
    with pytest.raises(IndexError):
        _ = video[5]


@pytest.mark.parametrize(("has_table", "pieces"), [(True, 1), (False, 1), (True, 3)])
def test_jpeg_frames_in_any_number_of_pieces(tmp_path: Path, has_table: bool, pieces: int) -> None:
    contents = jpegs(frames())
    video = DicomVideo(save(encapsulated(contents, has_table=has_table, pieces=pieces), tmp_path / "case.dcm"))
    expected = [np.asarray(Image.open(BytesIO(content)).convert("RGB")) for content in contents]
    for index in (4, 0, 2, 1, 3):
        assert np.abs(video[index].image.astype(int) - expected[index]).max() <= 2


def test_run_lengths(tmp_path: Path) -> None:
    made = dataset(frames())
    made.compress(RLELossless)
    video = DicomVideo(save(made, tmp_path / "case.dcm"))
    assert all(np.array_equal(frame.image, image) for frame, image in zip(video, frames(), strict=True))


def test_a_video_stream_gives_the_frames_of_the_video(tmp_path: Path) -> None:
    inner = VideoFile(write_video(tmp_path / "stream.mp4", list(frames())))
    content = (tmp_path / "stream.mp4").read_bytes()
    made = dataset(frames(), MPEG4HP41, PhotometricInterpretation="YBR_PARTIAL_420", PixelData=encapsulate([content]))
    video = open_video(save(made, tmp_path / "no_suffix"), name="operation")
    assert isinstance(video, DicomVideo)
    assert (video.name, video.hw, video.fps, len(video)) == ("operation", HW, 25.0, 5)
    for frame, expected in zip(video, inner, strict=True):
        assert np.array_equal(frame.image, expected.image)
        assert np.array_equal(video[frame.index].image, expected.image)


def test_grey_becomes_rgb_and_deep_becomes_eight_bits(tmp_path: Path) -> None:
    grey = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    assert DicomVideo(save(dataset(grey), tmp_path / "a.dcm"))[1].image[0, 0].tolist() == [12, 12, 12]
    inverse = dataset(grey, PhotometricInterpretation="MONOCHROME1")
    assert DicomVideo(save(inverse, tmp_path / "b.dcm"))[1].image[0, 0].tolist() == [243, 243, 243]
    deep = np.full((1, 3, 4), 4095, np.uint16)
    twelve = dataset(deep, BitsStored=12, HighBit=11)
    assert DicomVideo(save(twelve, tmp_path / "c.dcm"))[0].image[0, 0].tolist() == [255, 255, 255]
    signed = dataset(np.full((1, 3, 4), -32768, np.int16))
    assert DicomVideo(save(signed, tmp_path / "d.dcm"))[0].image[0, 0].tolist() == [0, 0, 0]


def test_colours_of_a_palette(tmp_path: Path) -> None:
    """Older ultrasound stores indices."""
    made = dataset(np.array([[[0, 1], [1, 0]]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for number, name in enumerate(("Red", "Green", "Blue")):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 8])
        table = np.zeros(256, np.uint8)
        table[1] = 50 + number
        setattr(made, f"{name}PaletteColorLookupTableData", table.tobytes())
    image = DicomVideo(save(made, tmp_path / "case.dcm"))[0].image
    assert image[0].tolist() == [[0, 0, 0], [50, 51, 52]]


@pytest.mark.parametrize(
    ("field", "value", "fps"),
    [("CineRate", 30, 30.0), ("RecommendedDisplayFrameRate", 15, 15.0), ("FrameTime", 20, 50.0)],
)
def test_frame_rates(tmp_path: Path, field: str, value: int, fps: float) -> None:
    made = dataset(frames())
    del made.FrameTime
    setattr(made, field, value)
    assert DicomVideo(save(made, tmp_path / "case.dcm")).fps == fps


def test_frames_without_a_clock(tmp_path: Path) -> None:
    made = dataset(frames())
    del made.FrameTime
    video = DicomVideo(save(made, tmp_path / "case.dcm"))
    assert (video.fps, video[2].time_s) == (None, None)
    made.FrameTimeVector = [0, 40, 40, 40, 40]
    assert DicomVideo(save(made, tmp_path / "case.dcm")).fps == 25.0


def damaged(kind: str, path: Path) -> Path:
    if kind == "text":
        path.write_text("no DICOM at all")
        return path
    if kind == "report":
        made = dataset(frames())
        del made.PixelData
        pydicom.dcmwrite(path, made, enforce_file_format=True)
        return path
    made = encapsulated(jpegs(frames())) if kind == "cut pieces" else dataset(frames())
    save(made, path)
    path.write_bytes(path.read_bytes()[:-2000])
    return path


@pytest.mark.parametrize("kind", ["text", "report", "cut", "cut pieces"])
def test_damaged_files_are_one_sentence(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputError, match=r"^expected a .*DICOM") as told:
        open_video(damaged(kind, tmp_path / "case.dcm"))
    assert "\n" not in str(told.value)


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    contents = jpegs(frames())
    contents[3] = b"\xff\xd8" + bytes(200)
    video = DicomVideo(save(encapsulated(contents), tmp_path / "case.dcm"))
    assert video[2].image.shape == (*HW, 3)
    with pytest.raises(InputError, match="frame 3") as told:
        _ = video[3]
    assert "\n" not in str(told.value)


def test_a_segmentation_refers_to_a_dicom_video_itself(tmp_path: Path) -> None:
    from surgvos.export.formats import export_video, open_export
    from surgvos.export.interface import FrameHead, LabelledVideo, object_labels

    made = dataset(frames(), PatientID="7", PatientName="N^N", StudyInstanceUID=pydicom.uid.generate_uid(),
                   SeriesInstanceUID=pydicom.uid.generate_uid(), PatientBirthDate="", PatientSex="", StudyID="",
                   AccessionNumber="", StudyDate="", StudyTime="", Modality="ES")  # fmt: skip
    source = DicomVideo(save(made, tmp_path / "case.dcm"))
    masks = moving_square_frames(5, hw=HW)[1]
    heads = [FrameHead(index, f"{index:05d}") for index in (1, 2, 4)]
    video = LabelledVideo("case", HW, object_labels([5]), heads, lambda at: {5: masks[heads[at].index]}, 25.0, source)
    export_video(video, "dicom-seg", tmp_path / "out")
    assert not (tmp_path / "out" / "source.dcm").exists()
    written = pydicom.dcmread(tmp_path / "out" / "segmentation.dcm")
    assert (written.PatientID, written.StudyInstanceUID) == ("7", made.StudyInstanceUID)
    references = [
        group.DerivationImageSequence[0].SourceImageSequence[0] for group in written.PerFrameFunctionalGroupsSequence
    ]
    assert [reference.ReferencedFrameNumber for reference in references] == [2, 3, 5]
    assert {reference.ReferencedSOPInstanceUID for reference in references} == {made.SOPInstanceUID}
    found = {head.index: shown for head, shown in open_export(tmp_path / "out", "dicom-seg")}
    assert {index: sorted(shown) for index, shown in found.items()} == {1: [5], 2: [5], 3: [], 4: [5]}
    assert np.array_equal(found[4][5], masks[4])

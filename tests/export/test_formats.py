"""Every format: what is written is read back, by this house and by the libraries of those who use it."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import cv2
import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools.coco import COCO

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.core.masks import label_map_to_masks
from surgvos.data.vos_check import check_vos_folder
from surgvos.errors import InputError
from surgvos.export.formats import FORMATS, export_video, format_by_name, open_export
from surgvos.export.interface import FrameHead, LabelledVideo, object_labels
from surgvos.export.label_studio import decode_brush, encode_brush

HW = (24, 31)
IDS = (1, 2, 7, 255)
JOINED = {"yolo-seg"}
"""Formats that join the parts of an object by lines."""
LABEL_MAPS = {"davis", "nifti", "nnunet"}
"""Formats of one id per pixel."""


class Frames:
    """Frames of plain colours."""

    def __init__(self, num_frames: int, hw: tuple[int, int]) -> None:
        self._num_frames, self._hw = num_frames, hw

    def __len__(self) -> int:
        return self._num_frames

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        return Frame(index, f"{index:05d}", np.full((*self._hw, 3), (40 * index) % 256, np.uint8))


def video_of(label_maps: np.ndarray, labels: LabelSpace | None = None) -> LabelledVideo:
    labels = object_labels(IDS) if labels is None else labels
    return LabelledVideo(
        name="case",
        image_hw=label_maps.shape[1:],
        labels=labels,
        heads=[FrameHead(index, f"{index:05d}", index / 25) for index in range(len(label_maps))],
        read=lambda position: label_map_to_masks(label_maps[position], nothing=labels.nothing),
        fps=25.0,
        source=Frames(len(label_maps), label_maps.shape[1:]),
    )


def shapes() -> np.ndarray:
    """A part in a hole, two parts, one pixel, a line, the highest id, and a first and last frame without anything."""
    maps = np.zeros((6, *HW), np.uint8)
    maps[1, 3:20, 4:22] = 1
    maps[1, 6:16, 8:18] = 0
    maps[1, 9:12, 11:14] = 2
    maps[1, 0, 0] = 7
    maps[2, 1:6, 1:6] = 2
    maps[2, 15:22, 20:30] = 2
    maps[2, 10, 3:25] = 255
    maps[4, :, :] = 7
    maps[4, 5:9, 5:9] = 1
    return maps


def lines_between_parts(mask: np.ndarray) -> int:
    """Most pixels that joining the parts of a mask may add."""
    num_parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    return (num_parts - 1) * max(mask.shape)


def assert_same(name: str, expected: LabelledVideo, found: LabelledVideo) -> None:
    assert len(found) == len(expected)
    assert found.image_hw == expected.image_hw
    assert found.labels.ids == expected.labels.ids
    for (head, masks), (read_head, read_masks) in zip(expected, found, strict=True):
        assert read_head.name == head.name
        assert read_masks.keys() == masks.keys(), head
        for object_id, mask in masks.items():
            read = read_masks[object_id]
            if name in JOINED:
                assert (read >= mask).all()
                assert (read & ~mask).sum() <= lines_between_parts(mask)
            else:
                assert np.array_equal(read, mask), (head, object_id)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    video = video_of(shapes())
    export_video(video, name, tmp_path / "out")
    assert_same(name, video, open_export(tmp_path / "out", name))
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name or path.suffix == ".pixels"]


@pytest.mark.parametrize("name", FORMATS)
@given(
    maps=hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=11).flatmap(
        lambda shape: hnp.arrays(np.uint8, shape, elements=st.sampled_from((0, 0, 0, *IDS)))
    )
)
@settings(max_examples=6, deadline=None)
def test_any_label_maps_are_read_back(name: str, maps: np.ndarray) -> None:
    video = video_of(maps)
    with TemporaryDirectory() as folder:
        export_video(video, name, Path(folder) / "out")
        assert_same(name, video, open_export(Path(folder) / "out", name))


@pytest.mark.parametrize("name", FORMATS)
def test_classes_keep_their_names_and_ids(tmp_path: Path, name: str) -> None:
    labels = LabelSpace.from_names(["grasper", 'liver <left> & "lobe"', "hook"], ignore=255)
    maps = np.zeros((2, *HW), np.uint8)
    maps[0, :5], maps[0, 10:12], maps[1, 4:9, 4:9] = 1, 3, 255
    export_video(video_of(maps, labels), name, tmp_path / "out")
    found = open_export(tmp_path / "out", name)
    assert [(label.id, label.name) for label in found.labels.labels] == [
        (label.id, label.name) for label in labels.labels
    ]
    assert [sorted(masks) for _, masks in found] == [[1, 3], []]


@pytest.mark.parametrize("name", sorted(set(FORMATS) - LABEL_MAPS))
def test_objects_may_overlap(tmp_path: Path, name: str) -> None:
    mask = np.zeros(HW, bool)
    mask[2:9, 3:8] = True
    one = LabelledVideo(
        "case", HW, object_labels([1, 2]), [FrameHead(0, "00000")], lambda _: {1: mask, 2: mask}, 25.0, Frames(1, HW)
    )
    export_video(one, name, tmp_path / "out")
    assert_same(name, one, open_export(tmp_path / "out", name))


def areas(video: LabelledVideo) -> dict[tuple[int, int], int]:
    return {(head.index, i): int(mask.sum()) for head, masks in video for i, mask in masks.items()}


@pytest.mark.parametrize("name", ["coco", "coco-polygons"])
def test_pycocotools_reads_coco(tmp_path: Path, name: str) -> None:
    video = video_of(shapes())
    export_video(video, name, tmp_path / "out")
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    assert {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())} == {i: f"object {i}" for i in IDS}
    assert len(coco.getImgIds()) == len(video)
    found = {}
    for annotation in coco.loadAnns(coco.getAnnIds()):
        image = coco.loadImgs(annotation["image_id"])[0]
        mask = coco.annToMask(annotation).astype(bool)
        assert (image["height"], image["width"]) == HW
        assert annotation["area"] == mask.sum()
        assert annotation["track_id"] == annotation["category_id"]
        x, y, width, height = annotation["bbox"]
        assert mask[y : y + height, x : x + width].sum() == mask.sum()
        assert np.array_equal(mask, shapes()[image["frame_index"]] == annotation["category_id"])
        found[image["frame_index"], annotation["category_id"]] = int(mask.sum())
    assert found == areas(video)


def test_yolo_labels_follow_the_rules_of_ultralytics(tmp_path: Path) -> None:
    """Rows longer than a box, fractions of the image, cut to whole pixels and filled with their outline."""
    video = video_of(shapes())
    export_video(video, "yolo-seg", tmp_path / "out")
    description = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert description["names"] == {0: "object 1", 1: "object 2", 2: "object 7", 3: "object 255"}
    for index, label_map in enumerate(shapes()):
        assert Image.open(tmp_path / "out" / description["train"] / f"{index:05d}.jpg").size == HW[::-1]
        rows = (tmp_path / "out" / "labels" / f"{index:05d}.txt").read_text().splitlines()
        assert len(rows) == len(set(rows)) == len(np.unique(label_map[label_map > 0]))
        for row in rows:
            number, *numbers = row.split()
            assert len(numbers) >= 6
            corners = np.array(numbers, np.float32).reshape(-1, 2)
            assert ((corners > 0) & (corners < 1)).all()
            mask = np.zeros(HW, np.uint8)
            cv2.fillPoly(mask, [(corners * np.array(HW[::-1], np.float32)).astype(np.int32)], 1)
            true = label_map == IDS[int(number)]
            assert (mask >= true).all()
            assert mask.sum() - true.sum() <= lines_between_parts(true)


def test_davis_is_what_surgvos_checks_and_trains_on(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "davis", tmp_path / "out")
    (checked,) = check_vos_folder(tmp_path / "out")
    assert checked.faults == ()
    assert (checked.name, checked.num_frames, checked.num_annotated) == ("case", 6, 6)
    assert checked.objects == {1: 2, 2: 2, 7: 2, 255: 1}
    with Image.open(tmp_path / "out" / "Annotations" / "case" / "00001.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), shapes()[1])


def test_numpy_reads_npz_by_the_documented_keys(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "npz", tmp_path / "out")
    with np.load(tmp_path / "out" / "masks.npz", allow_pickle=False) as found:
        masks = np.unpackbits(found["masks"], axis=-1, count=int(found["image_hw"][1])).astype(bool)
        assert masks.shape == (6, 4, *HW)
        assert found["ids"].tolist() == list(IDS)
        assert found["names"].tolist() == [f"object {number}" for number in IDS]
        assert found["frame_names"].tolist() == [f"{index:05d}" for index in range(6)]
        assert found["frame_indices"].tolist() == list(range(6))
        assert found["times_s"].tolist() == [index / 25 for index in range(6)]
    assert all(np.array_equal(masks[:, k], shapes() == number) for k, number in enumerate(IDS))


def test_nibabel_reads_nifti(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "nifti", tmp_path / "out")
    image = nibabel.load(tmp_path / "out" / "masks.nii.gz")
    volume = np.asanyarray(image.dataobj)
    assert volume.shape == (HW[1], HW[0], 1, 6)
    assert volume.dtype == np.uint8
    assert np.array_equal(volume[:, :, 0].transpose(2, 1, 0), shapes())
    assert np.array_equal(image.affine, np.diag([-1, -1, 1, 1]))
    assert image.header.get_zooms()[3] == pytest.approx(1 / 25)
    assert image.header.get_xyzt_units() == ("unknown", "sec")


def test_ids_above_255_take_two_bytes_in_nifti(tmp_path: Path) -> None:
    maps = np.zeros((2, *HW), np.uint16)
    maps[1, 2, 3] = 300
    export_video(video_of(maps, object_labels([300])), "nifti", tmp_path / "out")
    image = nibabel.load(tmp_path / "out" / "masks.nii.gz")
    assert image.get_data_dtype() == np.uint16
    assert np.asanyarray(image.dataobj)[3, 2, 0, 1] == 300


def test_highdicom_finds_masks_by_the_frame_of_the_source(tmp_path: Path) -> None:
    video = video_of(shapes())
    export_video(video, "dicom-seg", tmp_path / "out")
    source = pydicom.dcmread(tmp_path / "out" / "source.dcm")
    assert source.NumberOfFrames == 6
    assert source.pixel_array.shape == (6, *HW, 3)
    segmentation = highdicom.seg.segread(tmp_path / "out" / "segmentation.dcm")
    assert segmentation.StudyInstanceUID == source.StudyInstanceUID
    assert [segmentation.get_segment_description(n).tracking_id for n in range(1, 5)] == ["1", "2", "7", "255"]
    assert [segmentation.get_segment_description(n).segment_label for n in (1, 4)] == ["object 1", "object 255"]
    pixels = segmentation.get_pixels_by_source_frame(
        source.SOPInstanceUID, range(1, 7), assert_missing_frames_are_empty=True
    )
    for k, number in enumerate(IDS):
        assert np.array_equal(pixels[..., k] > 0, shapes() == number)
    per_segment = [int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
                   for group in segmentation.PerFrameFunctionalGroupsSequence]  # fmt: skip
    assert len(per_segment) == len(areas(video)) + 2  # the empty first and last frame


def test_pydicom_reads_the_segmentation(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "dicom-seg", tmp_path / "out")
    dataset = pydicom.dcmread(tmp_path / "out" / "segmentation.dcm")
    assert dataset.SOPClassUID == pydicom.uid.SegmentationStorage
    total = sum(areas(video_of(shapes())).values())
    assert dataset.pixel_array.shape == (dataset.NumberOfFrames, *HW)
    assert dataset.pixel_array.sum() == total
    assert "PixelMeasuresSequence" not in dataset.SharedFunctionalGroupsSequence[0]


def test_segments_are_said_to_be_instruments_tissue_or_neither(tmp_path: Path) -> None:
    labels = LabelSpace.from_names(["Bipolar Forceps", "Liver", "object 3"])
    maps = np.zeros((1, *HW), np.uint8)
    maps[0, 0, :3] = 1, 2, 3
    export_video(video_of(maps, labels), "dicom-seg", tmp_path / "out")
    dataset = pydicom.dcmread(tmp_path / "out" / "segmentation.dcm")
    meanings = [item.SegmentedPropertyTypeCodeSequence[0].CodeMeaning for item in dataset.SegmentSequence]
    assert meanings == ["Instrument, device (physical object)", "Tissue", "Physical object"]


def rewrite_segmentation(folder: Path, change: Any) -> Path:
    """Make of our segmentation one that another tool has written."""
    dataset = pydicom.dcmread(folder / "segmentation.dcm")
    dataset.Manufacturer = "Another"
    for item, name in zip(dataset.SegmentSequence, ("hook", "clip", "hook", "liver"), strict=True):
        item.SegmentLabel = name
        del item.TrackingID
        del item.TrackingUID
    change(dataset)
    pydicom.dcmwrite(folder / "other.dcm", dataset, enforce_file_format=True)
    return folder / "other.dcm"


def test_segmentations_of_others_have_segment_numbers_or_names(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "dicom-seg", tmp_path / "out")
    (tmp_path / "out" / "label_space.json").unlink()
    path = rewrite_segmentation(tmp_path / "out", lambda _: None)
    by_number = open_export(path, "dicom-seg")
    assert [(label.id, label.name) for label in by_number.labels.labels] == [
        (1, "hook 1"), (2, "clip"), (3, "hook 3"), (4, "liver"),
    ]  # fmt: skip
    assert [sorted(masks) for _, masks in by_number] == [[], [1, 2, 3], [2, 4], [], [1, 3], []]
    by_name = open_export(path, "dicom-seg", LabelSpace.from_names(["liver", "hook", "clip"]))
    assert [sorted(masks) for _, masks in by_name] == [[], [2, 3], [1, 3], [], [2], []]


def test_segmentations_of_labels_are_read(tmp_path: Path) -> None:
    """The newer kind, one frame of labels per frame of the source."""
    maps = shapes()
    export_video(video_of(maps), "dicom-seg", tmp_path / "out")
    (tmp_path / "out" / "label_space.json").unlink()

    def to_labels(dataset: pydicom.Dataset) -> None:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
        dataset.SegmentationType = "LABELMAP"
        dataset.DimensionIndexSequence = [dataset.DimensionIndexSequence[1]]
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        first_of = {
            int(group.FrameContentSequence[0].InStackPositionNumber) - 1: group
            for group in dataset.PerFrameFunctionalGroupsSequence
        }
        for group in first_of.values():
            del group.SegmentIdentificationSequence
            group.FrameContentSequence[0].DimensionIndexValues = group.FrameContentSequence[0].DimensionIndexValues[1]
        dataset.PerFrameFunctionalGroupsSequence = [first_of[index] for index in sorted(first_of)]
        dataset.NumberOfFrames = len(first_of)
        numbers = {number: segment for segment, number in enumerate(IDS, start=1)}
        stored = np.vectorize(lambda value: numbers.get(value, 0))(maps[sorted(first_of)]).astype(np.uint8)
        dataset.PixelData = stored.tobytes() + b"\0" * (stored.size % 2)

    found = open_export(rewrite_segmentation(tmp_path / "out", to_labels), "dicom-seg")
    assert found.labels.ids == (1, 2, 3, 4)
    for (_, masks), label_map in zip(found, maps, strict=True):
        expected = {k: label_map == number for k, number in enumerate(IDS, start=1) if (label_map == number).any()}
        assert masks.keys() == expected.keys()
        assert all(np.array_equal(masks[k], expected[k]) for k in masks)


def test_a_segmentation_of_fractions_is_refused(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "dicom-seg", tmp_path / "out")
    path = rewrite_segmentation(tmp_path / "out", lambda dataset: setattr(dataset, "SegmentationType", "FRACTIONAL"))
    with pytest.raises(InputError, match="FRACTIONAL"):
        open_export(path, "dicom-seg")


def test_cvat_xml_follows_its_schema(tmp_path: Path) -> None:
    """Runs along the rows of the box, the first of them of background, as CVAT's documentation has them."""
    export_video(video_of(shapes()), "cvat", tmp_path / "out")
    root = ElementTree.parse(tmp_path / "out" / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    names = [label.findtext("name") for label in root.iter("label")]
    assert names == [item["name"] for item in json.loads((tmp_path / "out" / "labels.json").read_text())]
    assert [image.attrib["id"] for image in root.findall("image")] == [str(index) for index in range(6)]
    for image in root.findall("image"):
        label_map = shapes()[int(image.attrib["id"])]
        assert (int(image.attrib["height"]), int(image.attrib["width"])) == HW
        for shape in image.findall("mask"):
            left, top, width, height = (int(shape.attrib[key]) for key in ("left", "top", "width", "height"))
            runs = [int(run) for run in shape.attrib["rle"].split(",")]
            crop = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
            mask = np.zeros(HW, bool)
            mask[top : top + height, left : left + width] = crop
            assert np.array_equal(mask, label_map == int(shape.attrib["label"].removeprefix("object ")))


def test_label_studio_tasks_follow_its_schema(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "labelstudio", tmp_path / "out")
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    config = ElementTree.parse(tmp_path / "out" / "labeling_config.xml").getroot()
    control = config.find("BrushLabels")
    assert control is not None
    known = {label.attrib["value"] for label in control.findall("Label")}
    assert len(tasks) == 6
    for task, label_map in zip(tasks, shapes(), strict=True):
        for region in task["annotations"][0]["result"]:
            assert (region["from_name"], region["to_name"]) == (control.attrib["name"], control.attrib["toName"])
            assert (region["original_height"], region["original_width"]) == HW
            (name,) = region["value"]["brushlabels"]
            assert name in known
            mask = decode_brush(region["value"]["rle"], HW)
            assert np.array_equal(mask, label_map == int(name.removeprefix("object ")))


def test_brush_run_lengths_bit_by_bit() -> None:
    """Two pixels, the second set, written out by hand from the description of the format."""
    bits = f"{8:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += "1" + "00" + f"{3:03b}" + f"{0:08b}"
    bits += "1" + "00" + f"{3:03b}" + f"{255:08b}"
    bits += "0" * (-len(bits) % 8)
    expected = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert encode_brush(np.array([[False, True]])) == expected


def test_brush_run_lengths_that_label_studio_writes_itself() -> None:
    """Its own files also hold values one by one."""
    bits = f"{8:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += "0" + "00" + f"{7:03b}" + "".join(f"{value:08b}" for value in (0, 0, 0, 0, 9, 9, 9, 200))
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert decode_brush(rle, (1, 2)).tolist() == [[False, True]]


@given(mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
@settings(max_examples=60, deadline=None)
def test_brush_run_lengths_of_any_mask(mask: np.ndarray) -> None:
    assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


def test_nnunet_finds_its_files_by_their_names(tmp_path: Path) -> None:
    """Frames without loss, numbers without a gap, as many cases as dataset.json says."""
    video = video_of(shapes())
    export_video(video, "nnunet", tmp_path / "out")
    folder = tmp_path / "out" / "Dataset001_case"
    description = json.loads((folder / "dataset.json").read_text())
    assert description["labels"] == {"background": 0} | {f"object {i}": n for n, i in enumerate(IDS, start=1)}
    assert description["numTraining"] == len(video)
    numbers = np.zeros(256, np.uint8)
    numbers[list(IDS)] = 1, 2, 3, 4
    for index, image in enumerate(video.images()):
        case = f"case__{index:05d}"
        assert np.array_equal(np.asarray(Image.open(folder / "imagesTr" / f"{case}_0000.png")), image)
        label_map = np.asarray(Image.open(folder / "labelsTr" / f"{case}.png"))
        assert np.array_equal(label_map, numbers[shapes()[index]])
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["Dataset001_case"]


@pytest.mark.parametrize("folder", ["Dataset001_case", "Dataset001_case/labelsTr", "predictions"])
def test_nnunet_data_sets_labels_and_predictions_are_read(tmp_path: Path, folder: str) -> None:
    video = video_of(shapes())
    export_video(video, "nnunet", tmp_path / "out")
    made = tmp_path / "out" / "Dataset001_case"
    (tmp_path / "out" / "predictions").mkdir()
    for path in (made / "dataset.json", *(made / "labelsTr").iterdir()):
        (tmp_path / "out" / "predictions" / path.name).write_bytes(path.read_bytes())
    found = open_export(tmp_path / "out" / folder, "nnunet", object_labels(IDS))
    assert_same("nnunet", video, found)
    by_number = open_export(tmp_path / "out" / folder, "nnunet")
    assert [(label.id, label.name) for label in by_number.labels.labels] == [
        (number, f"object {object_id}") for number, object_id in enumerate(IDS, start=1)
    ]


@pytest.mark.parametrize("name", ["yolo-seg", "davis", "dicom-seg", "nnunet"])
def test_formats_that_hold_frames_say_so_where_there_are_none(tmp_path: Path, name: str) -> None:
    video = video_of(shapes())
    without = LabelledVideo(video.name, video.image_hw, video.labels, video.heads, video.read)
    with pytest.raises(InputError, match="try --video"):
        export_video(without, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="new or empty folder"):
        export_video(video_of(shapes()), "coco", tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(InputError, match="try 'nifti'"):
        format_by_name("nifty")


MAIN_FILE = {
    "coco": "annotations.json",
    "coco-polygons": "annotations.json",
    "yolo-seg": "data.yaml",
    "davis": "Annotations/case/00001.png",
    "npz": "masks.npz",
    "nifti": "masks.nii.gz",
    "dicom-seg": "segmentation.dcm",
    "cvat": "annotations.xml",
    "labelstudio": "tasks.json",
    "nnunet": "Dataset001_case/dataset.json",
}


@pytest.mark.parametrize(
    ("name", "damage"),
    # Half of a list of classes is a list of classes.
    [
        (name, damage)
        for name in FORMATS
        for damage in ("cut", "noise", "empty")
        if (name, damage) != ("yolo-seg", "cut")
    ],
)
def test_damaged_files_are_one_sentence(tmp_path: Path, name: str, damage: str) -> None:
    export_video(video_of(shapes()), name, tmp_path / "out")
    path = tmp_path / "out" / MAIN_FILE[name]
    content = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, len(content), dtype=np.uint8).tobytes()
    path.write_bytes({"cut": content[: len(content) // 2], "noise": noise, "empty": b""}[damage])
    with pytest.raises(InputError) as told:
        list(open_export(tmp_path / "out", name))
    assert str(told.value).startswith("expected")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_without_anything_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"^expected"):
        list(open_export(tmp_path, name))


def change_json(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("images"),
        lambda c: c["annotations"][0].update(image_id=99),
        lambda c: c["annotations"][0]["segmentation"].update(counts=[1, 2]),
        lambda c: c["annotations"][0]["segmentation"].update(size=[1, 2]),
        lambda c: c["annotations"][0].update(segmentation=None),
        lambda c: c["images"][0].update(height=3),
        lambda c: c["images"][0].update(file_name=c["images"][1]["file_name"]),
        lambda c: c["annotations"][0].update(category_id=77, track_id=77),
    ],
)
def test_wrong_coco_is_one_sentence(tmp_path: Path, change: Any) -> None:
    export_video(video_of(shapes()), "coco", tmp_path / "out")
    change_json(tmp_path / "out" / "annotations.json", change)
    with pytest.raises(InputError, match=r"^expected"):
        list(open_export(tmp_path / "out", "coco"))


def test_coco_of_others_has_polygons_text_and_categories(tmp_path: Path) -> None:
    """No tracks, no label space: instances of one category are one mask, as labels have no identity over time."""
    from pycocotools import mask as coding

    text = coding.encode(np.asfortranarray(shapes()[1] == 1, np.uint8))
    found = {
        "images": [{"id": 5, "file_name": "video/frame_7.png", "height": HW[0], "width": HW[1]}],
        "categories": [{"id": 3, "name": "hook"}, {"id": 4, "name": "clip"}],
        "annotations": [
            {"id": 1, "image_id": 5, "category_id": 3, "segmentation": [[2, 2, 6, 2, 6, 5, 2, 5]]},
            {"id": 2, "image_id": 5, "category_id": 3, "segmentation": [[10, 10, 12, 10, 12, 11, 10, 11]]},
            {"id": 3, "image_id": 5, "category_id": 4,
             "segmentation": {"size": list(HW), "counts": text["counts"].decode()}},
        ],
    }  # fmt: skip
    (tmp_path / "instances.json").write_text(json.dumps(found))
    ((head, masks),) = list(open_export(tmp_path / "instances.json", "coco"))
    assert head.name == "frame_7"
    assert {number: int(mask.sum()) for number, mask in masks.items()} == {3: 14, 4: int((shapes()[1] == 1).sum())}


def test_xml_with_entities_is_refused(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><annotations>&b;</annotations>'
    (tmp_path / "annotations.xml").write_text(bomb)
    with pytest.raises(InputError, match="CVAT for images"):
        open_export(tmp_path / "annotations.xml", "cvat")


def test_npz_with_objects_to_unpickle_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "masks.npz", ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="npz"):
        open_export(tmp_path / "masks.npz", "npz")


def test_npz_whose_header_lies_is_refused(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "npz", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / "masks.npz") as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if name != "masks.npy"}
    with zipfile.ZipFile(tmp_path / "out" / "masks.npz", "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
        archive.writestr("masks.npy", b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|u1', 'fortran_order': False, "
                         b"'shape': (9999999, 4, 24, 4), }".ljust(0x75) + b"\n")  # fmt: skip
    with pytest.raises(InputError, match="npz"):
        open_export(tmp_path / "out", "npz")


@pytest.mark.parametrize("name", ["../../outside", "/outside", "..", ""])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="name a file"):
        FrameHead(0, name)
    export_video(video_of(shapes()), "npz", tmp_path / "out")
    path = tmp_path / "out" / "masks.npz"
    with np.load(path) as found:
        arrays = dict(found)
    np.savez_compressed(path, **arrays | {"frame_names": np.array([name, *arrays["frame_names"][1:]])})
    with pytest.raises(InputError, match="name a file"):
        open_export(path, "npz")


def test_images_of_a_size_beyond_reason_are_refused(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "coco", tmp_path / "out")
    change_json(
        tmp_path / "out" / "annotations.json",
        lambda content: [image.update(height=10**9, width=10**9) for image in content["images"]],
    )
    with pytest.raises(InputError, match="pixels"):
        open_export(tmp_path / "out", "coco")


def test_nifti_of_fractions_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="whole numbers"):
        open_export(tmp_path / "a.nii.gz", "nifti")


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (7, 5, 1, 3), (7, 5, 3, 1)])
def test_nifti_volumes_of_others(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume = np.zeros(shape, np.int16)
    volume[6, 0] = 4
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    found = open_export(tmp_path / "a.nii", "nifti")
    assert found.image_hw == (5, 7)
    assert len(found) == (3 if len(shape) > 2 else 1)
    assert all(masks.keys() == {4} and masks[4][0, 6] and masks[4].sum() == 1 for _, masks in found)


def test_nifti_holds_no_more_frames_than_its_header_can_say(tmp_path: Path) -> None:
    heads = [FrameHead(index, str(index)) for index in range(32768)]
    video = LabelledVideo("long", (1, 1), object_labels([1]), heads, lambda _: {})
    with pytest.raises(InputError, match="32767"):
        export_video(video, "nifti", tmp_path / "out")


def test_writing_holds_one_frame_at_a_time(tmp_path: Path) -> None:
    """Formats that are written as a stream ask for a frame only when the one before is written."""
    asked: list[int] = []

    def read(position: int) -> dict[int, np.ndarray]:
        asked.append(position)
        return {1: np.ones(HW, bool)}

    for name in ("coco", "npz", "nifti", "cvat", "labelstudio"):
        asked.clear()
        heads = [FrameHead(index, f"{index:05d}") for index in range(50)]
        export_video(LabelledVideo("v", HW, object_labels([1]), heads, read), name, tmp_path / name)
        assert asked == list(range(50))


def test_the_compressed_volume_is_a_plain_gzip_file(tmp_path: Path) -> None:
    export_video(video_of(shapes()), "nifti", tmp_path / "out")
    with gzip.open(tmp_path / "out" / "masks.nii.gz") as file:
        assert len(file.read()) == 352 + shapes().size

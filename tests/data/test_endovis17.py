"""EndoVis 2017: the crop, the label families, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_miniatures import Files, contents, endovis17, endovis17_files, png, tool_map, write_folder
from surgvos.data.endovis17 import EndoVis17, type_of_tool
from surgvos.errors import InputError
from surgvos.io.image_folder import decode_image, read_image
from surgvos.io.masks import read_label_map

TRAIN_1 = "instrument_1_4_training/instrument_dataset_1"


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("endovis17")
    endovis17().prepare([write_folder(root / "source", endovis17_files())], root / "out")
    return root / "out"


def prepare(files: Files, tmp_path: Path) -> Path:
    endovis17().prepare([write_folder(tmp_path / "source", files)], tmp_path / "out")
    return tmp_path / "out"


def test_frames_are_cropped_and_not_resized(ready: Path) -> None:
    source = decode_image(endovis17_files()[f"{TRAIN_1}/left_frames/frame001.png"], "")
    prepared = read_image(ready / "train/JPEGImages/seq_1/00001.png")
    np.testing.assert_array_equal(prepared, source[28:1052, 320:1600])


def test_an_object_is_a_tool_file_in_the_order_of_names(ready: Path) -> None:
    label_map = read_label_map(ready / "train/Annotations/seq_1/00001.png")
    expected = np.zeros((1080, 1920), np.uint8)
    for object_id, left_px in ((1, 500), (2, 700), (3, 900)):
        expected[tool_map(left_px) > 0] = object_id
    np.testing.assert_array_equal(label_map, expected[28:1052, 320:1600])
    listing = json.loads((ready / "train/objects.json").read_text())
    assert [(item["id"], item["category"]) for item in listing["seq_1"]] == [
        (1, "prograsp forceps"),
        (2, "bipolar forceps"),
        (3, "other"),
    ]


def test_label_families_are_kept_apart(ready: Path) -> None:
    families = {
        family: read_label_map(ready / f"train/Labels/{family}/seq_1/00001.png")
        for family in ("type", "parts", "binary")
    }
    # Columns of the three tools, in the crop: shaft, wrist, clasper, 30 pixels each.
    row = 500 - 28
    columns = [left_px - 320 + 15 + 30 * step for left_px in (500, 700, 900) for step in range(3)]
    assert families["type"][row, columns].tolist() == [2, 2, 2, 1, 1, 1, 7, 7, 7]
    assert families["parts"][row, columns].tolist() == [1, 2, 3, 1, 2, 3, 0, 0, 0]
    assert families["binary"][row, columns].tolist() == [1] * 6 + [0] * 3
    dataset = EndoVis17()
    for family, label_map in families.items():
        known = {0} | {label.id for label in dataset.label_spaces[family].labels}
        assert set(np.unique(label_map).tolist()) <= known


def test_test_parts_have_one_object_per_type(ready: Path) -> None:
    assert set(np.unique(read_label_map(ready / "valid/Annotations/seq_1/00226.png")).tolist()) == {0, 2, 7}
    assert set(np.unique(read_label_map(ready / "valid/Labels/binary/seq_1/00226.png")).tolist()) == {0, 1}
    assert not (ready / "valid/Labels/parts").exists()


def test_labels_are_palette_images(ready: Path) -> None:
    with Image.open(ready / "train/Annotations/seq_7/00000.png") as image:
        assert image.mode == "P"
        assert image.size == (1280, 1024)


def test_where_tools_overlap_the_first_wins(tmp_path: Path) -> None:
    files = dict(endovis17_files())
    for name in ("Left_Prograsp_Forceps_labels", "Maryland_Bipolar_Forceps_labels"):
        files[f"{TRAIN_1}/ground_truth/{name}/frame001.png"] = png(tool_map(600 if name[0] == "L" else 660))
    out = prepare(files, tmp_path)
    row, column = 500 - 28, 670 - 320
    assert read_label_map(out / "train/Annotations/seq_1/00001.png")[row, column] == 1
    assert read_label_map(out / "train/Labels/parts/seq_1/00001.png")[row, column] == 3


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{TRAIN_1}/ground_truth/Left_Prograsp_Forceps_labels/frame001.png", 40),
        ("instrument_2017_test/instrument_2017_test/instrument_dataset_9/gt/TypeSegmentation/frame000.png", 8),
    ],
)
def test_an_unknown_label_value_is_named_with_its_file(path: str, value: int, tmp_path: Path) -> None:
    files = dict(endovis17_files())
    pixels = np.zeros((1080, 1920), np.uint8)
    pixels[500, 900] = value
    files[path] = png(pixels)
    with pytest.raises(InputError, match=rf"expected label values in \[0, .*\], got {value} in .*{path}"):
        prepare(files, tmp_path)


def test_coloured_labels_are_refused(tmp_path: Path) -> None:
    files = dict(endovis17_files())
    path = f"{TRAIN_1}/ground_truth/Left_Prograsp_Forceps_labels/frame001.png"
    pixels = np.zeros((1080, 1920, 3), np.uint8)
    pixels[500, 900] = (10, 11, 10)
    files[path] = png(pixels)
    with pytest.raises(InputError, match=rf"got colours in .*{path}"):
        prepare(files, tmp_path)


def test_a_tool_that_lacks_a_frame_is_a_gap(tmp_path: Path) -> None:
    files = dict(endovis17_files())
    del files[f"{TRAIN_1}/ground_truth/Maryland_Bipolar_Forceps_labels/frame001.png"]
    with pytest.raises(InputError, match=r"expected labels of seq_1 in train \(frames 001\)"):
        prepare(files, tmp_path)


def test_an_unknown_tool_is_refused(tmp_path: Path) -> None:
    files = dict(endovis17_files())
    for index in range(2):
        files[f"{TRAIN_1}/ground_truth/Laser_labels/frame{index:03d}.png"] = png(tool_map(100))
    with pytest.raises(InputError, match=r"named after a tool .*, got 'Laser_labels'"):
        prepare(files, tmp_path)


@pytest.mark.parametrize(
    ("folder", "type_id"),
    [
        ("Maryland_Bipolar_Forceps_labels", 1),
        ("Left_Prograsp_Forceps_labels", 2),
        ("Prograsp_Forceps", 2),
        ("Large_Needle_Driver_Right_labels", 3),
        ("Right_Vessel_Sealer", 4),
        ("Left_Grasping_Retractor_labels", 5),
        ("Monopolar_Curved_Scissors_labels", 6),
        ("Other_labels", 7),
    ],
)
def test_tools_are_known_by_the_names_of_their_folders(folder: str, type_id: int) -> None:
    assert type_of_tool(folder) == type_id


def test_the_splits_are_those_of_the_challenge() -> None:
    dataset = EndoVis17()
    lengths = {part.split: (len(part.videos), len(part.frames)) for part in dataset.parts}
    assert lengths == {"train": (8, 225), "test": (8, 75), "holdout": (2, 300)}
    assert dataset.splits["holdout"] == ("seq_9", "seq_10")
    assert dataset.folds == (("seq_1", "seq_3"), ("seq_2", "seq_5"), ("seq_4", "seq_8"), ("seq_6", "seq_7"))


def test_preparing_in_two_steps_gives_the_same(ready: Path, tmp_path: Path) -> None:
    """Disks are small: one archive at a time is downloaded, prepared and deleted."""
    from surgvos.data.dataset import PrepareOptions

    files = endovis17_files()
    for step, is_first in ((1, True), (2, False)):
        share = {name: content for name, content in files.items() if ("training" in name) == is_first}
        source = write_folder(tmp_path / f"source_{step}", share)
        done = endovis17().prepare([source], tmp_path / "out", PrepareOptions(partial=True))
        assert done.notes
    found, expected = contents(tmp_path / "out"), contents(ready)
    assert {key: value for key, value in found.items() if key != "dataset.json"} == {
        key: value for key, value in expected.items() if key != "dataset.json"
    }

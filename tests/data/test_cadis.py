"""CaDIS: the label maps of its tasks, objects, frames that are left out, and values that mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_miniatures import Files, cadis, cadis_files, class_map, png, write_folder
from surgvos.data.archives import FileTree
from surgvos.data.cadis import MISLABELLED, SPACES, Cadis
from surgvos.data.dataset import Part, PrepareOptions
from surgvos.errors import InputError
from surgvos.io.masks import read_label_map


def own_label(pixels: np.ndarray) -> Files:
    """The miniature with other labels in one frame."""
    files = dict(cadis_files())
    files["CaDISv2/Video05/Labels/Video5_frame000090.png"] = png(pixels)
    return files


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cadis")
    cadis().prepare([write_folder(root / "source", cadis_files())], root / "out")
    return root / "out"


def test_the_published_split_is_by_video() -> None:
    splits = Cadis().splits
    assert {name: len(videos) for name, videos in splits.items()} == {"train": 19, "val": 3, "test": 3}
    assert splits["val"] == ("Video05", "Video07", "Video16")
    assert splits["test"] == ("Video02", "Video12", "Video22")
    assert len({video for videos in splits.values() for video in videos}) == 25


def test_each_task_has_its_label_maps_and_objects_are_classes_of_the_second(ready: Path) -> None:
    # Raw 13 and 21 are the handpiece and its handle.
    expected = {
        "classes": {0, 4, 5, 6, 13, 21},
        "experiment1": {0, 4, 5, 6, 7},
        "experiment2": {0, 4, 5, 6, 11},
        "experiment3": {0, 4, 5, 6, 13, 21},
    }
    for family, ids in expected.items():
        label_map = read_label_map(ready / f"train/Labels/{family}/Video01/01430.png")
        assert set(np.unique(label_map).tolist()) == ids
    classes = read_label_map(ready / "train/Labels/experiment2/Video01/01400.png")
    objects = read_label_map(ready / "train/Annotations/Video01/01400.png")
    np.testing.assert_array_equal(objects, classes + 1)
    named = json.loads((ready / "train/objects.json").read_text())["Video01"]
    assert {entry["id"]: entry["category"] for entry in named}[12] == "Phaco Handpiece"


def test_what_a_task_does_not_score_is_255_and_no_object(ready: Path) -> None:
    raw = read_label_map(ready / "train/Labels/classes/Video01/01440.png")
    assert (raw == 25).any()
    for family, value in (("experiment1", 7), ("experiment2", 255), ("experiment3", 255)):
        label_map = read_label_map(ready / f"train/Labels/{family}/Video01/01440.png")
        assert set(label_map[raw == 25].tolist()) == {value}
    objects = read_label_map(ready / "train/Annotations/Video01/01440.png")
    assert set(objects[raw == 25].tolist()) == {0}
    outside = read_label_map(ready / "valid/Labels/classes/Video02/100000.png") == 255
    assert outside.any()
    assert not read_label_map(ready / "valid/Annotations/Video02/100000.png")[outside].any()


def test_label_maps_have_the_published_colours(ready: Path) -> None:
    with Image.open(ready / "train/Labels/experiment2/Video01/01400.png") as image:
        colors = set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()))
    space = SPACES["experiment2"]
    assert colors <= {space[i].color for i in (0, 4, 5, 6, 11)}


def test_mislabelled_frames_are_left_out_unless_as_published(ready: Path, tmp_path: Path) -> None:
    assert len(MISLABELLED) == 139
    assert ("Video19", 59230) in MISLABELLED
    names = sorted(path.stem for path in (ready / "train/JPEGImages/Video01").iterdir())
    assert names == ["01400", "01430", "01440"]
    assert "1 mislabelled frames left out" in json.loads((ready / "dataset.json").read_text())["notes"]
    source = write_folder(tmp_path / "source", cadis_files())
    cadis().prepare([source], tmp_path / "out", PrepareOptions(corrections=False))
    assert (tmp_path / "out/train/JPEGImages/Video01/01390.png").exists()


def test_an_unknown_value_is_named_with_its_file(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "source", own_label(class_map((0, 77), 100, (540, 960), rest=5)))
    with pytest.raises(InputError, match=r"label values of cadis \(0-35, 255\), got 77 in .*Video5_frame000090\.png'$"):
        cadis().prepare([source], tmp_path / "out")


def test_labels_in_colour_and_of_another_size_are_refused(tmp_path: Path) -> None:
    colored = np.zeros((540, 960, 3), np.uint8)
    colored[..., 2] = 9
    for number, (pixels, message) in enumerate(
        ((colored, "in colour|colour"), (np.zeros((270, 480), np.uint8), "960x540, got 480x270"))
    ):
        source = write_folder(tmp_path / f"source{number}", own_label(pixels))
        with pytest.raises(InputError, match=rf"({message}).*Video5_frame000090|Video5_frame000090.*({message})"):
            cadis().prepare([source], tmp_path / "out")


def test_a_frame_without_labels_and_labels_without_a_frame_are_gaps(tmp_path: Path) -> None:
    files = dict(cadis_files())
    del files["CaDISv2/Video05/Labels/Video5_frame000090.png"]
    del files["CaDISv2/Video05/Images/Video5_frame000100.png"]
    dataset = Cadis(parts=(Part("val", "valid", ("Video05",), None),))
    with FileTree.open(write_folder(tmp_path / "source", files)) as tree:
        assert [str(gap) for gap in dataset.missing(tree)] == [
            "frames of Video05 in val (frames 100)",
            "labels of Video05 in val (frames 090)",
        ]

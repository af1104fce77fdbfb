"""EndoVis 2018: colours to classes, types from the masks of ISINet, repairs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_miniatures import Files, endovis18, endovis18_files, png, scene_image, write_folder
from surgvos.data.dataset import Preparation, PrepareOptions
from surgvos.data.endovis18 import SCENE, EndoVis18, parse_class_table, scene_map
from surgvos.errors import InputError
from surgvos.io.masks import read_label_map

RELEASE_1 = "miccai_challenge_2018_release_1/miccai_challenge_2018_release_1/seq_3"
COLORS = {(0, 0, 0): 0, **{label.color: label.id for label in SCENE.labels}}


def prepare(files: Files, tmp_path: Path, options: PrepareOptions | None = None) -> tuple[Path, Preparation]:
    done = endovis18().prepare([write_folder(tmp_path / "source", files)], tmp_path / "out", options)
    return tmp_path / "out", done


def test_frames_are_copied_as_they_are_and_scenes_become_classes(tmp_path: Path) -> None:
    out, done = prepare(endovis18_files(), tmp_path)
    frame = (out / "train/JPEGImages/seq_3/00000.png").read_bytes()
    assert frame == endovis18_files()[f"{RELEASE_1}/left_frames/frame000.png"]
    scene = read_label_map(out / "train/Labels/scene/seq_3/00000.png")
    assert [int(scene[350, 320 + 40 * step]) for step in range(3)] == [1, 3, 2]
    assert scene[700, 300] == 4
    assert scene[120, 1050] == 9
    assert set(np.unique(scene).tolist()) == {0, 1, 2, 3, 4, 9}
    assert "1 label maps taken from repairs.zip" in done.notes


def test_objects_are_the_classes_of_isinet_and_stay_opaque(tmp_path: Path) -> None:
    out, _ = prepare(endovis18_files(), tmp_path)
    assert set(np.unique(read_label_map(out / "train/Annotations/seq_3/00000.png")).tolist()) == {0, 2}
    assert set(np.unique(read_label_map(out / "train/Annotations/seq_3/00002.png")).tolist()) == {0, 3}
    listing = json.loads((out / "train/objects.json").read_text())
    assert [item["category"] for item in listing["seq_3"]] == ["class 2", "class 3"]


def test_a_table_of_types_names_the_objects(tmp_path: Path) -> None:
    table = [{"name": "prograsp_forceps", "classid": 2}, {"name": "large_needle_driver", "classid": 3}]
    files = {**endovis18_files(), "isinet/final_labels_2017.json": json.dumps(table).encode()}
    out, _ = prepare(files, tmp_path)
    listing = json.loads((out / "valid/objects.json").read_text())
    assert [item["category"] for item in listing["seq_5"]] == ["prograsp_forceps", "large_needle_driver"]


def test_without_types_an_object_is_a_class_of_the_scene(tmp_path: Path) -> None:
    out, done = prepare(endovis18_files(types=False), tmp_path)
    assert any("no type annotations" in note for note in done.notes)
    np.testing.assert_array_equal(
        read_label_map(out / "valid/Annotations/seq_5/00001.png"),
        read_label_map(out / "valid/Labels/scene/seq_5/00001.png"),
    )
    listing = json.loads((out / "valid/objects.json").read_text())
    assert {item["id"]: item["category"] for item in listing["seq_5"]}[4] == "kidney-parenchyma"


def test_masks_with_another_numbering_are_not_mixed_in(tmp_path: Path) -> None:
    files = dict(endovis18_files())
    whole = png(np.full((1024, 1280), 255, np.uint8))
    files[f"{RELEASE_1}/instrument_labels/frame000_class6_inst0.png"] = whole
    out, _ = prepare(files, tmp_path)
    assert set(np.unique(read_label_map(out / "train/Annotations/seq_3/00000.png")).tolist()) == {0, 2}


def test_coloured_masks_are_masks(tmp_path: Path) -> None:
    files = dict(endovis18_files())
    pixels = np.zeros((1024, 1280, 3), np.uint8)
    pixels[10:20, 10:20] = (0, 0, 9)
    files[f"{RELEASE_1}/instrument_labels_2017/frame000_inst1_class4.png"] = png(pixels)
    out, _ = prepare(files, tmp_path)
    assert read_label_map(out / "train/Annotations/seq_3/00000.png")[10:20, 10:20].min() == 4


def test_repairs_replace_labels_unless_told_otherwise(tmp_path: Path) -> None:
    repaired, _ = prepare(endovis18_files(), tmp_path / "repaired")
    published, done = prepare(endovis18_files(), tmp_path / "published", PrepareOptions(corrections=False))
    name = "train/Labels/scene/seq_3/00001.png"
    np.testing.assert_array_equal(read_label_map(repaired / name), scene_map(scene_image(500), COLORS, ""))
    np.testing.assert_array_equal(read_label_map(published / name), scene_map(scene_image(310), COLORS, ""))
    assert not done.notes


def test_an_unknown_colour_is_named_with_its_file(tmp_path: Path) -> None:
    image = scene_image(300)
    image[10, 20] = (1, 2, 3)
    path = f"{RELEASE_1}/labels/frame002.png"
    with pytest.raises(InputError, match=rf"got \(1, 2, 3\) in .*{path}"):
        prepare({**endovis18_files(), path: png(image)}, tmp_path)


def test_a_table_may_add_a_class_but_not_change_one(tmp_path: Path) -> None:
    image = scene_image(300)
    image[10, 20] = (1, 2, 3)
    path = f"{RELEASE_1}/labels/frame002.png"
    table = {"classes": [{"id": "12", "name": "stapler", "color": "[1,2,3]"}]}
    files = {**endovis18_files(), path: png(image), "extra/labels.json": json.dumps(table).encode()}
    out, _ = prepare(files, tmp_path / "added")
    assert read_label_map(out / "train/Labels/scene/seq_3/00002.png")[10, 20] == 12
    table["classes"][0]["color"] = "[0,255,0]"
    files["extra/labels.json"] = json.dumps(table).encode()
    with pytest.raises(InputError, match=r"expected class 1 for the colour \(0, 255, 0\), got 12 in .*labels\.json"):
        prepare(files, tmp_path / "changed")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'[{"name": "x"}]', b'[{"classid": 1, "name": "x", "color": "red"}]']
)
def test_a_broken_class_table_is_one_sentence(content: bytes) -> None:
    with pytest.raises(InputError, match=r"expected a class table .*, got 'labels\.json'"):
        parse_class_table(content, "labels.json")


def test_tables_of_the_test_data_are_understood() -> None:
    (entry,) = parse_class_table(b'{"classes": [{"name": "x", "classid": 3, "color": [1, 2, 3, 128]}]}', "")
    assert (entry.id, entry.name, entry.color) == (3, "x", (1, 2, 3))


@settings(max_examples=8)
@given(ids=st.lists(st.integers(0, 11), min_size=1, max_size=40))
def test_colours_and_classes_are_inverse(ids: list[int]) -> None:
    color_of = {class_id: color for color, class_id in COLORS.items()}
    expected = np.zeros((1024, 1280), np.uint8)
    image = np.zeros((1024, 1280, 3), np.uint8)
    expected[0, : len(ids)] = ids
    image[0, : len(ids)] = [color_of[i] for i in ids]
    np.testing.assert_array_equal(scene_map(image, COLORS, ""), expected)


def test_the_split_is_the_usual_one() -> None:
    dataset = EndoVis18()
    assert dataset.splits["valid"] == ("seq_2", "seq_5", "seq_9", "seq_15")
    assert len(dataset.splits["train"]) == 11
    assert {len(part.frames) for part in dataset.parts} == {149}
    assert "seq_8" not in dataset.splits["train"]

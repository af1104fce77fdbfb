"""Cataract-1K: polygons in the published order, titles with slips, and files that are not to be trusted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dataset_miniatures import box_corners, cataract1k, cataract1k_files, polygons_file, write_folder
from surgvos.data.cataract1k import Cataract1k, class_of_title, paint_polygons
from surgvos.errors import InputError
from surgvos.io.masks import read_label_map

CORNEA, PUPIL, LENS, SLIT_KNIFE, SPATULA = 1, 2, 3, 4, 7


def test_the_thirty_cases_are_split_by_case() -> None:
    splits = Cataract1k().splits
    assert {name: len(cases) for name, cases in splits.items()} == {"train": 20, "val": 5, "test": 5}
    assert len({case for cases in splits.values() for case in cases}) == 30


def test_polygons_are_painted_anatomy_first_then_as_they_stand() -> None:
    everywhere = box_corners(0, 0, 1023, 767)
    whole = [(title, everywhere) for title in ("Lens", "Slit Knife", "Spatula", "Cornea", "Pupil")]
    assert set(np.unique(paint_polygons(polygons_file(whole), "a.json")).tolist()) == {SPATULA}
    for titles, winner in (
        (("Spatula", "Slit Knife", "Lens"), SLIT_KNIFE),
        (("Lens", "Pupil", "Cornea"), LENS),
        (("Pupil", "Cornea"), PUPIL),
    ):
        painted = paint_polygons(polygons_file([(title, everywhere) for title in titles]), "a.json")
        assert set(np.unique(painted).tolist()) == {winner}


def test_a_polygon_covers_its_corners_and_holes_are_filled() -> None:
    plain = json.loads(polygons_file([("Cornea", box_corners(10, 20, 30, 40))]))
    plain["objects"][0]["points"]["interior"] = [box_corners(15, 25, 25, 35)]
    expected = np.zeros((768, 1024), np.uint8)
    expected[20:41, 10:31] = CORNEA
    np.testing.assert_array_equal(paint_polygons(json.dumps(plain).encode(), "a.json"), expected)


def test_what_is_over_the_border_is_cut_off() -> None:
    painted = paint_polygons(polygons_file([("Cornea", box_corners(-5.5, 700, 50, 900))]), "a.json")
    assert painted[700:, :51].all()
    assert not painted[:699].any()


@pytest.mark.parametrize("title", ["cornea1", "Cornea", " CORNEA ", "cornea 12"])
def test_slips_in_titles_do_not_count(title: str) -> None:
    assert class_of_title(title, "a.json") == CORNEA


def test_instruments_lie_on_the_eye_in_what_is_prepared(tmp_path: Path) -> None:
    cataract1k().prepare([write_folder(tmp_path / "source", cataract1k_files())], tmp_path / "out")
    classes = read_label_map(tmp_path / "out/train/Labels/classes/case_5013/00002.png")
    assert [int(classes[at]) for at in ((320, 400), (400, 400), (500, 300), (10, 10))] == [SLIT_KNIFE, PUPIL, CORNEA, 0]
    objects = read_label_map(tmp_path / "out/train/Annotations/case_5013/00002.png")
    np.testing.assert_array_equal(objects, classes)


def one(**changes: object) -> bytes:
    """One polygon with something changed."""
    plain = json.loads(polygons_file([("Cornea", box_corners(10, 20, 30, 40))]))
    plain["objects"][0].update(changes)
    return json.dumps(plain).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected polygons of Supervisely"),
        (b"[]", "expected polygons of Supervisely"),
        (b'{"size": {"height": 768, "width": 1024}}', "expected polygons of Supervisely"),
        (one(points={"exterior": [[1]]}), "expected polygons of Supervisely"),
        (one(classTitle="Iris Hook"), "expected a class of Cataract-1K .* got 'Iris Hook'"),
        (one(geometryType="bitmap"), "expected polygons, got a bitmap for 'Cornea'"),
        (one(points={"exterior": [[1, 2], [3, 4]]}), "three or more corners, got 2 of 'Cornea'"),
        (one(points={"exterior": box_corners(1100, 0, 1200, 50)}), "within the image of 1024x768, got one of 'Cornea'"),
        (one(points={"exterior": box_corners(0, -50, 90, -1)}), "within the image of 1024x768"),
        (one(points={"exterior": box_corners(0, 0, float("nan"), 9)}), "within the image of 1024x768"),
        (one(points={"exterior": box_corners(0, 0, 1e30, 9)}), "within the image of 1024x768"),
        (polygons_file([], image_hw=(76800, 102400)), "expected polygons on frames of 1024x768, got 102400x76800"),
    ],
)
def test_what_cannot_be_painted_is_one_sentence_that_names_the_file(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=rf"{message}.*'case/a\.json'"):
        paint_polygons(content, "case/a.json")


def test_frames_whose_name_runs_into_the_case_stay_apart(tmp_path: Path) -> None:
    files = dict(cataract1k_files())
    folder = "Segmentation_dataset/Annotations/Images-and-Supervisely-Annotations/case_5013"
    for kind, suffix in (("img", "png"), ("ann", "png.json")):
        files[f"{folder}/{kind}/case_50133_02.{suffix}"] = files[f"{folder}/{kind}/case5013_02.{suffix}"]
    cataract1k().prepare([write_folder(tmp_path / "source", files)], tmp_path / "out")
    names = sorted(path.stem for path in (tmp_path / "out/train/JPEGImages/case_5013").iterdir())
    assert names == ["00001", "00002", "00004", "00302"]

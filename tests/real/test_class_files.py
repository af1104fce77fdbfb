"""Real frames and label files of CaDIS, Cataract-1K and laparoscopy, and a real clip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers import samples_dir
from surgvos.core.labels import LabelSpace
from surgvos.data.cadis import MISLABELLED, SPACES, Cadis
from surgvos.data.cataract1k import Cataract1k, class_of_title, paint_polygons
from surgvos.data.cholecseg8k import MAPS, CholecSeg8k
from surgvos.data.dataset import Part, PrepareOptions
from surgvos.data.dataset_check import check_dataset
from surgvos.data.operations import OPERATIONS, find_operations
from surgvos.io.masks import read_label_map


def sample(name: str) -> Path:
    folder = samples_dir() / name
    if not folder.is_dir():
        pytest.skip(f"real files of {name} are absent")
    return folder


def relabelled() -> list[Path]:
    return sorted((sample("cadis") / "relabelled").glob("*.png"))


def test_real_cadis_labels_are_prepared_in_every_mode(tmp_path: Path) -> None:
    folder = sample("cadis")
    for path in relabelled():
        video = tmp_path / f"source/Video{int(path.name[5 : path.name.index('_')]):02d}"
        for kind, content in (("Images", folder / "sample_image.png"), ("Labels", path)):
            (video / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(content, video / kind / path.name)
    dataset = Cadis(parts=(Part("train", "train", ("Video08", "Video14"), None),))
    done = dataset.prepare([tmp_path / "source"], tmp_path / "out", PrepareOptions(corrections=False))
    assert done.num_frames == sum(path.name.startswith(("Video8_", "Video14_")) for path in relabelled())
    assert not check_dataset(dataset, tmp_path / "out")[1]
    for video in dataset.videos(tmp_path / "out"):
        assert any(np.unique(read_label_map(path)).size > 3 for path in video.annotations.iterdir())


def test_real_relabelled_frames_are_among_those_left_out() -> None:
    keys = [path.stem.split("_frame") for path in relabelled()]
    assert {(f"Video{int(video[5:]):02d}", int(number)) for video, number in keys} <= MISLABELLED


def names_of(space: LabelSpace) -> dict[int, str]:
    return {label.id: label.name for label in space.labels}


def test_the_real_class_tables_of_cadis_are_ours() -> None:
    for family, name in (("classes", "class_info"), ("experiment1", "class_info_experiment1")):
        table = json.loads((sample("cadis") / f"{name}.json").read_text())
        assert {int(i): entry["name"] for i, entry in table.items() if i != "255"} == names_of(SPACES[family])
    table = json.loads((sample("cadis") / "class_info_experiment3.json").read_text())
    named = {int(i): entry["name"] for i, entry in table.items() if entry["name"] != "Ignore"}
    assert named == names_of(SPACES["experiment3"])


def test_real_polygons_of_cataract1k_are_painted() -> None:
    for path in sorted((sample("cataract1k") / "supervisely").glob("*.json")):
        painted = paint_polygons(path.read_bytes(), str(path))
        titles = {entry["classTitle"] for entry in json.loads(path.read_text())["objects"]}
        assert set(np.unique(painted).tolist()) == {0, *(class_of_title(title, str(path)) for title in titles)}
        # The pupil lies within the cornea, and is written in front of it in these files.
        assert 0.05 < np.isin(painted, (1, 2)).mean() < 0.9


def test_real_frames_and_polygons_of_cataract1k_are_prepared(tmp_path: Path) -> None:
    folder = sample("cataract1k")
    source = tmp_path / "case_5051"
    for kind in ("img", "ann"):
        (source / kind).mkdir(parents=True)
    for path in sorted((folder / "supervisely").glob("*.json")):
        shutil.copy(path, source / "ann" / path.name)
        shutil.copy(folder / "images/case5013_57.png", source / "img" / path.name.removesuffix(".json"))
    dataset = Cataract1k(parts=(Part("train", "train", ("case_5051",), None),))
    assert dataset.prepare([tmp_path], tmp_path / "out").num_frames == 9
    assert not check_dataset(dataset, tmp_path / "out")[1]


def test_real_laparoscopic_frames_are_prepared_as_clips(tmp_path: Path) -> None:
    graspers = {}
    clip = tmp_path / "source/video01/video01_00000"
    clip.mkdir(parents=True)
    for path in sorted(sample("cholecinstanceseg").glob("t80_*.json")):
        number = int(path.stem[-6:])
        shutil.copy(path.with_suffix(".png"), clip / f"frame_{number}_endo.png")
        grasper = np.zeros((480, 854), np.uint8)
        for shape in json.loads(path.read_text())["shapes"]:
            cv2.fillPoly(grasper, [np.array(shape["points"], np.int32)], 1)
        graspers[number] = grasper
        cv2.imwrite(
            str(clip / f"frame_{number}_endo_watershed_mask.png"), np.where(grasper, np.uint8(31), np.uint8(50))
        )
    dataset = CholecSeg8k(parts=(Part("train", "train", ("video01",), None),), num_frames=len(graspers))
    dataset.prepare([tmp_path / "source"], tmp_path / "out")
    assert not check_dataset(dataset, tmp_path / "out")[1]
    for number, grasper in graspers.items():
        objects = read_label_map(tmp_path / f"out/train/Annotations/video01_00000/{number:05d}.png")
        np.testing.assert_array_equal(objects, 5 * grasper)
    assert any(grasper.any() for grasper in graspers.values())


def test_a_real_label_map_of_cholecseg8k_has_ids_of_its_label_space() -> None:
    space = MAPS.spaces["classes"]
    found = np.unique(read_label_map(sample("clips") / "laparoscopy_720p25_frame80_labels_640x360.png"))
    assert set(found.tolist()) == {0, 1, 2, 3, 4, 10, 255} <= {*space.ids, *space.nothing}


def test_a_real_clip_is_found_as_an_operation(tmp_path: Path) -> None:
    (tmp_path / "video01.mp4").symlink_to(sample("clips") / "laparoscopy_720p25.mp4")
    found, faults = find_operations(OPERATIONS["cholec80"], tmp_path)
    assert not faults
    assert [(one.name, one.hw, one.fps) for one in found] == [("video01", (720, 1280), 25.0)]

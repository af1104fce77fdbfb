"""CholecSeg8k: clips, classes, pixels that are not scored, and the split by frame."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from dataset_miniatures import cholecseg8k, cholecseg8k_files, class_map, png, write_folder
from surgvos.data.cholecseg8k import CholecSeg8k, read_frame_split, split_by_frame
from surgvos.data.dataset import PrepareOptions
from surgvos.errors import InputError
from surgvos.io.masks import read_label_map


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cholecseg8k")
    cholecseg8k().prepare([write_folder(root / "source", cholecseg8k_files())], root / "out")
    return root / "out"


def test_the_seventeen_operations_are_split_by_operation() -> None:
    splits = CholecSeg8k().splits
    assert splits["test"] == ("video37", "video48", "video55")
    assert len(splits["train"]) == 14
    assert not set(splits["train"]) & set(splits["test"])


def test_a_clip_is_a_video(ready: Path) -> None:
    names = [video.name for video in cholecseg8k().videos(ready, "train")]
    assert names == ["video01_00080", "video01_15019"]
    stems = sorted(path.stem for path in (ready / "train/JPEGImages/video01_15019").iterdir())
    assert stems == ["15019", "15020", "15021"]


def test_classes_are_objects_and_what_is_not_scored_stays_apart(ready: Path) -> None:
    classes = read_label_map(ready / "train/Labels/classes/video01_00080/00081.png")
    # Stripes of 0, 35, 255 (not scored), 21 liver, 22 gallbladder, 31 grasper on the black background.
    stripes = [int(classes[200, 91 + 50 * place + 5]) for place in range(6)]
    assert stripes == [255, 255, 255, 2, 10, 5]
    assert classes[0, 0] == 0
    objects = read_label_map(ready / "train/Annotations/video01_00080/00081.png")
    np.testing.assert_array_equal(objects, np.where(classes == 255, 0, classes))
    named = json.loads((ready / "train/objects.json").read_text())["video01_00080"]
    assert named == [
        {"id": 2, "category": "Liver"},
        {"id": 5, "category": "Grasper"},
        {"id": 10, "category": "Gallbladder"},
    ]


def test_the_split_by_frame_is_the_published_shuffle() -> None:
    frames = [
        (f"video{video:02d}_{start:05d}", start + i) for video in (9, 1) for start in (15000, 80) for i in range(80)
    ]
    split = split_by_frame(frames)
    assert [len(split[name]) for name in ("train", "val", "test")] == [224, 48, 48]
    in_order = [
        (f"video{video:02d}_{start:05d}", start + i) for video in (1, 9) for start in (80, 15000) for i in range(80)
    ]
    random.seed(42)
    random.shuffle(in_order)
    assert split["train"] + split["val"] + split["test"] == in_order
    whole = split_by_frame([(f"video01_{80 * clip:05d}", 80 * clip + i) for clip in range(101) for i in range(80)])
    assert [len(frames) for frames in whole.values()] == [5656, 1212, 1212]


def test_the_split_by_frame_names_what_is_prepared(ready: Path) -> None:
    split = read_frame_split(ready)
    listed = [(clip, name) for clips in split.values() for clip, names in clips.items() for name in names]
    prepared = [(path.parent.name, path.stem) for path in ready.glob("*/JPEGImages/*/*.png")]
    assert sorted(listed) == sorted(prepared)


def test_a_split_by_frame_of_a_part_is_not_made_up(tmp_path: Path) -> None:
    files = {name: content for name, content in cholecseg8k_files().items() if "15019" not in name}
    done = cholecseg8k().prepare([write_folder(tmp_path / "source", files)], tmp_path / "out")
    assert any("no split by frame: it is defined on all 9 frames, and 6 are there" in note for note in done.notes)
    with pytest.raises(InputError, match="try preparing the whole data set"):
        read_frame_split(tmp_path / "out")


def test_an_unknown_value_is_named_with_its_file(tmp_path: Path) -> None:
    files = dict(cholecseg8k_files())
    name = "archive/video37/video37_00848/frame_849_endo_watershed_mask.png"
    files[name] = png(class_map((21, 99), 100, (480, 854), rest=50))
    with pytest.raises(InputError, match=r"label values of cholecseg8k .*, got 99 in .*frame_849_endo_watershed_mask"):
        cholecseg8k().prepare([write_folder(tmp_path / "source", files)], tmp_path / "out", PrepareOptions())

"""Real files of EndoVis 2017, 2018 and EndoVis-RS: frames, labels, class table, expressions."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

from helpers import samples_dir
from surgvos.data.dataset import Part, seq_names
from surgvos.data.dataset_check import check_dataset
from surgvos.data.endovis17 import CROP, EndoVis17
from surgvos.data.endovis18 import SCENE, parse_class_table
from surgvos.data.endovis_rs import INSTRUMENTS, clean, instrument_of, parse_windows
from surgvos.data.phrases import from_meta_expressions
from surgvos.data.phrases_import import import_phrases
from surgvos.io.image_folder import read_image
from surgvos.io.masks import read_label_map


def rs_files() -> list[Path]:
    return sorted((samples_dir() / "ref_endovis_rs").glob("RS*.json"))


def test_real_frames_and_tool_labels_are_prepared(tmp_path: Path) -> None:
    tools = samples_dir() / "endovis17/per_tool_labels"
    source = tmp_path / "instrument_1_4_training/instrument_dataset_3"
    for name, target in (
        ("frame.png", "left_frames/frame000.png"),
        ("left_frame.png", "ground_truth/Left_Large_Needle_Driver_labels/frame000.png"),
        ("right_frame.png", "ground_truth/Right_Large_Needle_Driver_labels/frame000.png"),
    ):
        (source / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tools / name, source / target)
    dataset = EndoVis17(parts=(Part("train", "train", seq_names(3), range(1)),))
    dataset.prepare([tmp_path / "instrument_1_4_training"], tmp_path / "out")
    assert not check_dataset(dataset, tmp_path / "out")[1]
    objects = read_label_map(tmp_path / "out/train/Annotations/seq_3/00000.png")
    values = {i: read_label_map(tools / f"{side}_frame.png") for i, side in ((1, "left"), (2, "right"))}
    for object_id, tool in values.items():
        np.testing.assert_array_equal(objects == object_id, tool[CROP] > 0)
        assert (tool > 0).sum() == (tool[CROP] > 0).sum(), "the crop cuts a tool"
    parts = read_label_map(tmp_path / "out/train/Labels/parts/seq_3/00000.png")
    np.testing.assert_array_equal(parts * 10, values[1][CROP] + values[2][CROP])
    frame = read_image(tmp_path / "out/train/JPEGImages/seq_3/00000.png")
    np.testing.assert_array_equal(frame, read_image(tools / "frame.png")[CROP])


def test_all_labels_of_real_frames_lie_within_the_crop() -> None:
    for path in sorted((samples_dir() / "endovis17/original").glob("*_label.png")):
        label_map = read_label_map(path)
        assert set(np.unique(label_map).tolist()) <= {0, 10, 20, 30}
        assert np.count_nonzero(label_map) == np.count_nonzero(label_map[CROP])


def test_the_real_class_table_is_ours() -> None:
    path = samples_dir() / "endovis17/endovis18_classes.json"
    entries = {entry.id: entry for entry in parse_class_table(path.read_bytes(), str(path))}
    assert entries.keys() == {0, *(label.id for label in SCENE.labels)}
    for label in SCENE.labels:
        assert entries[label.id].color == label.color
        # The table has one slip of spelling.
        assert entries[label.id].name == {"clamps": "clapms"}.get(label.name, label.name)


def test_real_expressions_are_cleaned_and_every_change_is_known() -> None:
    reasons = Counter()
    texts = []
    for path in rs_files():
        windows, changes = clean(parse_windows(json.loads(path.read_text()), str(path)))
        assert all(instrument_of(item.phrase) in INSTRUMENTS for item in windows)
        assert all(item.phrase == " ".join(item.phrase.lower().split()) for item in windows)
        reasons.update(change.reason for change in changes)
        texts += [str(change) for change in changes]
    assert reasons == {
        "capitals": 119,
        "blanks": 2,
        "name of the instrument": 3,
        "spelling": 1,
        "another instrument's id": 1,
    }
    assert any("seq_4, expression 4" in text and "[object 4]" in text and "[object 2]" in text for text in texts)


def test_cleaning_real_expressions_again_changes_nothing() -> None:
    for path in rs_files():
        windows, _ = clean(parse_windows(json.loads(path.read_text()), str(path)))
        assert clean(windows) == (windows, ())


def test_both_shapes_of_the_real_expressions_say_the_same() -> None:
    for path in rs_files():
        short = f"{path.name.split('_')[0]}_{'train' if 'train' in path.name else 'valid'}"
        derived = path.with_name(f"DERIVED_meta_expressions_{short}.json")
        expected = from_meta_expressions(json.loads(derived.read_text()), str(derived))
        book, _ = import_phrases(path)
        assert book.keys() == expected.keys()
        for video, phrases in book.items():
            assert len({(p.phrase, p.object) for p in phrases}) <= len(expected[video])
            assert {p.object for p in phrases} <= {p.object for p in expected[video]} | {2}

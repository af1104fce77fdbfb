"""Label spaces of data sets and of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import samples_dir
from surgvos.core.label_tables import LABEL_SPACES, label_space_by_name
from surgvos.core.labels import Label, LabelSpace, object_palette
from surgvos.errors import ConfigError, InputError
from surgvos.io.label_spaces import find_label_space, read_label_space
from surgvos.io.masks import read_label_map


def test_label_spaces_have_their_sizes() -> None:
    assert {name: len(space) for name, space in LABEL_SPACES.items()} == {
        "cadis": 36,
        "cadis-1": 8,
        "cadis-2": 17,
        "cadis-3": 25,
        "cholecseg8k": 12,
        "cataract1k": 13,
        "endovis17-types": 7,
        "endovis17-parts": 3,
        "endovis18-types": 7,
        "endovis18-scene": 11,
        "surgvos-nano": 6,
    }


@pytest.mark.parametrize("space", LABEL_SPACES.values(), ids=LABEL_SPACES)
def test_painted_masks_come_back(space: LabelSpace) -> None:
    masks = {label_id: np.arange(len(space) + 2)[None] == i for i, label_id in enumerate(space.ids)}
    label_map = space.paint(masks, (1, len(space) + 2))
    assert label_map.dtype == np.uint8
    assert label_map[0].tolist() == [*space.ids, space.background, space.background]
    colors = space.palette()[label_map]
    assert colors[0, -1].tolist() == list(space.background_color)
    assert colors[0, 0].tolist() == list(space.labels[0].color)
    if space.name != "cataract1k":
        assert np.array_equal(space.from_colors(colors), label_map)


def test_the_lowest_id_wins_an_overlap_and_strange_ids_are_refused() -> None:
    space = LABEL_SPACES["cadis-2"]
    full = np.ones((1, 2), dtype=bool)
    assert space.paint({3: full, 0: np.array([[True, False]])}, (1, 2)).tolist() == [[0, 3]]
    with pytest.raises(InputError, match="expected a label id in"):
        space.paint({17: full}, (1, 2))


def test_two_classes_of_cataract1k_share_a_colour() -> None:
    with pytest.raises(InputError, match="one for both Slit Knife and Incision Knife"):
        LABEL_SPACES["cataract1k"].from_colors(np.zeros((1, 1, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cadis", {5: 5, 35: 35, 255: 255}),
        ("cadis-1", {6: 6, 7: 7, 35: 7, 255: 255}),
        ("cadis-2", {0: 0, 32: 7, 22: 8, 33: 9, 28: 10, 21: 11, 24: 12, 18: 13, 23: 14, 17: 15, 19: 16, 25: 255}),
        ("cadis-3", {24: 24, 25: 255, 35: 255}),
        ("cholecseg8k", {50: 0, 5: 12, 32: 9, 0: 255, 255: 255}),
        ("endovis17-parts", {0: 0, 10: 1, 20: 2, 30: 3}),
        ("endovis18-scene", {0: 0, 11: 11}),
    ],
)
def test_values_of_the_files_become_ids(name: str, expected: dict[int, int]) -> None:
    raw = np.array([list(expected)], dtype=np.uint8)
    assert LABEL_SPACES[name].from_raw(raw)[0].tolist() == list(expected.values())


def test_experiments_on_cadis_leave_out_what_they_say() -> None:
    ignored = {
        name: {raw for raw, number in LABEL_SPACES[name].raw_ids.items() if number == 255}
        for name in ("cadis-1", "cadis-2", "cadis-3")
    }
    assert ignored == {
        "cadis-1": {255},
        "cadis-2": {25, 26, 29, 30, 31, 34, 35, 255},
        "cadis-3": {*range(25, 36), 255},
    }


def test_strange_values_are_refused_with_what_is_known() -> None:
    with pytest.raises(InputError, match=r"label values of cadis-2 \(0-35, 255\), got 36, 99"):
        LABEL_SPACES["cadis-2"].from_raw(np.array([[99, 36, 3]], dtype=np.uint8))
    with pytest.raises(InputError, match="expected colours of endovis18-scene, got #010203"):
        LABEL_SPACES["endovis18-scene"].from_colors(np.array([[[1, 2, 3]]], dtype=np.uint8))


def test_names_that_are_near_are_offered() -> None:
    with pytest.raises(InputError, match="try 'cholecseg8k'"):
        label_space_by_name("cholec-seg-8k")
    with pytest.raises(InputError, match="or a YAML file of your own"):
        find_label_space("mine")


def test_hashable_and_equal_by_value() -> None:
    assert hash(LABEL_SPACES["cadis-2"]) == hash(label_space_by_name("cadis-2"))
    assert LabelSpace.from_names(["a"]) == LabelSpace.from_names(["a"])


# --- one's own -------------------------------------------------------------------------------------------------------

MINE = """
classes:
  - {id: 1, name: grasper}
  - {id: 4, name: hook, color: [169, 255, 184]}
ignore: 255
raw_ids:
  - {value: 100, id: 1}
  - {value: 0, id: 0}
"""


def write(tmp_path: Path, text: str, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_label_space_of_ones_own(tmp_path: Path) -> None:
    space = find_label_space(write(tmp_path, MINE))
    assert space.name == "mine"
    assert space.labels == (
        Label(1, "grasper", tuple(int(v) for v in object_palette()[1])),  # type: ignore[arg-type]
        Label(4, "hook", (169, 255, 184)),
    )
    assert space.nothing == (0, 255)
    assert space.from_raw(np.array([[100, 0]], dtype=np.uint8)).tolist() == [[1, 0]]
    as_json = {"classes": [{"id": 1, "name": "grasper"}]}
    assert len(find_label_space(write(tmp_path, json.dumps(as_json), "mine.json"))) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [{id: 1, nam: a}]", "expected a known name at 'classes.0.nam'; try 'name'"),
        ("classes: [{id: one, name: a}]", "expected a whole number at 'classes.0.id', got 'one'"),
        ("classes: [{id: 1, name: a, color: [1, 2]}]", "a list of 3 at 'classes.0.color'"),
        ("classes: [{id: 1, name: a, color: [1, 2, 300]}]", r"three numbers in 0..255, got \[1, 2, 300\]"),
        ("clases: []", "expected a known name at 'clases'; try 'classes'"),
        ("classes: [{id: 1, name: a}, {id: 1, name: b}]", "distinct"),
        ("classes: [{id: 70000, name: a}]", r"label ids in 0\.\.65535, got 70000"),
        ("classes: [{id: 1, name: a}]\nraw_ids: [{value: 3, id: 2}]", "expected raw_ids to lead to labels"),
        ("[1, 2]", "expected names and values"),
    ],
)
def test_files_are_read_strictly(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises((ConfigError, InputError), match=message):
        read_label_space(write(tmp_path, text))


# --- real files ------------------------------------------------------------------------------------------------------


def test_real_cadis_labels_are_of_its_space() -> None:
    folder = samples_dir() / "cadis"
    names = json.loads((folder / "class_info.json").read_text(encoding="utf-8"))
    assert {str(label.id): label.name for label in LABEL_SPACES["cadis"].labels} == {
        i: n["name"] for i, n in names.items()
    }
    third = json.loads((folder / "class_info_experiment3.json").read_text(encoding="utf-8"))
    third.pop("25")
    assert {str(label.id): label.name for label in LABEL_SPACES["cadis-3"].labels} == {
        i: n["name"] for i, n in third.items()
    }
    paths = [folder / "sample_label.png", *sorted((folder / "relabelled").glob("*.png"))]
    for path in paths:
        raw = read_label_map(path)
        for name in ("cadis", "cadis-1", "cadis-2", "cadis-3"):
            space = LABEL_SPACES[name]
            assert set(np.unique(space.from_raw(raw))) <= {*space.ids, 255}


def test_the_real_class_table_of_endovis18_agrees() -> None:
    table = json.loads((samples_dir() / "endovis17" / "endovis18_classes.json").read_text(encoding="utf-8"))["classes"]
    space = LABEL_SPACES["endovis18-scene"]
    for entry in table[1:]:
        label = space[int(entry["id"])]
        assert list(label.color) == json.loads(entry["color"])
        assert label.name == {"clapms": "clamps"}.get(entry["name"], entry["name"])
    assert len(table) == len(space) + 1


def test_real_endovis17_parts_are_of_their_space() -> None:
    raw = read_label_map(samples_dir() / "endovis17" / "original" / "frame000_label.png")
    assert set(np.unique(LABEL_SPACES["endovis17-parts"].from_raw(raw))) <= {0, 1, 2, 3}

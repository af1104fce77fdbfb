"""Configurations from plain data: strict, with messages that help, and back again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from surgvos.config.load import apply_overrides, from_plain, kind_of, load_file, read_file, to_plain
from surgvos.config.presets import RECIPES
from surgvos.errors import ConfigError
from surgvos.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class RoundConfig:
    radius: float = 1.0


@dataclass(frozen=True, kw_only=True)
class BoxShapeConfig:
    size_hw: tuple[int, int] = (2, 3)


@dataclass(frozen=True, kw_only=True)
class Part:
    name: str
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"expected count >= 1, got {self.count}")


@dataclass(frozen=True, kw_only=True)
class Whole:
    shape: RoundConfig | BoxShapeConfig
    parts: tuple[Part, ...] = ()
    spare: Part | None = None
    rate: float = 0.1
    mode: Literal["fast", "slow"] = "fast"
    on: bool = False
    limit: int | None = None
    either: int | str = 0
    folder: Path = Path("here")
    weights: dict[str, float] = field(default_factory=dict)


PARTS = st.builds(Part, name=st.text(max_size=5), count=st.integers(1, 9))
WHOLES = st.builds(
    Whole,
    shape=st.one_of(
        st.builds(RoundConfig, radius=st.floats(allow_nan=False, allow_infinity=False)),
        st.builds(BoxShapeConfig, size_hw=st.tuples(st.integers(), st.integers())),
    ),
    parts=st.lists(PARTS, max_size=3).map(tuple),
    spare=st.none() | PARTS,
    rate=st.floats(allow_nan=False, allow_infinity=False),
    mode=st.sampled_from(["fast", "slow"]),
    on=st.booleans(),
    limit=st.none() | st.integers(),
    either=st.integers() | st.text(max_size=5),
    folder=st.sampled_from([Path("a"), Path("/a/b")]),
    weights=st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=3),
)


@given(whole=WHOLES)
@settings(max_examples=60, deadline=None)
def test_plain_data_and_back(whole: Whole) -> None:
    plain = to_plain(whole)
    assert from_plain(Whole, plain) == whole
    assert from_plain(Whole, json.loads(json.dumps(plain))) == whole
    assert from_plain(Whole, yaml.safe_load(yaml.safe_dump(plain))) == whole


def test_every_recipe_survives_a_file(tmp_path: Path) -> None:
    for name, recipe in RECIPES.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(to_plain(recipe())), encoding="utf-8")
        assert load_file(TrainConfig, path) == recipe()


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"shape": {"kind": "round"}, "rat": 1}, "expected a known name at 'rat'; try 'rate'"),
        ({"shape": {"kind": "round", "radios": 1}}, "expected a known name at 'shape.radios'; try 'radius'"),
        ({"shape": {"kind": "round"}, "qqqqq": 1}, "known are shape, parts, spare"),
        ({}, "expected a value at 'shape', got none"),
        ({"shape": {"kind": "box"}}, "expected shape.kind to be one of round, box_shape, got 'box'; try 'box_shape'"),
        ({"shape": {}}, "expected shape.kind to be one of round, box_shape, got nothing; try"),
        ({"shape": 3}, "expected round or box_shape at 'shape', got 3"),
        ({"shape": {"kind": "round"}, "parts": [{"name": "a"}, {}]}, "expected a value at 'parts.1.name'"),
        ({"shape": {"kind": "round"}, "parts": [{"name": "a", "count": 0}]}, r"got 0 \(in parts.0\)"),
        ({"shape": {"kind": "round"}, "parts": {"name": "a"}}, "expected a list at 'parts'"),
        ({"shape": {"kind": "box_shape", "size_hw": [1]}}, "expected a list of 2 at 'shape.size_hw'"),
        ({"shape": {"kind": "round"}, "rate": "quick"}, "expected a number at 'rate', got 'quick'"),
        ({"shape": {"kind": "round"}, "rate": True}, "expected a number at 'rate', got True"),
        ({"shape": {"kind": "round"}, "mode": "slwo"}, "expected one of 'fast', 'slow' at 'mode'"),
        ({"shape": {"kind": "round"}, "on": 1}, "expected true or false at 'on', got 1"),
        ({"shape": {"kind": "round"}, "limit": 2.5}, "expected a whole number at 'limit', got 2.5"),
        ({"shape": {"kind": "round"}, "limit": True}, "expected a whole number at 'limit', got True"),
        ({"shape": {"kind": "round"}, "spare": "x"}, "expected the fields of Part at 'spare', got 'x'"),
        ([], "expected the fields of Whole, got"),
    ],
)
def test_what_does_not_fit_is_named(plain: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_plain(Whole, plain)


def test_numbers_that_yaml_takes_for_texts_are_numbers() -> None:
    config = from_plain(Whole, yaml.safe_load("shape: {kind: round, radius: 1e-3}\nrate: 2"))
    assert config.shape == RoundConfig(radius=0.001)
    assert isinstance(config.rate, float)


def test_overrides_reach_into_parts_lists_and_what_was_none() -> None:
    whole = Whole(shape=RoundConfig(), parts=(Part(name="a"), Part(name="b")))
    changed = apply_overrides(
        whole, ["shape.radius=1e-4", "parts.1.count=3", "spare.name=c", "mode=slow", "limit=null", "on=true"]
    )
    assert changed == dataclasses.replace(
        whole,
        shape=RoundConfig(radius=1e-4),
        parts=(Part(name="a"), Part(name="b", count=3)),
        spare=Part(name="c"),
        mode="slow",
        on=True,
    )
    assert whole.mode == "fast"


def test_overriding_a_kind_starts_that_part_afresh() -> None:
    whole = Whole(shape=RoundConfig(radius=5.0))
    assert apply_overrides(whole, ["shape.kind=box_shape"]).shape == BoxShapeConfig()
    assert apply_overrides(whole, ["shape.kind=box_shape", "shape.size_hw=[7, 8]"]).shape == BoxShapeConfig(
        size_hw=(7, 8)
    )
    assert apply_overrides(whole, ["shape.kind=round"]).shape == RoundConfig(radius=5.0)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("rate", "expected name.name=value, got 'rate'"),
        ("=3", "expected name.name=value"),
        ("rat=3", "try 'rate'"),
        ("shap.radius=3", "expected a known name at 'shap', got 'shap'; try 'shape'"),
        ("shape.radius.deep=3", "expected a part with fields before .deep"),
        ("rate.deep.deeper=3", "expected a part with fields before 'rate.deep'"),
        ("parts.4.count=3", r"expected a position in 0..0 at 'parts.4', got '4'"),
        ("parts.one.count=3", "expected a position"),
        ("rate={", "expected a value after ="),
    ],
)
def test_bad_overrides_are_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_overrides(Whole(shape=RoundConfig(), parts=(Part(name="a"),)), [assignment])


@pytest.mark.parametrize("text", [": [", "- 1", "just words", "\x00"])
def test_files_that_hold_no_names_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_file(tmp_path / "none.yaml")


def test_kinds_are_class_names_in_snake_case() -> None:
    assert kind_of(RoundConfig) == "round"
    assert kind_of(BoxShapeConfig) == "box_shape"

"""How far two annotators agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from surgvos.cli.main import app
from surgvos.errors import InputError
from surgvos.evaluation.agreement import cohen_kappa, compare_annotators
from surgvos.io.masks import write_label_map


def project(folder: Path, frames: dict[str, Any], classes: dict[str, str] | None = None) -> Path:
    for name, label_map in frames.items():
        write_label_map(folder / "masks" / f"{name}.png", np.asarray(label_map, dtype=np.uint8))
    if classes is not None:
        (folder / "object_classes.json").write_text(json.dumps(classes))
    return folder


def test_kappa_is_that_of_the_textbook() -> None:
    # Observed 0.7, expected by chance 0.5.
    assert cohen_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert cohen_kappa(np.eye(3) * 5) == 1
    assert cohen_kappa(np.array([[0, 5], [5, 0]])) == -1
    assert np.isnan(cohen_kappa(np.array([[9, 0], [0, 0]])))


@given(st.lists(st.integers(0, 50), min_size=9, max_size=9).filter(lambda counts: sum(counts) > 0))
def test_kappa_does_not_ask_who_is_first(counts: list[int]) -> None:
    table = np.array(counts).reshape(3, 3)
    assert cohen_kappa(table) == pytest.approx(cohen_kappa(table.T), nan_ok=True)


def test_objects_are_compared_by_class(tmp_path: Path) -> None:
    one = project(tmp_path / "anna", {"0": [[1, 1, 0, 2]], "1": [[0, 0, 0, 0]]}, {"1": "hook", "2": "grasper"})
    other = project(tmp_path / "ben", {"0": [[5, 0, 0, 1]], "1": [[0, 0, 0, 0]]}, {"5": "hook", "1": "grasper"})
    found = compare_annotators(one, other)
    assert set(found.names) == {"background", "hook", "grasper"}
    assert found.of_class("hook")["dice"] == pytest.approx(2 / 3)
    assert found.of_class("grasper") == {"dice": 1.0, "kappa": 1.0}
    assert found.num_frames == 2
    # 7 of 8 pixels agree; by chance (5 * 6 + 2 * 1 + 1 * 1) / 64.
    assert found.kappa == pytest.approx((7 / 8 - 33 / 64) / (1 - 33 / 64))


def test_only_frames_that_both_labelled_count(tmp_path: Path) -> None:
    one = project(tmp_path / "anna", {"0": [[1, 0]], "1": [[1, 1]]})
    other = project(tmp_path / "ben", {"0": [[1, 0]], "2": [[0, 0]]})
    found = compare_annotators(one, other)
    assert (found.num_frames, found.kappa) == (1, 1.0)
    assert found.warnings == ("frames that only one annotator labelled, not compared: 2",)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = project(tmp_path / "anna", {"0": [[1, 0]]})
    with pytest.raises(InputError, match="one size"):
        compare_annotators(one, project(tmp_path / "ben", {"0": [[1, 0, 0]]}))
    with pytest.raises(InputError, match="both labelled"):
        compare_annotators(one, project(tmp_path / "cem", {"7": [[1, 0]]}))


def test_the_command_writes_what_it_shows(tmp_path: Path) -> None:
    one = project(tmp_path / "anna", {"0": [[1, 1, 0, 0]]}, {"1": "hook"})
    other = project(tmp_path / "ben", {"0": [[1, 0, 0, 0]]}, {"1": "hook"})
    out = tmp_path / "scores.json"
    result = CliRunner().invoke(app, ["agreement", str(one), str(other), "--json", str(out)])
    assert result.exit_code == 0, result.output
    assert "hook" in result.output
    assert json.loads(out.read_text())["classes"]["hook"] == pytest.approx({"dice": 2 / 3, "kappa": 0.5})

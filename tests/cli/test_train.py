"""``surgvos train``: recipes, settings and how bad ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from surgvos.cli.main import app
from surgvos.cli.train import resolve
from surgvos.config.load import to_plain
from surgvos.errors import ConfigError
from training.tiny import tiny_run


def test_a_recipe_file_runs_and_resumes(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(to_plain(tiny_run(4))), encoding="utf-8")
    out = tmp_path / "run"
    arguments = ["train", str(recipe), "--set", "log_every=2", "--out", str(out), "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert str(out / "model.safetensors") in result.output.replace("\n", "")
    assert len((out / "log.jsonl").read_text().splitlines()) == 2
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "--resume"]).exit_code == 0


@pytest.mark.parametrize(
    ("recipe", "assignments", "message"),
    [
        ("nano_clip", [], "expected a recipe or a YAML file, got 'nano_clip'; try 'nano_clips'"),
        ("none.yaml", [], "none.yaml"),
        ("nano_clips", ["optimiser.learning_rat=1"], "'optimiser.learning_rat'; try 'learning_rate'"),
        ("nano_clips", ["optimiser.learning_rate=-1"], "expected learning_rate > 0"),
        ("nano_clips", ["data.kind=vos"], "try 'vos_folder'"),
        ("nano_clips", ["data.kind=vos_folder"], "expected a value at 'data.root'"),
        ("nano_clips", ["seed"], "expected name.name=value"),
    ],
)
def test_bad_settings_are_explained(recipe: str, assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(recipe, assignments)
    assert message in str(caught.value)


def test_settings_change_a_recipe() -> None:
    config = resolve("nano_clips", ["data.kind=vos_folder", "data.root=/videos", "stages.0.batch.num_frames=2"])
    assert to_plain(config)["data"]["root"] == "/videos"
    assert config.stages[0].batch.num_frames == 2


def test_wrong_use_ends_with_two() -> None:
    result = CliRunner().invoke(app, ["train", "nano_clips", "--set", "sead=1", "--out", "nowhere"])
    assert result.exit_code == 2
    assert "seed" in result.output

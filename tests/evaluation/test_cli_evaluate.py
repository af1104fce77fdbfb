import csv
import json

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from surgvos.cli.evaluate import evaluate
from surgvos.errors import ConfigError, InputError
from surgvos.evaluation import Report, evaluate_folders

app = typer.Typer()
app.command()(evaluate)


@pytest.fixture
def folders(tmp_path):
    """One video of four frames: object 1 half found, object 3 never."""
    for side, width, ids in (("pred", 5, (1,)), ("gt", 10, (1, 3))):
        folder = tmp_path / side / "case"
        folder.mkdir(parents=True)
        for index in range(4):
            label_map = np.zeros((30, 40), np.uint8)
            for position, object_id in enumerate(ids):
                label_map[10:20, 2 + 20 * position :][:, :width] = object_id
            Image.fromarray(label_map).save(folder / f"{index:05d}.png")
    return str(tmp_path / "pred"), str(tmp_path / "gt")


def run(*arguments):
    return CliRunner().invoke(app, [*arguments])


def test_writes_the_report_as_json_and_prints_a_table(folders, tmp_path):
    target = tmp_path / "out" / "scores.json"
    result = run(*folders, "--json", str(target))
    assert result.exit_code == 0, result.output
    document = json.loads(target.read_text())
    assert Report.from_json(document) == evaluate_folders(*folders, "davis")
    assert document["objects"]["case"]["1"]["J"] == 50
    assert document["mean"]["J"] == 25
    assert [p.name for p in target.parent.iterdir()] == ["scores.json"]
    rows = [line for line in result.stdout.splitlines() if "case" in line]
    assert len(rows) == 3
    assert "50.00" in rows[0]
    assert "25.00" in rows[2]
    assert "warning: video case: object ids never predicted, scored as empty: 3" in result.stderr


def test_options_reach_the_evaluation(folders, tmp_path):
    target = tmp_path / "scores.json"
    result = run(*folders, "--protocol", "resurgsam2", "--objects", "1", "--workers", "1", "--json", str(target))
    assert result.exit_code == 0, result.output
    document = json.loads(target.read_text())
    assert document["protocol"] == "resurgsam2"
    assert document["objects"]["case"].keys() == {"1"}
    assert document["objects"]["case"]["1"]["num_frames"] == 4
    assert result.stderr == ""
    result = run(*folders, "--ignore", "3", "--json", str(target))
    assert json.loads(target.read_text())["objects"]["case"].keys() == {"1"}
    result = run(*folders, "--threshold", "0", "--json", str(target))
    assert json.loads(target.read_text())["objects"]["case"]["1"]["J"] == 25


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--protocol", "davos"], ConfigError, "try 'davis'"),
        (["--objects", "1;3"], InputError, "separated by commas, such as 1,3, got '1;3'"),
        (["--objects", "7"], InputError, "at least one object to score"),
        (["--plain", "missing"], ConfigError, "or all, got 'missing'"),
        (["--bootstrap", "9", "--unit", "videos"], InputError, "expected two videos or more"),
        (["--object-classes", "nowhere.json"], InputError, "expected a JSON file, got 'nowhere.json'"),
    ],
)
def test_mistakes_raise_what_the_command_line_turns_into_a_sentence(folders, tmp_path, arguments, error, message):
    target = tmp_path / "scores.json"
    result = run(*folders, "--json", str(target), *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not target.exists()


def test_rows_are_written_as_csv_and_latex_with_intervals_and_classes(folders, tmp_path):
    classes = tmp_path / "classes.json"
    classes.write_text('{"1": "grasper", "case": {"3": "hook"}}')
    files = [str(tmp_path / name) for name in ("a.csv", "a.tex", "a.json")]
    result = run(
        *folders,
        *("--csv", files[0], "--latex", files[1], "--json", files[2]),
        *("--bootstrap", "200", "--object-classes", str(classes)),
    )
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [(r["video"], r["object"], r["class"], r["J"]) for r in rows] == [
        ("case", "1", "grasper", "50.0"),
        ("case", "3", "hook", "0.0"),
        ("case", "mean", "", "25.0"),
        ("", "mean", "grasper", "50.0"),
        ("", "mean", "hook", "0.0"),
        ("mean", "", "", "25.0"),
    ]
    assert (rows[-1]["J low"], rows[-1]["J high"]) == ("0.0", "50.0")
    assert r"case & 1 & grasper & " in (tmp_path / "a.tex").read_text()
    intervals = json.loads((tmp_path / "a.json").read_text())["intervals"]
    assert (intervals["unit"], intervals["num_samples"], intervals["mean"]["J"]) == ("objects", 200, [0, 50])
    assert "200 draws of objects" in " ".join(result.stdout.split())


def test_plain_rules_take_the_place_of_published_ones(folders, tmp_path):
    target = tmp_path / "scores.json"
    result = run(*folders, "--protocol", "surgsam2", "--plain", "frames,overlap", "--json", str(target))
    assert result.exit_code == 0, result.output
    document = json.loads(target.read_text())
    assert document["objects"]["case"]["1"]["num_frames"] == 4
    assert "frames" not in document["quirks"]
    assert document["quirks"]["missing_objects"] == "left_out"
    assert "missing_objects left_out" in " ".join(result.stdout.split())


def test_help_names_the_protocols_and_no_other():
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("davis", "surgsam2", "resurgsam2"))
    assert "temporal" not in result.stdout

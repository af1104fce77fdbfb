import csv
import json

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from surgvos.cli.evaluate import CLASS_PROTOCOLS, TEMPORAL_PROTOCOLS, evaluate
from surgvos.errors import ConfigError, InputError, SurgvosError
from surgvos.evaluation import PROTOCOLS, Report, evaluate_folders
from surgvos.evaluation.class_protocols import CLASS_PROTOCOLS as CLASS_RULES
from surgvos.evaluation.temporal import TEMPORAL_PROTOCOLS as TEMPORAL_RULES

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
    assert "[0.00, 50.00]" in result.stdout
    assert "…" not in result.stdout


def test_plain_rules_take_the_place_of_published_ones(folders, tmp_path):
    target = tmp_path / "scores.json"
    result = run(*folders, "--protocol", "surgsam2", "--plain", "frames,overlap", "--json", str(target))
    assert result.exit_code == 0, result.output
    document = json.loads(target.read_text())
    assert document["objects"]["case"]["1"]["num_frames"] == 4
    assert "frames" not in document["quirks"]
    assert document["quirks"]["missing_objects"] == "left_out"
    assert "missing_objects left_out" in " ".join(result.stdout.split())


def test_help_names_the_protocols():
    result = run("--help")
    assert result.exit_code == 0
    known = (*PROTOCOLS, *CLASS_PROTOCOLS, *TEMPORAL_PROTOCOLS)
    text = result.stdout
    assert all(name in text for name in ("davis", "plain", "surgsam2", "resurgsam2", "endovis", "semantic", "sasvi"))
    assert set(known) == {*PROTOCOLS, *CLASS_RULES, *TEMPORAL_RULES}


@pytest.fixture
def videos(tmp_path):
    """Two videos of four frames with two classes; the second class is never found. Frames show what masks show."""
    for video in ("a", "b"):
        for index in range(4):
            truth = np.zeros((140, 160), np.uint8)
            truth[20:60, 10 + 4 * index :][:, :40] = 1
            truth[80:120, 100:140] = 2
            image = np.random.default_rng(0).integers(0, 60, (*truth.shape, 3)).astype(np.uint8)
            image[truth > 0] += 150
            for side, label_map in (("gt", truth), ("pred", truth * (truth == 1)), ("frames", image)):
                folder = tmp_path / side / video
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(label_map).save(folder / f"{index:05d}.png")
    return tmp_path


def test_classes_are_scored_with_folds_and_intervals(videos):
    (videos / "classes.json").write_text('{"classes": [{"id": 1, "name": "grasper"}, {"id": 2, "name": "hook"}]}')
    (videos / "folds.json").write_text('{"0": ["a"], "1": ["b"]}')
    result = run(
        *(str(videos / "pred"), str(videos / "gt"), "--protocol", "endovis"),
        *("--classes", str(videos / "classes.json"), "--folds", str(videos / "folds.json"), "--bootstrap", "20"),
        *("--json", str(videos / "s.json"), "--csv", str(videos / "s.csv"), "--latex", str(videos / "s.tex")),
    )
    assert result.exit_code == 0, result.output
    document = json.loads((videos / "s.json").read_text())
    assert document["mean"] == pytest.approx({"CIoU": 50, "IoU": 50, "mcIoU": 50, "mIoU": 50})
    assert document["classes"] == {"grasper": {"IoU": 100}, "hook": {"IoU": 0}}
    assert document["mean_of_folds"] == document["mean"]
    assert document["intervals"]["unit"] == "videos"
    rows = list(csv.DictReader((videos / "s.csv").open()))
    assert {(r["video"], r["class"]) for r in rows} >= {("a", "hook"), ("all", "all"), ("mean of folds", "all")}
    assert r"all & hook & - & 0.00 [0.00, 0.00] &" in (videos / "s.tex").read_text()


def test_the_classes_of_a_data_set_are_known_by_its_name(videos):
    target = videos / "s.json"
    arguments = (str(videos / "pred"), str(videos / "gt"), "--protocol", "semantic", "--json", str(target))
    result = run(*arguments, "--classes", "endovis17-types", "--absent", "perfect")
    assert result.exit_code == 0, result.output
    assert json.loads(target.read_text())["classes"].keys() == {"bipolar forceps", "prograsp forceps"}
    assert run(*arguments, "--classes", "endovis17-parts").exit_code == 0


def test_steadiness_needs_no_truth(videos):
    target = videos / "s.json"
    arguments = (str(videos / "pred"), "--frames", str(videos / "frames"), "--flow", "dis", "--json", str(target))
    result = run(*arguments, "--protocol", "temporal", "--bootstrap", "10")
    assert result.exit_code == 0, result.output
    document = json.loads(target.read_text())
    assert document["labels"]["IoU"] == {"1": pytest.approx(100 * 36 / 44)}
    assert document["labels"]["flow IoU"]["1"] > 95
    assert (document["num_pairs"], document["quirks"]) == (6, {})
    assert document["intervals"]["mean"].keys() == document["mean"].keys()
    result = run(*arguments, "--protocol", "sasvi", "--plain", "background,image_hw")
    assert result.exit_code == 0, result.output
    document = json.loads(target.read_text())
    assert document["quirks"].keys() == {
        *("contour_starts", "flow", "flow_hw", "rescale_flow", "truncate", "hidden_pixels")
    }
    assert document["labels"]["IoU"] == {"1": pytest.approx(100 * 36 / 44)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gt", "--protocol", "endovis", "--threshold", "3"], "expected no --threshold with protocol endovis"),
        (["gt", "--protocol", "endovis", "--plain", "all"], "expected no --plain with protocol endovis"),
        (["gt", "--protocol", "endovis", "--absent", "skip"], "whose rule is fixed"),
        (["gt", "--classes", "7"], "expected no --classes with protocol davis"),
        (["gt", "--protocol", "semantic"], "expected --classes for protocol semantic, got none"),
        (["gt", "--protocol", "semantic", "--classes", "7", "--absent", "never"], "skip or perfect for --absent"),
        (["gt", "--protocol", "endovis", "--classes", "1"], "expected class ids 1 or 0 for none in the ground"),
        (["gt", "--protocol", "endovis", "--classes", "nothing"], "expected a label space, one of cadis"),
        (["gt", "--protocol", "endovis", "--folds", "endovis18"], "expected a data set with folds"),
        (["gt", "--protocol", "endovis", "--bootstrap", "5", "--unit", "objects"], "try --unit videos"),
        (["gt", "--protocol", "temporal"], "expected no ground truth for protocol temporal"),
        (["--protocol", "endovis"], "expected a ground truth for protocol endovis, got none"),
        (["--protocol", "temporal", "--flow", "dis"], "expected frames and a flow together"),
        (["--protocol", "temporal", "--flow", "farneback"], "expected a flow of dis, raft, got 'farneback'"),
        (["--protocol", "temporal", "--flow", "raft", "--frames", "frames"], "--flow raft and --flow-weights together"),
        (["--protocol", "temporal", "--object-classes", "x.json"], "expected --classes with --object-classes"),
        (["--protocol", "sasvi", "--plain", "missing_objects"], "expected rules of image_hw, background,"),
        (["--protocol", "temporal", "--frames", "gt/a", "--flow", "dis"], "expected the frames of video a in"),
    ],
)
def test_options_that_mean_nothing_together_are_refused_in_a_sentence(videos, monkeypatch, arguments, message):
    monkeypatch.chdir(videos)
    result = run("pred", *arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, SurgvosError)
    assert message in str(result.exception)

"""``surgvos segment --overseer`` with label maps for a detector: every frame gets its classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner, Result

from helpers import moving_square_frames, write_video
from surgvos.cli.main import app
from surgvos.io.masks import read_label_map, write_label_map
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoConfig, NanoModel

HW = (64, 96)
NUM_FRAMES = 32  # more than are held while the rules look ahead
NOTHING = 9


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video, weights, a label space with a class 0, and what a detector saw: class 0, and 2 from frame 12 on."""
    folder = tmp_path_factory.mktemp("case")
    write_video(folder / "case.mp4", moving_square_frames(NUM_FRAMES, hw=HW)[0])
    torch.manual_seed(0)
    config = NanoConfig(
        widths=(16, 16, 16, 16),
        depths=(1, 1, 1),
        decoder_widths=(16, 16, 16, 16, 16),
        head_dim=16,
        input_area_px=64 * 96,
    )
    save_model(folder / "tiny.safetensors", NanoModel(config))
    classes = [
        {"id": 0, "name": "pupil", "color": [250, 0, 0]},
        {"id": 2, "name": "cannula", "color": [0, 0, 250]},
    ]
    space = {"background": NOTHING, "classes": classes}
    (folder / "eye.yaml").write_text(yaml.safe_dump(space))
    for index in range(NUM_FRAMES):
        label_map = np.full(HW, NOTHING, np.uint8)
        label_map[10:40, 10:40] = 0
        if index >= 12:
            label_map[30:60, 50:90] = 2
        write_label_map(folder / f"seen/{index:05d}.png", label_map)
    return folder


def segment(case: Path, out: Path, *more: str) -> Result:
    words = ["segment", str(case / "case.mp4"), "--out", str(out), "--model", str(case / "tiny.safetensors")]
    words += ["--overseer", str(case / "seen"), "--label-space", str(case / "eye.yaml"), *more]
    return CliRunner().invoke(app, words)


def test_every_frame_gets_its_classes(case: Path, tmp_path: Path) -> None:
    result = segment(case, tmp_path / "out", "--overlay", "--save-overseer")
    assert result.exit_code == 0, result.output
    masks = sorted((tmp_path / "out/masks").glob("*.png"))
    assert [path.stem for path in masks] == [f"{i:05d}" for i in range(NUM_FRAMES)]
    values = [set(np.unique(read_label_map(path)).tolist()) for path in masks]
    assert all(found <= {0, 2, NOTHING} for found in values)
    # A new class is prompted by its mask, which is then the answer.
    assert 0 in values[0]
    assert 2 not in values[11]
    assert 2 in values[12]
    palette = np.asarray(Image.open(masks[0]).getpalette()).reshape(-1, 3)
    assert palette[0].tolist() == [250, 0, 0]
    for path in (case / "seen").glob("*.png"):
        kept = read_label_map(tmp_path / "out/overseer" / path.name)
        np.testing.assert_array_equal(kept, read_label_map(path))
    assert (tmp_path / "out/overlay.mp4").stat().st_size > 0
    record = json.loads((tmp_path / "out/run.json").read_text())["record"]
    assert record["overseer"]["rules"] == "sasvi"


def test_the_detector_alone_is_written_as_it_is(case: Path, tmp_path: Path) -> None:
    result = segment(case, tmp_path / "out", "--no-tracker")
    assert result.exit_code == 0, result.output
    for path in (case / "seen").glob("*.png"):
        np.testing.assert_array_equal(read_label_map(tmp_path / "out/masks" / path.name), read_label_map(path))


def test_two_of_a_class_have_ids_of_their_own(case: Path, tmp_path: Path) -> None:
    label_map = np.full(HW, NOTHING, np.uint8)
    label_map[4:24, 4:34] = label_map[40:60, 50:80] = 2
    for index in range(NUM_FRAMES):
        write_label_map(tmp_path / f"seen/{index:05d}.png", label_map)
    result = segment(case, tmp_path / "out", "--overseer", str(tmp_path / "seen"), "--instances", "--overlay")
    assert result.exit_code == 0, result.output
    classes, instances = (read_label_map(tmp_path / f"out/{what}/00000.png") for what in ("masks", "instances"))
    np.testing.assert_array_equal(classes, label_map)
    assert set(np.unique(instances).tolist()) == {0, 201, 202}
    np.testing.assert_array_equal(instances > 0, label_map == 2)
    assert len(np.unique(instances[:30])) == len(np.unique(instances[30:])) == 2
    first = json.loads((tmp_path / "out/frames.jsonl").read_text().splitlines()[0])
    assert list(first["objects"]) == ["201", "202"]


def test_a_second_detector_is_asked_for_its_vote(case: Path, tmp_path: Path) -> None:
    """Label maps have one name for each pixel, so that a voter has nothing to decide; it is opened all the same."""
    assert segment(case, tmp_path / "out", "--no-tracker", "--voter", str(case / "seen")).exit_code == 0
    for path in (case / "seen").glob("*.png"):
        np.testing.assert_array_equal(read_label_map(tmp_path / "out/masks" / path.name), read_label_map(path))
    result = segment(case, tmp_path / "other", "--voter", str(tmp_path / "nowhere"))
    assert result.exit_code == 2
    assert "nowhere" in result.output


def test_frames_outside_the_body_are_left_out(case: Path, tmp_path: Path) -> None:
    inside, drape = (np.full((*HW, 3), color, np.uint8) for color in ((160, 60, 50), (40, 100, 160)))
    write_video(tmp_path / "case.mp4", [inside] * 14 + [drape] * (NUM_FRAMES - 14))
    words = ["segment", str(tmp_path / "case.mp4"), "--out", str(tmp_path / "out"), "--skip-out-of-body"]
    words += ["--model", str(case / "tiny.safetensors"), "--overseer", str(case / "seen")]
    result = CliRunner().invoke(app, [*words, "--label-space", str(case / "eye.yaml")])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "out/frames.jsonl").read_text().splitlines()]
    assert ["out_of_body" in line for line in lines] == [False] * 14 + [True] * (NUM_FRAMES - 14)
    masks = [read_label_map(tmp_path / f"out/masks/{index:05d}.png") for index in range(NUM_FRAMES)]
    assert (masks[0] == 0).any()
    assert all((mask == NOTHING).all() for mask in masks[14:])


def test_the_overseer_in_the_box_needs_no_label_space(case: Path, tmp_path: Path) -> None:
    words = [
        "segment",
        str(case / "case.mp4"),
        "--out",
        str(tmp_path / "out"),
        "--model",
        str(case / "tiny.safetensors"),
    ]
    result = CliRunner().invoke(app, [*words, "--overseer", "surgvos-nano", "--stop", "12"])
    assert result.exit_code == 0, result.output
    assert result.stdout.rstrip().endswith("pixels are ids of surgvos-nano")
    assert len(list((tmp_path / "out/masks").glob("*.png"))) == 12
    unknown = CliRunner().invoke(app, [*words, "--overseer", "surgvos-nan", "--label-space", "surgvos-nano"])
    assert unknown.exit_code == 2
    assert "expected surgvos-nano, the weights of a detector" in unknown.output


def test_a_finished_run_is_left_alone(case: Path, tmp_path: Path) -> None:
    assert segment(case, tmp_path / "out").exit_code == 0
    assert segment(case, tmp_path / "out").exit_code == 2
    assert segment(case, tmp_path / "out", "--resume").exit_code == 0


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--point", "1@0:5,5"), "expected --point only without --overseer"),
        (("--rules", "sasvy"), "try 'sasvi'"),
        (("--no-tracker", "--rules", "sasvi"), "expected --no-tracker without --rules"),
        (("--no-tracker", "--instances"), "expected --instances without --no-tracker"),
        (("--annotated", "somewhere", "--instances"), "expected --instances without --no-tracker and --annotated"),
        (("--direction", "backward"), "expected direction forward"),
        (("--label-space", "cadis-9"), "expected"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    case: Path, tmp_path: Path, more: tuple[str, ...], sentence: str
) -> None:
    result = segment(case, tmp_path / "out", *more)
    assert result.exit_code == 2
    assert sentence in result.output


def test_options_of_an_overseer_need_one(case: Path, tmp_path: Path) -> None:
    words = ["segment", str(case / "case.mp4"), "--out", str(tmp_path / "out"), "--point", "1@0:5,5", "--no-tracker"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "expected --no-tracker only as an option of --overseer" in result.output


def test_a_detector_without_a_label_space_is_refused(case: Path, tmp_path: Path) -> None:
    words = ["segment", str(case / "case.mp4"), "--out", str(tmp_path / "out"), "--overseer", str(case / "seen")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "expected a label space for" in result.output

"""``surgvos segment --text``: what is written, and what is said when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from helpers import moving_square_frames, write_video
from surgvos.cli.main import app
from surgvos.cli.prompt_arguments import parse_texts
from surgvos.core import PointPrompt, TextPrompt
from surgvos.data.prompt_files import read_prompt_file
from surgvos.io.masks import read_label_map
from surgvos.models.checkpoints import save_model
from surgvos.models.interface import ImageFeatures, MaskPrediction, TextFeatures
from surgvos.models.nano import NanoConfig, NanoModel
from surgvos.models.nano.referring import ReferringNano, ReferringNanoConfig

NUM_FRAMES = 12
SIZES = {
    "widths": (16, 16, 16, 16),
    "depths": (1, 1, 1),
    "decoder_widths": (16, 16, 16, 16, 16),
    "head_dim": 16,
    "input_area_px": 64 * 96,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video, a model that reads phrases, and one that does not."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    save_model(folder / "plain.safetensors", NanoModel(NanoConfig(**SIZES)))  # type: ignore[arg-type]
    save_model(folder / "reads.safetensors", ReferringNano(ReferringNanoConfig(**SIZES)))  # type: ignore[arg-type]
    write_video(folder / "case.mp4", moving_square_frames(NUM_FRAMES)[0])
    return folder


@pytest.fixture
def finds_the_left_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model finds nothing: this one finds its left half, unless something else is asked for."""

    def refer(
        self: ReferringNano, features: ImageFeatures, previous: Sequence[ImageFeatures], text: TextFeatures
    ) -> MaskPrediction:
        num_words = text.is_token.sum(dim=1)
        logits = torch.full((len(num_words), 1, 32, 48), -8.0)
        logits[..., :24] = 8
        return MaskPrediction(logits, torch.full((len(num_words), 1), 0.9), torch.where(num_words == 2, 5.0, -5.0))

    monkeypatch.setattr(ReferringNano, "refer", refer)


def segment(files: Path, out: Path, *arguments: str, model: str = "reads") -> Result:
    where = [str(files / "case.mp4"), "--out", str(out), "--model", str(files / f"{model}.safetensors")]
    return CliRunner().invoke(app, ["segment", *where, *arguments])


@pytest.mark.usefixtures("finds_the_left_half")
def test_what_is_found_is_written_and_what_is_not_is_told(files: Path, tmp_path: Path) -> None:
    result = segment(files, tmp_path / "out", "--text", "needle driver", "--text", "7=no such thing here")
    assert result.exit_code == 0, result.output
    assert "object 7 was not found: no such thing here" in result.output
    assert "object 1" not in result.output
    written = json.loads((tmp_path / "out/run.json").read_text())
    assert written["searched"] == {
        "1": {"phrases": ["needle driver"], "found_at": 4},
        "7": {"phrases": ["no such thing here"], "found_at": None},
    }
    assert written["record"]["prompts"] == [
        {"frame": 0, "object": 1, "text": "needle driver"},
        {"frame": 0, "object": 7, "text": "no such thing here"},
    ]
    start = written["record"]["search"]["start"]
    assert (start["window"], start["min_presence"], start["min_iou"]) == (5, *ReferringNano.credible)
    label_map = read_label_map(tmp_path / "out/masks/00004.png")
    assert np.unique(label_map).tolist() == [0, 1]
    assert (label_map[:, :60] == 1).all()
    again = segment(files, tmp_path / "out", "--text", "needle driver", "--text", "7=no such thing here", "--resume")
    assert again.exit_code == 0, again.output
    assert "object 7 was not found" in again.output
    assert json.loads((tmp_path / "out/run.json").read_text())["searched"] == written["searched"]


@pytest.mark.usefixtures("finds_the_left_half")
@pytest.mark.parametrize("option", ["--show-unconfirmed", "--published-search"])
def test_what_is_not_certain_is_shown_when_asked(files: Path, tmp_path: Path, option: str) -> None:
    arguments = ["--text", "1@9=needle driver", "--start", "0"]
    assert segment(files, tmp_path / "a", *arguments).exit_code == 0
    assert segment(files, tmp_path / "b", *arguments, option).exit_code == 0
    for index in range(9, NUM_FRAMES):
        assert not read_label_map(tmp_path / f"a/masks/{index:05d}.png").any()
        assert read_label_map(tmp_path / f"b/masks/{index:05d}.png").any()


def test_a_model_that_reads_no_phrases_says_so(files: Path, tmp_path: Path) -> None:
    result = segment(files, tmp_path / "out", "--text", "needle driver", model="plain")
    assert result.exit_code == 2
    assert "got a phrase ('needle driver'), which this model cannot read; try a model that can" in result.stderr


def test_empty_phrases_and_frames_beyond_the_end_are_refused(files: Path, tmp_path: Path) -> None:
    for text, message in (
        ("", "expected a phrase, got an empty text"),
        ("3= ", "expected a phrase, got an empty text"),
        ("0=needle driver", "object id in 1..65535, got 0"),
        ("1@99=needle driver", "one on frame 99"),
    ):
        result = segment(files, tmp_path / "out", "--text", text)
        assert result.exit_code == 2, text
        assert message in result.stderr


def test_phrases_without_a_number_say_objects_without_another_prompt() -> None:
    shown = [(0, 1, PointPrompt((3, 4)))]
    texts = ["the grasper", "4=suction", "2@30=needle", "2@30=the bent one", "ratio = 3", "5 holes=no"]
    assert parse_texts(texts, shown, first_frame=8) == [  # type: ignore[arg-type]
        (8, 3, TextPrompt("the grasper")),
        (8, 4, TextPrompt("suction")),
        (30, 2, TextPrompt("needle")),
        (30, 2, TextPrompt("the bent one")),
        (8, 5, TextPrompt("ratio = 3")),
        (8, 6, TextPrompt("5 holes=no")),
    ]


def test_a_prompt_file_may_hold_phrases(tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text('[{"frame": 3, "object": 2, "text": "suction", "points": [[1, 2]]}]')
    point, phrase = read_prompt_file(tmp_path / "prompts.json")
    assert isinstance(point[2], PointPrompt)
    assert phrase == (3, 2, TextPrompt("suction"))

"""``docs/protocols.md`` and ``docs/referring.md``: their commands exist, and the first chain runs to its scores."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from surgvos.cli.main import COMMANDS, app, load_command
from surgvos.cli.train import resolve
from surgvos.data.synthetic import SceneConfig, generate_clip, write_clip
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoModel
from surgvos.models.zoo import ZOO
from training.tiny import TINY_NANO

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, REFERRING_PAGE = ((DOCS / name).read_text(encoding="utf-8") for name in ("protocols.md", "referring.md"))


def blocks_of(page: str) -> list[list[list[str]]]:
    """The words of the commands of each block, without ``surgvos``."""
    found = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    return [[shlex.split(line)[1:] for line in block.splitlines()] for block in found]


BLOCKS = blocks_of(PAGE)
COMMAND_LINES = [words for block in BLOCKS + blocks_of(REFERRING_PAGE) for words in block]


def test_there_are_commands() -> None:
    assert [words[0] for words in BLOCKS[0]] == ["data", "segment", "evaluate"]


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_commands_exist(words: list[str]) -> None:
    name, *arguments = words
    assert name in COMMANDS
    command = load_command(name)
    if hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in arguments if word.startswith("--")} <= known
    if name == "train":
        resolve(arguments[0], [value for option, value in pairwise(arguments) if option == "--set"])


@pytest.mark.parametrize("name", re.findall(r"--model ([\w.-]+)", PAGE))
def test_models_exist(name: str) -> None:
    assert name in ZOO or name.startswith("runs")


def test_the_chain_runs_from_downloads_to_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip = generate_clip(5, SceneConfig(image_hw=(128, 160), num_frames=4, surgical_share=1.0, late_entry=0.0))
    frames, instances = (array.repeat(8, axis=1).repeat(8, axis=2) for array in (clip.frames, clip.instances))
    full_size = replace(clip, frames=frames, instances=instances)
    write_clip(full_size, tmp_path / "downloads/VOS-Endovis18/valid", "seq_5")
    torch.manual_seed(0)
    save_model(tmp_path / "tiny.safetensors", NanoModel(TINY_NANO))
    for words in BLOCKS[0]:
        words = [str(tmp_path / "tiny.safetensors") if word in ZOO else word for word in words]
        words += ["--partial"] if words[:2] == ["data", "prepare"] else []
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    scores = json.loads(Path("runs/endovis18-mask.json").read_text())
    assert scores["protocol"] == "surgsam2"
    assert list(scores["objects"]) == ["seq_5"]
    assert scores["mean"]["J&F"] is not None

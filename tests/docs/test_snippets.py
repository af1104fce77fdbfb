"""What the pages tell a reader to type is understood, and their Python runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from click import UsageError
from typer.testing import CliRunner

import surgvos
from docs.pages import COMMANDS, Command, blocks
from docs.reader import WEIGHTS, use_miniatures, write_downloads
from surgvos.cli.main import COMMANDS as NAMES
from surgvos.cli.main import app, load_command
from surgvos.cli.train import resolve
from surgvos.io.label_spaces import read_label_space
from surgvos.models.zoo import PUBLISHED


def test_pages_have_commands() -> None:
    assert len(COMMANDS) > 100
    assert {"README.md", "docs/datasets.md", "docs/overseer.md"} <= {command.page for command in COMMANDS}


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_scripts_are_scripts() -> None:
    for page, block in blocks("bash"):
        checked = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert checked.returncode == 0, f"{page}: {checked.stderr}"


@pytest.mark.parametrize("said", COMMANDS, ids=str)
def test_commands_are_understood(said: Command) -> None:
    name, *arguments = said.words
    assert name in NAMES
    command = load_command(name)
    try:
        while hasattr(command, "commands"):
            own, *arguments = arguments
            command = command.commands[own]
        command.make_context(name, arguments).close()
    except UsageError as error:
        pytest.fail(f"{said.page}: {error.message}")


@pytest.mark.parametrize("said", [said for said in COMMANDS if said.words[0] == "train"], ids=str)
def test_recipes_and_their_settings_exist(said: Command) -> None:
    resolve(said.words[1], [value for option, value in pairwise(said.words) if option == "--set"])


@pytest.mark.parametrize(("page", "name"), [
    (said.page, value) for said in COMMANDS for option, value in pairwise(said.words) if option in ("--model", "get")
])  # fmt: skip
def test_models_exist(page: str, name: str) -> None:
    assert name in PUBLISHED or name in ("surgvos-nano",) or Path(name).suffix in (".pt", ".pth", ".safetensors"), page


# ``test_servers_run.py`` has the one that listens to a server.
@pytest.mark.parametrize("page", sorted({page for page, _ in blocks("python")} - {"docs/live.md"}))
def test_python_runs(page: str, files: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(files, tmp_path / "here"))
    use_miniatures(weights, monkeypatch)
    torch.set_num_threads(1)
    if page == "docs/export.md":
        words = ["segment", "case.mp4", "--out", "out", "--mask", "1@0:first.png"]
        assert CliRunner().invoke(app, words).exit_code == 0
    elif page == "docs/datasets.md":
        write_downloads("endovis17", Path("downloads"))
    names = {"surgvos": surgvos, "camera": [frame.image for frame in surgvos.open_video("frames")]}
    for own, block in blocks("python"):
        if own == page:
            source = re.sub(r"\w+\.pth", lambda name: str(weights / WEIGHTS[name[0]]), block)
            exec(compile(source, page, "exec"), names)


@pytest.mark.parametrize(("page", "block"), blocks("yaml"))
def test_files_of_classes_are_read(page: str, block: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(block, encoding="utf-8")
    assert len(read_label_space(tmp_path / "mine.yaml")) == 2, page


@pytest.mark.parametrize(("page", "block"), blocks("json"))
def test_json_is_json(page: str, block: str) -> None:
    """A value, or one in each line."""
    try:
        json.loads(block)
    except json.JSONDecodeError:
        assert [json.loads(line) for line in block.splitlines()], page

"""What the README and the pages tell a reader to type: every command is understood, and what can be run here is run."""

from __future__ import annotations

import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click import UsageError
from PIL import Image
from typer.testing import CliRunner

import surgvos
from helpers import moving_square_frames, write_video
from surgvos.cli.main import COMMANDS, app, load_command
from surgvos.cli.train import resolve
from surgvos.models.zoo import PUBLISHED

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, block) of one language."""
    return [
        (str(page.relative_to(ROOT)), block)
        for page in PAGES
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    ]


def commands() -> list[tuple[str, list[str]]]:
    """(page, words after ``surgvos``) of every command line, and of those inside another."""
    found = []
    for page, block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            inner = re.findall(r"\$\((surgvos [^)]*)\)", line)
            for text in (re.sub(r"\$\([^)]*\)", "value", line).replace(" $resume", ""), *inner):
                spoken = re.search(r"(?:^| )surgvos (.*)", text.partition(" #")[0])
                if spoken:
                    found.append((page, shlex.split(spoken[1], comments=True)))
    return found


COMMAND_LINES = commands()
IDS = [f"{page}: {' '.join(words)}" for page, words in COMMAND_LINES]


def test_pages_have_commands() -> None:
    assert len(COMMAND_LINES) > 40
    assert {"README.md", "docs/datasets.md", "docs/overseer.md"} <= {page for page, _ in COMMAND_LINES}


@pytest.mark.parametrize(("page", "words"), COMMAND_LINES, ids=IDS)
def test_commands_are_understood(page: str, words: list[str]) -> None:
    name, *arguments = words
    assert name in COMMANDS
    command = load_command(name)
    try:
        if hasattr(command, "commands"):
            own, *arguments = arguments
            command = command.commands[own]
        command.make_context(name, arguments).close()
    except UsageError as error:
        pytest.fail(f"{page}: {error.message}")


@pytest.mark.parametrize("words", [words for _, words in COMMAND_LINES if words[0] == "train"], ids=" ".join)
def test_recipes_and_their_settings_exist(words: list[str]) -> None:
    resolve(words[1], [value for option, value in pairwise(words) if option == "--set"])


@pytest.mark.parametrize(("page", "name"), [
    (page, value) for page, words in COMMAND_LINES for option, value in pairwise(words) if option in ("--model", "get")
])  # fmt: skip
def test_models_exist(page: str, name: str) -> None:
    assert name in PUBLISHED or name in ("surgvos-nano",) or Path(name).suffix in (".pt", ".pth", ".safetensors"), page


RUN_PAGES = {
    "README.md": lambda words: words[0] in ("segment", "evaluate") and not {"--model", "--overseer"} & {*words},
    "docs/export.md": lambda words: True,
    "docs/models.md": lambda words: words[:2] in (["models", "list"], ["models", "info"]),
    "docs/datasets.md": lambda words: words == ["data", "list"],
}
"""What is run to its end, in the order of the page. The rest needs weights, data sets, devices or hours; each of those
commands has tests of its own."""
NOT_RUN = {
    "docs/datasets.md": "needs an archive of a challenge",
    "docs/live.md": "needs a running server",
    "docs/models.md": "compiles for minutes",
    "docs/overseer.md": "needs weights of a detector",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages speak of."""
    folder = tmp_path_factory.mktemp("files")
    frames, masks = moving_square_frames(28, hw=(720, 1280), side_px=300, step_px=4)
    write_video(folder / "case.mp4", frames)
    (folder / "frames").mkdir()
    for index in range(3):
        Image.fromarray(frames[index]).save(folder / "frames" / f"{index:05d}.png")
    for name in ("first.png", "labels.png"):
        Image.fromarray(masks[0].astype(np.uint8)).save(folder / name)
    (folder / "ground_truth").mkdir()
    for index, mask in enumerate(masks):
        Image.fromarray(mask.astype(np.uint8)).save(folder / "ground_truth" / f"{index:05d}.png")
    return folder


@pytest.fixture
def _among_files(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where they are, and nothing else is."""
    monkeypatch.chdir(shutil.copytree(files, tmp_path / "here"))


@pytest.mark.usefixtures("_among_files")
@pytest.mark.parametrize("page", RUN_PAGES)
def test_commands_run(page: str) -> None:
    if page == "docs/export.md":
        _run(["segment", "case.mp4", "--out", "out", "--mask", "1@0:first.png"])
    chosen = [words for own, words in COMMAND_LINES if own == page and RUN_PAGES[page](words)]
    assert chosen
    for words in chosen:
        _run(words)


def _run(words: list[str]) -> None:
    if words[0] == "segment":
        shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{' '.join(words)}\n{done.output}"


@pytest.mark.usefixtures("_among_files")
@pytest.mark.parametrize("page", sorted({page for page, _ in blocks("python")} - set(NOT_RUN)))
def test_python_runs(page: str) -> None:
    if page != "README.md":
        _run(["segment", "case.mp4", "--out", "out", "--mask", "1@0:first.png"])
    names = {"surgvos": surgvos, "camera": [frame.image for frame in surgvos.open_video("frames")]}
    for own, block in blocks("python"):
        if own == page:
            exec(compile(block, page, "exec"), names)


@pytest.mark.parametrize("page", sorted(NOT_RUN))
def test_python_is_python(page: str) -> None:
    """What is not run at least compiles, and what it imports is there."""
    for own, block in blocks("python"):
        if own == page:
            compile(block, page, "exec")
            exec("\n".join(re.findall(r"^(?:from surgvos\S* )?import .*surgvos.*$|^from surgvos.*$", block, re.M)), {})

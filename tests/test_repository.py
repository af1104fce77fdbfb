"""The papers of the house say what is so."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

import surgvos
from surgvos.cli.main import COMMANDS, load_command

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """The words of every ``surgvos ...`` line of the README."""
    lines = [part for block in blocks("bash") for line in block.splitlines() for part in line.split("&&")]
    words = [shlex.split(line, comments=True) for line in lines]
    words += [shlex.split(text) for text in re.findall(r"`(surgvos [^`]+)`", README)]
    return [line[1:] for line in words if line[:1] == ["surgvos"]]


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_the_first_screen_is_two_commands() -> None:
    first, second = blocks("bash")[:2]
    assert first == "pip install . && surgvos demo\n"
    assert second == "pip install '.[test]' && python -m pytest\n"
    assert README.index(second) < 1500


def test_ci_runs_the_test_command_of_the_readme_last() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == blocks("bash")[1].strip()


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_of_the_readme_exist(words: list[str]) -> None:
    name, *arguments = words
    assert name in COMMANDS
    command = load_command(name)
    if hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in arguments if word.startswith("--")} <= known


@pytest.mark.parametrize("block", blocks("python"))
def test_names_in_the_readme_exist(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "surgvos":
            assert node.attr in surgvos.__all__
            getattr(surgvos, node.attr)


def test_all_public_names_can_be_imported_and_are_few() -> None:
    assert len(surgvos.__all__) <= 25
    found: dict[str, Any] = {name: getattr(surgvos, name) for name in surgvos.__all__}
    assert all(value is not None for value in found.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_table_row_names_files_that_exist() -> None:
    """Paths in the house's description are those of the house."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8") + (ROOT / "CONTRIBUTING.md").read_text(
        encoding="utf-8"
    )
    package = Path(surgvos.__file__).parent
    for name in set(re.findall(r"`((?:[a-z0-9_]+/)+[a-z0-9_]+\.py)`", text)):
        assert (package / name).exists() or (ROOT / name).exists(), name


def test_the_package_says_that_it_is_typed_and_free() -> None:
    assert (Path(surgvos.__file__).parent / "py.typed").exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert f"{project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_file_names_a_place_of_one_machine() -> None:
    absolute = re.compile(r"""(?<![\w.])/(?:home|root|work|Users|mnt)/\w""")
    for path in tracked_files():
        if (
            path == Path(__file__).resolve()
            or path.suffix in {".jpg", ".png", ".npz", ".safetensors"}
            or not path.is_file()
        ):
            continue
        found = absolute.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)} names {found and found.group()}"

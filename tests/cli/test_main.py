"""The command line as a whole: its list, its speed, and how errors end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from surgvos import errors
from surgvos.cli import main as cli


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from surgvos.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def put_command(monkeypatch: pytest.MonkeyPatch, function: Any) -> None:
    """Let ``surgvos doctor`` run a function of a test."""
    command = typer.Typer(rich_markup_mode=None)
    command.command("doctor")(function)
    monkeypatch.setattr(cli, "load_command", lambda name: typer.main.get_command(command))


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_says_what_it_does(command: str) -> None:
    result = CliRunner().invoke(cli.app, [command, "--help"], prog_name="surgvos")
    assert result.exit_code == 0, result.output
    assert f"surgvos {command}" in result.output
    assert cli.COMMANDS[command].summary in CliRunner().invoke(cli.app, ["--help"]).output


def test_help_waits_for_no_network_library() -> None:
    loaded = run_python(
        "import sys; from surgvos.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'cv2', 'av', 'transformers', 'rich'} & set(sys.modules)))"
    )
    assert loaded.stdout.rstrip().endswith("[]"), loaded.stdout


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_version_is_that_of_the_package() -> None:
    import surgvos

    assert run("--version").stdout == f"surgvos {surgvos.__version__}\n"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.InputError, 2),
        (errors.ConfigError, 2),
        (errors.CheckpointError, 2),
        (errors.MissingExtraError, 2),
        (errors.TrainingError, 1),
        (errors.SurgvosError, 1),
    ],
)
def test_an_error_is_one_sentence_and_a_code(
    error: type[Exception], exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error("expected this, got that")

    put_command(monkeypatch, fail)
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == exit_code
    assert result.output == "surgvos: expected this, got that\n"


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "masks/00001.png")

    put_command(monkeypatch, fail)
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == 1
    assert result.output == (
        "surgvos: expected to read and write files, got: No space left on device 'masks/00001.png'\n"
    )


def test_unknown_commands_and_options_are_wrong_use() -> None:
    for arguments in (["nonsense"], ["evaluate", "--nonsense"], ["evaluate"]):
        result = run(*arguments)
        assert result.returncode == 2
        assert "Error: " in result.stderr
        assert "Traceback" not in result.stderr


def test_missing_input_is_one_sentence_and_code_2(tmp_path: Path) -> None:
    result = run("evaluate", str(tmp_path / "none"), str(tmp_path / "none"))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("surgvos: expected ")


UNEXPECTED = """
import surgvos.cli.main as cli, typer
def fail(): raise ZeroDivisionError("no reason\\nat all")
command = typer.Typer(rich_markup_mode=None)
command.command("doctor")(fail)
cli.load_command = lambda name: typer.main.get_command(command)
cli.main()
"""


def test_the_unexpected_is_short_unless_debugging() -> None:
    def run_unexpected(debug: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", UNEXPECTED, "doctor"]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"SURGVOS_DEBUG": debug})

    short, long = run_unexpected("0"), run_unexpected("1")
    assert short.returncode == long.returncode == 1
    assert short.stderr.count("\n") == 1
    assert "ZeroDivisionError: no reason" in short.stderr
    assert "Traceback" in long.stderr


SLOW = """
import time, surgvos.cli.main as cli, typer
def wait():
    print("ready", flush=True)
    time.sleep(30)
command = typer.Typer(rich_markup_mode=None)
command.command("doctor")(wait)
cli.load_command = lambda name: typer.main.get_command(command)
cli.main()
"""


def test_ctrl_c_is_one_sentence_and_code_1() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.strip() == "surgvos: stopped by Ctrl-C; what was finished is kept"


CHATTY = """
import surgvos.cli.main as cli, typer
def talk():
    for _ in range(100000): print("a line of output")
command = typer.Typer(rich_markup_mode=None)
command.command("doctor")(talk)
cli.load_command = lambda name: typer.main.get_command(command)
cli.main()
"""


def test_a_closed_pipe_is_quiet() -> None:
    process = subprocess.Popen([sys.executable, "-c", CHATTY, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=20) == 1

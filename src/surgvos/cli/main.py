"""``surgvos``: the commands, imported when they are used, and how errors end them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from surgvos.errors import CheckpointError, ConfigError, InputError, MissingExtraError, SurgvosError

_WRONG_USE = (InputError, ConfigError, CheckpointError, MissingExtraError)


class _Target(NamedTuple):
    """Where a command is, and its line in the list of commands."""

    address: str
    summary: str


COMMANDS = {
    "demo": _Target("surgvos.cli.demo:demo", "Make a surgical-like clip, segment it and score it: start here."),
    "segment": _Target("surgvos.cli.segment:segment", "Segment a video: frames in, masks and an overlay out."),
    "label": _Target("surgvos.cli.label:label", "Annotate and correct a video in the browser."),
    "live": _Target("surgvos.cli.live:live", "Segment a camera or a stream while it runs."),
    "export": _Target("surgvos.cli.export:export", "Write masks as other tools read them: COCO, DICOM, CVAT and more."),
    "import": _Target("surgvos.cli.export:import_", "Read masks of other tools, as truth or as prompts."),
    "evaluate": _Target("surgvos.cli.evaluate:evaluate", "Score predicted masks against the truth."),
    "agreement": _Target("surgvos.cli.agreement:agreement", "Say how far two annotators agree."),
    "train": _Target("surgvos.cli.train:train", "Train a model by a recipe."),
    "data": _Target("surgvos.cli.data:app", "Make synthetic clips, prepare and check data sets."),
    "models": _Target("surgvos.cli.models:app", "List, fetch, describe and convert models."),
    "benchmark": _Target("surgvos.cli.benchmark:benchmark", "Measure speed and memory, also against transformers."),
    "doctor": _Target("surgvos.cli.doctor:doctor", "Say what works on this machine."),
}


class _LazyGroup(TyperGroup):
    """Knows its commands by name, so that help and errors wait for no network library."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # A line of help; `resolve_command` puts the real command in its place.
        target = COMMANDS.get(cmd_name)
        return target and TyperCommand(cmd_name, help=target.summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(name or ""), rest

    def invoke(self, ctx: Any) -> Any:
        with _explained():
            return super().invoke(ctx)


def load_command(name: str) -> Any:
    """Import a command of `COMMANDS`, as the command-line library has it."""
    module, _, attribute = COMMANDS[name].address.partition(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        function, target = target, typer.Typer(rich_markup_mode=None, add_completion=False)
        target.command(name)(function)
    command = typer.main.get_command(target)
    command.name = name
    return command


@contextmanager
def _explained() -> Iterator[None]:
    """End errors that are meant for the user with one sentence and an exit code: 2 wrong use or input, 1 failed."""
    try:
        yield
    except KeyboardInterrupt:
        _end("stopped by Ctrl-C; what was finished is kept", 1)
    except _WRONG_USE as error:
        _end(str(error), 2)
    except SurgvosError as error:
        _end(str(error), 1)
    except BrokenPipeError:
        # Whoever read the output has left. Python would complain once more while closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except OSError as error:
        where = f" {error.filename!r}" if error.filename else ""
        _end(f"expected to read and write files, got: {error.strerror or error}{where}", 1)


def _end(sentence: str, exit_code: int) -> NoReturn:
    """Leave with a sentence, from inside an ``except``."""
    if _debugging():
        raise
    typer.echo(f"surgvos: {sentence}", err=True)
    raise typer.Exit(exit_code) from None


def _debugging() -> bool:
    return os.environ.get("SURGVOS_DEBUG", "") not in ("", "0")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"surgvos {version('surgvos')}")
        raise typer.Exit


app = typer.Typer(
    cls=_LazyGroup,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  surgvos demo                                               a first look, nothing needed
  surgvos segment case.mp4 --mask 1@0:tool.png --out out/    follow what a mask shows
  surgvos segment case.mp4 --point 1@0:320,240 --out out/    follow what a click shows
  surgvos evaluate out/masks truth/ --protocol davis         score it

Every command has --help. SURGVOS_DEBUG=1 shows where an error comes from.""",
)


@app.callback()
def surgvos(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Segment and track anything in surgical video."""


def main() -> None:
    """Run the command line; ends the process."""
    warnings.showwarning = _show_warning
    try:
        typer.main.get_command(app)(prog_name="surgvos")
    except Exception as error:
        if _debugging():
            raise
        reason = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        typer.echo(f"surgvos: this should not happen: {reason}; SURGVOS_DEBUG=1 shows where", err=True)
        sys.exit(1)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(f"warning: {message}", err=True)

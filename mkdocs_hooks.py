"""Writes the command reference from the commands themselves while the pages are built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from mkdocs.structure.files import File, Files

PAGE = "commands.md"


def on_files(files: Files, *, config: Any) -> Files:
    """Add the page."""
    files.append(File.generated(config, PAGE, content="\n".join(command_reference())))
    return files


def command_reference() -> Iterator[str]:
    """Every command's help, as ``--help`` prints it."""
    from surgvos.cli.main import COMMANDS, load_command

    yield "# Commands\n"
    yield "What `--help` says of every command. Exit codes: 0 all done, 1 something failed, 2 wrong use or input.\n"
    for name in COMMANDS:
        command = load_command(name)
        yield from _section(f"surgvos {name}", command)
        for own, inner in getattr(command, "commands", {}).items():
            yield from _section(f"surgvos {name} {own}", inner, level=3)


def _section(name: str, command: click.Command, level: int = 2) -> Iterator[str]:
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
    yield f"{'#' * level} {name.removeprefix('surgvos ')}\n"
    yield f"```text\n{command.get_help(context)}\n```\n"

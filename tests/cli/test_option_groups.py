"""Options in groups: each is an option of the command, and the command gets them by topic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from surgvos.cli.option_groups import refuse, with_option_groups
from surgvos.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Size:
    width: Annotated[int, typer.Option(help="How wide")] = 3
    is_flat: Annotated[bool, typer.Option("--is-flat")] = False
    colors: Annotated[list[str] | None, typer.Option()] = None


def test_a_command_gets_its_options_by_group() -> None:
    got: list[object] = []

    @with_option_groups
    def draw(name: Annotated[str, typer.Argument()], size: Size, times: int = 1) -> None:
        """Draw."""
        got.append((name, size, times))

    app = typer.Typer()
    app.command()(draw)
    assert CliRunner().invoke(app, ["a", "--width", "7", "--is-flat", "--colors", "red"]).exit_code == 0
    assert CliRunner().invoke(app, ["b", "--times", "2"]).exit_code == 0
    assert got[0] == ("a", Size(width=7, is_flat=True, colors=["red"]), 1)
    assert got[1] in [("b", Size(colors=colors), 2) for colors in (None, [])]
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "How wide" in shown
    assert "--size" not in shown


def test_only_what_was_given_is_refused() -> None:
    refuse("elsewhere", Size())
    refuse("elsewhere", Size(colors=[]))
    refuse("elsewhere", Size(width=4), "is_flat", "colors")
    with pytest.raises(InputError, match="expected --is-flat only elsewhere"):
        refuse("elsewhere", Size(is_flat=True))

"""Show scores as a table, and write them as JSON, CSV and LaTeX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from surgvos.evaluation.tables import ScoreTable
from surgvos.io.files import replacing

_ANY_WIDTH = 10_000


class Scored(Protocol):
    """What any evaluation returns."""

    def table(self) -> ScoreTable: ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Publication:
    """Where scores go besides the screen; None where not asked for."""

    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here, in percent")] = None
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the rows of the table here")] = None
    latex_file: Annotated[
        Path | None, typer.Option("--latex", help="Write the rows here, for the inside of a tabular")
    ] = None

    def publish(self, report: Scored) -> None:
        """Print the scores for people, and write the files, each whole or not at all."""
        table = report.table()
        _show_table(table)
        if self.json_file is not None:
            _write(json.dumps(report.to_json(), indent=1) + "\n", self.json_file)
        if self.csv_file is not None:
            _write(table.to_csv(), self.csv_file)
        if self.latex_file is not None:
            _write(table.to_latex(), self.latex_file)


def show_warnings(warnings: Sequence[str]) -> None:
    """Print warnings, a line each, to the stream of errors."""
    console = Console(stderr=True)
    for warning in warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)


def _show_table(scores: ScoreTable) -> None:
    table = Table(title=escape(scores.title))
    for heading in scores.label_headings:
        table.add_column(escape(heading))
    for heading in scores.value_headings:
        table.add_column(heading, justify="right")
    previous = None
    for row in scores.rows:
        if previous is not None and row.labels[0] != previous:
            table.add_section()
        previous = row.labels[0]
        # An interval stands below its number, so that rows stay short.
        cells = (row.cell(heading).replace(" [", "\n[") for heading in scores.value_headings)
        table.add_row(*map(escape, row.labels), *map(escape, cells), style="bold" if row.is_summary else None)
    # Numbers are never cut, however narrow the terminal is, or the file that stands in for one.
    needed = Console(width=_ANY_WIDTH).measure(table).maximum
    console = Console()
    console.width = max(console.width, needed)
    console.print(table)


def _write(text: str, path: Path) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")

"""Show scores as a table, and write them as JSON, CSV and LaTeX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from surgvos.evaluation.tables import ScoreTable
from surgvos.io.files import replacing


def show_table(scores: ScoreTable) -> None:
    """Print scores for people."""
    table = Table(title=scores.title)
    for heading in scores.label_headings:
        table.add_column(heading)
    for heading in scores.value_headings:
        table.add_column(heading, justify="right")
    previous = None
    for row in scores.rows:
        if previous is not None and row.labels[0] != previous:
            table.add_section()
        previous = row.labels[0]
        cells = (row.cell(heading) for heading in scores.value_headings)
        table.add_row(*row.labels, *cells, style="bold" if row.is_summary else None)
    Console().print(table)


def show_warnings(warnings: Sequence[str]) -> None:
    """Print warnings, a line each, to the stream of errors."""
    console = Console(stderr=True)
    for warning in warnings:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)


def write_json(document: Any, path: Path) -> None:
    """Write a document whole or not at all."""
    write_text(json.dumps(document, indent=1) + "\n", path)


def write_text(text: str, path: Path) -> None:
    """Write a text whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")

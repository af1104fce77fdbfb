"""``surgvos agreement``: how far two annotators agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def agreement(
    one: Annotated[Path, typer.Argument(help="A project of surgvos label, or a folder of masks")],
    other: Annotated[Path, typer.Argument(help="That of another annotator, of the same video")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the rows of the table here")] = None,
    latex_file: Annotated[
        Path | None, typer.Option("--latex", help="Write the rows here, for the inside of a tabular")
    ] = None,
) -> None:
    """Compare what two annotators labelled: Dice and Cohen's kappa per class, over the frames that both labelled.

    surgvos agreement case-anna case-ben
    """
    from surgvos.cli.score_files import Publication, show_warnings
    from surgvos.evaluation.agreement import compare_annotators

    found = compare_annotators(one, other)
    show_warnings(found.warnings)
    Publication(json_file, csv_file, latex_file).publish(found)

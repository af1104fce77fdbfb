"""``surgvos agreement``: how far two annotators agree."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surgvos.cli.option_groups import with_option_groups
from surgvos.cli.score_files import Publication, show_warnings


@with_option_groups
def agreement(
    one: Annotated[Path, typer.Argument(help="A project of surgvos label, or a folder of masks")],
    other: Annotated[Path, typer.Argument(help="That of another annotator, of the same video")],
    files: Publication,
) -> None:
    """Compare what two annotators labelled: Dice and Cohen's kappa per class, over the frames that both labelled.

    surgvos agreement case-anna case-ben
    """
    from surgvos.evaluation.agreement import compare_annotators

    found = compare_annotators(one, other)
    show_warnings(found.warnings)
    files.publish(found)

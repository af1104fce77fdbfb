"""``surgvos evaluate``: score predicted masks against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surgvos.cli.progress import progress_bar
from surgvos.cli.score_files import show_table, show_warnings, write_json, write_text
from surgvos.errors import InputError
from surgvos.evaluation import PROTOCOLS, Bootstrap, Report, Unit, evaluate_folders
from surgvos.evaluation.label_tables import read_object_classes
from surgvos.evaluation.protocols import RULES, protocol_by_name


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="<video>/<frame>.png or <video>/<object, as 001>/<frame>.png; or one video's folder, or what "
            "surgvos segment wrote"
        ),
    ],
    ground_truth: Annotated[Path, typer.Argument(help="The same, or a video file of grey masks")],
    protocol: Annotated[str, typer.Option(help=f"Rules of scoring: {', '.join(PROTOCOLS)}")] = "davis",
    plain: Annotated[
        str | None,
        typer.Option(help=f"Rules to take as the plain definition has them: all, or some of {', '.join(RULES)}"),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here, in percent")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write the rows of the table here")] = None,
    latex_file: Annotated[
        Path | None, typer.Option("--latex", help="Write the rows here, for the inside of a tabular")
    ] = None,
    bootstrap: Annotated[
        int | None, typer.Option(min=1, help="Give means 95 % intervals from this many draws, such as 1000")
    ] = None,
    unit: Annotated[Unit, typer.Option(help="What is drawn for intervals")] = Unit.OBJECTS,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws")] = 0,
    object_classes: Annotated[
        Path | None,
        typer.Option(help='JSON, {"1": "grasper"} or {"VIDEO": {"1": "grasper"}}: also means per class'),
    ] = None,
    threshold: Annotated[
        int | None,
        typer.Option(min=0, max=254, help="Grey above it is object 1 of the ground truth [video file: 127]"),
    ] = None,
    objects: Annotated[str | None, typer.Option(help="Score only these object ids, such as 1,3")] = None,
    ignore: Annotated[
        int | None, typer.Option(min=1, help="Ground truth pixels with this id are not scored, such as 255")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads [one per processor]")] = None,
) -> None:
    """Score predicted masks against the truth: J, F, J&F and Dice per object, per video and in the mean."""
    rules = protocol_by_name(protocol).with_plain([] if plain is None else plain.split(","))
    object_ids = None if objects is None else _parse_object_ids(objects)
    classes = None if object_classes is None else read_object_classes(object_classes)
    with progress_bar("frames") as progress:
        report = evaluate_folders(
            predictions,
            ground_truth,
            rules,
            objects=object_ids,
            threshold=threshold,
            ignore=ignore,
            object_classes=classes,
            num_workers=workers,
            progress=progress,
        )
    if bootstrap is not None:
        report = report.with_intervals(Bootstrap(num_samples=bootstrap, unit=unit, seed=seed))
    _publish(report, json_file, csv_file, latex_file)


def _publish(report: Report, json_file: Path | None, csv_file: Path | None, latex_file: Path | None) -> None:
    table = report.table()
    show_warnings(report.warnings)
    show_table(table)
    if json_file is not None:
        write_json(report.to_json(), json_file)
    if csv_file is not None:
        write_text(table.to_csv(), csv_file)
    if latex_file is not None:
        write_text(table.to_latex(), latex_file)


def _parse_object_ids(text: str) -> set[int]:
    try:
        return {int(part) for part in text.split(",")}
    except ValueError as error:
        raise InputError(f"expected object ids separated by commas, such as 1,3, got {text!r}") from error

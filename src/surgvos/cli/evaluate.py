"""``surgvos evaluate``: score predicted masks against the truth."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from surgvos.errors import InputError
from surgvos.evaluation import PROTOCOLS, RegionScore, Report, evaluate_folders


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(help="<video>/<frame>.png or <video>/<object, as 001>/<frame>.png; or one video's folder"),
    ],
    ground_truth: Annotated[Path, typer.Argument(help="The same, or a video file of grey masks")],
    protocol: Annotated[str, typer.Option(help=f"Rules of scoring: {', '.join(PROTOCOLS)}")] = "davis",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores here, in percent")] = None,
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
    object_ids = None if objects is None else _parse_object_ids(objects)
    with _progress_bar() as progress:
        report = evaluate_folders(
            predictions,
            ground_truth,
            protocol,
            objects=object_ids,
            threshold=threshold,
            ignore=ignore,
            num_workers=workers,
            progress=progress,
        )
    warning_console = Console(stderr=True)
    for warning in report.warnings:
        warning_console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    Console().print(_table(report))
    if json_file is not None:
        _write_json(report, json_file)


def _parse_object_ids(text: str) -> set[int]:
    try:
        return {int(part) for part in text.split(",")}
    except ValueError as error:
        raise InputError(f"expected object ids separated by commas, such as 1,3, got {text!r}") from error


class _ProgressBar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("scoring frames", total=None)

    def __call__(self, num_done: int, num_frames: int | None) -> None:
        self._progress.update(self._task, completed=num_done, total=num_frames)


@contextmanager
def _progress_bar() -> Iterator[_ProgressBar]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _ProgressBar(progress)


def _table(report: Report) -> Table:
    table = Table(title=f"protocol {report.protocol}, percent")
    for heading in ("video", "object"):
        table.add_column(heading)
    for heading in ("J&F", "J", "F", "Dice", "frames", "missing"):
        table.add_column(heading, justify="right")
    for video, objects in report.objects.items():
        for object_id, found in objects.items():
            counts = str(found.num_frames), str(found.num_missing_frames)
            table.add_row(video, str(object_id), *_cells(found.score), *counts)
        if len(objects) > 1:
            table.add_row(video, "mean", *_cells(report.videos[video]), style="bold")
        table.add_section()
    table.add_row("mean", "", *_cells(report.mean), style="bold")
    return table


def _cells(score: RegionScore) -> list[str]:
    return [f"{value:.2f}" for value in (score.jaccard_and_boundary_f, score.jaccard, score.boundary_f, score.dice)]


def _write_json(report: Report, path: Path) -> None:
    """Write the report whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

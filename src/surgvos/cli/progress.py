"""The progress bar of long work: how far, how fast, how long still. Quiet where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Speed(ProgressColumn):
    """Things per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} {self._unit}/s", style="cyan")


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar while the block runs; call what it yields with things done and things in all (None: unknown)."""
    console = Console(stderr=True)
    columns = (TextColumn(unit), BarColumn(), MofNCompleteColumn(), _Speed(unit), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(unit, total=None)

        def show(num_done: int, num_in_all: int | None) -> None:
            progress.update(task, completed=num_done, total=num_in_all)

        yield show

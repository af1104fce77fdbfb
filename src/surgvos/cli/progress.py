"""Progress bars of long work: how far, how fast, how long still. Quiet where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
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


class WorkerBars:
    """One bar for the videos of a batch, and one for the frames of each worker. Use it as a context manager.

    Args:
        num_videos: Videos in all.
    """

    def __init__(self, num_videos: int) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # What is printed for a pipe to read must not be drawn above the bars instead.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._videos = self._progress.add_task("videos", total=num_videos)
        self._workers: dict[int, TaskID] = {}

    def start(self, worker: int, video: str) -> None:
        """A worker begins with a video."""
        if worker not in self._workers:
            self._workers[worker] = self._progress.add_task("", total=None)
        self._progress.reset(self._workers[worker], total=None, description=f"worker {worker + 1}: {video}")

    def advance(self, worker: int, num_frames: int, num_frames_in_all: int | None) -> None:
        """A worker has answered frames of its video."""
        self._progress.update(self._workers[worker], completed=num_frames, total=num_frames_in_all)

    def finish_video(self) -> None:
        """A video has come to its end, good or bad."""
        self._progress.advance(self._videos)

    def __enter__(self) -> WorkerBars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

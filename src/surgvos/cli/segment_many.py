"""``surgvos segment`` over many videos: who does the work, how far it is, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from surgvos.cli.progress import WorkerBars
from surgvos.errors import SurgvosError

if TYPE_CHECKING:
    from surgvos.batch.events import Event
    from surgvos.batch.job import SegmentJob, VideoTask
    from surgvos.batch.run_batch import Runner
    from surgvos.batch.segmented import Segmented
    from surgvos.cli.segment_options import WorkerOptions


def segment_many(job: SegmentJob, tasks: Sequence[VideoTask], out: Path, crew: WorkerOptions, *, resume: bool) -> None:
    """Segment videos into ``out/<video>``; what fails is said at the end, after all others.

    Raises:
        InputError: ``out`` holds results of these videos, and they are not to be gone on with.
        SurgvosError: Some videos could not be segmented.
    """
    from surgvos.batch.events import Advanced, Failed, Finished, Lost, Started
    from surgvos.batch.run_batch import run_batch

    with WorkerBars(num_videos=len(tasks)) as bars:

        def show(event: Event) -> None:
            match event:
                case Started(video, worker):
                    bars.start(worker, video)
                case Advanced(_, worker, num_frames, num_frames_in_all):
                    bars.advance(worker, num_frames, num_frames_in_all)
                case Finished(video, _, segmented):
                    bars.finish_video()
                    typer.echo(_line(video, segmented))
                case Failed(video, _, reason):
                    bars.finish_video()
                    typer.echo(f"{video}: failed: {reason}", err=True)
                case Lost(video):
                    typer.echo(f"{video}: its worker died; another takes it up", err=True)

        failed = run_batch(job, tasks, out, _runner(crew), show, resume=resume)
    typer.echo(f"{len(tasks) - len(failed)} of {len(tasks)} videos in {out}")
    if failed:
        raise SurgvosError(
            f"expected to segment all {len(tasks)} videos, got {len(failed)} that failed ({', '.join(failed)}); "
            "try the same command with --resume once they are repaired"
        )


def _runner(crew: WorkerOptions) -> Runner:
    from surgvos.batch.local_workers import LocalWorkers
    from surgvos.batch.on_ray import RayWorkers
    from surgvos.batch.run_batch import in_this_process

    if crew.ray is not None:
        return RayWorkers(crew.ray, crew.workers)
    return in_this_process if crew.workers in (None, 1) else LocalWorkers(crew.workers)


def _line(name: str, segmented: Segmented) -> str:
    summary, num_objects = segmented.summary, segmented.num_objects
    line = f"{name}: {summary.num_frames} frames"
    if num_objects is not None:
        line += f", {num_objects} object{'s' * (num_objects != 1)}"
    if summary.not_found:
        line += f", not found: {', '.join(map(str, summary.not_found))}"
    if not summary.num_frames_now:
        return f"{line}, finished before"
    return f"{line}, {summary.num_frames_now / summary.seconds:.1f} frames/s"

"""Many videos, whoever does the work: what is finished is passed over, what fails is collected, all else is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from surgvos.batch.attempt import attempt
from surgvos.batch.events import Event, Failed, Finished, Refused, Tell
from surgvos.batch.job import SegmentJob, VideoTask, check_job, fingerprint, identity_of
from surgvos.batch.ledger import Ledger
from surgvos.batch.segmenter import Segmenter
from surgvos.errors import InputError
from surgvos.tracking.run import RUN

Runner: TypeAlias = Callable[[SegmentJob, Sequence[VideoTask], Tell], None]
"""Does a job to videos and tells of it in the caller's process; what happens to one video does not end it."""


def run_batch(
    job: SegmentJob, tasks: Sequence[VideoTask], out: Path, runner: Runner, tell: Tell, *, resume: bool
) -> dict[str, str]:
    """Segment many videos, and keep the ledger of ``out``.

    Args:
        job: What is done to each.
        tasks: The videos.
        out: Folder of the ledger.
        runner: Does the work, such as `in_this_process`.
        tell: Told of everything, after the ledger.
        resume: Go on with videos that were begun, past those that are finished.

    Returns:
        Video -> why it failed.

    Raises:
        InputError: There are results of these videos, and they are not to be gone on with; or somebody else is at work.
        ConfigError, CheckpointError: The job cannot be done to any video.
        SurgvosError: The ledger cannot be written.
    """
    check_job(job)
    held = [task.name for task in tasks if (task.out / RUN).exists()]
    if held and not resume:
        raise InputError(
            f"expected an output folder without results, got {str(out)!r} with those of {held[0]}; "
            "try --resume to go on with that run, or another --out"
        )
    identity = identity_of(job)
    fingerprints = {task.name: fingerprint(identity, task) for task in tasks}
    failed: dict[str, str] = {}
    with Ledger(out) as ledger:

        def note(event: Event) -> None:
            if isinstance(event, Refused):
                raise event.error
            ledger.note(event, fingerprints[event.video])
            if isinstance(event, Failed):
                failed[event.video] = event.reason
            tell(event)

        left = []
        for task in tasks:
            before = ledger.finished_before(task, fingerprints[task.name])
            if before is None:
                left.append(task)
            else:
                tell(Finished(task.name, None, before))
        if left:
            runner(job, left, note)
    return failed


def in_this_process(job: SegmentJob, tasks: Sequence[VideoTask], tell: Tell) -> None:
    """The simplest `Runner`: one video after the other."""
    segmenter = Segmenter(job)
    segmenter.load()
    for task in tasks:
        attempt(segmenter, task, 0, tell)

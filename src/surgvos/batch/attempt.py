"""One video by one worker: whatever happens to it is told, and costs no other video."""

from __future__ import annotations

import os
import socket
import traceback

from surgvos.batch.events import Advanced, Event, Failed, Finished, Refused, Started, Tell
from surgvos.batch.job import VideoTask
from surgvos.batch.segmenter import Segmenter
from surgvos.errors import ConfigError, SurgvosError

MAX_ATTEMPTS = 2
"""Workers that may die over one video; then it has failed."""

DIED = f"{MAX_ATTEMPTS} workers died over it; try with more memory for each"
"""Why such a video failed."""


def attempt(segmenter: Segmenter, task: VideoTask, worker: int, tell: Tell) -> None:
    """Segment a video, from where an earlier attempt stopped.

    Args:
        segmenter: With the job.
        task: The video.
        worker: Number of the worker that this is.
        tell: Told that it starts, how far it is, and how it ends.
    """
    tell(Started(task.name, worker, socket.gethostname(), os.getpid()))
    tell(_outcome(segmenter, task, worker, tell))


def _outcome(segmenter: Segmenter, task: VideoTask, worker: int, tell: Tell) -> Event:
    def advance(num_frames: int, num_frames_in_all: int | None) -> None:
        tell(Advanced(task.name, worker, num_frames, num_frames_in_all))

    try:
        segmented = segmenter.segment(task, resume=True, progress=advance)
    except ConfigError as error:  # a wrong setting is wrong for every video
        return Refused(error)
    except (SurgvosError, OSError) as error:
        return Failed(task.name, worker, str(error))
    except Exception as error:  # the rest of a long batch shall not pay for it
        return Failed(task.name, worker, f"{type(error).__name__}: {error}", traceback.format_exc())
    return Finished(task.name, worker, segmented)

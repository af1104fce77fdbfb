"""What is told of a batch while it goes on. Whoever does the work tells; the ledger and the display listen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from surgvos.batch.segmented import Segmented
from surgvos.errors import SurgvosError


@dataclass(frozen=True, slots=True)
class Started:
    """A worker has taken a video.

    Attributes:
        video: Its name.
        worker: Number of the worker, from 0.
        host: Machine of the worker.
        pid: Its process there.
    """

    video: str
    worker: int
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Advanced:
    """Frames of a video are answered.

    Attributes:
        video: Its name.
        worker: Number of the worker.
        num_frames: Frames done.
        num_frames_in_all: Frames to do, or None while that is unknown.
    """

    video: str
    worker: int
    num_frames: int
    num_frames_in_all: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A video is done.

    Attributes:
        video: Its name.
        worker: Number of the worker; None where it was finished before.
        segmented: What became of it.
    """

    video: str
    worker: int | None
    segmented: Segmented


@dataclass(frozen=True, slots=True)
class Failed:
    """A video could not be segmented.

    Attributes:
        video: Its name.
        worker: Number of the worker.
        reason: One sentence.
        trace: Where an error comes from that nobody expected.
    """

    video: str
    worker: int
    reason: str
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker has died over a video, which another one will take up where it stopped."""

    video: str
    worker: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The job cannot be done to any video.

    Attributes:
        error: Why.
    """

    error: SurgvosError


Event: TypeAlias = Started | Advanced | Finished | Failed | Lost | Refused

Tell = Callable[[Event], None]

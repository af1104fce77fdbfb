"""What passes between the threads of a live run. Times are those of `time.monotonic`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from surgvos.core.frame import Frame
from surgvos.core.results import FrameResult


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """A frame, and when it came."""

    frame: Frame
    at_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The masks of a frame, and when they were done.

    Attributes:
        arrived: The frame.
        result: Numbered as the stream is.
        at_s: When it was done.
        names: Object id -> what the object is called, where it is called something.
    """

    arrived: Arrived
    result: FrameResult
    at_s: float
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What is shown.

    Attributes:
        arrived: The frame.
        image: The frame with masks and stamp, uint8 ``(h, w, 3)`` RGB; not to be written to.
        answer: The newest one, or None before the first.
        has_masks: Whether its masks are drawn; those that are too old are not.
        stamp: What is written over the picture because it, or its masks, are old; or None.
        at_s: When it was shown.
    """

    arrived: Arrived
    image: np.ndarray
    answer: Answer | None
    has_masks: bool
    stamp: str | None
    at_s: float

    @property
    def mask_age_s(self) -> float | None:
        """Time since the frame came that the masks were made of; None without masks."""
        return None if self.answer is None or not self.has_masks else self.at_s - self.answer.arrived.at_s

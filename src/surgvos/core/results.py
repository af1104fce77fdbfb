"""What the engine answers, per frame and object."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Phase(StrEnum):
    """What an object is going through.

    ``SEARCHING`` and ``CONFIRMING``: a phrase is being looked for; ``TRACKING``: the object is followed and
    visible; ``ABSENT``: it is followed and judged not visible in this frame; ``LOST``: a rule gave it up.
    """

    SEARCHING = "searching"
    CONFIRMING = "confirming"
    TRACKING = "tracking"
    ABSENT = "absent"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class ObjectResult:
    """What is known of one object in one frame.

    Attributes:
        phase: See `Phase`.
        presence: Probability in [0, 1] that the object is visible in this frame.
        predicted_iou: The model's own guess of its mask's IoU, in [0, 1].
        prompted: Whether a prompt of this frame made the mask.
        attended_frames: Frame indices whose memory was read, in the order read; empty for a fresh prompt.
    """

    phase: Phase
    presence: float
    predicted_iou: float
    prompted: bool
    attended_frames: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """The answer for one frame.

    Attributes:
        frame_index: Index of the frame in its source.
        frame_name: Stem under which the results of this frame are written.
        masks: Object id -> bool ``(h, w)`` at video resolution; one entry per object that is answered. What is not
            visible, or not certain, has an empty mask.
        objects: Object id -> `ObjectResult`, with the same keys as ``masks``.
        logits: Object id -> float32 ``(h_low, w_low)`` mask logits at the model's own resolution, before the
            overlap rule; their sign times the video-size interpolation gives ``masks``.
        out_of_body: The frame was left out, as it does not show the inside of a body; there are no masks.
    """

    frame_index: int
    frame_name: str
    masks: dict[int, np.ndarray]
    objects: dict[int, ObjectResult]
    logits: dict[int, np.ndarray]
    out_of_body: bool = False

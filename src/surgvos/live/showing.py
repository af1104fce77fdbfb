"""Show the picture when it comes, with the newest masks that are done, and never as if old ones were new."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import cv2
import numpy as np

from surgvos.io.overlay import draw_overlay
from surgvos.live.grabber import SourceState
from surgvos.live.mailbox import Mailbox
from surgvos.live.moments import Answer, Arrived, Picture
from surgvos.live.percentiles import Percentiles
from surgvos.live.rate import Rate

STALE_S = 0.5
HIDDEN_S = 2.0
_IDLE_S = 0.25
_PLATE_COLOR, _STAMP_COLOR = (20, 22, 26), (255, 196, 64)


class Showing:
    """The loop that makes pictures.

    Masks that are older than half a second are stamped with their age, and those older than two seconds are not
    shown. While no frames come, the last picture is shown four times a second with its own age.

    Args:
        on_picture: Is given each picture; must not wait.
        source_state: Tells how the source is.

    Attributes:
        newest: The frames to be shown; whoever has a newer one puts it there.
        answer: The newest masks; whoever has newer ones puts them there.
        rate: Of frames shown.
        mask_age: Of masks shown: since the frame came that they were made of.
    """

    def __init__(self, on_picture: Callable[[Picture], None], source_state: Callable[[], SourceState]) -> None:
        self.newest: Mailbox[Arrived] = Mailbox()
        self.answer: Answer | None = None
        self.rate = Rate()
        self.mask_age = Percentiles()
        self._on_picture, self._source_state = on_picture, source_state

    def run(self, stopped: threading.Event) -> None:
        """Show until stopped."""
        last: Arrived | None = None
        while not stopped.is_set():
            arrived = self.newest.take(_IDLE_S)
            last = arrived or last
            if last is None:
                continue
            picture = self._compose(last)
            self._on_picture(picture)
            if arrived is None:
                self.rate.interrupt()
                continue
            self.rate.add(picture.at_s)
            if picture.mask_age_s is not None:
                self.mask_age.add(picture.mask_age_s)

    def _compose(self, arrived: Arrived) -> Picture:
        newest, now_s = self.answer, time.monotonic()
        answer = newest
        if answer is not None and (not answer.result.objects or answer.arrived.frame.hw != arrived.frame.hw):
            answer = None
        stamp = self._stamp(arrived, answer, now_s)
        if answer is not None and arrived.at_s - answer.arrived.at_s > HIDDEN_S:
            answer = None
        image = arrived.frame.image
        if answer is not None:
            image = draw_overlay(image, answer.result.masks, answer.result.objects, answer.names)
        if stamp is not None:
            image = draw_stamp(image, stamp)
        return Picture(arrived, image, newest, answer is not None, stamp, time.monotonic())

    def _stamp(self, arrived: Arrived, answer: Answer | None, now_s: float) -> str | None:
        """What is to be said of a picture and of the masks that belong on it."""
        state, age_s = self._source_state(), now_s - arrived.at_s
        if state == SourceState.ENDED:
            return "end of the video"
        if state == SourceState.LOST or age_s > STALE_S:
            return f"no picture for {age_s:.1f} s"
        if answer is None:
            return None
        behind_s = now_s - answer.arrived.at_s
        if behind_s > HIDDEN_S:
            return f"no masks for {behind_s:.1f} s"
        return f"masks {behind_s:.1f} s old" if behind_s > STALE_S else None


def draw_stamp(image: np.ndarray, text: str) -> np.ndarray:
    """Write a line of text on a dark plate at the bottom left of a copy of an RGB image."""
    canvas = np.ascontiguousarray(image).copy()
    height = canvas.shape[0]
    scale, line_px = max(0.35, height / 900), max(1, round(height / 400))
    (width, above), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, line_px)
    margin = max(3, height // 60)
    top = height - above - below - 3 * margin
    cv2.rectangle(canvas, (margin, top), (3 * margin + width, height - margin), _PLATE_COLOR, -1)
    start_xy = (2 * margin, height - 2 * margin - below)
    cv2.putText(canvas, text, start_xy, cv2.FONT_HERSHEY_SIMPLEX, scale, _STAMP_COLOR, line_px, cv2.LINE_AA)
    return canvas

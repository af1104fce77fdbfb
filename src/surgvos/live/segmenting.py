"""Segment the newest frame, again and again, and answer prompts in between."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from surgvos.core.frame import Frame
from surgvos.core.prompts import PointPrompt, Prompt, TextPrompt
from surgvos.errors import InputError, SurgvosError
from surgvos.live.mailbox import Mailbox
from surgvos.live.moments import Answer, Arrived
from surgvos.live.percentiles import Percentiles
from surgvos.live.recall import Recall
from surgvos.live.tracker import StreamTracker
from surgvos.tracking.session import Session

MAX_WAITING = 64
_IDLE_S = 0.05
_WARM_UP_STEPS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Something to be done with an object.

    Attributes:
        object_id: Whose.
        prompt: What was shown or said; None: the object is to be forgotten.
        frame_index: The picture that it was shown in; a plan, and what was said, wait for the first frame from it on.
        done: Becomes the index of the frame that it was applied to.
    """

    object_id: int
    prompt: Prompt | None
    frame_index: int
    done: Future[int]


class Segmenting:
    """The loop that owns the session.

    Args:
        new_session: Makes a session; one is used up for warming up.
        planned: Prompts that wait for the first frame from their index on.
        recall: Holds the pictures that prompts may be given for.
        on_answer: Is given each answer; must not wait.
        on_event: Is told in a sentence when segmenting fails.

    Attributes:
        newest: The frames to be segmented; whoever has a newer one puts it there.
        is_warm: Set when the model is warm.
        failure: What ended the loop, or None.
        num_segmented: Frames answered.
        latency: From a frame's coming to its masks, while there are objects.
    """

    def __init__(
        self,
        new_session: Callable[[], Session],
        planned: Sequence[Asked],
        recall: Recall,
        on_answer: Callable[[Answer], None],
        on_event: Callable[[str], None],
    ) -> None:
        self.newest: Mailbox[Arrived] = Mailbox()
        self.is_warm = threading.Event()
        self.failure: Exception | None = None
        self.num_segmented = 0
        self.latency = Percentiles()
        self._new_session, self._recall = new_session, recall
        self._on_answer, self._on_event = on_answer, on_event
        self._tracker = StreamTracker(new_session)
        self._waiting = list(planned)
        self._asked: queue.Queue[Asked] = queue.Queue(MAX_WAITING)

    def ask(self, asked: Asked) -> None:
        """Let something wait for the loop. It is done in order, before the next frame.

        Raises:
            InputError: Too many things wait.
            SurgvosError: The loop has failed.
        """
        if self.failure is not None:
            raise SurgvosError(f"expected to segment, got a failure before: {self.failure}; try starting again")
        try:
            self._asked.put_nowait(asked)
        except queue.Full:
            raise InputError(f"expected at most {MAX_WAITING} prompts to wait, got one more; try again") from None

    def run(self, stopped: threading.Event, hw: tuple[int, int] | None) -> None:
        """Segment until stopped.

        Args:
            stopped: Ends the loop.
            hw: The size of the frames, where it is known before the first of them.
        """
        try:
            if hw is not None:
                self._warm_up(hw)
            while not stopped.is_set():
                self._turn()
        except Exception as error:  # The picture goes on without masks; whoever watches is told.
            self.failure = error
            self._on_event(f"segmenting has failed, the picture goes on without masks: {error}")
        finally:
            self.is_warm.set()

    def _turn(self) -> None:
        arrived = self.newest.take(_IDLE_S)
        while not self._asked.empty():
            asked = self._asked.get_nowait()
            if isinstance(asked.prompt, TextPrompt) and len(self._waiting) < MAX_WAITING:
                self._waiting.append(asked)
            else:
                _settle(asked, self._do_at_once)
        if arrived is None:
            return
        if not self.is_warm.is_set():
            self._warm_up(arrived.frame.hw)
        self._prompt(arrived.frame)
        result = self._tracker.step(arrived.frame)
        now_s = time.monotonic()
        self.num_segmented += 1
        if result.objects:
            self.latency.add(now_s - arrived.at_s)
        self._on_answer(Answer(arrived, result, now_s, self._tracker.names))

    def _do_at_once(self, asked: Asked) -> int:
        frame = self._recall.find(asked.frame_index)
        if isinstance(asked.prompt, TextPrompt):
            raise InputError(f"expected at most {MAX_WAITING} phrases to wait for a frame, got one more; try again")
        if frame is None:
            raise InputError("expected a picture to prompt in, got none yet; try again when it is there")
        if asked.prompt is None:
            self._tracker.remove(asked.object_id)
        else:
            self._tracker.prompt_past(frame, asked.object_id, asked.prompt)
        return frame.index

    def _prompt(self, frame: Frame) -> None:
        """Apply what waits for this frame."""

        def apply(asked: Asked) -> int:
            if asked.prompt is not None:
                self._tracker.prompt_next(frame, asked.object_id, asked.prompt)
            return frame.index

        for asked in self._waiting:
            if asked.frame_index <= frame.index:
                _settle(asked, apply)
        self._waiting = [asked for asked in self._waiting if not asked.done.done()]

    def _warm_up(self, hw: tuple[int, int]) -> None:
        """Let a session that is thrown away make the model do everything once."""
        height, width = hw
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        session = self._new_session()
        session.add_prompt(0, 1, PointPrompt((width / 2, height / 2)))
        for index in range(_WARM_UP_STEPS):
            session.step(Frame(index, str(index), image))
        self.is_warm.set()


def _settle(asked: Asked, do: Callable[[Asked], int]) -> None:
    """Do what was asked, and tell whoever asked how it went."""
    try:
        asked.done.set_result(do(asked))
    except SurgvosError as error:
        asked.done.set_exception(error)

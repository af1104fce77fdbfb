"""A live run: one thread takes frames in, one segments the newest, one shows the picture. None waits for another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType

from surgvos.core.prompts import Prompt, check_prompt_fits
from surgvos.live.grabber import Grabber, SourceState
from surgvos.live.moments import Answer, Arrived, Picture
from surgvos.live.recall import Recall
from surgvos.live.segmenting import Asked, Segmenting
from surgvos.live.showing import Showing
from surgvos.live.sources import LiveSource
from surgvos.tracking.session import Session

_JOIN_S = 5.0
_POLL_S = 0.02


class LiveEngine:
    """Segment a stream in real time.

    The newest frame wins: one that is not begun when the next one comes is dropped, and counted. Each frame is shown
    when it comes, with the newest masks that are done.

    Use it as a context manager. What is listened to is called in the engine's threads, and must not wait.

    Args:
        source: What is read.
        new_session: Makes a session; one is used up for warming up.
        prompts: ``(frame index, object id, prompt)``, each for the first segmented frame from its index on.
        on_event: Is told in a sentence what happens to the source, and what fails.

    Attributes:
        grabber: Takes frames in.
        segmenting: Makes masks.
        showing: Makes pictures.
        picture: The newest one, or None.
        num_dropped: Frames that were never segmented, because a newer one came before they were begun.
        num_skipped: Frames that were never shown, for the same reason.

    Raises:
        InputError: A prompt lies outside the picture.
    """

    def __init__(
        self,
        source: LiveSource,
        new_session: Callable[[], Session],
        prompts: Sequence[tuple[int, int, Prompt]] = (),
        on_event: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        if source.hw is not None:
            for _, _, prompt in prompts:
                check_prompt_fits(prompt, source.hw)
        self.source = source
        self.picture: Picture | None = None
        self.num_dropped = 0
        self.num_skipped = 0
        self.on_picture: list[Callable[[Picture], None]] = []
        self.on_answer: list[Callable[[Answer], None]] = []
        self._recall = Recall()
        planned = [Asked(i, prompt, frame, Future()) for frame, i, prompt in sorted(prompts, key=lambda p: p[:2])]
        for asked in planned:
            asked.done.add_done_callback(lambda done: _tell_refusal(done, on_event))
        self.grabber = Grabber(source, self._deliver, on_event)
        self.segmenting = Segmenting(new_session, planned, self._recall, self._note_answer, on_event)
        self.showing = Showing(self._note_picture, lambda: self.grabber.state)
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=loop, name=f"surgvos-live-{loop.__name__.strip('_')}", daemon=True)
            for loop in (self._grab, self._segment, self._show)
        ]

    def __enter__(self) -> LiveEngine:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        deadline_s = time.monotonic() + _JOIN_S
        for thread in self._threads:
            # A camera that hangs must not keep the program; the thread ends with it.
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def prompt(self, object_id: int, prompt: Prompt, frame_index: int | None = None) -> Future[int]:
        """Prompt an object in a picture that was shown.

        It is applied to that very picture while it is there (for two seconds, or held), else to the newest one, and
        followed into the present from there. A phrase is looked for from the next frame on.

        Returns:
            What becomes the index of the frame that it was applied to, or an `InputError`.

        Raises:
            InputError: Too many prompts wait.
            SurgvosError: Segmenting has failed.
        """
        return self._ask(object_id, prompt, frame_index)

    def hold(self, frame_index: int) -> None:
        """Keep a picture for a prompt that takes its time; sixteen are kept."""
        self._recall.hold(frame_index)

    def remove(self, object_id: int) -> Future[int]:
        """Forget an object; as `prompt`."""
        return self._ask(object_id, None, None)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the source has come to its end, and its last frame is answered; True if so."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.is_over:
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return False
            time.sleep(_POLL_S)
        return True

    @property
    def is_over(self) -> bool:
        """Whether there are no more frames, and none that waits for its masks."""
        num_settled = self.segmenting.num_segmented + self.num_dropped
        is_idle = self.segmenting.failure is not None or num_settled >= self.grabber.num_received
        return self.grabber.state == SourceState.ENDED and is_idle

    def _ask(self, object_id: int, prompt: Prompt | None, frame_index: int | None) -> Future[int]:
        asked = Asked(object_id, prompt, -1 if frame_index is None else frame_index, Future())
        self.segmenting.ask(asked)
        return asked.done

    def _grab(self) -> None:
        if self.source.hw is not None:
            self.segmenting.is_warm.wait()
        self.grabber.run(self._stopped)

    def _segment(self) -> None:
        self.segmenting.run(self._stopped, self.source.hw)

    def _show(self) -> None:
        self.showing.run(self._stopped)

    def _deliver(self, arrived: Arrived) -> None:
        self._recall.add(arrived.frame, arrived.at_s)
        self.num_dropped += not self.segmenting.newest.put(arrived)
        self.num_skipped += not self.showing.newest.put(arrived)

    def _note_answer(self, answer: Answer) -> None:
        self.showing.answer = answer
        for listener in self.on_answer:
            listener(answer)

    def _note_picture(self, picture: Picture) -> None:
        self.picture = picture
        for listener in self.on_picture:
            listener(picture)


def _tell_refusal(done: Future[int], on_event: Callable[[str], None]) -> None:
    """Nobody waits for a planned prompt."""
    if done.exception() is not None:
        on_event(str(done.exception()))

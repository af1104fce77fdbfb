"""A session on a stream that loses frames: what is remembered has no gaps, and prompts go to the picture they meant."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from surgvos.core.frame import Frame
from surgvos.core.prompts import Prompt, TextPrompt, check_prompt_fits
from surgvos.core.results import FrameResult
from surgvos.errors import InputError
from surgvos.tracking.session import Session

MAX_OBJECTS = 32
MAX_PHRASES = 8
_MAX_SHOWN = 8


class StreamTracker:
    """Follow objects along a stream.

    The session counts the frames that it is given. A policy finds the memories of the last few frames by their
    number: if dropped frames had numbers too, a model that answers every third frame would read a third of its
    memory. Results speak of the numbers of the stream. Where no frame is dropped, both are the same, and so are the
    masks of `Session.propagate`.

    Args:
        new_session: Makes the session, and another one where the frames change their size.
    """

    def __init__(self, new_session: Callable[[], Session]) -> None:
        self._new_session = new_session
        self._hw: tuple[int, int] | None = None
        self._begin()

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the objects, in the order in which they were first prompted."""
        return self._session.object_ids

    @property
    def names(self) -> dict[int, str]:
        """Object id -> what it is called, of the objects that are called something."""
        objects = self._session.objects.values()
        return {tracked.object_id: tracked.all_phrases[0] for tracked in objects if tracked.all_phrases}

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept for later frames."""
        return self._session.nbytes

    def prompt_next(self, frame: Frame, object_id: int, prompt: Prompt) -> None:
        """Prompt an object in the frame that `step` is given next.

        Raises:
            InputError: The prompt lies outside the frame, the object id is out of range, there are too many objects,
                or the model cannot read phrases.
        """
        self._check(frame, object_id, prompt)
        self._session.add_prompt(self._next, object_id, prompt)

    def prompt_past(self, frame: Frame, object_id: int, prompt: Prompt) -> None:
        """Prompt an object in a picture of the past, and follow it into the present from there.

        The picture is one more moment of what the session sees, also where it was dropped when it came. Prompts for
        one picture add up.

        Raises:
            InputError: As `prompt_next`, or the prompt is a phrase.
        """
        self._check(frame, object_id, prompt)
        number = self._shown.get(frame.index)
        if number is None:
            number = self._shown[frame.index] = self._number(frame)
            if len(self._shown) > _MAX_SHOWN:
                self._shown.popitem(last=False)
        self._session.add_prompt(number, object_id, prompt)
        self._session.preview(replace(frame, index=number))

    def remove(self, object_id: int) -> None:
        """Forget an object.

        Raises:
            InputError: There is no such object.
        """
        self._session.remove(object_id)

    def step(self, frame: Frame) -> FrameResult:
        """Answer the next frame of the stream. A frame of another size is another video: all is forgotten."""
        self._fit(frame)
        number = self._number(frame)
        result = self._session.step(replace(frame, index=number))
        objects = {
            object_id: replace(known, attended_frames=tuple(self._numbers[i] for i in known.attended_frames))
            for object_id, known in result.objects.items()
        }
        self._forget_numbers()
        return replace(result, frame_index=frame.index, objects=objects)

    def _begin(self) -> None:
        self._session = self._new_session()
        self._next = 0
        self._numbers: dict[int, int] = {}
        self._shown: OrderedDict[int, int] = OrderedDict()

    def _fit(self, frame: Frame) -> None:
        if self._hw not in (None, frame.hw):
            self._begin()
        self._hw = frame.hw

    def _check(self, frame: Frame, object_id: int, prompt: Prompt) -> None:
        self._fit(frame)
        check_prompt_fits(prompt, frame.hw)
        known = self._session.objects.get(object_id)
        if known is None and len(self.object_ids) >= MAX_OBJECTS:
            raise InputError(f"expected at most {MAX_OBJECTS} objects, got one more; try removing one")
        if known is not None and isinstance(prompt, TextPrompt) and len(known.all_phrases) >= MAX_PHRASES:
            raise InputError(f"expected at most {MAX_PHRASES} phrases of one object, got one more; try another object")

    def _number(self, frame: Frame) -> int:
        """The session's number of a frame, from now on."""
        number = self._next
        self._numbers[number] = frame.index
        self._next += 1
        return number

    def _forget_numbers(self) -> None:
        """Hold the numbers that results may speak of."""
        held: set[int] = set()
        for tracked in self._session.objects.values():
            held.update(entry.frame_index for entry in tracked.bank)
            held.update(seen.entry.frame_index for seen in (tracked.search.candidates if tracked.search else ()))
        self._numbers = {number: index for number, index in self._numbers.items() if number in held}

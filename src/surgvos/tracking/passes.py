"""In which order the frames of a video are passed, and whom each pass follows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from surgvos.core.frame import Frame, FrameStream, VideoSource
from surgvos.errors import ConfigError, InputError
from surgvos.tracking.objects import TrackedObject

Direction = Literal["forward", "backward", "both"]


@dataclass(frozen=True, slots=True)
class Pass:
    """One run over frames in one direction.

    Attributes:
        frames: Their indices; without an end for a stream.
        within: Object id -> the frames in which it is answered, for a pass that fills in what earlier ones had to
            leave open. None answers every object in every frame.
        begun_at: The frame at which a stopped pass goes on; None for one that begins.
    """

    frames: range
    within: Mapping[int, range] | None = None
    begun_at: int | None = None

    @property
    def direction(self) -> Literal[1, -1]:
        return 1 if self.frames.step > 0 else -1

    @property
    def indices(self) -> Iterator[int]:
        """The frames that are left in which anyone is answered, in order."""
        return (index for index in self.left if self._is_passed(index))

    @property
    def left(self) -> range:
        """The frames that are left."""
        start = self.frames.start if self.begun_at is None else self.begun_at
        return range(start, self.frames.stop, self.frames.step)

    @property
    def num_frames(self) -> int:
        """How many frames are left to be answered."""
        return len(self.left) if self.within is None else sum(1 for _ in self.indices)

    def answers(self, object_id: int, frame_index: int) -> bool:
        """Whether an object is answered in a frame."""
        return self.within is None or frame_index in self.within.get(object_id, ())

    def behind(self, frame_index: int) -> Pass:
        """The same pass, begun behind a frame."""
        return replace(self, begun_at=frame_index + self.frames.step)

    def to_plain(self) -> dict[str, Any]:
        """The pass as JSON values."""
        within = None if self.within is None else {i: _bounds(frames) for i, frames in self.within.items()}
        return {"frames": _bounds(self.frames), "within": within, "begun_at": self.begun_at}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Pass:
        """The pass that `to_plain` described."""
        within = plain["within"]
        if within is not None:
            within = {int(i): range(*bounds) for i, bounds in within.items()}
        return cls(range(*plain["frames"]), within, plain["begun_at"])

    def _is_passed(self, frame_index: int) -> bool:
        return self.within is None or any(frame_index in frames for frames in self.within.values())


def first_pass(
    objects: Iterable[TrackedObject], source: FrameStream, start: int | None, stop: int | None, direction: Direction
) -> Pass:
    """The pass that a propagation begins with.

    Raises:
        InputError: There is no prompt, a prompt lies on a frame that does not exist, or the stream cannot be read in
            this order.
        ConfigError: The direction is none, or has no stop.
    """
    if direction not in ("forward", "backward", "both"):
        raise ConfigError(f"expected direction forward, backward or both, got {direction!r}")
    if direction == "both" and stop is not None:
        raise ConfigError("expected no stop with direction both, got one; try forward and backward separately")
    if direction != "forward" and not isinstance(source, VideoSource):
        raise InputError("expected a video whose frames can be read in any order to run backward, got a stream")
    prompted = [index for tracked in objects for index in tracked.prompted_frames]
    if not prompted:
        raise InputError("expected at least one prompt before propagating, got none; try add_prompt first")
    if isinstance(source, VideoSource):
        last = len(source) - 1
        if max(prompted) > last:
            raise InputError(f"expected prompts on frames 0..{last}, got one on frame {max(prompted)}")
        if start is not None and not 0 <= start <= last:
            raise InputError(f"expected a start in 0..{last}, got {start}")
    if start is None:
        start = max(prompted) if direction == "backward" else min(prompted)
    if direction == "backward":
        return Pass(range(start, -1 if stop is None else max(stop, -1), -1))
    end = len(source) if isinstance(source, VideoSource) else sys.maxsize
    return Pass(range(start, end if stop is None else min(stop, end)))


def pass_after(objects: Iterable[TrackedObject], done: Pass, *, to_start: bool, fill_searched: bool) -> Pass | None:
    """The pass back over what the last one had to leave open, or None.

    Args:
        objects: Of the session; that their open frames are planned for is noted.
        done: The pass that has ended.
        to_start: Answer each object also before the frame from which it was first answered: the second half of
            ``both``.
        fill_searched: Answer objects found by a phrase also in the frames that passed until they were found.
    """
    within = {}
    for tracked in objects:
        searched = tracked.take_searched_frames()
        if to_start:
            first = (searched.stop if fill_searched else searched.start) if searched else tracked.answered_from
            within[tracked.object_id] = range(max(first, done.frames.start))
        elif searched and fill_searched:
            within[tracked.object_id] = _common(searched, done.frames)
    within = {object_id: frames for object_id, frames in within.items() if frames}
    if not within:
        return None
    first, stop = min(f.start for f in within.values()), max(f.stop for f in within.values())
    backward = to_start or done.direction > 0
    return Pass(range(stop - 1, first - 1, -1) if backward else range(first, stop), within)


def frames_of(source: FrameStream, run: Pass) -> Iterator[Frame]:
    """Frames of a source in the order of a pass; a plain stream is read from where it stands."""
    if isinstance(source, VideoSource):
        for index in run.indices:
            yield source[index]
        return
    for frame in source:
        if frame.index >= run.frames.stop:
            return
        if frame.index >= run.left.start:
            yield frame


def _common(frames: range, passed: range) -> range:
    """What of an ascending range lies in another one, whose direction does not matter."""
    if not passed:
        return range(0)
    first, last = sorted((passed[0], passed[-1]))
    return range(max(frames.start, first), min(frames.stop, last + 1))


def _bounds(frames: range) -> tuple[int, int, int]:
    return frames.start, frames.stop, frames.step


def forward_pass(source: FrameStream, start: int | None, stop: int | None, direction: Direction, *, why: str) -> Pass:
    """One pass forward over everything, from the first frame by default.

    Args:
        source: What is read.
        start, stop: First frame, and first frame that is left out.
        direction: What was asked for.
        why: Completes the sentence of the error: what only runs forward.

    Raises:
        ConfigError: Another direction was asked for.
        InputError: The start does not exist.
    """
    if direction != "forward":
        raise ConfigError(f"expected direction forward {why}, got {direction!r}")
    end = len(source) if isinstance(source, VideoSource) else sys.maxsize
    start = 0 if start is None else start
    if not 0 <= start < end:
        raise InputError(f"expected a start in 0..{end - 1}, got {start}")
    return Pass(range(start, end if stop is None else min(stop, end)))

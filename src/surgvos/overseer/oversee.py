"""`OverseenSession`: a tracker with a detector at its side, over a video or a stream."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from surgvos.config.load import from_plain
from surgvos.core.frame import Frame, FrameStream, VideoSource
from surgvos.core.instances import MAX_CLASS_ID
from surgvos.core.labels import LabelSpace
from surgvos.core.prompts import MaskPrompt, PointPrompt
from surgvos.core.results import FrameResult
from surgvos.errors import ConfigError, InputError
from surgvos.io.video import prefetch
from surgvos.overseer.corrections import Add, AnyOverseer, Correction, Drop, Reprompt, Restart
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import Detector
from surgvos.overseer.instances import tell_apart
from surgvos.overseer.out_of_body import is_outside
from surgvos.overseer.sasvi import Sasvi
from surgvos.tracking.objects import TrackedObject
from surgvos.tracking.passes import Direction, Pass, forward_pass, frames_of
from surgvos.tracking.session import Session

_STATE, _OUTSIDE = "overseer", "out_of_body"
_FIRST_OBJECT_ID = 1  # class 0 is a class like any other, object 0 is background


class OverseenSession:
    """Follow the classes that a detector sees through one video. A new video wants a new one.

    Every frame is decoded once and detected once. At most ``look_ahead + batch_size - 1`` frames and their
    detections are held, whatever the length of the video.

    Args:
        session: A fresh one; this one is its only user from now on.
        detector: What looks at the frames.
        overseer: The rules; `Sasvi` by default.
        batch_size: Frames that are detected in one call. By default as many as the rules look ahead in
            `follow` of a video, and 1 for streams, so that no frame waits for others.
        instances: Follow the instances of a class as objects of their own, with ids such as 501 and 502 in class 5
            (`surgvos.core.instances`). Otherwise a class is one object.

    Example::

        overseen = OverseenSession(surgvos.Session(model), detector)
        for result in overseen.follow(open_video("case.mp4")):
            result.masks  # {class id: bool (h, w)}
    """

    def __init__(
        self,
        session: Session,
        detector: Detector,
        overseer: AnyOverseer | None = None,
        *,
        batch_size: int | None = None,
        instances: bool = False,
    ) -> None:
        if session.object_ids:
            raise InputError(f"expected a session without prompts, got one with {len(session.object_ids)} object(s)")
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"expected a batch_size of 1 or more, got {batch_size}")
        self.session = session
        self.detector = detector
        self.overseer: AnyOverseer = Sasvi() if overseer is None else overseer
        if instances:
            _check_instances(detector.label_space, self.overseer)
        self._batch_size = batch_size
        self._instances = instances
        self._state: Any = None
        self._was_outside = False
        self._undetected: list[Frame] = []
        self._detected: deque[tuple[Frame, Detection]] = deque()

    @property
    def num_held_frames(self) -> int:
        """Most frames that are read before the first of them is answered."""
        return self.overseer.look_ahead + (self._batch_size or self.overseer.look_ahead) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of what the session keeps for later frames, and of the detections held."""
        return self.session.nbytes + sum(detection.regions.nbytes for _, detection in self._detected)

    @property
    def objects(self) -> dict[int, TrackedObject]:
        """What is followed, by class id; theirs to read."""
        return {object_id - _FIRST_OBJECT_ID: tracked for object_id, tracked in self.session.objects.items()}

    def plan(
        self,
        source: FrameStream,
        start: int | None = None,
        stop: int | None = None,
        direction: Direction = "forward",
    ) -> Pass:
        """The pass over a video that is to be made, from the first frame by default.

        Raises:
            ConfigError: The direction is not forward: the rules look ahead in time.
            InputError: The start does not exist.
        """
        return forward_pass(source, start, stop, direction, why="with an overseer")

    def plan_after(self, source: FrameStream, done: Pass, direction: Direction = "forward") -> None:
        """Nothing: one pass answers everything."""

    def follow(self, source: FrameStream, run: Pass | None = None) -> Iterator[FrameResult]:
        """Answer the frames of a video or a stream, in order.

        Args:
            source: What is read.
            run: Of `plan`, or the rest of it; by default all frames.

        Yields:
            Results whose masks go by class id, or by instance id.
        """
        run = self.plan(source) if run is None else run
        batch_size = self._batch_size or (self.overseer.look_ahead if isinstance(source, VideoSource) else 1)
        with closing(prefetch(frames_of(source, run))) as decoded:
            for frame in decoded:
                yield from self._take_in(frame, batch_size)
        yield from self.finish()

    def push(self, frame: Frame) -> list[FrameResult]:
        """Take in the next frame of a stream.

        Returns:
            What can be answered now: nothing at first, then the frame of ``look_ahead - 1`` frames ago (more at once
            with a ``batch_size`` above 1).
        """
        return list(self._take_in(frame, self._batch_size or 1))

    def finish(self) -> list[FrameResult]:
        """Answer the frames that still wait, at the end of a stream."""
        self._detect()
        results = []
        while self._detected:
            results.append(self._answer_first())
        return results

    def save(self, path: str | Path, progress: dict[str, Any] | None = None) -> None:
        """Write the memory and what the rules remember to a file, with a note on how far things have come."""
        state = None if self._state is None else asdict(self._state)
        notes = {_STATE: json.loads(json.dumps(state)), _OUTSIDE: self._was_outside}
        self.session.save(path, {**(progress or {}), **notes})

    def restore(self, path: str | Path) -> dict[str, Any]:
        """Go on from what `save` wrote, with the same model, memory, detector and rules.

        Returns:
            The note that was saved with it.

        Raises:
            InputError: The file is missing or damaged, or was written without an overseer.
        """
        progress = self.session.restore(path)
        if _STATE not in progress:
            raise InputError(f"expected the state of a run with an overseer, got {str(path)!r} of a run without")
        self._was_outside = progress.pop(_OUTSIDE)
        state = progress.pop(_STATE)
        self._state = None if state is None else from_plain(self.overseer.state_class, state)
        self._undetected.clear()
        self._detected.clear()
        return progress

    # --- running -------------------------------------------------------------------------------------------------

    def _take_in(self, frame: Frame, batch_size: int) -> Iterator[FrameResult]:
        self._undetected.append(frame)
        if len(self._undetected) >= batch_size:
            self._detect()
        while len(self._detected) >= self.overseer.look_ahead:
            yield self._answer_first()

    def _detect(self) -> None:
        if not self._undetected:
            return
        detections = self.detector.detect(self._undetected)
        for frame, detection in zip(self._undetected, detections, strict=True):
            if detection.hw != frame.hw:
                raise InputError(
                    f"expected detections of {frame.hw[1]}x{frame.hw[0]} pixels like frame {frame.index}, "
                    f"got {detection.hw[1]}x{detection.hw[0]}"
                )
            self._detected.append((frame, detection))
        self._undetected = []

    def _answer_first(self) -> FrameResult:
        """Answer the oldest frame held."""
        window = [detection for _, detection in self._detected][: self.overseer.look_ahead]
        frame, _ = self._detected.popleft()
        self._was_outside = is_outside(window, self._was_outside)
        if self._was_outside:
            self._forget()
            return FrameResult(frame.index, frame.name, {}, {}, {}, out_of_body=True)
        result = _by_class(self.session.step(frame))
        if self._instances:
            window = tell_apart(window, result.masks)
        corrections, self._state = self.overseer.review(result, window, self._state)
        if not corrections:
            return result
        for correction in corrections:
            self._apply(correction, frame.index)
        # The features of the frame are held: only what follows the encoder runs again.
        return _by_class(self.session.step(frame))

    def _forget(self) -> None:
        """Begin anew with the next frame, as if a video began with it."""
        self._state = None
        for object_id in self.session.object_ids:
            self.session.remove(object_id)

    def _apply(self, correction: Correction, frame_index: int) -> None:
        if isinstance(correction, Restart):
            for object_id in self.session.object_ids:
                self.session.remove(object_id)
            for class_id, prompt in correction.prompts.items():
                self._show(class_id, prompt, frame_index)
        elif isinstance(correction, Drop):
            self.session.remove(_object_id(correction.class_id))
        elif isinstance(correction, Reprompt):
            self.session.remove(_object_id(correction.class_id))
            self._show(correction.class_id, correction.prompt, frame_index)
        elif isinstance(correction, Add):
            self._show(correction.class_id, correction.prompt, frame_index)

    def _show(self, class_id: int, prompt: MaskPrompt | PointPrompt, frame_index: int) -> None:
        self.session.add_prompt(frame_index, _object_id(class_id), prompt)


def _check_instances(space: LabelSpace, overseer: AnyOverseer) -> None:
    if max(space.ids, default=0) > MAX_CLASS_ID:
        raise ConfigError(f"expected class ids up to {MAX_CLASS_ID} to tell instances apart, got {max(space.ids)}")
    if getattr(overseer, "min_scores", None):
        raise ConfigError("expected rules without min_scores to tell instances apart, got thresholds of classes")


def _object_id(class_id: int) -> int:
    return class_id + _FIRST_OBJECT_ID


def _by_class(result: FrameResult) -> FrameResult:
    """A result by class id instead of object id, in ascending order."""
    order: Sequence[int] = sorted(result.masks)
    return FrameResult(
        frame_index=result.frame_index,
        frame_name=result.frame_name,
        masks={i - _FIRST_OBJECT_ID: result.masks[i] for i in order},
        objects={i - _FIRST_OBJECT_ID: result.objects[i] for i in order},
        logits={i - _FIRST_OBJECT_ID: result.logits[i] for i in order},
    )

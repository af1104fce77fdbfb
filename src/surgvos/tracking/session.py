"""`Session`: prompts and frames in, masks out. The only stateful public class."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from surgvos.core.frame import Frame, FrameStream, VideoSource
from surgvos.core.prompts import Prompt
from surgvos.core.results import FrameResult, ObjectResult, Phase
from surgvos.errors import ConfigError, InputError
from surgvos.io.video import prefetch
from surgvos.memory import MemoryBank, MemoryEntry, MemoryPolicy, MemoryQuery, policy_by_name
from surgvos.models.interface import ImageFeatures, MaskPrediction, PromptBatch, VideoModel
from surgvos.tracking.features import FeatureCache
from surgvos.tracking.objects import TrackedObject
from surgvos.tracking.postprocess import fill_holes, to_masks, to_video_size
from surgvos.tracking.state import load_objects, save_objects
from surgvos.tracking.step import encode_entries, stack_prompts, track_objects

PREVIOUS_LOGIT_LIMIT = 32.0

Direction = Literal["forward", "backward", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How a session treats overlap, holes and prompts.

    Attributes:
        non_overlap: Give each pixel to one object at most, the one with the highest logit.
        fill_hole_area_px: Fill holes of up to this many pixels at the model's own resolution.
        as_published: Treat prompts as the published predictor does, for comparison with it: all prompts are
            applied before anything is followed, a prompt on a frame not yet followed reads no memory, an object is
            followed also before its first prompt, and a correction of a followed frame is shown but does not stick.
    """

    non_overlap: bool = True
    fill_hole_area_px: int = 0
    as_published: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """One object's mask logits ``(h, w)`` in one frame, and what is said of them."""

    logits: Tensor
    result: ObjectResult


class Session:
    """Follow prompted objects through one video. A new video wants a new session.

    Args:
        model: Of `surgvos.load_model`.
        memory: A policy, or the name of one with its default settings.
        options: See `SessionOptions`.

    Example::

        session = Session(model)
        session.add_prompt(0, 1, MaskPrompt(mask))
        for result in session.propagate(open_video("case.mp4")):
            result.masks[1]
    """

    def __init__(
        self,
        model: VideoModel,
        memory: MemoryPolicy | str = "recent",
        options: SessionOptions | None = None,
    ) -> None:
        self.model = model
        self.policy = policy_by_name(memory, model.num_recent) if isinstance(memory, str) else memory
        self.options = options or SessionOptions()
        self._features = FeatureCache(model)
        self._objects: dict[int, TrackedObject] = {}
        self._video_hw: tuple[int, int] | None = None

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the objects, in the order in which they were first prompted."""
        return tuple(self._objects)

    @property
    def objects(self) -> dict[int, TrackedObject]:
        """The objects by id; theirs to read, the session's to change."""
        return self._objects

    @property
    def nbytes(self) -> int:
        """Bytes of everything that the session keeps for later frames; does not grow with the video."""
        storages = self._features.storages()
        for tracked in self._objects.values():
            storages |= tracked.bank.storages()
        return sum(storages.values())

    def add_prompt(self, frame_index: int, object_id: int, prompt: Prompt) -> None:
        """Queue a prompt for an object in a frame; it takes effect when that frame is next passed.

        Several prompts of one object in one frame add up: see `FramePrompts`. A prompt on an object that is
        already remembered is a correction: it reads the memory and starts from the mask predicted without it.

        Raises:
            InputError: The frame index or the object id is out of range, or the prompt is a phrase.
        """
        if frame_index < 0:
            raise InputError(f"expected a frame index >= 0, got {frame_index}")
        if not 1 <= object_id <= 65535:
            raise InputError(f"expected an object id in 1..65535, got {object_id}")
        tracked = self._objects.get(object_id) or TrackedObject(object_id)
        tracked.add(frame_index, prompt)
        self._objects[object_id] = tracked

    def remove(self, object_id: int) -> None:
        """Forget an object; the others are not touched.

        Raises:
            InputError: There is no such object.
        """
        if object_id not in self._objects:
            raise InputError(f"expected one of the objects {list(self._objects)}, got {object_id}")
        del self._objects[object_id]

    def step(self, frame: Frame) -> FrameResult:
        """Take in the next frame of a stream and answer it.

        Raises:
            InputError: The frame has another size than the ones before, or a prompt does not fit it.
        """
        return self._advance(frame, MemoryQuery(frame.index, 1))

    def preview(self, frame: Frame) -> FrameResult:
        """Answer the prompts waiting for this frame, and follow nothing: what an annotator sees after a click.

        The result holds the objects that have a prompt in this frame.
        """
        with self._inference():
            answers = self._apply_prompts(frame, MemoryQuery(frame.index, 1))
            answers = self._answered_before(frame.index) | answers
            return self._result(frame, answers)

    def propagate(
        self,
        source: FrameStream,
        start: int | None = None,
        stop: int | None = None,
        direction: Direction = "forward",
    ) -> Iterator[FrameResult]:
        """Follow the objects through a video.

        Args:
            source: A stream, or a `VideoSource` where the start is not its first frame or time runs backward.
            start: First frame; by default the first prompted one (the last one for ``backward``).
            stop: First frame, in the direction of travel, that is no longer processed; by default all are.
            direction: ``both`` runs forward from the start to the end, then backward from just before the start.

        Raises:
            InputError: There is no prompt, a prompt lies on a frame that does not exist, or the stream cannot be
                read in this order.
        """
        passes = self.plan(source, start, stop, direction)
        if self.options.as_published:
            self._apply_all_prompts(source)
        for frames in passes:
            yield from self.follow(source, frames)

    def plan(
        self,
        source: FrameStream,
        start: int | None = None,
        stop: int | None = None,
        direction: Direction = "forward",
    ) -> list[range]:
        """The passes over a video that `propagate` makes, as ranges of frame indices; see there.

        A stream without a length gets a range without an end.
        """
        if direction not in ("forward", "backward", "both"):
            raise ConfigError(f"expected direction forward, backward or both, got {direction!r}")
        if direction == "both" and stop is not None:
            raise ConfigError("expected no stop with direction both, got one; try forward and backward separately")
        start = self._start(source, start, direction)
        end = len(source) if isinstance(source, VideoSource) else sys.maxsize
        if direction == "backward":
            return [range(start, -1 if stop is None else max(stop, -1), -1)]
        forward = range(start, end if stop is None else min(stop, end))
        return [forward] if direction == "forward" else [forward, range(start - 1, -1, -1)]

    def follow(self, source: FrameStream, frames: range) -> Iterator[FrameResult]:
        """Follow the objects over one pass of `plan`, or over the rest of one."""
        direction: Literal[1, -1] = 1 if frames.step > 0 else -1
        last_index = -1
        with closing(prefetch(_frames(source, frames))) as decoded:
            for frame in decoded:
                last_index = frame.index
                yield self._advance(frame, MemoryQuery(frame.index, direction))
        waiting = [i for tracked in self._objects.values() for i in tracked.pending if i in frames and i > last_index]
        if direction == 1 and waiting:
            raise InputError(f"expected prompts on frames 0..{last_index}, got one on frame {min(waiting)}")

    def save(self, path: str | Path, progress: dict[str, Any] | None = None) -> None:
        """Write the memory of all objects to a safetensors file, with a note on how far things have come."""
        save_objects(path, self._objects.values(), progress or {})

    def restore(self, path: str | Path) -> dict[str, Any]:
        """Go on from what `save` wrote, with the same model and policy.

        Returns:
            The note that was saved with it.

        Raises:
            InputError: The file is missing or damaged.
        """
        objects, progress = load_objects(path, self._device)
        self._objects = {tracked.object_id: tracked for tracked in objects}
        return progress

    # --- running -----------------------------------------------------------------------------------------------

    def _start(self, source: FrameStream, start: int | None, direction: Direction) -> int:
        prompted = [i for tracked in self._objects.values() for i in (*tracked.pending, *tracked.bank.prompted)]
        if not prompted:
            raise InputError("expected at least one prompt before propagating, got none; try add_prompt first")
        if isinstance(source, VideoSource):
            last = len(source) - 1
            if max(prompted) > last:
                raise InputError(f"expected prompts on frames 0..{last}, got one on frame {max(prompted)}")
            if start is not None and not 0 <= start <= last:
                raise InputError(f"expected a start in 0..{last}, got {start}")
        if start is not None:
            return start
        return max(prompted) if direction == "backward" else min(prompted)

    def _apply_all_prompts(self, source: FrameStream) -> None:
        if not isinstance(source, VideoSource):
            raise InputError("expected a video whose frames can be read in any order, got a stream")
        for index in sorted({i for tracked in self._objects.values() for i in tracked.pending}):
            self.preview(source[index])

    def _advance(self, frame: Frame, query: MemoryQuery) -> FrameResult:
        with self._inference():
            answers = self._apply_prompts(frame, query)
            answers |= {i: a for i, a in self._answered_before(frame.index).items() if i not in answers}
            answers |= self._follow(frame, query, [o for i, o in self._objects.items() if i not in answers])
            for object_id, answer in answers.items():
                self._objects[object_id].phase = answer.result.phase
                self._objects[object_id].mark_followed(frame.index)
            return self._result(frame, answers)

    def _inference(self) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        dtype = self.model.compute_dtype
        if dtype != torch.float32:
            stack.enter_context(torch.autocast(self._device.type, dtype=dtype))
        return stack

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    # --- one frame ---------------------------------------------------------------------------------------------

    def _follow(self, frame: Frame, query: MemoryQuery, objects: Sequence[TrackedObject]) -> dict[int, _Answer]:
        """Follow objects that are remembered into this frame."""
        objects = [tracked for tracked in objects if not tracked.bank.is_empty]
        if not objects:
            return {}
        features = self._features_of(frame)
        step = track_objects(self.model, features, [o.bank for o in objects], self.policy, query)
        entries = encode_entries(self.model, features, step.best, frame.index, prompted=False)
        for tracked, entry in zip(objects, entries, strict=True):
            self.policy.admit(tracked.bank, entry, query)
        return _answers(objects, step.best, entries, step.attended_frames())

    def _apply_prompts(self, frame: Frame, query: MemoryQuery) -> dict[int, _Answer]:
        """Answer the prompts that wait for this frame; objects whose prompts are alike share one call."""
        waiting = [tracked for tracked in self._objects.values() if frame.index in tracked.pending]
        if not waiting:
            return {}
        features = self._features_of(frame)
        input_hw = self.model.input_hw(frame.hw)
        groups: dict[tuple, list[tuple[TrackedObject, PromptBatch]]] = {}
        for tracked in waiting:
            prompts = tracked.pending[frame.index]
            prompts.check_fit(frame.hw)
            batch = prompts.to_batch(frame.hw, input_hw, self._device)
            corrects = batch.mask is None and self._is_correction(tracked, frame.index)
            if corrects:
                batch = replace(batch, previous_logits=self._previous_logits(tracked, features, query))
            groups.setdefault((batch.num_points, batch.mask is None, corrects), []).append((tracked, batch))
        answers: dict[int, _Answer] = {}
        for (_, _, corrects), members in groups.items():
            answers |= self._answer_prompts(features, query, members, corrects=corrects)
        return answers

    def _answer_prompts(
        self,
        features: ImageFeatures,
        query: MemoryQuery,
        members: Sequence[tuple[TrackedObject, PromptBatch]],
        *,
        corrects: bool,
    ) -> dict[int, _Answer]:
        objects = [tracked for tracked, _ in members]
        prompts = stack_prompts([batch for _, batch in members])
        banks = [tracked.bank if corrects else MemoryBank() for tracked in objects]
        step = track_objects(self.model, features, banks, self.policy, query, prompts)
        entries = encode_entries(self.model, features, step.best, query.frame_index, prompted=True)
        for tracked, entry in zip(objects, entries, strict=True):
            if corrects and self.options.as_published and query.frame_index not in tracked.bank.prompted:
                del tracked.pending[query.frame_index]
                continue
            self.policy.admit(tracked.bank, entry, query)
            tracked.settle(query.frame_index)
        return _answers(objects, step.best, entries, step.attended_frames())

    def _is_correction(self, tracked: TrackedObject, frame_index: int) -> bool:
        if self.options.as_published:
            return tracked.followed(frame_index)
        return not tracked.bank.is_empty

    def _previous_logits(self, tracked: TrackedObject, features: ImageFeatures, query: MemoryQuery) -> Tensor:
        """The mask that a correction starts from: the one answered before, or the one predicted without it."""
        entry = tracked.bank.prompted.get(query.frame_index)
        if entry is not None and entry.logits is not None:
            logits = entry.logits[None, None]
        else:
            logits = track_objects(self.model, features, [tracked.bank], self.policy, query).best.logits
        return logits.float().clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)

    def _answered_before(self, frame_index: int) -> dict[int, _Answer]:
        """Prompted frames that are passed again give the same answer."""
        answers = {}
        for object_id, tracked in self._objects.items():
            entry = tracked.bank.prompted.get(frame_index)
            if entry is not None and entry.logits is not None:
                answers[object_id] = _Answer(entry.logits, _object_result(entry, ()))
        return answers

    def _features_of(self, frame: Frame) -> ImageFeatures:
        if self._video_hw is None:
            self._video_hw = frame.hw
        if frame.hw != self._video_hw:
            (height, width), (new_height, new_width) = self._video_hw, frame.hw
            raise InputError(
                f"expected frames of {width}x{height} pixels, got {new_width}x{new_height} at frame {frame.index}; "
                "try a new session for a new video"
            )
        return self._features.get(frame)

    def _result(self, frame: Frame, answers: dict[int, _Answer]) -> FrameResult:
        order = [object_id for object_id in self._objects if object_id in answers]
        if not order:
            return FrameResult(frame.index, frame.name, {}, {}, {})
        logits = torch.stack([answers[object_id].logits for object_id in order]).float()
        video = to_video_size(fill_holes(logits, self.options.fill_hole_area_px), frame.hw)
        masks = to_masks(video, non_overlap=self.options.non_overlap).cpu().numpy()
        low = logits.cpu().numpy()
        return FrameResult(
            frame_index=frame.index,
            frame_name=frame.name,
            masks={object_id: masks[slot] for slot, object_id in enumerate(order)},
            objects={object_id: answers[object_id].result for object_id in order},
            logits={object_id: low[slot] for slot, object_id in enumerate(order)},
        )


def _frames(source: FrameStream, frames: range) -> Iterator[Frame]:
    """Frames of a source in the order asked for; a plain stream is read from where it stands."""
    if isinstance(source, VideoSource):
        for index in frames:
            yield source[index]
        return
    if frames.step < 0:
        raise InputError("expected a video whose frames can be read in any order to run backward, got a stream")
    for frame in source:
        if frame.index >= frames.stop:
            return
        if frame.index >= frames.start:
            yield frame


def _object_result(entry: MemoryEntry, attended: tuple[int, ...]) -> ObjectResult:
    phase = Phase.TRACKING if entry.presence > 0.5 else Phase.ABSENT
    return ObjectResult(phase, entry.presence, entry.iou, entry.prompted, attended)


def _answers(
    objects: Sequence[TrackedObject],
    best: MaskPrediction,
    entries: Sequence[MemoryEntry],
    attended: Sequence[tuple[int, ...]],
) -> dict[int, _Answer]:
    return {
        tracked.object_id: _Answer(best.logits[slot, 0], _object_result(entries[slot], attended[slot]))
        for slot, tracked in enumerate(objects)
    }

"""What is said of objects in one frame: their prompts answered, themselves followed, their phrases looked for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surgvos.core.frame import Frame
from surgvos.core.results import Phase
from surgvos.errors import InputError
from surgvos.memory import MemoryBank, MemoryEntry, MemoryPolicy, MemoryQuery
from surgvos.models.interface import ImageFeatures, PromptBatch, VideoModel, refines
from surgvos.tracking.answers import Answer, answer_of
from surgvos.tracking.features import FeatureCache
from surgvos.tracking.objects import TrackedObject
from surgvos.tracking.searching import Searcher
from surgvos.tracking.step import TrackingStep, encode_entries, stack_prompts, track_objects

PREVIOUS_LOGIT_LIMIT = 32.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """How a session treats overlap, holes and prompts.

    Attributes:
        non_overlap: Give each pixel to one object at most, the one with the highest logit.
        fill_hole_area_px: Fill holes of up to this many pixels at the model's own resolution.
        as_published: Treat prompts as the published predictor does, for comparison with it: all prompts are
            applied before anything is followed, a prompt on a frame not yet followed reads no memory, an object is
            followed also before its first prompt, and a correction of a followed frame is shown but does not stick.
        refine: Let a model that also sees objects in an image alone correct the outlines of what is followed, where it
            can; see `RefiningModel`.
    """

    non_overlap: bool = True
    fill_hole_area_px: int = 0
    as_published: bool = False
    refine: bool = True


class Answering:
    """Answer objects in one frame after another. Whose objects they are, and in which order frames come, is not known.

    Args:
        model: The network.
        policy: What is remembered and read.
        options: See `SessionOptions`.
        searcher: Looks for phrases, where the model reads them.
    """

    def __init__(
        self, model: VideoModel, policy: MemoryPolicy, options: SessionOptions, searcher: Searcher | None
    ) -> None:
        self.model, self.policy, self.options, self.searcher = model, policy, options, searcher
        self.features = FeatureCache(model)
        self._video_hw: tuple[int, int] | None = None

    def answer(
        self, frame: Frame, query: MemoryQuery, objects: Sequence[TrackedObject], *, fills_in: bool = False
    ) -> dict[int, Answer]:
        """Answer objects in one frame.

        Args:
            frame: The frame.
            query: The moment.
            objects: What is known of them goes on from here.
            fills_in: Whether the pass goes back over what others left open: whoever is remembered is followed there,
                also while it is looked for elsewhere.
        """
        for tracked in objects:
            tracked.take_phrases(frame.index)
        answers = self._answered_before(frame.index, objects) | self._apply_prompts(frame, query, objects)
        rest = [tracked for tracked in objects if tracked.object_id not in answers]
        sought = [o for o in rest if o.is_searched and (o.bank.is_empty or not fills_in)]
        # What was lost is followed all the same: it may be seen again before its phrase finds it.
        answers |= self._follow(frame, query, [o for o in rest if not o.bank.is_empty], may_lose=not fills_in)
        for tracked in objects:
            if tracked.object_id in answers:
                tracked.mark_followed(frame.index)
        sought = [tracked for tracked in sought if tracked.is_searched]
        if self.searcher is not None and sought:
            others = answers.keys() - {tracked.object_id for tracked in sought}
            taken = [answer.logits for i, answer in answers.items() if i in others]
            answers |= self.searcher.search(self.features_of(frame), query, sought, self.policy, taken)
        for tracked in objects:
            if tracked.object_id in answers:
                tracked.phase = answers[tracked.object_id].result.phase
        return answers

    def answer_prompts(self, frame: Frame, query: MemoryQuery, objects: Sequence[TrackedObject]) -> dict[int, Answer]:
        """Answer the prompts waiting for this frame, and follow nothing; see `Session.preview`."""
        answers = self._answered_before(frame.index, objects) | self._apply_prompts(frame, query, objects)
        said = {
            tracked.object_id: tracked.phrases[frame.index]
            for tracked in objects
            if frame.index in tracked.phrases and tracked.bank.is_empty
        }
        if self.searcher is not None and said:
            answers |= self.searcher.peek(self.features_of(frame), query, said)
        return answers

    def features_of(self, frame: Frame) -> ImageFeatures:
        """Of this frame, encoded once.

        Raises:
            InputError: The frame has another size than the ones before.
        """
        if self._video_hw is None:
            self._video_hw = frame.hw
        if frame.hw != self._video_hw:
            (height, width), (new_height, new_width) = self._video_hw, frame.hw
            raise InputError(
                f"expected frames of {width}x{height} pixels, got {new_width}x{new_height} at frame {frame.index}; "
                "try a new session for a new video"
            )
        return self.features.get(frame)

    def inference(self) -> ExitStack:
        """Where all of this happens: without gradients, in the model's precision."""
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        dtype = self.model.compute_dtype
        if dtype != torch.float32:
            stack.enter_context(torch.autocast(self.device.type, dtype=dtype))
        return stack

    @property
    def device(self) -> torch.device:
        """The model's."""
        return next(self.model.parameters()).device

    # --- following and prompts ---------------------------------------------------------------------------------

    def _follow(
        self, frame: Frame, query: MemoryQuery, objects: Sequence[TrackedObject], *, may_lose: bool
    ) -> dict[int, Answer]:
        """Follow objects that are remembered into this frame."""
        answers: dict[int, Answer] = {}
        with_phrase = [tracked for tracked in objects if tracked.search is not None]
        for members in (with_phrase, [tracked for tracked in objects if tracked.search is None]):
            if not members:
                continue
            features = self.features_of(frame)
            banks = [tracked.bank for tracked in members]
            step = self._track(features, banks, query, members)
            entries = encode_entries(self.model, features, step.best, frame.index, prompted=False)
            found = _answers(members, step, entries)
            for tracked, entry in zip(members, entries, strict=True):
                was_lost = may_lose and tracked.is_searched
                if may_lose and self.searcher is not None and self.searcher.note_followed(tracked, entry):
                    answer = found[tracked.object_id]
                    found[tracked.object_id] = replace(answer, result=replace(answer.result, phase=Phase.LOST))
                # Of what is lost nothing is remembered until it is seen again.
                if not (was_lost and tracked.is_searched):
                    self.policy.admit(tracked.bank, entry, query)
            answers |= found
        return answers

    def _track(
        self,
        features: ImageFeatures,
        banks: Sequence[MemoryBank],
        query: MemoryQuery,
        objects: Sequence[TrackedObject],
    ) -> TrackingStep:
        """Where objects that are remembered are now, and how they are outlined."""
        step = track_objects(self.model, features, banks, self.policy, query, self._spoken(objects))
        if self.options.refine and refines(self.model):
            return replace(step, best=self.model.refine(features, step.best))
        return step

    def _apply_prompts(self, frame: Frame, query: MemoryQuery, objects: Sequence[TrackedObject]) -> dict[int, Answer]:
        """Answer the prompts that wait for this frame; objects whose prompts are alike share one call."""
        waiting = [tracked for tracked in objects if frame.index in tracked.pending]
        if not waiting:
            return {}
        features = self.features_of(frame)
        input_hw = self.model.input_hw(frame.hw)
        groups: dict[tuple, list[tuple[TrackedObject, PromptBatch]]] = {}
        for tracked in waiting:
            prompts = tracked.pending[frame.index]
            prompts.check_fit(frame.hw)
            batch = replace(prompts.to_batch(frame.hw, input_hw, self.device), text=self._text_of(tracked))
            corrects = batch.mask is None and self._is_correction(tracked, frame.index)
            if corrects:
                batch = replace(batch, previous_logits=self._previous_logits(tracked, features, query))
            kind = (batch.num_points, batch.mask is None, batch.text is None, corrects)
            groups.setdefault(kind, []).append((tracked, batch))
        answers: dict[int, Answer] = {}
        for (*_, corrects), members in groups.items():
            answers |= self._answer_prompts(features, query, members, corrects=corrects)
        return answers

    def _answer_prompts(
        self,
        features: ImageFeatures,
        query: MemoryQuery,
        members: Sequence[tuple[TrackedObject, PromptBatch]],
        *,
        corrects: bool,
    ) -> dict[int, Answer]:
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
        return _answers(objects, step, entries)

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
            logits = self._track(features, [tracked.bank], query, [tracked]).best.logits
        return logits.float().clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)

    def _text_of(self, tracked: TrackedObject) -> Tensor | None:
        """What an object is called, in one vector ``(1, C)``, or None."""
        if tracked.search is None or self.searcher is None:
            return None
        return self.searcher.referrer.text(tracked.search.followed_phrase).pooled

    def _spoken(self, objects: Sequence[TrackedObject]) -> PromptBatch | None:
        """The prompts with which objects are followed: what they are called, where they were called something."""
        texts = [text for text in map(self._text_of, objects) if text is not None]
        return PromptBatch.of_text(torch.cat(texts)) if texts else None

    def _answered_before(self, frame_index: int, objects: Sequence[TrackedObject]) -> dict[int, Answer]:
        """Prompted frames that are passed again give the same answer."""
        answers = {}
        for tracked in objects:
            entry = tracked.bank.prompted.get(frame_index)
            if entry is not None and entry.logits is not None:
                answers[tracked.object_id] = answer_of(entry.logits, entry)
        return answers


def _answers(objects: Sequence[TrackedObject], step: TrackingStep, entries: Sequence[MemoryEntry]) -> dict[int, Answer]:
    attended = step.attended_frames()
    return {
        tracked.object_id: answer_of(step.best.logits[slot, 0], entries[slot], attended[slot])
        for slot, tracked in enumerate(objects)
    }

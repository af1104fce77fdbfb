"""`Session`: prompts and frames in, masks out. The only stateful public class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from surgvos.core.frame import Frame, FrameStream, VideoSource
from surgvos.core.prompts import Prompt, TextPrompt
from surgvos.core.results import FrameResult
from surgvos.errors import InputError
from surgvos.io.video import prefetch
from surgvos.memory import MemoryPolicy, MemoryQuery, policy_by_name
from surgvos.models.interface import VideoModel
from surgvos.referring.referrer import reads_phrases
from surgvos.tracking.answering import Answering, SessionOptions
from surgvos.tracking.answers import Answer, frame_result
from surgvos.tracking.objects import TrackedObject
from surgvos.tracking.passes import Direction, Pass, first_pass, frames_of, pass_after
from surgvos.tracking.searching import Searcher, SearchOptions
from surgvos.tracking.state import load_objects, save_objects


class Session:
    """Follow prompted objects through one video. A new video wants a new session.

    Args:
        model: Of `surgvos.load_model`.
        memory: A policy, or the name of one with its default settings.
        options: See `SessionOptions`.
        search: See `SearchOptions`; for models that read phrases.

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
        search: SearchOptions | None = None,
    ) -> None:
        self.model = model
        self.policy = policy_by_name(memory, model.num_recent) if isinstance(memory, str) else memory
        self.options = options or SessionOptions()
        search = search or SearchOptions()
        self._searcher = Searcher(model, search) if reads_phrases(model) else None
        self.search_options = search if self._searcher is None else self._searcher.options
        self._answering = Answering(model, self.policy, self.options, self._searcher)
        self._objects: dict[int, TrackedObject] = {}

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
        storages = self._answering.features.storages()
        for tracked in self._objects.values():
            storages |= tracked.storages()
        if self._searcher is not None:
            storages |= self._searcher.referrer.storages()
        return sum(storages.values())

    @property
    def num_held_frames(self) -> int:
        """Frames that are read before the first of them is answered: none."""
        return 0

    def add_prompt(self, frame_index: int, object_id: int, prompt: Prompt) -> None:
        """Queue a prompt for an object in a frame; it takes effect when that frame is next passed.

        Several prompts of one object in one frame add up: see `FramePrompts`. A prompt on an object that is
        already remembered is a correction: it reads the memory and starts from the mask predicted without it.

        A phrase is looked for from its frame on, until the object is found or shown; several phrases of one object
        compete in every frame. An object that is followed already stays followed, and the phrase is looked for once
        it is lost.

        Raises:
            InputError: The frame index or the object id is out of range, or the prompt is a phrase and the model
                cannot read it.
        """
        if frame_index < 0:
            raise InputError(f"expected a frame index >= 0, got {frame_index}")
        if not 1 <= object_id <= 65535:
            raise InputError(f"expected an object id in 1..65535, got {object_id}")
        if isinstance(prompt, TextPrompt):
            self._check_phrase(prompt.phrase)
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
        if self._searcher is not None:
            self._searcher.referrer.keep_texts({phrase for o in self._objects.values() for phrase in o.all_phrases})

    def step(self, frame: Frame) -> FrameResult:
        """Take in the next frame of a stream and answer it.

        Raises:
            InputError: The frame has another size than the ones before, or a prompt does not fit it.
        """
        return self._advance(frame, MemoryQuery(frame.index, 1), list(self._objects.values()))

    def prepare(self, frame: Frame) -> None:
        """See a frame that will be prompted soon: `preview` of this very frame is answered sooner, and the same.

        Raises:
            InputError: The frame has another size than the ones before.
        """
        with self._answering.inference():
            self._answering.features_of(frame)

    def preview(self, frame: Frame) -> FrameResult:
        """Answer the prompts waiting for this frame, and follow nothing: what an annotator sees after a click.

        The result holds the objects that have a prompt in this frame. A phrase shows what it would find here; the
        search for it begins when the frame is passed.
        """
        with self._answering.inference():
            answers = self._answering.answer_prompts(frame, MemoryQuery(frame.index, 1), list(self._objects.values()))
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
            direction: ``both`` runs forward from the start to the end, and then backward to the first frame, where it
                answers each object in the frames before the one from which it was known going forward, and in no
                others.

        Yields:
            A result per frame of each pass. A frame may be passed twice, for different objects, or for an object
            whose mask was not confirmed before (`SearchOptions.fill_searched`): what a later result says of an
            object adds to, or replaces, what an earlier one of the same frame said of it, and of no other.

        Raises:
            InputError: There is no prompt, a prompt lies on a frame that does not exist, or the stream cannot be
                read in this order.
        """
        run: Pass | None = self.plan(source, start, stop, direction)
        if self.options.as_published:
            self._apply_all_prompts(source)
        while run is not None:
            yield from self.follow(source, run)
            run = self.plan_after(source, run, direction)

    def plan(
        self,
        source: FrameStream,
        start: int | None = None,
        stop: int | None = None,
        direction: Direction = "forward",
    ) -> Pass:
        """The pass over a video that `propagate` begins with; see there."""
        return first_pass(self._objects.values(), source, start, stop, direction)

    def plan_after(self, source: FrameStream, done: Pass, direction: Direction = "forward") -> Pass | None:
        """The pass that `propagate` makes after another one, or None when all is answered.

        A stream cannot be rewound: what it left open stays open.
        """
        if not isinstance(source, VideoSource):
            return None
        return pass_after(
            self._objects.values(),
            done,
            to_start=direction == "both" and done.within is None,
            fill_searched=self.search_options.fill_searched,
        )

    def follow(self, source: FrameStream, run: Pass) -> Iterator[FrameResult]:
        """Follow the objects over one pass, or over the rest of one."""
        last_index = -1
        with closing(prefetch(frames_of(source, run))) as decoded:
            for frame in decoded:
                last_index = frame.index
                objects = [o for i, o in self._objects.items() if run.answers(i, frame.index)]
                query = MemoryQuery(frame.index, run.direction)
                yield self._advance(frame, query, objects, fills_in=run.within is not None)
        prompted = [i for tracked in self._objects.values() for i in (*tracked.pending, *tracked.phrases)]
        waiting = [i for i in prompted if i in run.frames and i > last_index]
        if run.direction == 1 and run.within is None and waiting:
            raise InputError(f"expected prompts on frames 0..{last_index}, got one on frame {min(waiting)}")

    def save(self, path: str | Path, progress: dict[str, Any] | None = None) -> None:
        """Write the memory of all objects to a safetensors file, with a note on how far things have come."""
        previous = [] if self._searcher is None else self._searcher.referrer.previous
        save_objects(path, self._objects.values(), previous, progress or {})

    def restore(self, path: str | Path) -> dict[str, Any]:
        """Go on from what `save` wrote, with the same model and policy.

        Returns:
            The note that was saved with it.

        Raises:
            InputError: The file is missing or damaged.
        """
        objects, previous, progress = load_objects(path, self._answering.device)
        self._objects = {tracked.object_id: tracked for tracked in objects}
        if self._searcher is not None:
            self._searcher.referrer.previous = previous
        return progress

    # --- running -----------------------------------------------------------------------------------------------

    def _apply_all_prompts(self, source: FrameStream) -> None:
        if not isinstance(source, VideoSource):
            raise InputError("expected a video whose frames can be read in any order, got a stream")
        for index in sorted({i for tracked in self._objects.values() for i in tracked.pending}):
            self.preview(source[index])

    def _advance(
        self, frame: Frame, query: MemoryQuery, objects: Sequence[TrackedObject], *, fills_in: bool = False
    ) -> FrameResult:
        """Answer objects in one frame.

        Args:
            frame: The frame.
            query: The moment.
            objects: Of this session.
            fills_in: Whether the pass goes back over what others left open: whoever is remembered is followed there,
                also while it is looked for elsewhere.
        """
        with self._answering.inference():
            return self._result(frame, self._answering.answer(frame, query, objects, fills_in=fills_in))

    def _check_phrase(self, phrase: str) -> None:
        """Raise `InputError` where the model cannot read a phrase."""
        if self._searcher is None:
            raise InputError(
                f"expected a point, box or mask prompt, got a phrase ({phrase!r}), which this model cannot read; "
                "try a model that can, such as ReSurgSAM2's, or show the object"
            )
        with self._answering.inference():
            self._searcher.referrer.text(phrase)

    def _result(self, frame: Frame, answers: dict[int, Answer]) -> FrameResult:
        in_order = {object_id: answers[object_id] for object_id in self._objects if object_id in answers}
        return frame_result(
            frame,
            in_order,
            non_overlap=self.options.non_overlap,
            fill_hole_area_px=self.options.fill_hole_area_px,
        )

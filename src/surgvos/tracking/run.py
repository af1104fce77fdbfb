"""A whole video through a session into a folder, surviving kills.

The folder holds ``masks/<frame>.png``, or ``masks/<object, as 001>/<frame>.png``, ``frames.jsonl``, ``run.json`` and,
if asked for, ``overlay.mp4``. While the run goes on it also holds ``resume.safetensors``: the memory at a frame up to
which everything is on disk. A resumed run goes on from there and writes the same files as one that was never stopped.

A frame that is passed again, for objects that were left open, has one more line in ``frames.jsonl``, and its masks join
those that are written.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from surgvos.core.frame import Frame, FrameStream, VideoSource
from surgvos.core.labels import LabelSpace
from surgvos.core.results import FrameResult, ObjectResult
from surgvos.errors import InputError
from surgvos.io.overlay import OverlayWriter, draw_overlay, render_overlay
from surgvos.io.results import FrameLog, read_frame_log, write_json_atomic
from surgvos.tracking.mask_files import MASKS, MaskFiles
from surgvos.tracking.objects import TrackedObject
from surgvos.tracking.passes import Direction, Pass

FRAMES, OVERLAY, RUN, RESUME = "frames.jsonl", "overlay.mp4", "run.json", "resume.safetensors"
READ_AHEAD_FRAMES = 16

Progress = Callable[[int, int | None], None]
"""Called with frames done and frames in all (None while that is unknown)."""


class Tracker(Protocol):
    """What is carried through a video: a `Session`, or what stands where one stands, with the same verbs."""

    @property
    def num_held_frames(self) -> int:
        """Most frames that are read before the first of them is answered."""
        ...

    @property
    def objects(self) -> Mapping[int, TrackedObject]: ...

    def plan(self, source: FrameStream, start: int | None, stop: int | None, direction: Direction) -> Pass: ...

    def plan_after(self, source: FrameStream, done: Pass, direction: Direction) -> Pass | None: ...

    def follow(self, source: FrameStream, run: Pass) -> Iterator[FrameResult]: ...

    def save(self, path: str | Path, progress: dict[str, Any] | None = None) -> None: ...

    def restore(self, path: str | Path) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run went.

    Attributes:
        num_frames: Frames answered, over all passes and restarts.
        seconds: Time of this start alone.
        num_frames_now: Frames answered by this start.
        not_found: Object id -> its phrases, for objects that were looked for in vain.
    """

    num_frames: int
    seconds: float
    num_frames_now: int
    not_found: dict[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a run does besides following.

    Attributes:
        direction: See `Session.propagate`.
        start, stop: The same.
        per_object: Write a file per object and frame, so that objects may overlap; an object has files from its first
            prompt on.
        overlay: Write ``overlay.mp4``.
        fps: Of the overlay.
        checkpoint_seconds: Time from one resumable point to the next: what a kill costs at most. Not counted in
            frames, because the slowest models take seconds for one.
    """

    direction: Direction = "forward"
    start: int | None = None
    stop: int | None = None
    per_object: bool = False
    overlay: bool = False
    fps: float = 25.0
    checkpoint_seconds: float = 10.0


def segment_video(
    session: Tracker,
    source: FrameStream,
    out: str | Path,
    settings: RunSettings,
    record: dict[str, Any],
    *,
    label_space: LabelSpace | None = None,
    instances: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> RunSummary:
    """Follow a session's objects through a video and write what is found.

    Args:
        session: With its prompts; a resumed run takes over the prompts and the memory of the stopped one.
        source: The video.
        out: The folder; made where it is missing.
        settings: See `RunSettings`.
        record: What makes this run what it is (JSON values). Written to ``run.json``; a resumed run must have the
            same.
        label_space: What the ids of the results mean where they are classes: colours, names, and which value says
            that nothing is there. None: they are objects, and 0 is nothing.
        instances: Those ids are of instances (`surgvos.core.instances`), not of classes: ``masks/`` hold classes, and
            ``instances/`` the same by instance.
        resume: Go on with a stopped run.
        progress: Told after every frame.

    Raises:
        InputError: The folder holds another run, or the run cannot be resumed.
        SurgvosError: The disk is full. What was finished stays readable.
    """
    files = MaskFiles(Path(out), label_space, per_object=settings.per_object, instances=instances)
    return _Run(session, source, Path(out), settings, record, files, progress).do(resume=resume)


class _Run:
    """One start of a run: where it stands, and what it writes to."""

    def __init__(
        self,
        session: Tracker,
        source: FrameStream,
        out: Path,
        settings: RunSettings,
        record: dict[str, Any],
        files: MaskFiles,
        progress: Progress | None,
    ) -> None:
        self.session, self.out, self.settings, self.record, self.progress = session, out, settings, record, progress
        self.source, self.files = source, files
        self.live = not isinstance(source, VideoSource)
        self.num_frames_in_all: int | None = None
        self.num_frames = 0
        self.num_frames_before = 0
        self.searched: dict[str, Any] = {}
        self.saved_at = time.monotonic()

    def do(self, *, resume: bool) -> RunSummary:
        """Do all passes that are left, then finish."""
        started = time.perf_counter()
        run = self._go_on() if resume and (self.out / RUN).exists() else self._begin()
        while run is not None:
            if not self.live:
                self.num_frames_in_all = self.num_frames + run.num_frames
            self._follow(run)
            run = self.session.plan_after(self.source, run, self.settings.direction)
            self._save(run)
            self.searched = self._told_of_searches()
        if self.settings.overlay and not self.live:
            self._render_overlay()
        seconds = time.perf_counter() - started
        done_now = self.num_frames - self.num_frames_before
        speed = round(seconds / done_now, 5) if done_now else None
        self._write_record("done", seconds_per_frame=speed, searched=self.searched)
        (self.out / RESUME).unlink(missing_ok=True)
        not_found = {int(i): tuple(told["phrases"]) for i, told in self.searched.items() if told["found_at"] is None}
        return RunSummary(self.num_frames, seconds, done_now, not_found)

    def _begin(self) -> Pass:
        if self._holds_results():
            raise InputError(
                f"expected an empty output folder, got {str(self.out)!r} with results in it; "
                "try --resume to go on with that run, or another --out"
            )
        plan = self.session.plan(self.source, self.settings.start, self.settings.stop, self.settings.direction)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"expected to make the folder {str(self.out)!r}, got: {error.strerror}") from error
        self._write_record("running")
        self._cut_log(0)
        return plan

    def _holds_results(self) -> bool:
        """Whether something would be lost. A run that stopped before its first frame left nothing."""
        log = self.out / FRAMES
        return (self.out / MASKS).exists() or (log.exists() and log.stat().st_size > 0)

    def _go_on(self) -> Pass | None:
        """What a stopped run has left of its pass; None when it was at its end."""
        before = json.loads((self.out / RUN).read_text(encoding="utf-8"))
        if before["record"] != self.record:
            names = self.record.keys() | before["record"].keys()
            differing = sorted(name for name in names if self.record.get(name) != before["record"].get(name))
            raise InputError(
                f"expected the settings of the stopped run, got others ({', '.join(differing)}); "
                "try the same command with --resume, or another --out"
            )
        if self.live:
            raise InputError("expected a video file or a folder to resume, got a live stream, which cannot be rewound")
        if before["status"] == "done":
            self.num_frames = self.num_frames_before = before["num_frames"]
            self.searched = before.get("searched", {})
            return None
        if not (self.out / RESUME).exists():
            self._cut_log(0)
            return self.session.plan(self.source, self.settings.start, self.settings.stop, self.settings.direction)
        progress = self.session.restore(self.out / RESUME)
        self.searched = self._told_of_searches()
        self.num_frames = self.num_frames_before = progress["num_frames"]
        self._cut_log(self.num_frames)
        return None if progress["left"] is None else Pass.from_plain(progress["left"])

    def _follow(self, run: Pass) -> None:
        """One pass. Whatever ends it, what is answered is on disk and can be resumed."""
        left = run
        with FrameLog(self.out / FRAMES, resume=True) as log, ExitStack() as stack:
            source = _remembering(self.source, READ_AHEAD_FRAMES + self.session.num_held_frames)
            results = self.session.follow(source, run)
            overlay: OverlayWriter | None = None
            files = stack.enter_context(self.files)
            try:
                for result in results:
                    frame = source.seen[result.frame_index]
                    if self.settings.overlay and self.live:
                        overlay = overlay or stack.enter_context(
                            OverlayWriter(self.out / OVERLAY, self.settings.fps, frame.hw)
                        )
                        overlay.write(
                            draw_overlay(frame.image, result.masks, result.objects, files.names, palette=files.palette)
                        )
                    files.write(result, frame.hw, amends=run.within is not None)
                    log.write(result, frame.time_s)
                    left = run.behind(result.frame_index)
                    self._count()
                    if time.monotonic() - self.saved_at >= self.settings.checkpoint_seconds:
                        files.flush()
                        self._save(left)
            except KeyboardInterrupt:
                files.flush()
                self._save(left)
                raise

    def _count(self) -> None:
        self.num_frames += 1
        if self.progress is not None:
            self.progress(self.num_frames, self.num_frames_in_all)

    def _save(self, left: Pass | None) -> None:
        if not self.live:
            plain = None if left is None else left.to_plain()
            self.session.save(self.out / RESUME, {"num_frames": self.num_frames, "left": plain})
            self.saved_at = time.monotonic()

    def _told_of_searches(self) -> dict[str, Any]:
        """Object id -> its phrases, and the frame from which it was followed first (None: it was never found)."""
        searches = {i: tracked.search for i, tracked in self.session.objects.items() if tracked.search is not None}
        return {str(i): {"phrases": search.phrases, "found_at": search.found_at} for i, search in searches.items()}

    def _write_record(self, status: str, **more: Any) -> None:
        content = {"status": status, "num_frames": self.num_frames, **more, "record": self.record}
        write_json_atomic(self.out / RUN, content)

    def _cut_log(self, num_frames: int) -> None:
        """Keep the first lines of the log: frames after the resumable point are answered again."""
        path = self.out / FRAMES
        kept = path.read_bytes().splitlines(keepends=True)[:num_frames] if path.exists() else []
        path.write_bytes(b"".join(kept))

    def _render_overlay(self) -> None:
        objects: dict[str, dict[int, ObjectResult]] = {}
        for record in read_frame_log(self.out / FRAMES):
            found = {object_id: known.result for object_id, known in record.objects.items()}
            objects.setdefault(record.name, {}).update(found)
        render_overlay(
            self.source,
            self.files.read(),
            self.out / OVERLAY,
            fps=self.settings.fps,
            objects=objects,
            labels=self.files.names,
            palette=self.files.palette,
        )


def _remembering(source: FrameStream, num_frames: int) -> RecentFrames:
    if isinstance(source, VideoSource):
        return RecentVideoFrames(source, num_frames)
    return RecentFrames(source, num_frames)


class RecentFrames:
    """A stream that remembers the last frames read from it, so that results can be drawn on them."""

    def __init__(self, inner: FrameStream, capacity: int) -> None:
        self.seen: OrderedDict[int, Frame] = OrderedDict()
        self._inner = inner
        self._capacity = capacity

    def __iter__(self) -> Iterator[Frame]:
        return (self._remember(frame) for frame in self._inner)

    def _remember(self, frame: Frame) -> Frame:
        self.seen[frame.index] = frame
        if len(self.seen) > self._capacity:
            self.seen.popitem(last=False)
        return frame


class RecentVideoFrames(RecentFrames):
    """The same for a source whose frames can be read in any order."""

    def __init__(self, inner: VideoSource, capacity: int) -> None:
        super().__init__(inner, capacity)
        self._video = inner

    def __len__(self) -> int:
        return len(self._video)

    def __getitem__(self, index: int) -> Frame:
        return self._remember(self._video[index])

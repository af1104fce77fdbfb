"""One thread owns the project and the model: what pages ask for is done there, one thing after another.

Between the frames that it tracks, and between the files that it writes behind edits, the thread looks for what is asked
next; any edit stops tracking first.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from surgvos.config.load import kind_of
from surgvos.errors import SurgvosError
from surgvos.server.label.annotator import Annotator
from surgvos.server.label.commands import (
    Absent,
    Command,
    FindDoubt,
    Lock,
    Look,
    NameObject,
    Phrase,
    Redo,
    RemoveObject,
    Request,
    Stop,
    Stroke,
    Suggest,
    Track,
    Undo,
)
from surgvos.server.label.doubt import next_doubt
from surgvos.server.label.journal import Step
from surgvos.server.label.labels import Change, SetMask, changes_to_plain, object_to_plain
from surgvos.server.label.project import Place, Project
from surgvos.server.pointing import Box, Click

MAX_WAITING = 64
MAX_MASKS_SENT = 8

Told = dict[str, Any]
Tell = Callable[[Told], None]

_log = logging.getLogger(__name__)


class Engine:
    """Do what pages ask for, in a thread of its own.

    Args:
        annotator: What does it; no longer used by others.
        publish: Told what all pages have to know; called in the thread.
    """

    def __init__(self, annotator: Annotator, publish: Tell) -> None:
        self._annotator, self._publish = annotator, publish
        self._waiting: queue.Queue[tuple[Request, Tell] | None] = queue.Queue()
        self._tracking: tuple[Track, Iterator[list[Change]]] | None = None
        self._thread = threading.Thread(target=self._run, name="surgvos-label", daemon=True)

    @property
    def project(self) -> Project:
        """The project; for others to read."""
        return self._annotator.project

    def start(self) -> None:
        """Begin to answer, with a look at where the person was: the model is warm before the first click."""
        place = self.project.place
        self.ask(Request(id=0, do=Look(frame=place.frame, object=place.object)), lambda told: None)
        self._thread.start()

    def ask(self, request: Request, reply: Tell) -> None:
        """Queue a request.

        The reply is called in the engine's thread, once what it changes was published and is on disk.
        """
        if self._waiting.qsize() >= MAX_WAITING:
            reply(_refused(request, "expected to keep up, got too much to do at once; try again"))
            return
        self._waiting.put((request, reply))

    def close(self) -> None:
        """Finish what is being done, write everything, and close the project."""
        self._waiting.put(None)
        self._thread.join()

    def overview(self) -> Told:
        """Everything that a page needs to begin with, but for pixels."""
        project = self.project
        masks = [
            [frame, object_id, mask.summary()]
            for frame, in_frame in sorted(project.labels.masks.copy().items())
            for object_id, mask in in_frame.copy().items()
        ]
        height, width = project.video.hw
        return {
            "kind": "project",
            "name": project.file.video.name,
            "video": {"width": width, "height": height, "num_frames": len(project.video), "fps": project.video.fps},
            "classes": [{"name": entry.name, "color": entry.color} for entry in project.classes],
            "objects": {i: object_to_plain(value) for i, value in project.labels.objects.copy().items()},
            "locked": sorted(project.labels.locked.copy()),
            "masks": masks,
            "place": {"frame": project.place.frame, "object": project.place.object},
            "can": self._annotator.abilities,
            **self._state(),
        }

    def masks_of(self, frame: int) -> Told:
        """The masks of a frame, with their pixels."""
        return {str(i): mask.to_plain() for i, mask in self.project.labels.masks.get(frame, {}).copy().items()}

    def before(self, frame: int) -> Told:
        """The masks of a frame as they were before it was last changed; clicks in a row count as one change."""
        masks = self.project.labels.masks.get(frame, {}).copy()
        first = ""
        for step in self.project.steps[::-1]:
            about = [change for change in step.inverse if isinstance(change, SetMask) and change.frame == frame]
            if not about:
                continue
            if first and step.edit != first:
                break
            first = step.edit
            for change in about:
                masks.pop(change.object_id, None)
                if change.value is not None:
                    masks[change.object_id] = change.value
            if step.edit == "track":
                break
        return {str(i): mask.to_plain() for i, mask in masks.items()}

    # --- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            is_busy = self._tracking is not None or self._write_next()
            try:
                asked = self._waiting.get(block=not is_busy)
            except queue.Empty:
                self._track_next()
                continue
            if asked is None:
                self._stop()
                self.project.close()
                return
            self._answer(*asked)

    def _write_next(self) -> bool:
        """Write one file that is behind; a full disk is told, and tried again with the next edit."""
        try:
            return self.project.write_next()
        except SurgvosError as error:
            self._publish({"kind": "notice", "text": str(error)})
            return False

    def _answer(self, request: Request, reply: Tell) -> None:
        try:
            answer = self._do(request.do)
            # What is shown does not wait for the disk; to say that it is saved does.
            self.project.sync()
        except SurgvosError as error:
            reply(_refused(request, str(error)))
        except Exception as error:
            _log.exception("a request failed")
            reply(_refused(request, f"this should not happen: {type(error).__name__}: {error}"))
        else:
            reply({"kind": "done", "id": request.id, **answer})

    def _do(self, asked: Command) -> Told:
        if isinstance(asked, Look):
            self._look(asked)
            return {}
        if isinstance(asked, FindDoubt):
            found = next_doubt(self.project.labels, asked.frame, 1 if asked.direction == "forward" else -1)
            return {"found": found}
        self._stop()
        if isinstance(asked, Undo | Redo):
            return self._step_through(asked)
        if isinstance(asked, Track):
            self._tracking = (asked, self._annotator.track(asked))
            self._track_next(raises=True)
        elif not isinstance(asked, Stop):
            self._tell_changed(kind_of(type(asked)), self._edit(asked))
        return {}

    def _edit(
        self, asked: Click | Box | Stroke | Phrase | Suggest | Absent | Lock | NameObject | RemoveObject
    ) -> list[Change]:
        by_kind: dict[type, Callable[[Any], list[Change]]] = {
            Click: self._annotator.click,
            Box: self._annotator.box,
            Stroke: self._annotator.stroke,
            Phrase: self._annotator.phrase,
            Suggest: self._annotator.suggest,
            Absent: self._annotator.absent,
            Lock: self._annotator.lock,
            NameObject: self._annotator.name_object,
            RemoveObject: self._annotator.remove_object,
        }
        return by_kind[type(asked)](asked)

    def _look(self, asked: Look) -> None:
        if 0 <= asked.frame < len(self.project.video):
            self.project.remember_place(Place(frame=asked.frame, object=asked.object))
            if self._tracking is None:
                self._annotator.look(asked.frame)

    def _step_through(self, asked: Undo | Redo) -> Told:
        undoes = isinstance(asked, Undo)
        step = self.project.undo() if undoes else self.project.redo()
        if step is None:
            return {}
        self._tell_changed("undo" if undoes else "redo", step.inverse if undoes else step.changes)
        return {"step": _told_of(step)}

    # --- tracking ----------------------------------------------------------------------------------------------

    def _track_next(self, *, raises: bool = False) -> None:
        """Track one more frame, and write one more file behind it."""
        if self._tracking is None:
            return
        _, results = self._tracking
        try:
            changes = next(results, None)
        except Exception as error:
            self._stop()
            if raises:
                raise
            _log.exception("tracking failed")
            self._publish({"kind": "notice", "text": str(error)})
            return
        if changes is None:
            self._stop()
            return
        self._tell_changed("track", changes)
        self._write_next()

    def _stop(self) -> None:
        if self._tracking is None:
            return
        _, results = self._tracking
        self._tracking = None
        results.close()  # type: ignore[attr-defined]
        self._tell_changed("stop", [])

    # --- telling -----------------------------------------------------------------------------------------------

    def _tell_changed(self, edit: str, changes: Sequence[Change]) -> None:
        plain = changes_to_plain(changes)
        if sum(isinstance(change, SetMask) for change in changes) > MAX_MASKS_SENT:
            # A page asks for the pixels that it needs.
            for item in plain:
                if item[0] == "mask" and item[3] is not None:
                    item[3].pop("counts")
        self._publish({"kind": "changed", "edit": edit, "changes": plain, **self._state()})

    def _state(self) -> Told:
        done, undone = self.project.history
        tracking = None
        if self._tracking is not None:
            asked = self._tracking[0]
            tracking = {"from": asked.frame, "direction": asked.direction, "objects": asked.objects}
        return {"undo": _told_of(done), "redo": _told_of(undone), "tracking": tracking}


def _told_of(step: Step | None) -> Told | None:
    return None if step is None else {"edit": step.edit, "frame": step.frame}


def _refused(request: Request, reason: str) -> Told:
    return {"kind": "refused", "id": request.id, "reason": reason}

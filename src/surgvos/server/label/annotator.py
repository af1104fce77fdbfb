"""What a person asks for becomes an edit of the project: the model is asked through a `Session`, nothing else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import count

import cv2
import numpy as np

from surgvos.core.frame import Frame
from surgvos.core.labels import shade
from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, TextPrompt, check_prompt_fits
from surgvos.core.results import FrameResult, ObjectResult, Phase
from surgvos.errors import InputError
from surgvos.io.label_spaces import ClassEntry
from surgvos.overseer.alone import exclusive_masks
from surgvos.overseer.detector import Detector
from surgvos.referring.referrer import reads_phrases
from surgvos.server.label.commands import (
    Absent,
    Lock,
    NameObject,
    Phrase,
    RemoveObject,
    Stroke,
    Suggest,
    Track,
)
from surgvos.server.label.labels import Change, LabelledObject, ObjectMask, Origin, SetLock, SetMask, SetObject
from surgvos.server.label.project import Project, default_color
from surgvos.server.pointing import Box, Click
from surgvos.tracking.answering import SessionOptions
from surgvos.tracking.session import Session

NUM_ANCHORS = 3
MIN_SUGGESTION_SCORE = 0.5

NewSession = Callable[[SessionOptions], Session]


class Annotator:
    """Edits of one project; used by one thread.

    Args:
        project: What is edited.
        new_session: Makes sessions with the model.
        detector: Asked for suggestions, or None.
    """

    def __init__(self, project: Project, new_session: NewSession, detector: Detector | None = None) -> None:
        self.project, self.detector = project, detector
        self._new_session = new_session
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self._asked = _Asked(new_session)

    @property
    def abilities(self) -> tuple[str, ...]:
        """What can be asked for besides what every model answers: ``phrase``, ``suggest``."""
        reads = reads_phrases(self._new_session(SessionOptions()).model)
        return (*(["phrase"] if reads else []), *(["suggest"] if self.detector is not None else []))

    def look(self, frame: int) -> None:
        """Read a frame that will be asked about soon, and let the model see it, so that a click is answered sooner."""
        self._check_frame(frame)
        self._asked.look(self._frame(frame))

    # --- one object in one frame -------------------------------------------------------------------------------

    def click(self, asked: Click) -> list[Change]:
        """Answer a click; it adds to those before it, or corrects the mask that is shown."""
        shown = self._editable(asked.frame, asked.object)
        if not asked.is_on and (shown is None or shown.area_px == 0):
            raise InputError("expected a first click on the object, got one beside it; try a click on it")
        point = (asked.x, asked.y, int(asked.is_on))
        points = (*(shown.points if shown is not None else ()), point)
        box = None if shown is None else shown.box_xyxy
        self._asked.go_on(self._frame(asked.frame), asked.object, shown)
        return self._ask(asked.frame, asked.object, asked.prompt, Origin.CLICK, points, box)

    def box(self, asked: Box) -> list[Change]:
        """Answer a box; it begins anew."""
        self._editable(asked.frame, asked.object)
        self._asked.begin(self._frame(asked.frame), asked.object)
        return self._ask(asked.frame, asked.object, asked.prompt, Origin.BOX, (), asked.box_xyxy)

    def phrase(self, asked: Phrase) -> list[Change]:
        """Look for a phrase in this frame alone."""
        self._editable(asked.frame, asked.object)
        self._asked.begin(self._frame(asked.frame), asked.object)
        return self._ask(asked.frame, asked.object, TextPrompt(asked.text), Origin.PHRASE, (), None)

    def stroke(self, asked: Stroke) -> list[Change]:
        """Paint with the brush, or erase."""
        shown = self._editable(asked.frame, asked.object)
        before = np.zeros(self.project.video.hw, dtype=bool) if shown is None else shown.mask
        painted = _paint(asked, self.project.video.hw)
        mask = before & ~painted if asked.erases else before | painted
        if np.array_equal(mask, before):
            return []
        value = ObjectMask.of(mask, Origin.BRUSH, phase=Phase.TRACKING if mask.any() else Phase.ABSENT)
        edit = "eraser" if asked.erases else "brush"
        return self.project.do(edit, asked.frame, self._taking(asked.frame, asked.object, value))

    def absent(self, asked: Absent) -> list[Change]:
        """Say that an object is not visible."""
        self._editable(asked.frame, asked.object)
        nothing = np.zeros(self.project.video.hw, dtype=bool)
        value = ObjectMask.of(nothing, Origin.ABSENT, phase=Phase.ABSENT)
        return self.project.do("absent", asked.frame, [SetMask(asked.frame, asked.object, value)])

    def suggest(self, asked: Suggest) -> list[Change]:
        """Ask the overseer what is in a frame; what is labelled there already stays as it is."""
        if self.detector is None:
            raise InputError("expected an overseer to ask, got none; try surgvos label --overseer WEIGHTS")
        self._check_open(asked.frame)
        detection = self.detector.detect([self._frame(asked.frame)])[0]
        labels = self.project.labels
        taken = self.project.label_map(asked.frame) > 0
        shown = labels.masks.get(asked.frame, {})
        changes: list[Change] = []
        for class_id, mask in exclusive_masks(detection, MIN_SUGGESTION_SCORE).items():
            label = self.detector.label_space[class_id]
            free = mask & ~taken
            of_label = [i for i, value in labels.objects.items() if value.label == label.name]
            if not free.any() or any(i in shown for i in of_label):
                continue
            object_id = of_label[0] if of_label else self._free_id(changes)
            if not of_label:
                named = LabelledObject(name=label.name, color=label.color, label=label.name)
                changes.append(SetObject(object_id, named))
            score = detection.seen.score(class_id)
            changes.append(SetMask(asked.frame, object_id, ObjectMask.of(free, Origin.SUGGESTED, confidence=score)))
        if not changes:
            raise InputError("expected the overseer to find something new, got nothing; try another frame, or a click")
        return self.project.do("suggest", asked.frame, changes)

    # --- objects and frames ------------------------------------------------------------------------------------

    def lock(self, asked: Lock) -> list[Change]:
        """Make a frame final, or open it again."""
        self._check_frame(asked.frame)
        if (asked.frame in self.project.labels.locked) == asked.is_locked:
            return []
        edit = "lock" if asked.is_locked else "unlock"
        return self.project.do(edit, asked.frame, [SetLock(asked.frame, asked.is_locked)])

    def name_object(self, asked: NameObject) -> list[Change]:
        """Name an object, or make a new one."""
        known = {entry.name: entry for entry in self.project.classes}
        if asked.label is not None and asked.label not in known:
            raise InputError(f"expected a label of the project's label space, got {asked.label[:40]!r}")
        object_id = self._free_id([]) if asked.object is None else asked.object
        before = None if asked.object is None else self._known(asked.object)
        name, color = self._name_and_color(object_id, known.get(asked.label or ""), before)
        value = LabelledObject(name=asked.name or name, color=asked.color or color, label=asked.label)
        if value == before:
            return []
        edit = "add object" if before is None else "rename"
        return self.project.do(edit, self.project.place.frame, [SetObject(object_id, value)])

    def _name_and_color(
        self, object_id: int, entry: ClassEntry | None, before: LabelledObject | None
    ) -> tuple[str, tuple[int, int, int]]:
        """What an object is called and how it is shown, unless a person says otherwise: of its class, which is it?"""
        own_color = before.color if before else default_color(object_id)
        if entry is None:
            return f"object {object_id}", own_color
        objects = self.project.labels.objects.items()
        taken = {value.name for i, value in objects if i != object_id and value.label == entry.name}
        numbered = ((n, f"{entry.name} {n + 1}" if n else entry.name) for n in count(len(taken)))
        number, name = next((n, name) for n, name in numbered if name not in taken)
        return name, shade(entry.color, number) if entry.color else own_color

    def remove_object(self, asked: RemoveObject) -> list[Change]:
        """Take an object out of the project."""
        self._known(asked.object)
        labels = self.project.labels
        frames = [frame for frame, masks in labels.masks.items() if asked.object in masks]
        final = sorted(labels.locked.intersection(frames))
        if final:
            raise InputError(f"expected an object without locked frames, got one that frame {final[0]} shows")
        changes: list[Change] = [SetMask(frame, asked.object, None) for frame in frames]
        return self.project.do("remove object", self.project.place.frame, [*changes, SetObject(asked.object, None)])

    # --- tracking ----------------------------------------------------------------------------------------------

    def track(self, asked: Track) -> Iterator[list[Change]]:
        """Follow objects from a frame until the next locked one; an edit that grows by a frame at a time.

        What a person made on the way is kept, and is remembered from there on. Objects that are not followed keep
        their pixels.

        Raises:
            InputError: There is nothing to follow, or nowhere to go.
        """
        self._check_frame(asked.frame)
        labels, video = self.project.labels, self.project.video
        step = 1 if asked.direction == "forward" else -1
        shown = labels.masks.get(asked.frame, {})
        followed = [i for i in (asked.objects or shown) if i in shown and (shown[i].area_px or asked.objects)]
        if not followed:
            raise InputError("expected an object in this frame to follow, got none; try a click on it")
        locked = labels.next_locked(asked.frame, step)
        end = len(video) if step > 0 else -1
        stop = end if locked is None else locked
        if stop == asked.frame + step:
            where = "the end of the video" if locked is None else f"frame {locked}, which is locked"
            raise InputError(f"expected frames to follow into, got {where}")
        session = self._new_session(SessionOptions())
        self._remember_anchors(session, asked.frame, followed, step)
        for object_id in followed:
            for frame in range(asked.frame, stop, step):
                known = labels.masks.get(frame, {}).get(object_id)
                if known is not None and (known.origin.is_by_hand or frame == asked.frame):
                    session.add_prompt(frame, object_id, MaskPrompt(known.mask))
        run = session.plan(video, asked.frame, stop, asked.direction)
        number = self.project.new_step()
        with closing(session.follow(video, run)) as results:  # type: ignore[type-var]
            for result in results:
                if result.frame_index != asked.frame:
                    changes = self._followed(result)
                    yield self.project.do("track", result.frame_index, changes, number) if changes else []

    def _remember_anchors(self, session: Session, frame: int, followed: Sequence[int], step: int) -> None:
        """Show the session the nearest frames that a person answers for, behind the start and at the next lock."""
        labels = self.project.labels
        behind = sorted((i for i in labels.masks if (i - frame) * step < 0), key=lambda i: abs(i - frame))
        ahead = labels.next_locked(frame, step)
        for index in [*behind, *([] if ahead is None else [ahead])]:
            shown = labels.masks.get(index, {})
            sure = [i for i in followed if i in shown and (index in labels.locked or shown[i].origin.is_by_hand)]
            for object_id in sure:
                session.add_prompt(index, object_id, MaskPrompt(shown[object_id].mask))
            if sure:
                session.preview(self._frame(index))
            if len({i for o in session.objects.values() for i in o.bank.prompted}) >= NUM_ANCHORS:
                return

    def _followed(self, result: FrameResult) -> list[Change]:
        shown = self.project.labels.masks.get(result.frame_index, {})
        others = [mask.mask for i, mask in shown.items() if i not in result.masks or mask.origin.is_by_hand]
        taken = np.logical_or.reduce(others) if others else None
        changes: list[Change] = []
        for object_id, mask in result.masks.items():
            before = shown.get(object_id)
            if before is not None and before.origin.is_by_hand:
                continue
            known = result.objects[object_id]
            free = mask if taken is None else mask & ~taken
            value = ObjectMask.of(free, Origin.TRACKED, phase=known.phase, confidence=_confidence(known))
            changes.append(SetMask(result.frame_index, object_id, value))
        return changes

    # --- asking the model --------------------------------------------------------------------------------------

    def _ask(
        self,
        frame: int,
        object_id: int,
        prompt: Prompt,
        origin: Origin,
        points: tuple[tuple[float, float, int], ...],
        box_xyxy: tuple[float, float, float, float] | None,
    ) -> list[Change]:
        """Give a prompt to the model; what it says leaves others their pixels, but where a click hits one."""
        check_prompt_fits(prompt, self.project.video.hw)
        mask, known = self._asked.answer(object_id, [prompt])
        for other_id, other in self.project.labels.masks.get(frame, {}).items():
            theirs = other.mask
            if other_id != object_id and not _hits(points, theirs):
                mask = mask & ~theirs
        if not mask.any():
            self._asked.forget()
            raise InputError("expected to find something there, got nothing; try another place, a box, or the brush")
        value = ObjectMask.of(mask, origin, confidence=_confidence(known), points=points, box_xyxy=box_xyxy)
        changes = self.project.do(origin.value, frame, self._taking(frame, object_id, value))
        self._asked.shown = value
        return changes

    def _taking(self, frame: int, object_id: int, value: ObjectMask) -> list[Change]:
        """The changes that give an object its mask, and take its pixels from the others: a pixel has one owner."""
        changes: list[Change] = []
        mask = value.mask
        for other_id, other in self.project.labels.masks.get(frame, {}).items():
            before = other.mask
            if other_id != object_id and (before & mask).any():
                left = ObjectMask.of(before & ~mask, other.origin)
                changes.append(SetMask(frame, other_id, replace(other, counts=left.counts)))
        return [*changes, SetMask(frame, object_id, value)]

    def _frame(self, index: int) -> Frame:
        """A frame; the same one while it is looked at, so that what the model saw in it is used again."""
        frame = self._frames.get(index)
        if frame is None:
            frame = self._frames[index] = self.project.video[index]
            while len(self._frames) > NUM_ANCHORS:
                self._frames.popitem(last=False)
        return frame

    # --- checks ------------------------------------------------------------------------------------------------

    def _editable(self, frame: int, object_id: int) -> ObjectMask | None:
        """The mask of an object that may be edited in a frame, if there is one."""
        self._check_open(frame)
        self._known(object_id)
        return self.project.labels.masks.get(frame, {}).get(object_id)

    def _check_open(self, frame: int) -> None:
        self._check_frame(frame)
        if frame in self.project.labels.locked:
            raise InputError(f"expected an open frame, got frame {frame}, which is locked; try unlocking it first")

    def _check_frame(self, frame: int) -> None:
        if not 0 <= frame < len(self.project.video):
            raise InputError(f"expected a frame in 0..{len(self.project.video) - 1}, got {frame}")

    def _known(self, object_id: int) -> LabelledObject:
        found = self.project.labels.objects.get(object_id)
        if found is None:
            raise InputError(f"expected one of the objects {list(self.project.labels.objects)}, got {object_id}")
        return found

    def _free_id(self, planned: Sequence[Change]) -> int:
        """An id that was never given, also not to an object that was removed: masks keep their meaning."""
        given = [change.object_id for change in planned if isinstance(change, SetObject)]
        given += [c.object_id for s in self.project.steps for c in s.changes if isinstance(c, SetObject)]
        return max([0, *given, *self.project.labels.objects]) + 1


class _Asked:
    """The one object in one frame that the model is being asked about, click by click.

    Attributes:
        shown: The mask that the last answer became; while it is still shown, a click goes on from there.
    """

    def __init__(self, new_session: NewSession) -> None:
        self._session = new_session(SessionOptions(non_overlap=False))
        self._is_warm = False
        self._frame: Frame | None = None
        self._object_id: int | None = None
        self.shown: ObjectMask | None = None

    def look(self, frame: Frame) -> None:
        """See a frame before anything is asked about it; the first answer of all, which takes longest, is given now."""
        self._session.prepare(frame)
        if not self._is_warm:
            self._is_warm = True
            self.begin(frame, 1)
            for _ in range(2):
                self.answer(1, [PointPrompt((frame.hw[1] / 2, frame.hw[0] / 2))])
            self.forget()

    def begin(self, frame: Frame, object_id: int) -> None:
        """Ask about an object as if nothing were known; what the model saw in the frame is kept."""
        for known in self._session.object_ids:
            self._session.remove(known)
        self._frame, self._object_id, self.shown = frame, object_id, None

    def go_on(self, frame: Frame, object_id: int, shown: ObjectMask | None) -> None:
        """Ask about an object whose mask is shown: go on with the clicks that made it, or correct it as it is."""
        is_same = self._frame is frame and self._object_id == object_id
        if is_same and shown is not None and shown is self.shown:
            return
        self.begin(frame, object_id)
        if shown is not None and shown.area_px:
            self.answer(object_id, _prompts_of(shown))

    def answer(self, object_id: int, prompts: Sequence[Prompt]) -> tuple[np.ndarray, ObjectResult]:
        """Give prompts and get a mask, bool ``(h, w)``, and what is said of it."""
        assert self._frame is not None
        for prompt in prompts:
            self._session.add_prompt(self._frame.index, object_id, prompt)
        result = self._session.preview(self._frame)
        return result.masks[object_id], result.objects[object_id]

    def forget(self) -> None:
        """Begin anew next time."""
        self._object_id = self.shown = None


def _prompts_of(shown: ObjectMask) -> list[Prompt]:
    """What brings a model to a mask: the clicks that made it, or else the mask itself."""
    if shown.origin in (Origin.CLICK, Origin.BOX):
        box = [] if shown.box_xyxy is None else [BoxPrompt(shown.box_xyxy)]
        return [*box, *(PointPrompt((x, y), is_on) for x, y, is_on in shown.points)]
    return [MaskPrompt(shown.mask)]


def _hits(points: Sequence[tuple[float, float, int]], mask: np.ndarray) -> bool:
    """Whether a click on the object lies on a mask."""
    height, width = mask.shape
    return any(mask[min(int(y), height - 1), min(int(x), width - 1)] for x, y, is_on in points if is_on)


def _confidence(known: ObjectResult) -> float:
    return min(1.0, max(0.0, known.presence * known.predicted_iou))


def _paint(stroke: Stroke, hw: tuple[int, int]) -> np.ndarray:
    """The pixels of a stroke, bool ``(h, w)``: a line with round ends."""
    canvas = np.zeros(hw, dtype=np.uint8)
    points = np.round(np.asarray(stroke.points_xy)).astype(np.int32)
    thickness = max(1, round(2 * stroke.radius_px))
    cv2.polylines(canvas, [points.reshape(-1, 1, 2)], isClosed=False, color=1, thickness=thickness)
    for x, y in points:
        cv2.circle(canvas, (int(x), int(y)), round(stroke.radius_px), 1, thickness=-1)
    return canvas > 0

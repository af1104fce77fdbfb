"""A small project to label, and a session that knows objects by their colour: exact, and as fast as tests want it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, TextPrompt
from surgvos.core.results import FrameResult, ObjectResult, Phase
from surgvos.overseer.detection import Detection
from surgvos.server.label.annotator import Annotator
from surgvos.server.label.commands import NameObject, Track
from surgvos.server.label.project import Project, create_project, open_labelled_video
from surgvos.server.pointing import Click
from surgvos.tracking.passes import Direction, Pass

HW = (48, 64)
NUM_FRAMES = 12
COLORS = {"red": (220, 30, 30), "green": (30, 200, 40)}
SPACE = LabelSpace.from_names(["grasper", "hook"])


def square(frame: int, name: str) -> np.ndarray:
    """Where a square is: red moves to the right at the top, green to the left at the bottom; bool ``HW``."""
    mask = np.zeros(HW, dtype=bool)
    if name == "red":
        mask[6:18, 4 + 2 * frame : 16 + 2 * frame] = True
    else:
        mask[28:42, 46 - 2 * frame : 60 - 2 * frame] = True
    return mask


def center(frame: int, name: str) -> dict[str, float]:
    """The middle of a square, as a click has it."""
    ys, xs = np.nonzero(square(frame, name))
    return {"x": float(xs.mean()), "y": float(ys.mean())}


def write_frames(folder: Path, num_frames: int = NUM_FRAMES) -> Path:
    """Two squares on grey, as a folder of PNGs: no compression changes a colour."""
    folder.mkdir(parents=True)
    for index in range(num_frames):
        image = np.full((*HW, 3), 120, dtype=np.uint8)
        for name, color in COLORS.items():
            image[square(index, name)] = color
        cv2.imwrite(str(folder / f"{index:05d}.png"), image[..., ::-1])
    return folder


def open_project(folder: Path, num_frames: int = NUM_FRAMES) -> Project:
    """A project over `write_frames`, made where it is missing."""
    frames = folder / "frames"
    if not frames.exists():
        write_frames(frames, num_frames)
    video = open_labelled_video(frames)
    if not (folder / "project").exists():
        create_project(folder / "project", frames, video, SPACE)
    return Project(folder / "project", video)


def open_annotator(folder: Path, *, detector: Any = None, reads: bool = False) -> Annotator:
    """An annotator of that project, with `ColorSession` in place of a model; whether it reads phrases is said."""
    model = SimpleNamespace(refer=print, encode_text=print) if reads else None
    return Annotator(open_project(folder), lambda options: ColorSession(model), detector)  # type: ignore[arg-type, return-value]


class SquareDetector:
    """An overseer that sees both squares, and knows what they are."""

    label_space = SPACE

    def detect(self, frames: Any) -> list[Detection]:
        masks = [np.stack([square(frame.index, "red"), square(frame.index, "green")]) for frame in frames]
        return [Detection.from_masks(pair, [1, 2], [0.9, 0.7]) for pair in masks]


class ColorSession:
    """The verbs of a `Session`: an object is whatever has the colour under its first click, or most of its mask."""

    def __init__(self, model: Any = None) -> None:
        self.model = model
        self.pending: dict[tuple[int, int], list[Prompt]] = {}
        self.colors: dict[int, np.ndarray] = {}
        self.shown: dict[int, dict[int, np.ndarray]] = {}
        self.prepared: list[int] = []

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys([object_id for _, object_id in self.pending] + list(self.shown)))

    @property
    def objects(self) -> dict[int, Any]:
        return {i: SimpleNamespace(bank=SimpleNamespace(prompted=self.shown.get(i, {}))) for i in self.object_ids}

    def add_prompt(self, frame_index: int, object_id: int, prompt: Prompt) -> None:
        self.pending.setdefault((frame_index, object_id), []).append(prompt)

    def remove(self, object_id: int) -> None:
        self.pending = {key: value for key, value in self.pending.items() if key[1] != object_id}
        self.shown.pop(object_id, None)
        self.colors.pop(object_id, None)

    def prepare(self, frame: Frame) -> None:
        self.prepared.append(frame.index)

    def preview(self, frame: Frame) -> FrameResult:
        return self._result(frame, {i: self._answer(frame, i) for at, i in list(self.pending) if at == frame.index})

    def plan(self, source: Any, start: int, stop: int, direction: Direction) -> Pass:
        return Pass(range(start, stop, 1 if direction == "forward" else -1))

    def follow(self, source: Any, run: Pass) -> Iterator[FrameResult]:
        for index in run.indices:
            frame = source[index]
            masks = {}
            for object_id in self.object_ids:
                if (index, object_id) in self.pending:
                    masks[object_id] = self._answer(frame, object_id)
                elif object_id in self.colors:
                    masks[object_id] = self._like(frame, self.colors[object_id])
            yield self._result(frame, masks)

    def _answer(self, frame: Frame, object_id: int) -> np.ndarray:
        mask = self.shown.get(object_id, {}).get(frame.index, np.zeros(frame.hw, dtype=bool))
        for prompt in self.pending.pop((frame.index, object_id), []):
            if isinstance(prompt, MaskPrompt):
                mask = prompt.mask
            if isinstance(prompt, BoxPrompt):
                x0, y0, x1, y1 = prompt.box_xyxy.astype(int)
                mask = np.zeros(frame.hw, dtype=bool)
                mask[y0:y1, x0:x1] = True
            if isinstance(prompt, TextPrompt):
                mask = self._like(frame, np.array(COLORS.get(prompt.phrase, (255, 0, 255))))
            if isinstance(prompt, PointPrompt):
                for (x, y), is_on in zip(prompt.points_xy.astype(int), prompt.labels, strict=True):
                    region = self._like(frame, frame.image[min(y, HW[0] - 1), min(x, HW[1] - 1)])
                    mask = mask | region if is_on else mask & ~region
        if mask.any():
            self.colors[object_id] = np.median(frame.image[mask], axis=0)
        self.shown.setdefault(object_id, {})[frame.index] = mask
        return mask

    @staticmethod
    def _like(frame: Frame, color: np.ndarray) -> np.ndarray:
        return (np.abs(frame.image.astype(int) - color) < 30).all(axis=2)

    @staticmethod
    def _result(frame: Frame, masks: dict[int, np.ndarray]) -> FrameResult:
        phases = {i: Phase.TRACKING if mask.any() else Phase.ABSENT for i, mask in masks.items()}
        objects = {i: ObjectResult(phase, 0.9, 1.0, prompted=False) for i, phase in phases.items()}
        return FrameResult(frame.index, frame.name, masks, objects, {})


def label_project(folder: Path) -> Path:
    """A project in which an object is tracked from the first frame to the last."""
    annotator = open_annotator(folder)
    annotator.name_object(NameObject(label="hook"))
    annotator.click(Click(frame=0, object=1, **center(0, "red")))
    list(annotator.track(Track(frame=0)))
    annotator.project.close()
    return folder / "project"

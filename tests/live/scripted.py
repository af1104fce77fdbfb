"""A source whose frames a test hands out, a model that waits to be let go, and a run of both."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from surgvos.core import Frame
from surgvos.live.engine import LiveEngine
from surgvos.live.moments import Answer, Picture
from surgvos.models.interface import ImageFeatures
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel

HW = (24, 60)
RED = (220, 20, 20)
PATIENCE_S = 20.0


def picture(index: int, hw: tuple[int, int] = HW) -> Frame:
    """A red square of 6 pixels that walks right, its left side at twice the frame's number."""
    image = np.full((*hw, 3), 90, dtype=np.uint8)
    image[4:10, 2 * index : 2 * index + 6] = RED
    return Frame(index, f"{index:05d}", image, index / 25)


def red_mask(index: int) -> np.ndarray:
    return (picture(index).image == RED).all(axis=2)


def until(condition: Callable[[], Any]) -> None:
    """Wait for what other threads do."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.001)


class ScriptedSource:
    """Frames come when the test sends them; an exception is a loss, None the end of one connection."""

    name, fps = "scripted", 25.0

    def __init__(self, hw: tuple[int, int] | None = None, *, ends: bool = True) -> None:
        self.hw, self.ends = hw, ends
        self.num_connects = 0
        self._sent: queue.Queue[Frame | Exception | None] = queue.Queue()

    def send(self, *things: Frame | Exception | None) -> None:
        for thing in things:
            self._sent.put(thing)

    def connect(self) -> Iterator[Frame]:
        self.num_connects += 1
        while (thing := self._sent.get()) is not None:
            if isinstance(thing, Exception):
                raise thing
            yield thing


class PatientModel(ColorModel):
    """Encodes when it may.

    Attributes:
        may_go: Cleared to make the model wait.
        is_waiting: Set while it waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.may_go = threading.Event()
        self.may_go.set()
        self.is_waiting = threading.Event()

    def encode_image(self, images: Tensor) -> ImageFeatures:
        if not self.may_go.is_set():
            self.is_waiting.set()
            assert self.may_go.wait(PATIENCE_S)
            self.is_waiting.clear()
        return super().encode_image(images)


class Recorded:
    """An engine on a scripted source, and what came out of it."""

    def __init__(self, prompts: Any = (), *, source: ScriptedSource | None = None, model: Any = None) -> None:
        self.source = source or ScriptedSource()
        self.model = model or PatientModel()
        self.events: list[str] = []
        self.answers: list[Answer] = []
        self.pictures: list[Picture] = []
        self.engine = LiveEngine(self.source, lambda: Session(self.model), prompts, self.events.append)
        self.engine.on_answer.append(self.answers.append)
        self.engine.on_picture.append(self.pictures.append)

    def __enter__(self) -> Recorded:
        self.engine.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        self.model.may_go.set()
        self.source.send(None)
        self.engine.__exit__(None, None, None)

    def send(self, *indices: int) -> None:
        """Send frames one by one, each when the one before is answered."""
        for index in indices:
            num_answers = len(self.answers)
            self.source.send(picture(index))
            until(lambda num_answers=num_answers: len(self.answers) > num_answers)

    def send_shown(self, *indices: int) -> None:
        """Send frames one by one, each when the one before is shown."""
        for index in indices:
            self.source.send(picture(index))
            until(lambda index=index: self.pictures and self.pictures[-1].arrived.frame.index == index)

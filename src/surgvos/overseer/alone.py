"""What a detector says by itself: as an answer of its own, and as masks kept beside one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from surgvos.core.frame import Frame, FrameStream
from surgvos.core.labels import LabelSpace
from surgvos.core.results import FrameResult, ObjectResult, Phase
from surgvos.errors import ConfigError
from surgvos.io.masks import write_label_map
from surgvos.io.video import prefetch
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import Detector
from surgvos.tracking.objects import TrackedObject
from surgvos.tracking.passes import Direction, Pass, forward_pass, frames_of
from surgvos.tracking.state import load_objects, save_objects


def exclusive_masks(detection: Detection, min_score: float) -> dict[int, np.ndarray]:
    """Masks by class id, ascending, where each pixel belongs to the class of the highest score (the lowest id on ties).

    Args:
        detection: Of one frame.
        min_score: Instances below it are left out.
    """
    seen = detection.above(min_score)
    free = np.ones(detection.hw, dtype=bool)
    masks = {}
    for class_id in sorted(seen.seen.ids, key=lambda i: (-seen.seen.score(i), i)):
        masks[class_id] = seen.mask(class_id) & free
        free &= ~masks[class_id]
    return dict(sorted(masks.items()))


class DetectorAlone:
    """A detector over a video, each frame for itself and no tracker: the baseline that an overseer is measured by.

    It has the verbs of a `Session`, so that `segment_video` carries it.

    Args:
        detector: What looks at the frames.
        min_score: Instances below it are left out.
        batch_size: Frames that are detected in one call.
    """

    def __init__(self, detector: Detector, *, min_score: float = 0.5, batch_size: int = 1) -> None:
        if batch_size < 1:
            raise ConfigError(f"expected a batch_size of 1 or more, got {batch_size}")
        self.detector, self.min_score, self.batch_size = detector, min_score, batch_size

    @property
    def num_held_frames(self) -> int:
        """Most frames that are read before the first of them is answered."""
        return self.batch_size - 1

    @property
    def objects(self) -> Mapping[int, TrackedObject]:
        """Nothing is followed."""
        return {}

    def plan(
        self,
        source: FrameStream,
        start: int | None = None,
        stop: int | None = None,
        direction: Direction = "forward",
    ) -> Pass:
        """The pass over a video that is to be made, from the first frame by default.

        Raises:
            InputError: The start does not exist, or the direction is not forward.
        """
        return forward_pass(source, start, stop, direction, why="without a tracker")

    def plan_after(self, source: FrameStream, done: Pass, direction: Direction = "forward") -> None:
        """Nothing: one pass answers everything."""

    def follow(self, source: FrameStream, run: Pass | None = None) -> Iterator[FrameResult]:
        """Answer the frames of a video or a stream, in order; masks go by class id."""
        held: list[Frame] = []
        with closing(prefetch(frames_of(source, self.plan(source) if run is None else run))) as decoded:
            for frame in decoded:
                held.append(frame)
                if len(held) == self.batch_size:
                    yield from self._answer(held)
                    held = []
        if held:
            yield from self._answer(held)

    def save(self, path: str | Path, progress: dict[str, Any] | None = None) -> None:
        """Write a note on how far things have come; there is nothing else to remember."""
        save_objects(path, [], [], progress or {})

    def restore(self, path: str | Path) -> dict[str, Any]:
        """Read the note that `save` wrote."""
        return load_objects(path, torch.device("cpu"))[-1]

    def _answer(self, frames: Sequence[Frame]) -> Iterator[FrameResult]:
        for frame, detection in zip(frames, self.detector.detect(frames), strict=True):
            masks = exclusive_masks(detection, self.min_score)
            scores = {class_id: detection.seen.score(class_id) for class_id in masks}
            objects = {i: ObjectResult(Phase.TRACKING, score, score, prompted=False) for i, score in scores.items()}
            yield FrameResult(frame.index, frame.name, masks, objects, {}, out_of_body=detection.looks_outside)


class RecordingDetector:
    """A detector whose answers are also written, one palette PNG per frame.

    Args:
        detector: Asked for every frame.
        folder: Where ``<frame name>.png`` go; what is there is replaced.
        min_score: Instances below it are left out.
    """

    def __init__(self, detector: Detector, folder: str | Path, *, min_score: float = 0.5) -> None:
        self.detector, self.folder, self.min_score = detector, Path(folder), min_score

    @property
    def label_space(self) -> LabelSpace:
        """That of the detector."""
        return self.detector.label_space

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        """Ask the detector, and write what it says.

        Raises:
            SurgvosError: The disk is full.
        """
        detections = self.detector.detect(frames)
        self.folder.mkdir(parents=True, exist_ok=True)
        for frame, detection in zip(frames, detections, strict=True):
            painted = self.label_space.paint(exclusive_masks(detection, self.min_score), detection.hw)
            write_label_map(self.folder / f"{frame.name}.png", painted, self.label_space.palette())
        return detections

"""Frames that a person has annotated, in place of what a detector would say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import Detector
from surgvos.overseer.mask_folder import MaskFolderDetector


class AnnotatedDetector:
    """A detector that answers annotations where there are some, marked as such.

    Args:
        detector: Asked for all other frames.
        folder: Of annotations, ``<frame name>.png`` for any of the frames.
        raw: Their values are those of the data set's own files, not ids of the detector's label space.

    Raises:
        InputError: There is no such folder, or no PNG in it.
    """

    def __init__(self, detector: Detector, folder: str | Path, *, raw: bool = False) -> None:
        self.detector = detector
        self.annotations = MaskFolderDetector(folder, detector.label_space, raw=raw)

    @property
    def label_space(self) -> LabelSpace:
        return self.detector.label_space

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        others = [frame for frame in frames if not self.annotations.has(frame)]
        found = iter(self.detector.detect(others) if others else [])
        return [self._annotation(frame) if self.annotations.has(frame) else next(found) for frame in frames]

    def _annotation(self, frame: Frame) -> Detection:
        (detection,) = self.annotations.detect([frame])
        return replace(detection, annotated=True)

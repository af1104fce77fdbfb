"""What a detector is: frames in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.overseer.detection import Detection


class Detector(Protocol):
    """Finds the classes of a label space in frames, each frame for itself.

    Attributes:
        label_space: What its class ids mean.
    """

    @property
    def label_space(self) -> LabelSpace: ...

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        """Find what is in some frames of one size.

        Returns:
            One detection per frame, at the frame's size, with class ids of the label space; neither background nor
            ignored pixels are instances.
        """
        ...

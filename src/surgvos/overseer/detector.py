"""What a detector is: frames in, detections out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.errors import CheckpointError, ConfigError
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOptions:
    """How the answers of a network become masks.

    Attributes:
        min_score: Instances of a lower score are left out at once. The rules have a threshold of their own.
        as_published: Masks as SASVi's program makes them: thresholds at the network's resolution, enlarged by the
            nearest pixel (Mask R-CNN, DETR). Otherwise they are enlarged smoothly and cut at one half.
    """

    min_score: float = 0.3
    as_published: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ConfigError(f"expected min_score in [0, 1], got {self.min_score}")

    @staticmethod
    def published() -> DetectorOptions:
        """No threshold on scores, and masks as published."""
        return DetectorOptions(min_score=0.0, as_published=True)


def classes_of_labels(num_labels: int, label_space: LabelSpace, spare: Sequence[int]) -> tuple[int | None, ...]:
    """Which class each label of a network's head stands for.

    The classes of a label space are the last labels of a head, in order; what comes before them is background or was
    never trained.

    Args:
        num_labels: Labels of the head, "no object" left out where it comes after them.
        label_space: Of the classes.
        spare: How many labels may come before the classes.

    Returns:
        A class id per label, None for what is no class.

    Raises:
        CheckpointError: The head is of another label space.
    """
    num_spare = num_labels - len(label_space)
    if num_spare not in spare:
        expected = " or ".join(str(len(label_space) + number) for number in spare)
        raise CheckpointError(
            f"expected a head of {expected} labels for the {len(label_space)} classes of "
            f"{label_space.name or 'the label space'}, got one of {num_labels}; try the label space that the detector "
            "was trained on"
        )
    return (*[None] * num_spare, *label_space.ids)

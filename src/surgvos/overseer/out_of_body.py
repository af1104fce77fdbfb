"""Frames that do not show the inside of the body: before and after, while the camera is cleaned, without a signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.errors import ConfigError
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import Detector

_LONG_SIDE_PX = 160
_LIT = 40
"""Value in 0..255 above which a pixel is lit; a scope's black border is not."""

STEADY_SHARE = 0.8
"""Share of the frames seen ahead that must look alike for a stretch inside or outside the body to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyColors:
    """By which colours the inside of a body is told from a room: tissue is warm, steel, drapes and walls are not.

    A lit pixel is warm where its red exceeds its blue: red and pink tissue are, yellow fat is, blood is, also through
    smoke. Instruments and glare are not, but rarely fill the picture.

    Attributes:
        warm_excess: Red minus blue, in 0..255, from which a pixel is warm.
        min_warm: Share of lit pixels, in [0, 1], below which a frame looks as if it was outside.
        min_lit: Share of lit pixels below which it shows nothing at all.
    """

    warm_excess: int = 10
    min_warm: float = 0.2
    min_lit: float = 0.02

    def __post_init__(self) -> None:
        shares = (self.min_warm, self.min_lit)
        if not 1 <= self.warm_excess <= 255 or not all(0 <= share <= 1 for share in shares):
            raise ConfigError(
                "expected warm_excess in 1..255, and min_warm and min_lit in [0, 1], got "
                f"{self.warm_excess}, {self.min_warm} and {self.min_lit}"
            )

    def warm_share(self, image: np.ndarray) -> float:
        """Share of an image's lit pixels that are warm, in [0, 1]; 0 where it is dark.

        Args:
            image: RGB, uint8 ``(h, w, 3)``.
        """
        scale = min(1.0, _LONG_SIDE_PX / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        lit = small[small.max(axis=2) > _LIT].astype(np.int16)
        if len(lit) <= self.min_lit * small.shape[0] * small.shape[1]:
            return 0.0
        return float(np.mean(lit[:, 0] - lit[:, 2] >= self.warm_excess))

    def look_outside(self, image: np.ndarray) -> bool:
        """Whether an image, by itself, looks as if it was not taken inside a body."""
        return self.warm_share(image) < self.min_warm


class OutOfBodyDetector:
    """A detector that is not asked about frames that look as if they were outside; they are marked instead.

    Args:
        detector: Asked for all other frames.
        colors: What a body looks like.
    """

    def __init__(self, detector: Detector, colors: BodyColors | None = None) -> None:
        self.detector = detector
        self.colors = colors or BodyColors()

    @property
    def label_space(self) -> LabelSpace:
        return self.detector.label_space

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        outside = [self.colors.look_outside(frame.image) for frame in frames]
        inside = [frame for frame, is_out in zip(frames, outside, strict=True) if not is_out]
        found = iter(self.detector.detect(inside) if inside else [])
        return [_nothing(frame) if is_out else next(found) for frame, is_out in zip(frames, outside, strict=True)]


def is_outside(window: Sequence[Detection], was_outside: bool) -> bool:
    """Whether a frame lies outside the body; a few frames that look otherwise than their neighbours change nothing.

    It changes with the first frame that looks otherwise, where most of those seen ahead do as well. An annotated frame
    is inside: somebody looked at it.

    Args:
        window: Detections of this frame and of those seen ahead.
        was_outside: Of the frame before.
    """
    if window[0].annotated:
        return False
    looks = [detection.looks_outside for detection in window]
    return looks[0] if looks.count(looks[0]) >= STEADY_SHARE * len(looks) else was_outside


def _nothing(frame: Frame) -> Detection:
    return replace(Detection.from_masks(np.zeros((0, *frame.hw), dtype=bool), []), looks_outside=True)

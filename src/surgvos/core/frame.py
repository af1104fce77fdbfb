"""Frames and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from surgvos.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One video frame.

    Attributes:
        index: Position in the source, counted from 0.
        name: Stem under which results of this frame are written (``"00017"``).
        image: RGB, uint8, shape ``(h, w, 3)``; owned by the frame, not to be written to.
        time_s: Presentation time in seconds, or None where the source has no clock.
    """

    index: int
    name: str
    image: np.ndarray
    time_s: float | None = None

    def __post_init__(self) -> None:
        image = self.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                f"frame {self.index}: expected an RGB image of dtype uint8 and shape (h, w, 3), "
                f"got {image.dtype} {tuple(image.shape)}; try image[..., :3].astype('uint8')"
            )

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]


@runtime_checkable
class FrameStream(Protocol):
    """Anything that yields `Frame`s in order; enough to track, also live."""

    def __iter__(self) -> Iterator[Frame]: ...


@runtime_checkable
class VideoSource(FrameStream, Protocol):
    """A stream of known length whose frames can be read at any index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...

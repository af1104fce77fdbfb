"""What a user can show or say: points, boxes, masks and phrases, in original pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from surgvos.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class PointPrompt:
    """Clicks on one object in one frame.

    Attributes:
        points_xy: float32 ``(n, 2)``, ``(x, y)`` in pixels of the original frame.
        labels: int64 ``(n,)``: 1 = on the object, 0 = not on the object. One number serves all points.
    """

    points_xy: np.ndarray
    labels: np.ndarray

    def __init__(self, points_xy: Any, labels: Any = 1) -> None:
        points = np.atleast_2d(np.asarray(points_xy, dtype=np.float32))
        if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0 or not np.isfinite(points).all():
            raise InputError(f"expected points as finite (x, y) pairs, got an array of shape {points.shape}")
        marks = np.asarray(labels, dtype=np.int64)
        if marks.ndim == 0:
            marks = np.full(len(points), int(marks), dtype=np.int64)
        if marks.shape != (len(points),) or not np.isin(marks, (0, 1)).all():
            raise InputError(
                "expected one label per point, 1 (object) or 0 (background), "
                f"got {marks.tolist()} for {len(points)} points"
            )
        object.__setattr__(self, "points_xy", points)
        object.__setattr__(self, "labels", marks)


@dataclass(frozen=True, slots=True, eq=False)
class BoxPrompt:
    """A box around one object in one frame.

    Attributes:
        box_xyxy: float32 ``(4,)``, ``x0, y0, x1, y1`` in pixels of the original frame, ``x0 < x1``, ``y0 < y1``.
    """

    box_xyxy: np.ndarray

    def __init__(self, box_xyxy: Any) -> None:
        box = np.asarray(box_xyxy, dtype=np.float32)
        if box.shape != (4,) or not np.isfinite(box).all() or box[0] >= box[2] or box[1] >= box[3]:
            raise InputError(f"expected a box x0, y0, x1, y1 with x0 < x1 and y0 < y1, got {box.tolist()}")
        object.__setattr__(self, "box_xyxy", box)


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrompt:
    """The object's mask in one frame.

    Attributes:
        mask: bool ``(h, w)`` at the size of the original frame. An empty mask says: the object is absent here.
    """

    mask: np.ndarray

    def __init__(self, mask: Any) -> None:
        array = np.asarray(mask)
        if array.ndim != 2 or array.size == 0:
            raise InputError(f"expected a mask of shape (h, w), got {array.shape}; try mask[..., 0] > 0")
        if array.dtype != np.bool_:
            array = array > 0
        # A view, such as a mirrored mask, may run through memory in a way that tensors cannot.
        object.__setattr__(self, "mask", np.ascontiguousarray(array))


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """A referring phrase, such as "the needle driver on the left"."""

    phrase: str

    def __post_init__(self) -> None:
        if not self.phrase.strip():
            raise InputError("expected a phrase, got an empty text")


Prompt: TypeAlias = PointPrompt | BoxPrompt | MaskPrompt | TextPrompt


def check_prompt_fits(prompt: Prompt, image_hw: tuple[int, int]) -> None:
    """Check that a prompt lies on an image of this size.

    Raises:
        InputError: A point or a box lies outside the image, or a mask has another size.
    """
    height, width = image_hw
    if isinstance(prompt, MaskPrompt) and prompt.mask.shape != (height, width):
        raise InputError(
            f"expected a mask of {width}x{height} pixels like the video, got "
            f"{prompt.mask.shape[1]}x{prompt.mask.shape[0]}; try resizing it with nearest-neighbour"
        )
    if isinstance(prompt, PointPrompt):
        xs, ys = prompt.points_xy.T
        outside = (xs < 0) | (ys < 0) | (xs > width) | (ys > height)
        if outside.any():
            x, y = prompt.points_xy[np.argmax(outside)]
            raise InputError(f"expected points inside the {width}x{height} image, got ({x:g}, {y:g})")
    if isinstance(prompt, BoxPrompt):
        x0, y0, x1, y1 = prompt.box_xyxy
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            raise InputError(f"expected a box inside the {width}x{height} image, got ({x0:g}, {y0:g}, {x1:g}, {y1:g})")

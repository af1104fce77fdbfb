"""Sprites and the canvas they are painted on: one affine (or deformed) warp per sprite and frame.

Coordinates are ``(x, y)`` pixels; a pose is a ``(2, 3)`` matrix from sprite pixels to image pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

_COARSE_PX = 8
_GRID_PX = 4
_SHADOW_STEP = 4


@dataclass(frozen=True, eq=False)
class Sprite:
    """A flat picture of a rigid part.

    Attributes:
        rgba: uint8 ``(h, w, 4)``; the colour is defined everywhere, also where alpha is 0, and alpha is 0 along
            the border, so that interpolation never mixes in a foreign colour.
        origin_xy: The point of the sprite that a pose moves and turns about.
    """

    rgba: np.ndarray
    origin_xy: tuple[float, float]

    @property
    def corners(self) -> np.ndarray:
        """The four corners as homogeneous columns, ``(3, 4)``."""
        height, width = self.rgba.shape[:2]
        return np.array([[0, width - 1, width - 1, 0], [0, 0, height - 1, height - 1], [1, 1, 1, 1]], float)

    def pose(self, place_xy: np.ndarray, angle: float, scale: float, stretch_y: float = 1.0) -> np.ndarray:
        """Matrix that puts the origin at ``place_xy`` and turns the sprite's x axis by ``angle`` (radians)."""
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        linear = np.array([[cos, -sin * stretch_y], [sin, cos * stretch_y]])
        return np.hstack([linear, (place_xy - linear @ np.asarray(self.origin_xy))[:, None]])

    def points(self, matrix: np.ndarray, field: np.ndarray | None = None) -> np.ndarray:
        """Where a grid of its opaque pixels is put by a matrix and, first, a displacement; see `warp`: ``(n, 2)``."""
        found = self._grid_xy
        if field is not None:
            grid_h, grid_w = field.shape[:2]
            height, width = self.rgba.shape[:2]
            at = np.rint(found * ((grid_w - 1) / width, (grid_h - 1) / height)).astype(int)
            found = found - field[at[:, 1], at[:, 0]]
        return found @ matrix[:, :2].T + matrix[:, 2]

    @cached_property
    def _grid_xy(self) -> np.ndarray:
        opaque = self.rgba[::_GRID_PX, ::_GRID_PX, 3] > 127
        return np.argwhere(opaque)[:, ::-1] * float(_GRID_PX)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The ``(2, 3)`` matrix that applies ``inner``, then ``outer``."""
    return np.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]])


def warp(
    picture: np.ndarray,
    matrix: np.ndarray,
    size_hw: tuple[int, int],
    field: np.ndarray | None = None,
    border: int = cv2.BORDER_REPLICATE,
) -> np.ndarray:
    """Warp a picture into an image of ``size_hw``.

    Args:
        picture: ``(h, w, c)``.
        matrix: Picture pixels -> image pixels.
        size_hw: Size of the result.
        field: float32 ``(gh, gw, 2)`` displacement in picture pixels, spread over the picture; None = rigid.
        border: How OpenCV continues the picture.
    """
    rows, columns = size_hw
    if field is None:
        return cv2.warpAffine(picture, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=border)
    inverse = cv2.invertAffineTransform(matrix).astype(np.float32)
    x = np.arange(0, columns + _COARSE_PX, _COARSE_PX, dtype=np.float32)
    y = np.arange(0, rows + _COARSE_PX, _COARSE_PX, dtype=np.float32)[:, None]
    u = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    v = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    grid_h, grid_w = field.shape[:2]
    height, width = picture.shape[:2]
    shift = cv2.remap(
        field,
        u * np.float32((grid_w - 1) / width),
        v * np.float32((grid_h - 1) / height),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    coarse = cv2.merge([u, v]) + shift
    spread = np.array([[1 / _COARSE_PX, 0, 0], [0, 1 / _COARSE_PX, 0]])
    dense = cv2.warpAffine(coarse, spread, (columns, rows), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    # An empty array in place of None makes OpenCV 5 hang.
    return cv2.remap(picture, dense, None, cv2.INTER_LINEAR, borderMode=border)  # type: ignore[call-overload]


def line_kernel(motion_xy: np.ndarray) -> np.ndarray | None:
    """Kernel of a straight motion during the exposure, or None where it is below a pixel."""
    length = float(np.hypot(*motion_xy))
    if length < 1.2:
        return None
    half = int(np.ceil(min(length, 24.0) / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.float32)
    reach = np.asarray(motion_xy) / length * min(length, 24.0) / 2
    start, stop = np.round((half - reach) * 16), np.round((half + reach) * 16)
    ends = [(int(p[0]), int(p[1])) for p in (start, stop)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_8, 4)
    return kernel / kernel.sum()


@dataclass(slots=True, eq=False)
class Canvas:
    """One frame in the making: colours, and who is visible where.

    Attributes:
        rgb: uint8 ``(h, w, 3)``.
        instances: uint8 ``(h, w)``, id of the foremost object whose alpha exceeds one half; 0 = background.
        parts: uint8 ``(h, w)``, part of that object.
    """

    rgb: np.ndarray
    instances: np.ndarray
    parts: np.ndarray

    @classmethod
    def on(cls, rgb: np.ndarray) -> Canvas:
        """Start from a background picture, which the canvas then owns."""
        return cls(rgb, np.zeros(rgb.shape[:2], np.uint8), np.zeros(rgb.shape[:2], np.uint8))

    def paint(
        self,
        color: np.ndarray,
        alpha: np.ndarray,
        corner_xy: tuple[int, int],
        object_id: int,
        part: int,
        kernel: np.ndarray | None = None,
    ) -> None:
        """Blend a patch over the canvas and mark it as visible.

        Args:
            color: uint8 ``(h, w, 3)``.
            alpha: uint8 ``(h, w)``.
            corner_xy: Where the patch's first pixel lies; the patch must fit.
            object_id: Written where alpha exceeds one half; 0 = an unlabelled occluder.
            part: Written beside it.
            kernel: Motion blur. It softens the picture; the mask is where the object is at mid-exposure.
        """
        x, y = corner_xy
        area = np.s_[y : y + alpha.shape[0], x : x + alpha.shape[1]]
        sharp = alpha
        if kernel is not None:
            alpha = cv2.filter2D(alpha, -1, kernel, borderType=cv2.BORDER_REPLICATE)
            color = cv2.filter2D(color, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        weight = alpha.astype(np.float32) * np.float32(1 / 255)
        self.rgb[area] = cv2.blendLinear(color, self.rgb[area], weight, 1.0 - weight)
        visible = sharp > 127
        self.instances[area][visible] = object_id
        self.parts[area][visible] = part

    def darken(self, start_xy: np.ndarray, stop_xy: np.ndarray, width_px: float, depth: float) -> None:
        """Cast the soft shadow of a stick onto what is painted so far.

        Args:
            start_xy, stop_xy: Its ends in the image.
            width_px: Of the stick.
            depth: Share of the light that is lost in the middle of the shadow.
        """
        height, width = self.instances.shape
        small = np.zeros((height // _SHADOW_STEP + 1, width // _SHADOW_STEP + 1), np.float32)
        ends = [tuple(int(c) for c in np.clip(p * (16 / _SHADOW_STEP), -1e5, 1e5)) for p in (start_xy, stop_xy)]
        thickness = max(1, round(width_px / _SHADOW_STEP))
        cv2.line(small, ends[0], ends[1], depth, thickness, cv2.LINE_8, 4)
        soft = cv2.GaussianBlur(small, (0, 0), 0.6 + 0.25 * thickness)
        gain = 1 - cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
        self.rgb = cv2.multiply(self.rgb, cv2.merge([gain, gain, gain]), dtype=cv2.CV_8U)

    def draw(
        self,
        sprite: Sprite,
        matrix: np.ndarray,
        object_id: int,
        part: int,
        field: np.ndarray | None = None,
        kernel: np.ndarray | None = None,
    ) -> None:
        """Warp a sprite into the image and paint it; see `warp` and `paint`."""
        height, width = self.instances.shape
        margin = 1 if kernel is None else 1 + len(kernel) // 2
        if field is not None:
            margin += int(np.abs(field).max() * np.abs(matrix[:, :2]).max()) + 1
        points = matrix @ sprite.corners
        x0, y0 = np.maximum(np.floor(points.min(axis=1)).astype(int) - margin, 0)
        x1, y1 = np.minimum(np.ceil(points.max(axis=1)).astype(int) + margin + 1, (width, height))
        if x0 >= x1 or y0 >= y1:
            return
        shifted = matrix.copy()
        shifted[:, 2] -= (x0, y0)
        patch = warp(sprite.rgba, shifted, (y1 - y0, x1 - x0), field)
        self.paint(cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB), patch[:, :, 3], (int(x0), int(y0)), object_id, part, kernel)

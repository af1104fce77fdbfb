"""Augmentations of a whole clip: one draw for all its frames, so that time stays smooth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

_GREY = np.tile([0.299, 0.587, 0.114], (3, 1))  # RGB -> luma in all channels
BORDER_RGB = (124, 116, 104)  # ImageNet's mean colour: what lies outside a turned image says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class ColorJitter:
    """Largest changes of colour.

    Attributes:
        brightness: Relative.
        contrast: Relative.
        saturation: Relative.
        hue: As a share of the colour circle.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0


_SAM2_CLIP_JITTER = ColorJitter(brightness=0.1, contrast=0.03, saturation=0.03)
_SAM2_FRAME_JITTER = ColorJitter(brightness=0.1, contrast=0.05, saturation=0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How a clip is varied; by default as in SAM 2's fine-tuning. Angles in degrees.

    Attributes:
        flip_probability: Of a left-right flip.
        reverse_probability: Of running the clip backward.
        max_rotation: Largest rotation to either side.
        rotation_probability: Of a rotation.
        max_shear: Largest shear to either side.
        max_zoom: Largest enlargement; what no longer fits is cut away.
        clip_jitter: Of all frames alike.
        frame_jitter: Of each frame by itself.
        grey_probability: Of a clip without colour.
    """

    flip_probability: float = 0.5
    reverse_probability: float = 0.0
    max_rotation: float = 25.0
    rotation_probability: float = 1.0
    max_shear: float = 20.0
    max_zoom: float = 1.0
    clip_jitter: ColorJitter = _SAM2_CLIP_JITTER
    frame_jitter: ColorJitter = _SAM2_FRAME_JITTER
    grey_probability: float = 0.05


AS_IT_IS = Augmentation(
    flip_probability=0.0,
    max_rotation=0.0,
    max_shear=0.0,
    clip_jitter=ColorJitter(),
    frame_jitter=ColorJitter(),
    grey_probability=0.0,
)
"""Nothing is varied; only the size changes."""


def augment(
    images: np.ndarray,
    label_maps: np.ndarray,
    size_hw: tuple[int, int],
    settings: Augmentation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Vary a clip and bring it to a size. A geometry that loses an object of the first frame is left out.

    Args:
        images: uint8 ``(T, h, w, 3)`` RGB.
        label_maps: uint8 ``(T, h, w)``.
        size_hw: Size of the result ``(H, W)``; the proportions are not kept.
        settings: What is drawn.
        rng: Source of chance.

    Returns:
        uint8 ``(T, H, W, 3)`` and uint8 ``(T, H, W)``.
    """
    if rng.random() < settings.reverse_probability:
        images, label_maps = images[::-1], label_maps[::-1]
    source_hw = (label_maps.shape[1], label_maps.shape[2])
    flip = rng.random() < settings.flip_probability
    matrix = _draw_geometry(source_hw, size_hw, flip, settings, rng)
    if _loses_objects(label_maps[0], matrix, size_hw):
        matrix = _geometry(source_hw, size_hw, flip=flip)
    moved = np.stack([_warp_image(image, matrix, size_hw) for image in images])
    labels = np.stack([_warp_labels(label_map, matrix, size_hw) for label_map in label_maps])
    return _recolor(moved, settings, rng), labels


def _draw_geometry(
    source_hw: tuple[int, int],
    size_hw: tuple[int, int],
    flip: bool,
    settings: Augmentation,
    rng: np.random.Generator,
) -> np.ndarray:
    angle, shear = np.radians(rng.uniform(-1, 1, 2) * (settings.max_rotation, settings.max_shear))
    if settings.rotation_probability < 1 and rng.random() >= settings.rotation_probability:
        angle = 0.0
    zoom = rng.uniform(1.0, settings.max_zoom)
    # The enlarged image is shifted no farther than its own edge.
    shift = rng.uniform(-1, 1, 2) * 0.5 * (zoom - 1)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inner = zoom * turn @ np.array([[1.0, math.tan(shear)], [0.0, 1.0]])
    return _geometry(source_hw, size_hw, flip=flip, inner=inner, shift=shift)


def _geometry(
    source_hw: tuple[int, int],
    size_hw: tuple[int, int],
    *,
    flip: bool,
    inner: np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> np.ndarray:
    """2x3 matrix from pixel centres of the source to those of the result, around both centres.

    ``inner`` is applied in the source's pixels; ``shift`` is a share of the result's width and height.
    """
    source, size = np.array(source_hw[::-1], dtype=float), np.array(size_hw[::-1], dtype=float)
    linear = np.diag(size / source) @ (np.eye(2) if inner is None else inner)
    if flip:
        linear = linear @ np.diag([-1.0, 1.0])
    target = (size - 1) / 2 + (0.0 if shift is None else shift * size)
    return np.column_stack((linear, target - linear @ ((source - 1) / 2)))


def _loses_objects(label_map: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> bool:
    moved = _warp_labels(label_map, matrix, size_hw)
    return len(np.unique(moved[moved > 0])) < len(np.unique(label_map[label_map > 0]))


def _warp_image(image: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    height, width = size_hw
    reduction = int(1 / math.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if reduction > 1:
        # Interpolation alone would skip pixels: average whole blocks first.
        h, w = image.shape[0] // reduction, image.shape[1] // reduction
        block = np.array([image.shape[1] / w, image.shape[0] / h])
        image = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
        offset = matrix[:, :2] @ ((block - 1) / 2) + matrix[:, 2]
        matrix = np.column_stack((matrix[:, :2] * block, offset))
    return cv2.warpAffine(
        np.ascontiguousarray(image),
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=BORDER_RGB,
    )


def _warp_labels(label_map: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    height, width = size_hw
    return cv2.warpAffine(
        np.ascontiguousarray(label_map), matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=0
    )


def _recolor(images: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Change the colours of all frames ``(T, H, W, 3)``: each is one affine map of RGB."""
    middle = float(images[0].mean())
    whole = _color_map(settings.clip_jitter, middle, rng)
    if rng.random() < settings.grey_probability:
        whole = _homogeneous(_GREY) @ whole
    maps = [(_color_map(settings.frame_jitter, middle, rng) @ whole)[:3] for _ in images]
    return np.stack([cv2.transform(image, matrix) for image, matrix in zip(images, maps, strict=True)])


def _color_map(jitter: ColorJitter, middle: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a 4x4 map of RGB1; contrast changes around the grey value ``middle``."""
    limits = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    brightness, contrast, saturation, hue = rng.uniform(-1, 1, 4) * limits
    vividness = (1 + saturation) * np.eye(3) - saturation * _GREY
    gain = (1 + contrast) * (1 + brightness)
    return _homogeneous(gain * vividness @ _hue_turn(hue), -contrast * middle)


def _homogeneous(matrix: np.ndarray, offset: float = 0.0) -> np.ndarray:
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = matrix, offset
    return whole


def _hue_turn(share: float) -> np.ndarray:
    """Rotation of RGB about the grey axis by a share of the full circle."""
    angle = 2 * math.pi * share
    axis = np.full(3, 1 / math.sqrt(3))
    cross = np.cross(np.eye(3), axis)
    return math.cos(angle) * np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * np.outer(axis, axis)

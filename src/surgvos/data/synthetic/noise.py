"""Noise and textures: cheap crops of a fixed bank of periodic power-law noise, coloured by ramps.

The bank is the same in every process (its seed is a constant), so a texture depends only on the generator
passed in. Making a texture is a crop, a resize and a look-up: well below a millisecond.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache

import cv2
import numpy as np

_BANK_SIZE = 1024
_BANK_SEED = 20240229


class Roughness(IntEnum):
    """Spectrum of a noise plane: from white to smooth clouds."""

    WHITE = 0
    ROUGH = 1
    MIDDLE = 2
    SMOOTH = 3


@cache
def _bank() -> tuple[np.ndarray, ...]:
    """Planes of float32 periodic noise, zero mean, unit deviation, one per `Roughness`."""
    rng = np.random.default_rng(_BANK_SEED)
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(_BANK_SIZE), np.fft.fftfreq(_BANK_SIZE)))
    # Below 1/256 px the planes are flat: a crop would otherwise be a constant or a ramp.
    frequency = np.maximum(frequency, 1 / 256)
    planes = []
    for exponent in (0.0, 0.9, 1.5, 2.4):
        spectrum = np.fft.rfft2(rng.standard_normal((_BANK_SIZE, _BANK_SIZE))) / frequency**exponent
        plane = np.fft.irfft2(spectrum, s=(_BANK_SIZE, _BANK_SIZE))
        planes.append(((plane - plane.mean()) / plane.std()).astype(np.float32))
    return tuple(planes)


def noise(rng: np.random.Generator, hw: tuple[int, int], roughness: Roughness, scale: float = 1.0) -> np.ndarray:
    """Cut one plane of noise.

    Args:
        rng: Chooses the place, the flips and the transposition.
        hw: Size of the plane in pixels.
        roughness: Spectrum.
        scale: Enlargement; 2 makes every feature twice as large.

    Returns:
        float32 ``(h, w)``, about zero mean and unit deviation over the whole bank.
    """
    plane = _bank()[roughness]
    rows = min(max(int(np.ceil(hw[0] / scale)), 2), _BANK_SIZE)
    columns = min(max(int(np.ceil(hw[1] / scale)), 2), _BANK_SIZE)
    y = int(rng.integers(_BANK_SIZE - rows + 1))
    x = int(rng.integers(_BANK_SIZE - columns + 1))
    turn = int(rng.integers(8))
    patch = plane[y : y + rows, x : x + columns]
    if turn & 4:
        patch = cv2.transpose(np.ascontiguousarray(plane[x : x + columns, y : y + rows]))
    if turn & 3:
        patch = cv2.flip(patch, (turn & 3) - 2)
    if patch.shape == tuple(hw):
        return patch.copy()
    return cv2.resize(patch, (hw[1], hw[0]), interpolation=cv2.INTER_LINEAR)


def unit(plane: np.ndarray, contrast: float = 1.0) -> np.ndarray:
    """Squash zero-mean noise to [0, 1] around 0.5."""
    return np.clip(0.5 + plane * (0.28 * contrast), 0.0, 1.0)


def colorize(plane: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Colour a plane in [0, 1] by a ramp of evenly spaced colours.

    Args:
        plane: float ``(h, w)``.
        colors: ``(n, 3)``, n >= 2, RGB 0..255.

    Returns:
        uint8 ``(h, w, 3)``.
    """
    colors = np.asarray(colors, dtype=np.float32)
    stops = np.linspace(0.0, len(colors) - 1.0, 256)
    ramp = np.stack([np.interp(stops, np.arange(len(colors)), colors[:, c]) for c in range(3)], axis=1)
    index = (plane * 255.0).astype(np.uint8)
    table = np.clip(ramp, 0, 255).astype(np.uint8).reshape(1, 256, 3)
    return cv2.LUT(cv2.merge([index, index, index]), table)


def shade(rgb: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Multiply uint8 ``(h, w, 3)`` by a float32 ``(h, w)`` gain, saturating."""
    return cv2.multiply(rgb, cv2.merge([gain, gain, gain]), dtype=cv2.CV_8U)


def relief(height: np.ndarray, strength: float, angle: float) -> np.ndarray:
    """Gain of a surface of this height lit from the side: about 1, brighter on slopes that face the light."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3)
    slope = slope_x * float(np.cos(angle)) + slope_y * float(np.sin(angle))
    return np.clip(1.0 + strength * slope, 0.35, 1.7)


def any_color(rng: np.random.Generator) -> np.ndarray:
    """A colour drawn evenly in hue, with all saturations and brightnesses; float32 ``(3,)``, 0..255."""
    hsv = np.array([[[rng.integers(180), 255 * rng.random() ** 0.7, 255 * rng.random() ** 0.6]]])
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)


def _stripes(rng: np.random.Generator, hw: tuple[int, int]) -> np.ndarray:
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 30)
    y, x = np.ogrid[: hw[0], : hw[1]]
    phase = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period)
    wave = np.sin(phase + rng.uniform(0, 3) * noise(rng, hw, Roughness.SMOOTH, 0.5))
    return np.clip(0.5 + wave * rng.choice([0.5, 3.0]), 0, 1).astype(np.float32)


def _checker(rng: np.random.Generator, hw: tuple[int, int]) -> np.ndarray:
    angle, period = rng.uniform(0, np.pi), rng.uniform(8, 36)
    y, x = np.ogrid[: hw[0], : hw[1]]
    along = np.floor((x * np.cos(angle) + y * np.sin(angle)) / period)
    across = np.floor((y * np.cos(angle) - x * np.sin(angle)) / period)
    return ((along + across) % 2).astype(np.float32)


def _gradient(rng: np.random.Generator, hw: tuple[int, int]) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.ogrid[-1 : 1 : hw[0] * 1j, -1 : 1 : hw[1] * 1j]
    return np.clip(0.5 + 0.4 * (x * np.cos(angle) + y * np.sin(angle)), 0, 1).astype(np.float32)


def _dots(rng: np.random.Generator, hw: tuple[int, int]) -> np.ndarray:
    return np.clip((noise(rng, hw, Roughness.WHITE, rng.uniform(2, 8)) - 0.9) * 2, 0, 1)


def random_texture(rng: np.random.Generator, hw: tuple[int, int]) -> np.ndarray:
    """Any texture at all: flat, gradient, stripes, checker, dots or noise, in any colours.

    Returns:
        uint8 ``(h, w, 3)``.
    """
    kind = rng.integers(8)
    if kind == 0:
        plane = np.full(hw, 0.5, dtype=np.float32)
    elif kind == 1:
        plane = _gradient(rng, hw)
    elif kind == 2:
        plane = _stripes(rng, hw)
    elif kind == 3:
        plane = _checker(rng, hw)
    elif kind == 4:
        plane = _dots(rng, hw)
    else:
        plane = unit(noise(rng, hw, Roughness(int(rng.integers(1, 4))), rng.uniform(0.5, 2.5)), 1.3)
    colors = np.stack([any_color(rng) for _ in range(int(rng.integers(2, 5)))])
    if rng.random() < 0.4:  # close colours: weak texture
        colors = colors[:1] + (colors - colors[:1]) * rng.uniform(0.1, 0.4)
    texture = colorize(plane, colors)
    if rng.random() < 0.6:
        gain = 1.0 + rng.uniform(0.03, 0.2) * noise(rng, hw, Roughness(int(rng.integers(0, 4))), 1.0)
        texture = shade(texture, gain)
    return texture

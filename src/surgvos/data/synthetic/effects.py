"""What happens between the scene and the recording: light, smoke, lens, blur, noise and compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from surgvos.data.synthetic.motion import wander
from surgvos.data.synthetic.noise import Roughness, noise


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """How one clip is lit and recorded.

    Attributes:
        light: float32 ``(h, w, 3)`` gain: light cone, vignette and white balance.
        exposure: ``(num_frames,)`` gain.
        gamma_table: uint8 ``(256,)`` tone curve.
        smoke: float32 ``(h2, w2)`` density in [0, 1], larger than the image, or None; it drifts by ``smoke_step``.
        smoke_step: ``(dx, dy)`` pixels per frame.
        smoke_level: ``(num_frames,)`` strength in [0, 1].
        blur_sigma: Defocus per frame in pixels, ``(num_frames,)``; 0 = sharp.
        grain: int8-like float32 planes of noise, larger than the image, or None.
        grain_offsets: ``(num_frames, 2)`` rows and columns of the crop.
        quality: JPEG quality, 0 = no compression.
        shrink: Resolution of the recording as a share of the image, 1 = full.
        lens: uint8 ``(h, w)``, 255 inside the lens circle, or None.
    """

    light: np.ndarray
    exposure: np.ndarray
    gamma_table: np.ndarray
    smoke: np.ndarray | None
    smoke_step: tuple[float, float]
    smoke_level: np.ndarray
    blur_sigma: np.ndarray
    grain: np.ndarray | None
    grain_offsets: np.ndarray
    quality: int
    shrink: float
    lens: np.ndarray | None

    def record(self, rgb: np.ndarray, frame: int) -> np.ndarray:
        """Turn the painted uint8 ``(h, w, 3)`` into what the camera delivers."""
        height, width = rgb.shape[:2]
        lit = cv2.multiply(rgb, self.light, scale=float(self.exposure[frame]), dtype=cv2.CV_8U)
        if self.smoke is not None:
            lit = self._add_smoke(lit, frame)
        sigma = float(self.blur_sigma[frame])
        if sigma > 0.3:
            lit = cv2.GaussianBlur(lit, (0, 0), sigma)
        if self.grain is not None:
            row, column = self.grain_offsets[frame]
            grain = self.grain[row : row + height, column : column + width]
            lit = cv2.add(lit, grain, dtype=cv2.CV_8U)
        lit = cv2.LUT(lit, self.gamma_table)
        if self.lens is not None:
            lit = cv2.bitwise_and(lit, cv2.merge([self.lens] * 3))
        if self.shrink < 1:
            small = cv2.resize(lit, None, fx=self.shrink, fy=self.shrink, interpolation=cv2.INTER_AREA)
            lit = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        if self.quality:
            options = [cv2.IMWRITE_JPEG_QUALITY, self.quality]
            decoded = cv2.imdecode(cv2.imencode(".jpg", lit, options)[1], cv2.IMREAD_COLOR)
            assert decoded is not None
            return decoded
        return lit

    def _add_smoke(self, rgb: np.ndarray, frame: int) -> np.ndarray:
        assert self.smoke is not None
        height, width = rgb.shape[:2]
        dx, dy = self.smoke_step[0] * frame, self.smoke_step[1] * frame
        shift = np.array([[1, 0, -dx], [0, 1, -dy]])
        density = cv2.warpAffine(self.smoke, shift, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        weight = density * np.float32(self.smoke_level[frame])
        gray = np.full_like(rgb, 205)
        return cv2.blendLinear(gray, rgb, weight, 1 - weight)


def light_cone(rng: np.random.Generator, image_hw: tuple[int, int], abstract: bool) -> np.ndarray:
    """Gain of an endoscope's light: bright somewhere in the middle, darker outwards; float32 ``(h, w, 3)``."""
    height, width = image_hw
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    cx, cy = rng.normal(0, 0.25, 2)
    falloff = rng.uniform(0, 0.3) if abstract else rng.uniform(0.1, 0.65)
    gain = rng.uniform(0.95, 1.25) - falloff * np.clip(((x - cx) ** 2 + (y - cy) ** 2) / 2, 0, 1)
    gain = gain + 0.05 * noise(rng, image_hw, Roughness.SMOOTH, 2.0)
    balance = 1 + rng.normal(0, 0.05, 3)
    return np.clip(gain[:, :, None] * balance, 0.1, 1.6).astype(np.float32)


def lens_circle(rng: np.random.Generator, image_hw: tuple[int, int]) -> np.ndarray:
    """Field of view of an endoscope: uint8 ``(h, w)``, 255 inside a circle that crosses the image border."""
    height, width = image_hw
    mask = np.zeros(image_hw, np.uint8)
    center = (width / 2 + rng.normal(0, 0.03) * width, height / 2 + rng.normal(0, 0.03) * height)
    radius = rng.uniform(0.52, 0.68) * max(height, 0.85 * width)
    fixed = (int(center[0] * 16), int(center[1] * 16))
    cv2.circle(mask, fixed, int(radius * 16), 255, -1, cv2.LINE_8, 4)
    return mask


def exposure_path(rng: np.random.Generator, num_frames: int, unsteady: bool) -> np.ndarray:
    """Gain per frame: steady, or swinging as when the camera adapts."""
    level = rng.uniform(0.9, 1.2)
    swing = wander(rng, num_frames, 0.12, 0.3) if unsteady else np.zeros(num_frames)
    return level * np.exp(swing)


def tone_curve(rng: np.random.Generator) -> np.ndarray:
    """A gamma and contrast table, uint8 ``(256,)``."""
    level = np.linspace(0, 1, 256) ** rng.uniform(0.7, 1.25)
    contrast = rng.uniform(0.85, 1.25)
    return np.clip((0.45 + (level - 0.45) * contrast + rng.normal(0, 0.02)) * 255, 0, 255).astype(np.uint8)

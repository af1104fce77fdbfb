"""Motion: bounded smooth paths, the camera, and non-rigid deformation, all sampled once per clip."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw evenly in the logarithm."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def wander(rng: np.random.Generator, num_frames: int, speed: float, reach: float, num_waves: int = 2) -> np.ndarray:
    """A smooth bounded path that starts anywhere on its way.

    Args:
        rng: Source of chance.
        num_frames: Number of samples.
        speed: Typical largest step between frames.
        reach: Largest distance from zero.
        num_waves: Number of sine waves summed.

    Returns:
        float64 ``(num_frames,)``.
    """
    time = np.arange(num_frames)
    path = np.zeros(num_frames)
    for _ in range(num_waves):
        amplitude = reach / num_waves * rng.uniform(0.4, 1.0)
        rate = min(speed / num_waves / amplitude, 2.0) * rng.uniform(0.5, 1.2)
        path += amplitude * np.sin(rate * time + rng.uniform(0, 2 * np.pi))
    return path


def ease(time: np.ndarray, start: float, stop: float) -> np.ndarray:
    """0 before ``start``, 1 after ``stop``, smooth between."""
    share = np.clip((time - start) / max(stop - start, 1e-6), 0, 1)
    return share * share * (3 - 2 * share)


def camera_path(
    rng: np.random.Generator, num_frames: int, image_hw: tuple[int, int], speed: float, jerk: bool
) -> np.ndarray:
    """Camera motion as matrices from the scene to the image.

    Args:
        rng: Source of chance.
        num_frames: Number of frames.
        image_hw: Size of the image.
        speed: Pixels per frame of translation; zoom and rotation follow in proportion.
        jerk: Whether the camera jumps once.

    Returns:
        float64 ``(num_frames, 2, 3)``.
    """
    height, width = image_hw
    shift_x = wander(rng, num_frames, speed, 0.1 * width)
    shift_y = wander(rng, num_frames, speed, 0.1 * height)
    if jerk and num_frames > 1:
        at = int(rng.integers(1, num_frames))
        jump = ease(np.arange(num_frames), at - 1, at + int(rng.integers(0, 2))) * 0.12 * height
        angle = rng.uniform(0, 2 * np.pi)
        shift_x, shift_y = shift_x + jump * np.cos(angle), shift_y + jump * np.sin(angle)
    turn = wander(rng, num_frames, speed * 0.004, 0.15) * rng.choice([0.2, 1.0])
    zoom = np.exp(wander(rng, num_frames, speed * 0.006, 0.18) * rng.choice([0.3, 1.0]))
    center = np.array([width / 2, height / 2])
    matrices = np.empty((num_frames, 2, 3))
    for t in range(num_frames):
        cos, sin = np.cos(turn[t]) * zoom[t], np.sin(turn[t]) * zoom[t]
        linear = np.array([[cos, -sin], [sin, cos]])
        shift = np.array([shift_x[t], shift_y[t]])
        matrices[t] = np.hstack([linear, (center + shift - linear @ center)[:, None]])
    return matrices


@dataclass(frozen=True, slots=True, eq=False)
class Deformation:
    """A swaying displacement field.

    Attributes:
        modes: float32 ``(k, gh, gw, 2)`` pixels, smooth over the picture.
        weights: float32 ``(num_frames, k)``.
    """

    modes: np.ndarray
    weights: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator, num_frames: int, amplitude_px: float, speed: float) -> Deformation:
        """Draw two modes whose displacements stay near ``amplitude_px`` and change by ``speed`` per frame."""
        modes = []
        for _ in range(2):
            nodes = int(rng.integers(3, 7))
            knots = rng.standard_normal((nodes, nodes, 2)).astype(np.float32) * (0.6 * amplitude_px)
            modes.append(cv2.resize(knots, (24, 24), interpolation=cv2.INTER_CUBIC))
        weights = [wander(rng, num_frames, speed, 1.0, 1) for _ in modes]
        return cls(np.stack(modes), np.stack(weights, axis=1).astype(np.float32))

    def field(self, frame: int) -> np.ndarray:
        """The displacement at a frame, float32 ``(gh, gw, 2)``."""
        return np.tensordot(self.weights[frame], self.modes, axes=1)

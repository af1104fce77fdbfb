"""Tissue: coloured noise with folds, relief and vessels; whole backgrounds; organs as smooth domes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from surgvos.data.synthetic.canvas import Sprite
from surgvos.data.synthetic.noise import (
    Roughness,
    any_color,
    colorize,
    noise,
    random_texture,
    relief,
    shade,
    unit,
)

_FIXED_POINT = 4  # fractional bits of OpenCV's drawing coordinates


class Style(StrEnum):
    """The look of a whole clip."""

    ROBOTIC = "robotic"
    LAPAROSCOPIC = "laparoscopic"
    EX_VIVO = "ex vivo"
    OPHTHALMIC = "ophthalmic"
    COLONOSCOPIC = "colonoscopic"
    ABSTRACT = "abstract"


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one kind of tissue, from dark to bright, and how it looks.

    Attributes:
        colors: RGB 0..255, at least two.
        contrast: How much of the ramp the texture uses.
        vessels: Expected share of surface vessels, 0..1.
        gloss: Strength of wet highlights, 0..1.
    """

    colors: tuple[tuple[int, int, int], ...]
    contrast: float = 1.0
    vessels: float = 0.3
    gloss: float = 0.7


MUSCLE = Palette(((70, 20, 22), (140, 52, 52), (188, 92, 86), (214, 140, 128)))
PERITONEUM = Palette(((120, 58, 58), (180, 104, 98), (212, 148, 136), (232, 186, 172)), 0.8, 0.6)
LIVER = Palette(((48, 12, 14), (92, 26, 28), (122, 42, 40)), 0.7, 0.0, 0.6)
FAT = Palette(((150, 96, 30), (206, 150, 62), (232, 188, 98), (246, 220, 150)), 0.9, 0.3, 0.8)
SEROSA = Palette(((132, 92, 104), (176, 128, 134), (206, 164, 164), (226, 196, 190)), 0.8, 0.6)
BOWEL = Palette(((140, 76, 66), (196, 120, 100), (222, 160, 134), (236, 196, 168)), 0.8, 0.7)
GALLBLADDER = Palette(((120, 98, 60), (176, 150, 92), (204, 178, 120), (214, 190, 160)), 0.7, 0.7)
CHAR = Palette(((30, 22, 18), (92, 66, 42), (160, 130, 88), (210, 190, 150)), 1.4, 0.0, 0.3)
RAW = Palette(((110, 60, 62), (160, 96, 96), (190, 128, 124), (206, 154, 150)), 0.7, 0.2)
MUCOSA = Palette(((120, 40, 8), (190, 82, 20), (226, 126, 44), (244, 170, 90)), 0.8, 0.7, 0.8)
PALE_MUCOSA = Palette(((150, 70, 50), (206, 120, 84), (230, 160, 120), (246, 200, 160)), 0.7, 0.7, 0.8)
SCLERA = Palette(((150, 110, 90), (196, 164, 138), (222, 198, 172), (238, 224, 204)), 0.6, 0.8, 0.4)
SKIN = Palette(((140, 84, 60), (190, 132, 100), (214, 164, 132)), 0.7, 0.1, 0.2)
DRAPE = Palette(((110, 100, 80), (180, 170, 140), (206, 196, 168)), 0.8, 0.0, 0.1)
GREEN_DRAPE = Palette(((4, 20, 12), (14, 50, 34), (30, 84, 60)), 0.8, 0.0, 0.1)
BLOOD = Palette(((70, 0, 2), (130, 6, 8), (170, 22, 18)), 0.8, 0.0, 1.0)

PALETTES: dict[Style, tuple[Palette, ...]] = {
    Style.ROBOTIC: (MUSCLE, PERITONEUM, FAT, SEROSA, BOWEL, RAW, LIVER),
    Style.LAPAROSCOPIC: (LIVER, FAT, PERITONEUM, GALLBLADDER, BOWEL, MUSCLE, CHAR),
    Style.EX_VIVO: (RAW, SEROSA, MUSCLE, BOWEL),
    Style.OPHTHALMIC: (SCLERA, SKIN, DRAPE, GREEN_DRAPE),
    Style.COLONOSCOPIC: (MUCOSA, PALE_MUCOSA),
}


def fill_shape(points: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Anti-aliased silhouette of a closed polygon ``(n, 2)``, uint8 ``(h, w)``; zero along the border."""
    alpha = np.zeros(hw, dtype=np.uint8)
    fixed = np.round(np.asarray(points) * (1 << _FIXED_POINT)).astype(np.int32)
    cv2.fillPoly(alpha, [fixed], 255, cv2.LINE_AA, _FIXED_POINT)
    alpha[0], alpha[-1] = 0, 0
    alpha[:, 0], alpha[:, -1] = 0, 0
    return alpha


def blob_outline(rng: np.random.Generator, roughness: float, num_points: int = 48) -> np.ndarray:
    """Closed outline around zero with radius near 1, ``(n, 2)``; ``roughness`` 0 is a circle."""
    angle = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    radius = np.ones(num_points)
    for order in range(2, 7):
        radius += roughness * rng.normal() / order * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.3, 1.6)
    return np.stack([np.cos(angle) * radius, np.sin(angle) * radius], axis=1)


def _draw_vessels(rng: np.random.Generator, rgb: np.ndarray, share: float) -> None:
    """Paint branching vessels onto uint8 ``(h, w, 3)`` in place."""
    height, width = rgb.shape[:2]
    overlay = np.zeros((height, width), dtype=np.uint8)
    for _ in range(int(rng.poisson(7 * share))):
        place, heading = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0, 2 * np.pi)
        thickness = int(rng.choice([1, 1, 1, 2, 3]))
        for _branch in range(int(rng.integers(1, 4))):
            turns = heading + np.cumsum(rng.normal(0, 0.28, int(rng.integers(8, 22))))
            steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * rng.uniform(4, 10)
            trace = place + np.cumsum(steps, axis=0)
            fixed = np.round(trace * 16).astype(np.int32)
            cv2.polylines(overlay, [fixed], False, int(rng.integers(90, 200)), thickness, cv2.LINE_AA, 4)
            place, heading = trace[int(rng.integers(len(trace)))], heading + rng.choice([-0.7, 0.7])
            thickness = max(1, thickness - 1)
    color = np.array([[120, 20, 24], [90, 30, 60], [150, 34, 30]])[rng.integers(3)]
    weight = cv2.GaussianBlur(overlay, (3, 3), 0).astype(np.float32) * np.float32(rng.uniform(0.3, 0.9) / 255)
    flat = np.empty_like(rgb)
    flat[:] = color
    rgb[:] = cv2.blendLinear(flat, rgb, weight, 1 - weight)


def tissue(
    rng: np.random.Generator, hw: tuple[int, int], palette: Palette, dome: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Make a piece of tissue.

    Args:
        rng: Source of chance.
        hw: Size in pixels.
        palette: Kind of tissue.
        dome: float32 ``(h, w)`` in [0, 1], large-scale height of an organ; None = flat with folds.

    Returns:
        uint8 ``(h, w, 3)`` and the small-scale height, float32 ``(h, w)``, about zero mean.
    """
    jitter = rng.normal(0, 10, 3) + rng.normal(0, 6, (len(palette.colors), 3))
    colors = np.array(palette.colors) * rng.uniform(0.85, 1.1) + jitter
    coarse = noise(rng, hw, Roughness.SMOOTH, rng.uniform(0.8, 2.2))
    bumps = noise(rng, hw, Roughness.MIDDLE, rng.uniform(0.5, 1.5))
    plane = unit(0.7 * coarse + 0.4 * bumps, palette.contrast)
    rgb = colorize(plane, colors)
    if rng.random() < palette.vessels:
        _draw_vessels(rng, rgb, palette.vessels)
    # Folds: the valleys where a smooth plane, drawn out along one axis, changes sign.
    drawn = (hw[0], max(8, int(hw[1] * rng.uniform(0.3, 1)))) if rng.random() < 0.5 else hw
    folds = cv2.resize(noise(rng, drawn, Roughness.SMOOTH, rng.uniform(1.0, 2.5)), (hw[1], hw[0]))
    valley = np.minimum(np.abs(folds) * rng.uniform(1.5, 4.0), 1)
    height = rng.uniform(0.1, 0.6) * bumps + rng.uniform(0.3, 2.0) * valley
    light = rng.uniform(0, 2 * np.pi)
    gain = relief(height, rng.uniform(0.05, 0.22), light)
    gain *= 1 - rng.choice([0.0, 0.25, 0.5]) * (1 - valley)
    if dome is not None:
        gain *= 0.55 + 0.6 * dome
    fine = noise(rng, hw, Roughness.ROUGH, 1.0)
    gain += rng.uniform(0.005, 0.03) * fine
    return shade(rgb, gain), height


def dome_of(alpha: np.ndarray, reach_px: float) -> np.ndarray:
    """Height of a rounded body with this silhouette: 0 at the rim, 1 from ``reach_px`` inwards."""
    distance = cv2.distanceTransform((alpha > 127).astype(np.uint8), cv2.DIST_L2, 3)
    share = np.minimum(distance / reach_px, 1.0)
    return np.sqrt(share * (2.0 - share))


def highlights(rng: np.random.Generator, height: np.ndarray, gloss: float, share: float = 0.006) -> np.ndarray:
    """Wet highlights, float32 ``(h, w)`` in [0, 1]: clusters of small spots drawn out along one direction."""
    hw = height.shape[:2]
    slope = cv2.Sobel(cv2.GaussianBlur(height, (0, 0), 1.5), cv2.CV_32F, 1, 1, ksize=3)
    stretch = rng.uniform(1.0, 3.5)
    long_hw = (hw[0], max(8, int(hw[1] / stretch)))
    if rng.random() < 0.5:
        long_hw = (max(8, int(hw[0] / stretch)), hw[1])
    streaks = cv2.resize(noise(rng, long_hw, Roughness.MIDDLE, rng.uniform(0.2, 0.45)), (hw[1], hw[0]))
    patch = noise(rng, hw, Roughness.SMOOTH, 0.8)
    score = 0.5 * slope / float(slope.std() + 1e-6) + streaks + 1.5 * patch
    limit = float(np.quantile(score[::4, ::4], 1 - share))
    return np.clip((score - limit) * rng.uniform(0.5, 1.6), 0, 1) * gloss


def _add_white(rgb: np.ndarray, spots: np.ndarray) -> np.ndarray:
    added = (spots * 235).astype(np.uint8)
    return cv2.add(rgb, cv2.merge([added, added, added]))


def organ(rng: np.random.Generator, radii_xy: tuple[float, float], palette: Palette) -> Sprite:
    """An organ as a sprite: rounded silhouette, dome shading, texture, highlights."""
    outline = blob_outline(rng, rng.uniform(0.1, 0.5))
    return body(rng, outline * radii_xy, palette)


def body(rng: np.random.Generator, outline: np.ndarray, palette: Palette) -> Sprite:
    """A rounded piece of tissue with this outline ``(n, 2)`` around the sprite's origin, in pixels."""
    low = outline.min(axis=0) - 3
    width, height = np.ceil(outline.max(axis=0) - low + 3).astype(int)
    alpha = fill_shape(outline - low, (int(height), int(width)))
    dome = dome_of(alpha, 0.35 * float(min(width, height)) * rng.uniform(0.5, 1.2))
    rgb, relief_height = tissue(rng, (int(height), int(width)), palette, dome)
    rgb = _add_white(rgb, highlights(rng, relief_height + dome, palette.gloss))
    return Sprite(np.dstack([rgb, alpha]), (float(-low[0]), float(-low[1])))


def tube(rng: np.random.Generator, length: float, width: float, palette: Palette) -> Sprite:
    """A vessel or duct: a bent band of tissue through the sprite's origin."""
    along = np.linspace(-0.5, 0.5, 24)
    bend = np.zeros(24)
    for order in (1, 2, 3):
        bend += rng.normal(0, 0.12 / order) * np.sin(2 * np.pi * order * along + rng.uniform(0, 2 * np.pi))
    half = 0.5 * width * (1 + 0.15 * np.sin(7 * along + rng.uniform(0, 6)))
    center = np.stack([along * length, bend * length], axis=1)
    side = np.stack([np.zeros(24), half], axis=1)
    return body(rng, np.concatenate([center + side, (center - side)[::-1]]), palette)


def tissue_background(
    rng: np.random.Generator, hw: tuple[int, int], style: Style, choices: tuple[Palette, ...]
) -> np.ndarray:
    """A whole scene of tissue of these palettes with several unlabelled regions, uint8 ``(h, w, 3)``."""
    palette = choices[rng.integers(len(choices))]
    rgb, height = tissue(rng, hw, palette)
    for _ in range(int(rng.integers(0, 4))):
        region = choices[rng.integers(len(choices))]
        radius = rng.uniform(0.2, 0.6) * hw[0]
        sprite = organ(rng, (radius * rng.uniform(0.7, 1.8), radius), region)
        _paste(rgb, sprite, rng.uniform(0, 1, 2) * (hw[1], hw[0]))
    if style is Style.COLONOSCOPIC:
        _draw_lumen(rng, rgb)
    if rng.random() < 0.3:
        _stain(rng, rgb, BLOOD if rng.random() < 0.7 else CHAR)
    return _add_white(rgb, highlights(rng, height, palette.gloss, rng.choice([0.001, 0.004, 0.012])))


def _paste(rgb: np.ndarray, sprite: Sprite, place_xy: np.ndarray) -> None:
    """Blend a sprite into a picture at whole pixels, with a soft dark rim around it, in place."""
    height, width = sprite.rgba.shape[:2]
    x, y = np.round(place_xy - sprite.origin_xy).astype(int)
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, rgb.shape[1]), min(y + height, rgb.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    patch = np.ascontiguousarray(sprite.rgba[y0 - y : y1 - y, x0 - x : x1 - x])
    weight = patch[:, :, 3].astype(np.float32) * np.float32(1 / 255)
    area = rgb[y0:y1, x0:x1]
    rim = 1 - 0.45 * cv2.GaussianBlur(weight, (0, 0), 4)
    area[:] = cv2.blendLinear(cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB), shade(area, rim), weight, 1 - weight)


def _stain(rng: np.random.Generator, rgb: np.ndarray, palette: Palette) -> None:
    """Cover irregular patches with another substance, in place."""
    hw = rgb.shape[:2]
    weight = np.clip((noise(rng, hw, Roughness.SMOOTH, 1.0) - rng.uniform(0.8, 1.6)) * 3, 0, 0.9)
    stained, _ = tissue(rng, hw, palette)
    rgb[:] = cv2.blendLinear(stained, rgb, weight, 1 - weight)


def _draw_lumen(rng: np.random.Generator, rgb: np.ndarray) -> None:
    """Darken the way ahead and ring it with folds, in place."""
    height, width = rgb.shape[:2]
    center = rng.uniform(0.3, 0.7, 2) * (width, height)
    y, x = np.ogrid[:height, :width]
    wobble = noise(rng, (height, width), Roughness.SMOOTH, 2.0)
    distance = np.hypot((x - center[0]) / height, (y - center[1]) / height) + 0.03 * wobble
    distance = np.maximum(distance, 0)
    folds = np.sin(9 * np.log(distance + 0.05)) * np.clip(distance, 0, 0.4)
    gain = np.clip(distance / rng.uniform(0.15, 0.4), 0.08, 1.0) * (1 + 0.5 * folds)
    rgb[:] = shade(rgb, gain.astype(np.float32))


def abstract_background(rng: np.random.Generator, hw: tuple[int, int]) -> np.ndarray:
    """Any background: a texture, perhaps littered with unlabelled shapes of other textures."""
    if rng.random() < 0.25:
        styles = tuple(PALETTES)
        style = styles[rng.integers(len(styles))]
        return tissue_background(rng, hw, style, PALETTES[style])
    rgb = random_texture(rng, hw)
    for _ in range(int(rng.integers(0, 7))):
        radius = rng.uniform(0.05, 0.4) * hw[0]
        outline = blob_outline(rng, rng.uniform(0, 0.9), int(rng.choice([3, 4, 6, 32])))
        outline *= radius * rng.uniform(0.4, 1.6, 2)
        place = rng.uniform(0, 1, 2) * (hw[1], hw[0])
        flat = rng.random() < 0.5
        texture = any_color(rng).astype(np.uint8) if flat else random_texture(rng, hw)
        weight = fill_shape(outline + place, hw).astype(np.float32) * np.float32(1 / 255)
        patch = np.broadcast_to(texture, rgb.shape).copy() if flat else texture
        rgb = cv2.blendLinear(patch, rgb, weight, 1 - weight)
    return rgb

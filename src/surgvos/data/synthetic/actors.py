"""Actors: what moves in a clip. Each knows its pose in every frame and draws itself onto a canvas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

import cv2
import numpy as np

from surgvos.data.synthetic.canvas import Canvas, Sprite, compose, line_kernel
from surgvos.data.synthetic.instruments import Instrument, Part
from surgvos.data.synthetic.motion import Deformation, ease, wander

Kind: TypeAlias = Literal["instrument", "anatomy", "shape"]


class Actor(Protocol):
    """Something that can be drawn.

    Attributes:
        object_id: 0 for an unlabelled occluder or distractor.
    """

    object_id: int
    category: str
    kind: Kind

    def draw(self, canvas: Canvas, camera: np.ndarray, frame: int) -> None:
        """Draw the actor of this frame, seen by ``camera`` (scene -> image)."""

    def points(self, frame: int) -> np.ndarray:
        """Where points all over it, the same in every frame, lie in the scene: ``(n, 2)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Pose in the scene for every frame.

    Attributes:
        place_xy: ``(num_frames, 2)``.
        angle: ``(num_frames,)`` radians.
        scale: ``(num_frames,)``.
        shutter: Share of the frame interval during which the exposure smears motion.
    """

    place_xy: np.ndarray
    angle: np.ndarray
    scale: np.ndarray
    shutter: float = 0.0

    def kernel(self, frame: int) -> np.ndarray | None:
        """Motion blur of this frame."""
        if self.shutter == 0 or len(self.place_xy) < 2:
            return None
        before, after = max(frame - 1, 0), min(frame + 1, len(self.place_xy) - 1)
        step = (self.place_xy[after] - self.place_xy[before]) / (after - before)
        return line_kernel(step * self.shutter)


@dataclass(slots=True, eq=False)
class SpriteActor:
    """One sprite that moves, turns, grows and sways."""

    object_id: int
    category: str
    kind: Kind
    sprite: Sprite
    path: Path
    sway: Deformation | None = None

    def draw(self, canvas: Canvas, camera: np.ndarray, frame: int) -> None:
        pose = self.sprite.pose(self.path.place_xy[frame], self.path.angle[frame], self.path.scale[frame])
        field = None if self.sway is None else self.sway.field(frame)
        canvas.draw(self.sprite, compose(camera, pose), self.object_id, Part.NONE, field, self.path.kernel(frame))

    def points(self, frame: int) -> np.ndarray:
        pose = self.sprite.pose(self.path.place_xy[frame], self.path.angle[frame], self.path.scale[frame])
        return self.sprite.points(pose, None if self.sway is None else self.sway.field(frame))


@dataclass(slots=True, eq=False)
class InstrumentActor:
    """An articulated instrument.

    Attributes:
        path: Of the end of the shaft.
        bend, opening, roll: ``(num_frames,)``; see `Instrument.poses`.
        shadow_xy: Where its shadow falls, in shaft widths away from it; None = no shadow.
    """

    object_id: int
    category: str
    kind: Kind
    instrument: Instrument
    path: Path
    bend: np.ndarray
    opening: np.ndarray
    roll: np.ndarray
    shadow_xy: np.ndarray | None = None

    def draw(self, canvas: Canvas, camera: np.ndarray, frame: int) -> None:
        if self.shadow_xy is not None:
            self._cast_shadow(canvas, camera, frame)
        kernel = self.path.kernel(frame)
        for sprite, matrix, part in self._posed(frame):
            shown = part if self.kind == "instrument" else Part.NONE
            canvas.draw(sprite, compose(camera, matrix), self.object_id, shown, kernel=kernel)

    def points(self, frame: int) -> np.ndarray:
        return np.concatenate([sprite.points(matrix) for sprite, matrix, _ in self._posed(frame)])

    def at_rest(self) -> InstrumentActor:
        """The same instrument, held all the time as it is in the first frame."""
        path = self.path
        place_xy, angle, scale, bend, opening, roll = (
            np.repeat(x[:1], len(x), axis=0)
            for x in (path.place_xy, path.angle, path.scale, self.bend, self.opening, self.roll)
        )
        held = Path(place_xy, angle, scale, path.shutter)
        return replace(self, path=held, bend=bend, opening=opening, roll=roll)

    def _posed(self, frame: int) -> list[tuple[Sprite, np.ndarray, Part]]:
        return self.instrument.poses(
            self.path.place_xy[frame],
            self.path.angle[frame],
            self.bend[frame],
            self.opening[frame],
            self.roll[frame],
            self.path.scale[frame],
        )

    def _cast_shadow(self, canvas: Canvas, camera: np.ndarray, frame: int) -> None:
        assert self.shadow_xy is not None
        scale, angle = self.path.scale[frame], self.path.angle[frame]
        forward = np.array([np.cos(angle), np.sin(angle)])
        width = self.instrument.width_px * scale
        base = self.path.place_xy[frame] + self.shadow_xy * width
        ends = np.stack(
            [base - forward * 2 * max(canvas.instances.shape), base + forward * 0.7 * self.instrument.tip_px * scale]
        )
        start, stop = ends @ camera[:, :2].T + camera[:, 2]
        canvas.darken(start, stop, width, 0.45)


@dataclass(slots=True, eq=False)
class StrandActor:
    """A thread, needle or snake: a stroke along a moving curve.

    Attributes:
        curves_xy: ``(num_frames, n, 2)`` scene points.
        thickness_px: Of the stroke.
        colors: uint8 ``(2, 3)``: of the stroke and of the lighter line along its middle.
    """

    object_id: int
    category: str
    kind: Kind
    curves_xy: np.ndarray
    thickness_px: int
    colors: np.ndarray

    def draw(self, canvas: Canvas, camera: np.ndarray, frame: int) -> None:
        height, width = canvas.instances.shape
        curve = self.curves_xy[frame] @ camera[:, :2].T + camera[:, 2]
        margin = self.thickness_px + 2
        x0, y0 = np.maximum(np.floor(curve.min(axis=0)).astype(int) - margin, 0)
        x1, y1 = np.minimum(np.ceil(curve.max(axis=0)).astype(int) + margin, (width, height))
        if x0 >= x1 or y0 >= y1:
            return
        fixed = [np.round((curve - (x0, y0)) * 16).astype(np.int32)]
        alpha = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.polylines(alpha, fixed, False, 255, self.thickness_px, cv2.LINE_AA, 4)
        color = np.empty((*alpha.shape, 3), np.uint8)
        color[:] = self.colors[0]
        if self.thickness_px > 1:
            light = tuple(int(c) for c in self.colors[1])
            cv2.polylines(color, fixed, False, light, max(1, self.thickness_px // 3), cv2.LINE_AA, 4)
        part = Part.WHOLE if self.kind == "instrument" else Part.NONE
        canvas.paint(color, alpha, (int(x0), int(y0)), self.object_id, part)

    def points(self, frame: int) -> np.ndarray:
        return self.curves_xy[frame]


def detour(rng: np.random.Generator, num_frames: int, plan: str) -> np.ndarray:
    """How far away an actor is, 0 (in its place) to 1 (gone), ``(num_frames,)``.

    Args:
        rng: Source of chance.
        num_frames: Length of the clip.
        plan: "stay"; "enter" (gone, then comes); "leave"; "return" (leaves and comes back).
    """
    time = np.arange(num_frames, dtype=float)
    last = num_frames - 1
    if plan == "stay" or last < 1:
        return np.zeros(num_frames)
    ramp = rng.uniform(0.4, 0.25 * last + 0.5)
    if plan == "enter":
        start = rng.uniform(0, 0.6) * last
        return 1 - ease(time, start, start + ramp)
    if plan == "leave":
        start = rng.uniform(0.1, 0.8) * last
        return ease(time, start, start + ramp)
    start = rng.uniform(0.05, 0.4) * last
    back = max(start + ramp, rng.uniform(0.5, 0.9) * last)
    return ease(time, start, start + ramp) * (1 - ease(time, back - 0.3, back - 0.3 + ramp))


def tool_path(
    rng: np.random.Generator,
    num_frames: int,
    image_hw: tuple[int, int],
    instrument: Instrument,
    *,
    speed: float,
    shutter: float,
    side: float,
    plan: str,
) -> Path:
    """Path of an instrument that pivots about a point outside the image.

    Args:
        rng: Source of chance.
        num_frames: Length of the clip.
        image_hw: Image size.
        instrument: Gives the lengths.
        speed: Pixels per frame.
        shutter: See `Path`.
        side: Direction from the centre of the image to the pivot, radians.
        plan: One of `detour`, or "insert" (only the tip, then the shaft follows) or "withdraw" (the reverse).
    """
    height, width = image_hw
    center = np.array([width / 2, height / 2])
    outward = np.array([np.cos(side), np.sin(side)])
    pivot = center + outward * rng.uniform(0.9, 2.2) * width + rng.normal(0, 0.12 * height, 2)
    goal = center + rng.uniform(-0.33, 0.33, 2) * (width, height)
    wandering = np.stack([wander(rng, num_frames, speed, 0.22 * height) for _ in range(2)], axis=1)
    tip = goal + wandering
    heading = tip - pivot
    heading /= np.hypot(heading[:, 0], heading[:, 1])[:, None]
    scale = np.exp(wander(rng, num_frames, speed * 0.008, 0.3) * rng.choice([0.3, 1.0]))
    reach = instrument.tip_px * scale
    # Distance from the tip back to where the shaft's axis leaves the image.
    with np.errstate(divide="ignore", invalid="ignore"):
        edges = np.where(heading > 0, tip, tip - (width - 1, height - 1)) / heading
    inside = np.clip(np.where(np.abs(heading) < 1e-6, np.inf, edges).min(axis=1), 0, 2 * width)
    if plan in ("insert", "withdraw"):
        shown = reach * rng.uniform(0.25, 1.15)
        start = rng.uniform(0, 0.3) * (num_frames - 1)
        progress = ease(np.arange(num_frames, dtype=float), start, start + max(num_frames * rng.uniform(0.4, 1), 1))
        if plan == "withdraw":
            progress = progress[::-1]
        away = (1 - progress) * np.maximum(inside - shown, 0)
    else:
        away = detour(rng, num_frames, plan) * (inside + 0.6 * instrument.width_px * scale + 4)
    base = tip - heading * (reach + away)[:, None]
    return Path(base, np.arctan2(heading[:, 1], heading[:, 0]), scale, shutter)


def roaming_path(
    rng: np.random.Generator,
    num_frames: int,
    image_hw: tuple[int, int],
    *,
    speed: float,
    shutter: float,
    turn: float,
    zoom: float,
    radius_px: float,
    plan: str,
) -> Path:
    """Path of a free body.

    Args:
        rng: Source of chance.
        num_frames: Length of the clip.
        image_hw: Image size.
        speed: Pixels per frame.
        shutter: See `Path`.
        turn: Radians per frame.
        zoom: Logarithm of the scale per frame.
        radius_px: Size of the body, which decides how far away "gone" is.
        plan: One of `detour`.
    """
    height, width = image_hw
    place = rng.uniform(0.12, 0.88, 2) * (width, height)
    place = place + np.stack([wander(rng, num_frames, speed, 0.25 * height) for _ in range(2)], axis=1)
    center = np.array([width / 2, height / 2])
    outward = place.mean(axis=0) - center
    outward /= np.hypot(*outward) + 1e-6
    gone = float(np.hypot(width, height)) / 2 + 2.2 * radius_px
    away = np.maximum(gone - (place - center) @ outward, 0) * detour(rng, num_frames, plan)
    place = place + outward * away[:, None]
    angle = rng.uniform(0, 2 * np.pi) + wander(rng, num_frames, turn, 1.5)
    return Path(place, angle, np.exp(wander(rng, num_frames, zoom, 0.4)), shutter)


def strand_curves(
    rng: np.random.Generator,
    num_frames: int,
    image_hw: tuple[int, int],
    *,
    length: float,
    bend: float,
    arc: float,
    speed: float,
) -> np.ndarray:
    """Curves of a strand that drifts and wriggles, ``(num_frames, 40, 2)``.

    Args:
        rng: Source of chance.
        num_frames: Length of the clip.
        image_hw: Image size.
        length: In pixels.
        bend: Typical swing of the direction along the strand, and of its wriggling, in radians.
        arc: Turn of a circular arc from end to end, in radians.
        speed: Pixels per frame.
    """
    height, width = image_hw
    share = np.linspace(0, 1, 40)
    heading = rng.uniform(0, 2 * np.pi) + wander(rng, num_frames, 0.01 * speed, 0.8)[:, None] + arc * share
    for order in (1, 2, 3):
        swing = rng.normal(0, bend / order) + wander(rng, num_frames, 0.02 * speed, 0.3 * bend, 1)
        heading = heading + swing[:, None] * np.sin(order * np.pi * share + rng.uniform(0, 6))
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=2) * (length / 40)
    curve = np.cumsum(steps, axis=1)
    place = rng.uniform(0.25, 0.75, 2) * (width, height)
    drift = np.stack([wander(rng, num_frames, speed, 0.2 * height) for _ in range(2)], axis=1)
    return curve - curve[:, 20:21] + place + drift[:, None]

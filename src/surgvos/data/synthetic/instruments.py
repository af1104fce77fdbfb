"""Instruments: designs by category, their sprites, and the kinematics of shaft, wrist and jaws.

An instrument's own frame has its origin at the end of the shaft and x towards the tip; the shaft lies along
negative x. Sizes are in shaft widths until they are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from surgvos.data.synthetic.canvas import Sprite
from surgvos.data.synthetic.noise import Roughness, any_color, noise, random_texture, shade
from surgvos.data.synthetic.tissue import Style, fill_shape


class Part(IntEnum):
    """Values of a clip's part map. ``JAWS`` is also the tip of a tool without jaws; ``WHOLE`` has no parts."""

    NONE = 0
    SHAFT = 1
    WRIST = 2
    JAWS = 3
    WHOLE = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """What an instrument of one category looks like.

    Attributes:
        category: Name used in phrases.
        styles: The clips it occurs in.
        width: Shaft width range as a share of the image height.
        wrist: Length range of the wrist in shaft widths; (0, 0) = none.
        num_jaws: 0 (a probe or tube), 1 (a hook or blade) or 2.
        jaw_length: Range in shaft widths.
        jaw_width: Range of the width at the root of one jaw in shaft widths.
        jaw_tip: Width at the tip over the width at the root.
        curve: Sideways bend of the tip as a share of the length (range).
        spread: Largest half opening in radians.
        fenestrated: Probability of a window in the jaws.
        dark_tip: Probability of blackened jaws.
        colors: RGB of the shaft, of the wrist and of the jaws by which the category is recognised. Makers mark their
            tools so; these are nobody's own.
    """

    category: str
    styles: tuple[Style, ...]
    width: tuple[float, float]
    wrist: tuple[float, float] = (0.0, 0.0)
    num_jaws: int = 2
    jaw_length: tuple[float, float] = (1.2, 2.2)
    jaw_width: tuple[float, float] = (0.25, 0.4)
    jaw_tip: float = 0.5
    curve: tuple[float, float] = (-0.05, 0.1)
    spread: float = 0.5
    fenestrated: float = 0.0
    dark_tip: float = 0.1
    colors: tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]


_ROBOT = (Style.ROBOTIC, Style.EX_VIVO)
_LAP = (Style.LAPAROSCOPIC,)
_BOTH = (*_ROBOT, *_LAP)
_WIDE = (0.10, 0.26)
_NARROW = (0.07, 0.17)

DESIGNS: tuple[Design, ...] = (
    Design(category="needle driver", styles=_BOTH, width=_WIDE, wrist=(0.8, 1.8), jaw_length=(0.8, 1.3),
           jaw_width=(0.28, 0.42), jaw_tip=0.6, spread=0.5,
           colors=((34, 34, 36), (214, 168, 60), (214, 168, 60))),
    Design(category="bipolar forceps", styles=_BOTH, width=_WIDE, wrist=(0.8, 1.6), jaw_length=(1.3, 2.2),
           jaw_width=(0.26, 0.38), jaw_tip=0.45, curve=(0.0, 0.12), fenestrated=0.6, spread=0.6,
           colors=((44, 74, 160), (70, 110, 190), (150, 160, 176))),
    Design(category="prograsp forceps", styles=_ROBOT, width=_WIDE, wrist=(0.8, 1.6), jaw_length=(1.2, 2.0),
           jaw_width=(0.28, 0.42), jaw_tip=0.7, fenestrated=0.9, spread=0.7,
           colors=((20, 110, 104), (40, 150, 140), (150, 176, 172))),
    Design(category="cadiere forceps", styles=_ROBOT, width=_WIDE, wrist=(0.8, 1.6), jaw_length=(1.3, 2.0),
           jaw_width=(0.26, 0.36), jaw_tip=0.8, fenestrated=1.0, spread=0.6,
           colors=((110, 66, 36), (150, 92, 50), (190, 130, 84))),
    Design(category="monopolar curved scissors", styles=_ROBOT, width=_WIDE, wrist=(1.0, 1.9),
           jaw_length=(1.0, 1.7), jaw_width=(0.2, 0.32), jaw_tip=0.2, curve=(0.08, 0.25), dark_tip=0.3, spread=0.5,
           colors=((226, 110, 26), (236, 120, 30), (60, 60, 64))),
    Design(category="vessel sealer", styles=_BOTH, width=(0.12, 0.26), wrist=(0.6, 1.2), jaw_length=(1.4, 2.2),
           jaw_width=(0.3, 0.45), jaw_tip=0.75, curve=(0.0, 0.1), dark_tip=0.6, spread=0.4,
           colors=((110, 64, 150), (120, 70, 160), (60, 50, 90))),
    Design(category="grasping retractor", styles=_ROBOT, width=_WIDE, wrist=(0.8, 1.4), jaw_length=(2.0, 3.0),
           jaw_width=(0.2, 0.32), jaw_tip=0.8, fenestrated=0.8, spread=0.5,
           colors=((70, 130, 60), (110, 170, 90), (176, 190, 170))),
    Design(category="ultrasound probe", styles=_ROBOT, width=(0.14, 0.26), num_jaws=0,
           jaw_length=(1.5, 2.5), jaw_width=(0.9, 1.2), jaw_tip=0.9, dark_tip=0.5,
           colors=((214, 214, 208), (40, 120, 200), (30, 60, 120))),
    Design(category="grasper", styles=_LAP, width=_NARROW, wrist=(0.2, 0.6), jaw_length=(1.4, 3.0),
           jaw_width=(0.26, 0.42), jaw_tip=0.6, fenestrated=0.5, spread=0.5,
           colors=((176, 176, 178), (20, 110, 104), (40, 160, 150))),
    Design(category="scissors", styles=_LAP, width=_NARROW, wrist=(0.2, 0.6), jaw_length=(1.2, 2.2),
           jaw_width=(0.22, 0.34), jaw_tip=0.2, curve=(0.05, 0.25), spread=0.45,
           colors=((176, 176, 178), (236, 120, 30), (226, 110, 26))),
    Design(category="hook", styles=_LAP, width=(0.05, 0.14), num_jaws=1, jaw_length=(0.9, 1.8),
           jaw_width=(0.2, 0.3), jaw_tip=0.7, curve=(0.5, 0.8), dark_tip=0.4,
           colors=((226, 200, 40), (236, 210, 40), (60, 60, 64))),
    Design(category="clip applier", styles=_BOTH, width=_WIDE, wrist=(0.3, 0.9), jaw_length=(1.0, 1.7),
           jaw_width=(0.2, 0.3), jaw_tip=1.0, curve=(-0.05, 0.0), spread=0.35,
           colors=((220, 80, 140), (230, 90, 150), (220, 130, 170))),
    Design(category="stapler", styles=_BOTH, width=(0.16, 0.3), wrist=(0.3, 0.6), jaw_length=(2.5, 4.0),
           jaw_width=(0.42, 0.5), jaw_tip=0.85, curve=(0.0, 0.02), spread=0.3,
           colors=((100, 104, 110), (214, 214, 208), (214, 214, 208))),
    Design(category="suction tube", styles=_BOTH, width=(0.04, 0.1), num_jaws=0,
           jaw_length=(1.0, 2.5), jaw_width=(0.9, 1.0), jaw_tip=0.95,
           colors=((90, 200, 220), (90, 200, 220), (60, 150, 170))),
    Design(category="forceps", styles=(Style.OPHTHALMIC,), width=(0.04, 0.09), jaw_length=(3.0, 6.0),
           jaw_width=(0.28, 0.4), jaw_tip=0.25, spread=0.15,
           colors=((40, 90, 200), (40, 90, 200), (90, 140, 230))),
    Design(category="phacoemulsification handpiece", styles=(Style.OPHTHALMIC,), width=(0.08, 0.16), num_jaws=0,
           jaw_length=(1.5, 3.0), jaw_width=(0.5, 0.9), jaw_tip=0.25,
           colors=((120, 122, 128), (120, 122, 128), (214, 214, 208))),
    Design(category="cannula", styles=(Style.OPHTHALMIC,), width=(0.02, 0.06), num_jaws=0,
           jaw_length=(3.0, 8.0), jaw_width=(0.4, 0.7), jaw_tip=0.5,
           colors=((110, 190, 90), (110, 190, 90), (110, 190, 90))),
    Design(category="knife", styles=(Style.OPHTHALMIC,), width=(0.03, 0.07), num_jaws=1, jaw_length=(1.5, 3.5),
           jaw_width=(0.7, 1.1), jaw_tip=0.05,
           colors=((236, 210, 40), (236, 210, 40), (176, 176, 178))),
    Design(category="iris hook", styles=(Style.OPHTHALMIC,), width=(0.02, 0.05), num_jaws=1, jaw_length=(2.0, 4.0),
           jaw_width=(0.4, 0.6), jaw_tip=0.5, curve=(0.2, 0.5),
           colors=((230, 90, 150), (230, 90, 150), (120, 70, 160))),
    Design(category="snare", styles=(Style.COLONOSCOPIC,), width=(0.05, 0.12), num_jaws=2, jaw_length=(2.5, 5.0),
           jaw_width=(0.14, 0.2), jaw_tip=0.8, curve=(-0.3, -0.15), spread=0.35,
           colors=((40, 90, 200), (40, 90, 200), (236, 210, 40))),
    Design(category="biopsy forceps", styles=(Style.COLONOSCOPIC,), width=(0.06, 0.14), wrist=(0.2, 0.5),
           jaw_length=(0.8, 1.3), jaw_width=(0.4, 0.5), jaw_tip=0.6, curve=(-0.1, 0.0), spread=0.8,
           colors=((236, 120, 30), (176, 176, 178), (176, 176, 178))),
    Design(category="injection needle", styles=(Style.COLONOSCOPIC,), width=(0.05, 0.1), num_jaws=0,
           jaw_length=(1.5, 3.0), jaw_width=(0.3, 0.4), jaw_tip=0.3,
           colors=((110, 190, 90), (110, 190, 90), (214, 214, 208))),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    """An instrument ready to be posed.

    Attributes:
        category: Name of its design.
        width_px: Shaft width.
        tip_px: Length from the end of the shaft to the tip, jaws closed.
        shaft, wrist, jaws: Sprites; the jaws are drawn in their order and mirrored in turn.
        joints_px: x of the wrist's second segment and of the jaws' pivot, in the previous part's frame.
        spread: Largest half opening in radians.
        recognisable: Whether it bears the colours of its category.
    """

    category: str
    width_px: float
    tip_px: float
    shaft: Sprite
    wrist: tuple[Sprite, ...]
    jaws: tuple[Sprite, ...]
    joints_px: tuple[float, float]
    spread: float
    recognisable: bool

    def poses(
        self, base_xy: np.ndarray, angle: float, bend: float, opening: float, roll: float, scale: float
    ) -> list[tuple[Sprite, np.ndarray, Part]]:
        """Sprites with their matrices and parts, back to front.

        Args:
            base_xy: Where the shaft ends.
            angle: Direction of the shaft towards the tip, radians.
            bend: Angle of the wrist, and again of the jaws, radians.
            opening: 0 closed to 1 fully open.
            roll: Rotation about the own axis, radians: it foreshortens the opening and the wrist.
            scale: Size.
        """
        posed: list[tuple[Sprite, np.ndarray, Part]] = []
        flat = 0.72 + 0.28 * abs(float(np.cos(roll)))
        place, heading = np.asarray(base_xy, float), angle
        for sprite, reach in zip(self.wrist, self.joints_px, strict=False):
            posed.append((sprite, sprite.pose(place, heading, scale, flat), Part.WRIST))
            place = place + reach * scale * np.array([np.cos(heading), np.sin(heading)])
            heading += bend
        half = self.spread * opening * float(np.cos(roll))
        jaws: list[tuple[Sprite, np.ndarray, Part]] = []
        if len(self.jaws) == 2:
            jaws.append((self.jaws[0], self.jaws[0].pose(place, heading + half, scale, 1.0), Part.JAWS))
            jaws.append((self.jaws[1], self.jaws[1].pose(place, heading - half, scale, -1.0), Part.JAWS))
        else:
            jaws = [
                (jaw, jaw.pose(place, heading, scale, np.sign(np.cos(roll)) or 1.0), Part.JAWS) for jaw in self.jaws
            ]
        shaft = (self.shaft, self.shaft.pose(np.asarray(base_xy, float), angle, scale), Part.SHAFT)
        return [*jaws, *posed[::-1], shaft] if self.wrist else [*jaws, shaft]


_METALS = np.array([[150, 152, 156], [176, 176, 178], [120, 122, 128], [168, 158, 140], [96, 98, 104]], float)


def _metal(rng: np.random.Generator, hw: tuple[int, int], color: np.ndarray) -> np.ndarray:
    """Brushed or machined metal: bright and dark lengthwise bands, blotches and glints."""
    height, width = hw
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    profile = 0.62 + 0.45 * np.sqrt(np.clip(1 - v * v, 0, 1))
    for _ in range(int(rng.integers(1, 4))):
        center, spread = rng.uniform(-0.7, 0.7), rng.uniform(0.06, 0.3)
        profile = profile + rng.choice([-0.45, 0.5, 0.8]) * np.exp(-(((v - center) / spread) ** 2))
    blotch = noise(rng, hw, Roughness.MIDDLE, rng.uniform(0.15, 0.5))
    gain = profile * (1 + rng.uniform(0.05, 0.3) * blotch)
    gain = np.clip(gain, 0.12, 2.0).astype(np.float32)
    flat = np.empty((height, width, 3), np.uint8)
    flat[:] = np.clip(color, 0, 255)
    return shade(flat, gain)


@dataclass(frozen=True, slots=True, eq=False)
class _Finish:
    """Colours shared by the parts of one instrument."""

    shaft: np.ndarray
    metal: np.ndarray
    jaw: np.ndarray
    shaft_is_metal: bool
    texture: np.ndarray | None


def _surface(rng: np.random.Generator, hw: tuple[int, int], color: np.ndarray, finish: _Finish) -> np.ndarray:
    """The arbitrary texture of an abstract tool, or metal of this colour."""
    if finish.texture is None:
        return _metal(rng, hw, color)
    return cv2.resize(finish.texture, (hw[1], hw[0]))


def _smear(rng: np.random.Generator, sprite: Sprite) -> Sprite:
    """Stain a sprite with blood in irregular patches."""
    hw = sprite.rgba.shape[:2]
    weight = np.clip((noise(rng, hw, Roughness.MIDDLE, 0.7) - rng.uniform(0.0, 1.0)) * 2, 0, 0.85)
    blood = np.empty((*hw, 3), np.uint8)
    blood[:] = (rng.uniform(70, 170), rng.uniform(0, 30), rng.uniform(0, 26))
    stained = cv2.blendLinear(blood, np.ascontiguousarray(sprite.rgba[:, :, :3]), weight, 1 - weight)
    return Sprite(np.dstack([stained, sprite.rgba[:, :, 3]]), sprite.origin_xy)


def _shaft_color(rng: np.random.Generator, style: Style) -> tuple[np.ndarray, bool]:
    """A shaft colour and whether it shines like metal."""
    draw = rng.random()
    dark = np.full(3, rng.uniform(4, 60)) + rng.normal(0, 3, 3)
    if style in (Style.ROBOTIC, Style.EX_VIVO):
        if draw < 0.72:
            return dark, False
        return (np.full(3, rng.uniform(60, 120)), False) if draw < 0.86 else (_METALS[rng.integers(5)], True)
    if draw < 0.35:
        return dark, False
    if draw < 0.75:
        return _METALS[rng.integers(5)] + rng.normal(0, 8, 3), True
    if draw < 0.85:
        return np.array([200, 200, 196]) + rng.normal(0, 12, 3), False
    return any_color(rng), False


def _shaft_sprite(rng: np.random.Generator, width: float, length: float, finish: _Finish) -> Sprite:
    rows, columns = int(np.ceil(width)) + 4, int(np.ceil(length)) + 4
    v = ((np.arange(rows, dtype=np.float32) - (rows - 1) / 2) / (width / 2))[:, None]
    if finish.texture is not None:
        rgb = cv2.resize(finish.texture, (columns, rows))
    elif finish.shaft_is_metal:
        rgb = _metal(rng, (rows, columns), finish.shaft)
    else:
        rgb = np.empty((rows, columns, 3), np.uint8)
        rgb[:] = np.clip(finish.shaft, 0, 255)
    gain = 0.55 + 0.55 * np.sqrt(np.clip(1 - (v + rng.uniform(-0.3, 0.3)) ** 2, 0, 1))
    gain = np.repeat(gain, columns, axis=1)
    if rng.random() < 0.3:  # woven or grooved surface
        x = np.arange(columns, dtype=np.float32)
        gain *= 1 + rng.uniform(0.03, 0.2) * np.sin(x * rng.uniform(0.6, 2.2) + v * rng.uniform(-3, 3))
    gain *= 1 + rng.uniform(0.02, 0.12) * noise(rng, (rows, columns), Roughness.ROUGH, 0.6)
    gain *= np.linspace(rng.uniform(0.5, 1.1), 1.0, columns, dtype=np.float32)
    rgb = shade(rgb, gain.astype(np.float32))
    _draw_marks(rng, rgb)
    gloss = np.zeros((rows, 1), np.float32)
    for _ in range(int(rng.integers(0, 3))):
        line = np.exp(-(((v - rng.uniform(-0.8, 0.8)) / rng.uniform(0.06, 0.3)) ** 2))
        gloss += rng.choice([10, 30, 90]) * rng.random() * line
    flicker = np.clip(1 + 0.5 * noise(rng, (1, columns), Roughness.MIDDLE, 1.0), 0, 2)
    glow = np.clip(gloss * flicker, 0, 255).astype(np.uint8)
    rgb = cv2.add(rgb, cv2.merge([glow, glow, glow]))
    top = (rows - 1) / 2 - width / 2
    outline = np.array([[2, top], [columns - 3, top], [columns - 3, top + width], [2, top + width]])
    return Sprite(np.dstack([rgb, fill_shape(outline, (rows, columns))]), (columns - 4.0, (rows - 1) / 2))


def _draw_marks(rng: np.random.Generator, rgb: np.ndarray) -> None:
    """Rings, bands and lettering on a shaft, in place; the tip is on the right."""
    rows, columns = rgb.shape[:2]
    if rng.random() < 0.5:
        tone = any_color(rng) if rng.random() < 0.3 else np.full(3, rng.choice([12, 60, 150, 215]))
        end = columns - rng.uniform(0, 1.5) * rows
        for _ in range(int(rng.integers(1, 4))):
            start = end - rng.choice([0.06, 0.15, 0.5]) * rows
            band = rgb[:, max(int(start), 0) : max(int(end), 0) + 1]
            band[:] = (0.25 * band + 0.75 * tone).astype(np.uint8)
            end = start - rng.uniform(0.1, 0.8) * rows
    if rng.random() < 0.12 and rows > 14:
        letters = "".join(rng.choice(list("ABCEHKLMNORSTUVX358"), int(rng.integers(2, 7))))
        place = (int(columns - rng.uniform(2.5, 6) * rows), int(0.7 * rows))
        ink = int(rng.choice([150, 235]))
        cv2.putText(rgb, letters, place, 0, rows / 45, (ink, ink, ink), max(1, rows // 16), cv2.LINE_AA)


def _wrist_sprite(rng: np.random.Generator, length: float, width: float, finish: _Finish) -> Sprite:
    """One clevis: tapering metal with pins, slots and cables, from x = 0 to ``length``."""
    margin = 3
    root = 0.35 * width  # it reaches back under the previous part
    rows, columns = int(np.ceil(width)) + 2 * margin, int(np.ceil(length + 1.3 * root)) + 2 * margin
    rgb = _surface(rng, (rows, columns), finish.metal, finish)
    middle, x0 = (rows - 1) / 2, margin + root
    for _ in range(int(rng.integers(1, 4))):  # cables and slots
        y = middle + rng.uniform(-0.4, 0.4) * width
        ends = np.round(np.array([x0 - root, y, x0 + length, middle + 0.7 * (y - middle)]) * 16).astype(int)
        tone = int(rng.choice([18, 40, 225]))
        thick = max(1, int(rng.uniform(0.03, 0.14) * width))
        cv2.line(rgb, (ends[0], ends[1]), (ends[2], ends[3]), (tone, tone, tone), thick, cv2.LINE_AA, 4)
    for x in (x0 + rng.uniform(0.1, 0.5) * length, x0 + length):  # pins and holes
        radius = rng.uniform(0.1, 0.26) * width
        at = (int(x * 16), int((middle + rng.uniform(-0.1, 0.1) * width) * 16))
        tone = int(rng.choice([14, 36, 120]))
        cv2.circle(rgb, at, int(radius * 16), (tone, tone, tone), -1, cv2.LINE_AA, 4)
        cv2.circle(rgb, at, int(radius * 16), (225, 225, 228), 1, cv2.LINE_AA, 4)
    for _ in range(int(rng.integers(1, 5))):  # glints
        at = (int(rng.uniform(x0, x0 + length)), int(middle + rng.uniform(-0.4, 0.4) * width))
        axes = (int(rng.uniform(1, 1 + 0.15 * width)), int(rng.uniform(1, 1 + 0.05 * width)))
        cv2.ellipse(rgb, at, axes, float(rng.uniform(-30, 30)), 0, 360, (250, 250, 250), -1, cv2.LINE_AA)
    tip = rng.uniform(0.55, 0.9)
    stations = np.array([-root, 0.0, 0.35 * length, length, length + 0.3 * root])
    half = width / 2 * np.array([0.9, 1.0, rng.uniform(0.75, 1.0), tip, 0.6 * tip])
    upper = np.stack([x0 + stations, middle - half], axis=1)
    lower = np.stack([x0 + stations, middle + half], axis=1)
    alpha = fill_shape(np.concatenate([upper, lower[::-1]]), (rows, columns))
    return Sprite(np.dstack([rgb, alpha]), (x0, middle))


def _jaw_sprite(
    rng: np.random.Generator, length: float, width: float, design: Design, curve: float, finish: _Finish
) -> Sprite:
    """One jaw from its pivot at x = 0 to the tip; its inner edge is on the side of negative y."""
    share = np.linspace(0, 1, 14)
    center = curve * length * share**2
    half = 0.5 * width * (1 - (1 - design.jaw_tip) * share ** rng.uniform(0.9, 2.5))
    half *= np.sqrt(np.clip(1 - np.clip((share - 0.9) / 0.1, 0, 1) ** 2, 0.02, 1))
    inner = center if design.num_jaws == 2 else center - half
    outer = center + (2 * half if design.num_jaws == 2 else half)
    x = share * length
    margin, root = 3, 0.3 * width
    top = min(inner.min(), outer.min(), -0.5 * width) - margin
    rows = int(np.ceil(max(inner.max(), outer.max(), 0.5 * width) - top)) + margin
    columns = int(np.ceil(length + root)) + 2 * margin
    x0 = margin + root
    rgb = _surface(rng, (rows, columns), finish.jaw, finish)
    first = np.array([[-root, inner[0] - 0.2 * width], [-root, outer[0]]])
    outline = np.concatenate([first[:1], np.stack([x, inner], 1), np.stack([x, outer], 1)[::-1], first[1:]])
    alpha = fill_shape(outline + np.array([x0, -top]), (rows, columns))
    if rng.random() < 0.5:  # teeth along the inner edge
        pitch = max(2.0, rng.uniform(0.08, 0.2) * width * 2)
        for tooth in np.arange(0.2 * length, 0.95 * length, pitch):
            y = float(np.interp(tooth, x, inner)) - top
            ends = (int((x0 + tooth) * 16), int(y * 16), int((y + 0.25 * width) * 16))
            cv2.line(rgb, (ends[0], ends[1]), (ends[0], ends[2]), (25, 25, 28), 1, cv2.LINE_AA, 4)
    if rng.random() < design.fenestrated and width > 5:
        at = (int((x0 + 0.55 * length) * 16), int((np.interp(0.55, share, (inner + outer) / 2) - top) * 16))
        axes = (int(rng.uniform(0.15, 0.3) * length * 16), int(rng.uniform(0.14, 0.24) * width * 16))
        angle = float(np.degrees(np.arctan(curve)))
        cv2.ellipse(alpha, at, axes, angle, 0, 360, 0, -1, cv2.LINE_AA, 4)
    return Sprite(np.dstack([rgb, alpha]), (x0, -top))


def make_instrument(
    rng: np.random.Generator,
    design: Design,
    style: Style,
    image_hw: tuple[int, int],
    *,
    tint: np.ndarray | None = None,
    recognisable: bool = False,
) -> Instrument:
    """Build the sprites of one instrument.

    Args:
        rng: Source of chance.
        design: Category.
        style: Clip style, which decides the finish; ABSTRACT gives arbitrary textures.
        image_hw: Image size that widths refer to.
        tint: RGB that the finish is drawn towards (blood, or a tool that nears the tissue's colour).
        recognisable: Whether it bears the colours of its category, whatever the tint.
    """
    width = rng.uniform(*design.width) * image_hw[0]
    shaft, is_metal = _shaft_color(rng, style)
    metal = _METALS[rng.integers(5)] * rng.uniform(0.7, 1.25) + rng.normal(0, 5, 3)
    jaw = np.full(3, rng.uniform(15, 70)) if rng.random() < design.dark_tip else metal * rng.uniform(0.8, 1.2)
    if tint is not None:
        mix = rng.uniform(0.3, 0.8)
        shaft, metal, jaw = ((1 - mix) * c + mix * tint for c in (shaft, metal, jaw))
    if recognisable:
        shaft, metal, jaw = (np.array(color) * rng.uniform(0.85, 1.15) for color in design.colors)
        is_metal = float(shaft.mean()) > 90
    texture = random_texture(rng, (64, 96)) if style is Style.ABSTRACT else None
    finish = _Finish(shaft, metal, jaw, is_metal, texture)
    shaft_sprite = _shaft_sprite(rng, width, 1.6 * max(image_hw), finish)
    wrist_length = rng.uniform(*design.wrist) * width
    wrist: tuple[Sprite, ...] = ()
    joints = (0.0, 0.0)
    if wrist_length > 0.7 * width:
        split = rng.uniform(0.45, 0.6)
        joints = (split * wrist_length, (1 - split) * wrist_length)
        wrist = (
            _wrist_sprite(rng, joints[0], width * rng.uniform(0.9, 1.08), finish),
            _wrist_sprite(rng, joints[1], width * rng.uniform(0.65, 0.85), finish),
        )
    elif wrist_length > 0:
        joints = (wrist_length, 0.0)
        wrist = (_wrist_sprite(rng, wrist_length, width * rng.uniform(0.75, 0.95), finish),)
    length = rng.uniform(*design.jaw_length) * width
    root = rng.uniform(*design.jaw_width) * width
    curve = rng.uniform(*design.curve)
    # The second jaw is drawn mirrored: pointed blades curve the same way, grasping jaws towards each other.
    bends = (curve, -curve if design.jaw_tip < 0.3 else curve)[: max(design.num_jaws, 1)]
    jaws = tuple(_jaw_sprite(rng, length, root, design, bend, finish) for bend in bends)
    if style is not Style.ABSTRACT and rng.random() < 0.2:
        shaft_sprite = _smear(rng, shaft_sprite)
        wrist, jaws = (tuple(_smear(rng, sprite) for sprite in group) for group in (wrist, jaws))
    return Instrument(
        design.category, width, sum(joints) + length, shaft_sprite, wrist, jaws, joints, design.spread, recognisable
    )

"""Casting: which actors a clip gets, where they start and how they move."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import cv2
import numpy as np

from surgvos.data.synthetic.actors import (
    Actor,
    InstrumentActor,
    Kind,
    Path,
    SpriteActor,
    StrandActor,
    roaming_path,
    strand_curves,
    tool_path,
)
from surgvos.data.synthetic.canvas import Sprite
from surgvos.data.synthetic.config import SceneConfig
from surgvos.data.synthetic.instruments import DESIGNS, Instrument, make_instrument
from surgvos.data.synthetic.motion import Deformation, log_uniform, wander
from surgvos.data.synthetic.noise import any_color, random_texture
from surgvos.data.synthetic.tissue import (
    BLOOD,
    BOWEL,
    FAT,
    GALLBLADDER,
    LIVER,
    MUCOSA,
    MUSCLE,
    PALE_MUCOSA,
    PALETTES,
    PERITONEUM,
    SCLERA,
    Palette,
    Style,
    blob_outline,
    body,
    fill_shape,
    organ,
    tube,
)

_IRISES = (
    Palette(((50, 36, 30), (96, 72, 54), (130, 106, 76)), 1.0, 0.0, 0.5),
    Palette(((60, 80, 90), (110, 134, 140), (160, 176, 176)), 1.0, 0.0, 0.5),
    Palette(((60, 66, 40), (110, 112, 76), (160, 150, 110)), 1.0, 0.0, 0.5),
)
_PUPILS = (
    Palette(((60, 8, 4), (120, 24, 10), (190, 70, 30)), 0.8, 0.0, 0.6),
    Palette(((4, 4, 6), (20, 18, 20), (50, 40, 40)), 0.8, 0.0, 0.6),
    Palette(((90, 80, 70), (160, 150, 136), (206, 200, 190)), 0.9, 0.0, 0.6),
)
_VESSEL = Palette(((110, 16, 24), (160, 40, 44), (190, 80, 76)), 0.7, 0.0, 0.9)
_VEIN = Palette(((50, 30, 60), (90, 60, 90), (130, 100, 120)), 0.7, 0.0, 0.9)

_CLEAR_LOOKS = {
    "gallbladder": Palette(((50, 90, 40), (90, 140, 70), (140, 184, 110)), 0.7, 0.3),
    "cystic duct": Palette(((50, 90, 40), (90, 140, 70), (140, 184, 110)), 0.7, 0.0, 0.9),
    "kidney": Palette(((110, 56, 30), (160, 90, 50), (190, 120, 80)), 0.7, 0.0, 0.6),
    "peritoneum": Palette(((160, 150, 150), (206, 196, 196), (236, 230, 230)), 0.8, 0.6),
    "ureter": Palette(((190, 180, 130), (222, 214, 170), (240, 236, 206)), 0.7, 0.0, 0.9),
}
"""Where each category shall be recognised: looks of those that are otherwise much alike."""

_ANATOMY: dict[Style, tuple[tuple[str, tuple[Palette, ...], str], ...]] = {
    Style.ROBOTIC: (
        ("bowel", (BOWEL,), "organ"), ("fat", (FAT,), "organ"), ("kidney", (MUSCLE, LIVER), "organ"),
        ("vessel", (_VESSEL, _VEIN), "tube"), ("peritoneum", (PERITONEUM,), "organ"), ("ureter", (PERITONEUM,), "tube"),
    ),
    Style.LAPAROSCOPIC: (
        ("liver", (LIVER,), "organ"), ("gallbladder", (GALLBLADDER,), "organ"), ("fat", (FAT,), "organ"),
        ("vessel", (_VESSEL, _VEIN), "tube"), ("cystic duct", (GALLBLADDER,), "tube"), ("bowel", (BOWEL,), "organ"),
    ),
    Style.EX_VIVO: (("bowel", (BOWEL,), "organ"), ("fat", (FAT,), "organ"), ("vessel", (_VESSEL,), "tube")),
    Style.OPHTHALMIC: (),
    Style.COLONOSCOPIC: (("polyp", (MUCOSA, PALE_MUCOSA), "organ"), ("fold", (MUCOSA, PALE_MUCOSA), "tube")),
}  # fmt: skip


def organs_like(palettes: Collection[Palette]) -> frozenset[str]:
    """Categories of organs that tissue of these palettes may be taken for."""
    return frozenset(
        category
        for anatomy in _ANATOMY.values()
        for category, own, form in anatomy
        if form == "organ" and not set(own).isdisjoint(palettes)
    )


@dataclass(slots=True)
class Cast:
    """The actors of a clip, back to front.

    Attributes:
        actors: In drawing order.
        names: Object id -> nouns for phrases, from the most special to the most general.
        palettes: Of the categories of organs among them.
    """

    actors: list[Actor] = field(default_factory=list)
    names: dict[int, tuple[str, ...]] = field(default_factory=dict)
    palettes: set[Palette] = field(default_factory=set)

    def next_id(self, *names: str) -> int:
        """Reserve the next object id for something that goes by these nouns."""
        object_id = len(self.names) + 1
        self.names[object_id] = names
        return object_id


def _plan(rng: np.random.Generator, config: SceneConfig, tool: bool) -> str:
    """How an actor comes and goes."""
    draw = rng.random()
    choices = [("return", config.reentry), ("enter", config.late_entry), ("leave", config.exit)]
    if tool:
        choices += [("insert", config.insertion), ("withdraw", config.insertion / 4)]
    for plan, share in choices:
        if draw < share:
            return plan
        draw -= share
    return "stay"


def _speed(rng: np.random.Generator, config: SceneConfig) -> float:
    unit_px = config.image_hw[0] / 192
    return log_uniform(rng, *config.object_speed_px) * unit_px


def _count(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))


def unlabelled_palettes(config: SceneConfig, style: Style, cast: Cast) -> tuple[Palette, ...]:
    """What tissue that bears no label may look like."""
    unlike = cast.palettes if config.recognisable else ()
    return tuple(palette for palette in PALETTES[style] if palette not in unlike) or PALETTES[style]


def cast_surgical(rng: np.random.Generator, config: SceneConfig, style: Style, shutter: float) -> Cast:
    """Organs, vessels, instruments, strands and occluders of a clip that looks surgical."""
    cast = Cast()
    if style is Style.OPHTHALMIC:
        _add_eye(rng, config, cast)
    for _ in range(_count(rng, config.num_anatomy) if _ANATOMY[style] else 0):
        _add_anatomy(rng, config, cast, style)
    most = min(config.num_instruments[1], 2 if style in (Style.OPHTHALMIC, Style.COLONOSCOPIC) else 9)
    lowest, most = min(config.num_instruments[0], most), most
    # Few tools are more common than many.
    num_tools = lowest + int((most - lowest + 1) * rng.random() ** 2.0)
    side = rng.uniform(0, 2 * np.pi)
    twin: Instrument | None = None
    for _ in range(num_tools):
        side += rng.uniform(0.6, 2.4)
        tool = twin if twin is not None and rng.random() < config.twins else _make_tool(rng, config, style)
        twin = tool
        nouns = (tool.category, "instrument")
        object_id = cast.next_id(*(nouns if tool.recognisable or not config.recognisable else nouns[1:]))
        cast.actors.append(_tool_actor(rng, config, object_id, "instrument", tool, side, shutter))
    if rng.random() < config.strand:
        _add_strand(rng, config, cast, surgical=True)
    if rng.random() < config.occluder:
        palettes = unlabelled_palettes(config, style, cast)
        sprite = organ(rng, _radii(rng, config, 0.15, 0.4), palettes[rng.integers(len(palettes))])
        path = _drift(rng, config, rng.uniform(0, 1, 2), 1.0)
        cast.actors.append(SpriteActor(0, "flap", "anatomy", sprite, path, _sway(rng, config, 3.0)))
    return cast


def _make_tool(rng: np.random.Generator, config: SceneConfig, style: Style) -> Instrument:
    if style is Style.ABSTRACT:
        design = DESIGNS[rng.integers(len(DESIGNS))]
        finish = style if rng.random() < 0.65 else design.styles[0]
        return make_instrument(rng, design, finish, config.image_hw)
    designs = [design for design in DESIGNS if style in design.styles]
    design = designs[rng.integers(len(designs))]
    tint = None
    if rng.random() < config.tissue_tint:
        palette = (BLOOD, *PALETTES[style])[rng.integers(len(PALETTES[style]) + 1)]
        tint = np.array(palette.colors[rng.integers(len(palette.colors))], float)
    # Drawn only where it is asked for, so that clips without it stay as they were.
    recognisable = config.recognisable > 0 and rng.random() < config.recognisable
    return make_instrument(rng, design, style, config.image_hw, tint=tint, recognisable=recognisable)


def _tool_actor(
    rng: np.random.Generator,
    config: SceneConfig,
    object_id: int,
    kind: Kind,
    tool: Instrument,
    side: float,
    shutter: float,
) -> InstrumentActor:
    frames, speed = config.num_frames, _speed(rng, config)
    path = tool_path(
        rng, frames, config.image_hw, tool,
        speed=speed, shutter=shutter, side=side, plan=_plan(rng, config, tool=True),
    )  # fmt: skip
    agility = log_uniform(rng, 0.01, 0.25)
    bend = rng.normal(0, 0.15) + wander(rng, frames, agility, rng.choice([0.1, 0.5]))
    opening = np.clip(rng.uniform(0, 0.7) + wander(rng, frames, 1.5 * agility, 0.7), 0, 1)
    roll = rng.uniform(-0.8, 0.8) + wander(rng, frames, agility, rng.choice([0.1, 1.0]))
    category = tool.category if kind == "instrument" else "articulated shape"
    shadow = rng.normal(0, 0.6, 2) if rng.random() < 0.5 else None
    actor = InstrumentActor(object_id, category, kind, tool, path, bend, opening, roll, shadow)
    # Drawn only where it is asked for, so that clips without it stay as they were.
    return actor.at_rest() if config.rest > 0 and rng.random() < config.rest else actor


def _radii(rng: np.random.Generator, config: SceneConfig, low: float, high: float) -> tuple[float, float]:
    radius = rng.uniform(low, high) * config.image_hw[0]
    return radius * rng.uniform(0.8, 1.6), radius


def _sway(rng: np.random.Generator, config: SceneConfig, most_px: float) -> Deformation | None:
    if rng.random() > config.deformation:
        return None
    amplitude = rng.uniform(0.3, 1.0) * most_px * config.image_hw[0] / 192
    return Deformation.sample(rng, config.num_frames, amplitude, log_uniform(rng, 0.05, 0.5))


def _drift(rng: np.random.Generator, config: SceneConfig, share_xy: np.ndarray, reach: float) -> Path:
    """Path of tissue: it stays about where it is."""
    height, width = config.image_hw
    frames = config.num_frames
    moved = np.stack([wander(rng, frames, 0.6 * reach, 6.0 * reach * height / 192) for _ in range(2)], axis=1)
    angle = rng.uniform(0, 2 * np.pi) + wander(rng, frames, 0.005, 0.06)
    return Path(share_xy * (width, height) + moved, angle, np.ones(frames))


def _add_anatomy(rng: np.random.Generator, config: SceneConfig, cast: Cast, style: Style) -> None:
    category, palettes, form = _ANATOMY[style][rng.integers(len(_ANATOMY[style]))]
    palette = palettes[rng.integers(len(palettes))]
    if config.recognisable:
        palette = _CLEAR_LOOKS.get(category, palette)
    if form == "organ":
        # A polyp may have either colour of mucosa, and is told by its form: the other colour stays for the rest.
        cast.palettes.update((palette,) if category == "polyp" else (*palettes, palette))
    height = config.image_hw[0]
    if form == "tube":
        sprite = tube(rng, rng.uniform(1.1, 2.4) * height, rng.uniform(0.04, 0.14) * height, palette)
    else:
        sprite = organ(rng, _radii(rng, config, 0.1 if category == "polyp" else 0.18, 0.42), palette)
    path = _drift(rng, config, rng.uniform(0.1, 0.9, 2), rng.choice([0.3, 1.5]))
    object_id = cast.next_id(category)
    cast.actors.append(SpriteActor(object_id, category, "anatomy", sprite, path, _sway(rng, config, 6.0)))


def _add_eye(rng: np.random.Generator, config: SceneConfig, cast: Cast) -> None:
    """Eyeball, iris and pupil, concentric and moving together; the eyeball is not labelled."""
    height = config.image_hw[0]
    path = _drift(rng, config, rng.uniform(0.35, 0.65, 2), 1.0)
    radius = rng.uniform(0.24, 0.5) * height
    share = rng.uniform(0.4, 0.85)
    ball = blob_outline(rng, 0.08) * radius * rng.uniform((1.6, 1.2), (2.6, 1.9))
    cast.actors.append(SpriteActor(0, "eyeball", "anatomy", body(rng, ball, SCLERA), path))
    iris, pupil = _IRISES[rng.integers(len(_IRISES))], _PUPILS[rng.integers(len(_PUPILS))]
    for category, palette, size in (("iris", iris, radius), ("pupil", pupil, radius * share)):
        outline = blob_outline(rng, 0.02) * size * (1.0, rng.uniform(0.92, 1.0))
        object_id = cast.next_id(category)
        cast.actors.append(SpriteActor(object_id, category, "anatomy", body(rng, outline, palette), path))


def _add_strand(rng: np.random.Generator, config: SceneConfig, cast: Cast, surgical: bool) -> None:
    """A thread or needle, or, in an abstract clip, a snake."""
    height = config.image_hw[0]
    pixel = max(1, round(height / 192))
    bend, arc = 1.3, 0.0
    kind: Kind = "instrument" if surgical else "shape"
    if not surgical:
        category, length = "strand", rng.uniform(0.4, 1.6)
        thickness = int(rng.integers(2, max(3, height // 12)))
        colors = np.stack([any_color(rng), any_color(rng)])
    elif rng.random() < 0.5:
        category, length, thickness = "thread", rng.uniform(0.4, 1.4), pixel
        tone = np.array([[40, 30, 90], [230, 230, 235], [20, 20, 26], [90, 40, 120]], float)[rng.integers(4)]
        colors = np.stack([tone, tone + 20])
    else:
        category, length, thickness = "needle", rng.uniform(0.2, 0.5), int(rng.integers(2, 4)) * pixel
        bend, arc = 0.05, rng.uniform(1.5, 3.4)
        colors = np.stack([np.full(3, rng.uniform(90, 190)), np.full(3, 245.0)])
    curves = strand_curves(
        rng, config.num_frames, config.image_hw,
        length=length * height, bend=bend, arc=arc, speed=_speed(rng, config),
    )  # fmt: skip
    tones = np.clip(colors, 0, 255).astype(np.uint8)
    object_id = cast.next_id(category, kind)
    cast.actors.append(StrandActor(object_id, category, kind, curves, thickness, tones))


_LETTERS = tuple("ABCDEFGHKLMNOPQRSTUVXYZ2345678&%#?")


def _shape_sprite(rng: np.random.Generator, radius: float, texture: np.ndarray | None) -> tuple[Sprite, str]:
    """A textured silhouette of one of several families, and the family's name."""
    family = str(rng.choice(["blob", "polygon", "ellipse", "ring", "letters", "star", "blob", "bar"]))
    size = int(np.ceil(radius * 3.4)) + 6
    center = np.array([size / 2, size / 2])
    if family == "letters":
        alpha = np.zeros((size, size), np.uint8)
        text = "".join(rng.choice(_LETTERS, int(rng.integers(1, 4))))
        scale, thick = radius / 14 / max(len(text) * 0.7, 1), max(2, int(radius / 5))
        (w, h), _ = cv2.getTextSize(text, 0, scale, thick)
        cv2.putText(alpha, text, (max(2, (size - w) // 2), (size + h) // 2), 0, scale, 255, thick, cv2.LINE_AA)
        alpha[[0, -1]], alpha[:, [0, -1]] = 0, 0
    else:
        alpha = fill_shape(_outline(rng, family) * radius + center, (size, size))
        if family == "ring":
            hole = fill_shape(blob_outline(rng, 0.1) * radius * rng.uniform(0.3, 0.7) + center, (size, size))
            alpha = np.minimum(alpha, 255 - hole)
    rgb = random_texture(rng, (size, size)) if texture is None else cv2.resize(texture, (size, size))
    return Sprite(np.dstack([rgb, alpha]), (size / 2, size / 2)), family


def _outline(rng: np.random.Generator, family: str) -> np.ndarray:
    if family == "polygon":
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        return np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.5, 1.4, (len(angles), 1))
    if family == "star":
        count = 2 * int(rng.integers(3, 8))
        radius = np.where(np.arange(count) % 2, rng.uniform(0.3, 0.7), 1.2)[:, None]
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
        return np.stack([np.cos(angles), np.sin(angles)], 1) * radius
    if family == "bar":
        half = np.array([1.55, rng.uniform(0.1, 0.4)])
        return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return blob_outline(rng, rng.uniform(0.3, 0.9) if family == "blob" else 0.05) * (1, rng.uniform(0.4, 1))


def cast_abstract(rng: np.random.Generator, config: SceneConfig, shutter: float) -> Cast:
    """Arbitrary bodies with arbitrary textures; some share a texture, some are unlabelled distractors."""
    cast = Cast()
    frames, height = config.num_frames, config.image_hw[0]
    shared = random_texture(rng, (64, 64)) if rng.random() < config.twins else None
    for _ in range(_count(rng, config.num_shapes)):
        kind = rng.random()
        if kind < 0.3:
            tool = _make_tool(rng, config, Style.ABSTRACT)
            object_id = cast.next_id("articulated shape", "shape")
            side = rng.uniform(0, 2 * np.pi)
            cast.actors.append(_tool_actor(rng, config, object_id, "shape", tool, side, shutter))
        elif kind < 0.4:
            _add_strand(rng, config, cast, surgical=False)
        else:
            radius = log_uniform(rng, 0.06, 0.36) * height
            sprite, family = _shape_sprite(rng, radius, shared if rng.random() < 0.6 else None)
            object_id = 0 if rng.random() < 0.12 else cast.next_id(family, "shape")
            path = roaming_path(
                rng, frames, config.image_hw, speed=_speed(rng, config), shutter=shutter,
                turn=log_uniform(rng, 0.003, 0.2), zoom=log_uniform(rng, 0.003, 0.06), radius_px=radius,
                plan=_plan(rng, config, tool=False),
            )  # fmt: skip
            sway = _sway(rng, config, 0.3 * radius)
            cast.actors.append(SpriteActor(object_id, family, "shape", sprite, path, sway))
    return cast

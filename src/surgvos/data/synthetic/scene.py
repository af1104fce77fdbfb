"""A clip from a seed: cast the actors, draw every frame back to front, record it, say what is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from surgvos.data.synthetic.actors import Kind
from surgvos.data.synthetic.canvas import Canvas, line_kernel, warp
from surgvos.data.synthetic.cast import Cast, cast_abstract, cast_surgical, organs_like, unlabelled_palettes
from surgvos.data.synthetic.config import SceneConfig
from surgvos.data.synthetic.effects import Recording, exposure_path, lens_circle, light_cone, tone_curve
from surgvos.data.synthetic.motion import Deformation, camera_path, log_uniform, wander
from surgvos.data.synthetic.moves import find_moves
from surgvos.data.synthetic.noise import Roughness, noise, unit
from surgvos.data.synthetic.phrases import look, phrases_for
from surgvos.data.synthetic.tissue import Style, abstract_background, tissue_background

_STYLES = (Style.ROBOTIC, Style.LAPAROSCOPIC, Style.EX_VIVO, Style.OPHTHALMIC, Style.COLONOSCOPIC)
_STYLE_SHARES = (0.4, 0.27, 0.13, 0.1, 0.1)
_MARGIN = 0.15  # of the background beyond each image border


@dataclass(frozen=True, slots=True)
class SyntheticObject:
    """One object of a clip.

    Attributes:
        id: Its value in ``instances``.
        category: Such as "needle driver", "liver" or "blob".
        kind: "instrument", "anatomy" or "shape".
        phrases: English phrases that hold in the first frame where the object is visible and fit no other
            object of the clip; empty where nothing said here tells it apart.
        nouns: What it is called, from the most special to the most general.
        moves: Of every frame, whether it moved in the scene since the frame before; None where that is not certain.
    """

    id: int
    category: str
    kind: Kind
    phrases: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    moves: tuple[bool | None, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticClip:
    """A clip with exact labels.

    Attributes:
        frames: uint8 ``(num_frames, h, w, 3)`` RGB.
        instances: uint8 ``(num_frames, h, w)`` id of the visible object; 0 = background or unlabelled.
        parts: uint8 ``(num_frames, h, w)`` `Part` of the visible instrument; 0 elsewhere.
        objects: The objects that are visible in at least one frame, by ascending id.
        resembled: Categories of organs that something without a label may be taken for.
    """

    frames: np.ndarray
    instances: np.ndarray
    parts: np.ndarray
    objects: tuple[SyntheticObject, ...] = field(default=())
    resembled: frozenset[str] = frozenset()


def use_one_thread() -> None:
    """Keep OpenCV to one thread; call it at the start of a data-loader worker."""
    cv2.setNumThreads(1)


def iterate_clips(config: SceneConfig, seed: int, start: int = 0) -> Iterator[SyntheticClip]:
    """Generate clips without end; clip ``i`` depends only on ``(seed, i)`` and the configuration.

    Args:
        config: What clips contain.
        seed: Of the whole stream, >= 0.
        start: Index of the first clip.
    """
    index = start
    while True:
        state = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)
        yield generate_clip(int(state[0]), config)
        index += 1


def generate_clip(seed: int, config: SceneConfig) -> SyntheticClip:
    """Generate one clip; the same seed and configuration give the same bits.

    Args:
        seed: >= 0.
        config: What the clip may contain.

    Example:
        >>> clip = generate_clip(7, SceneConfig(num_frames=2, image_hw=(48, 64)))
        >>> clip.frames.shape, clip.instances.shape
        ((2, 48, 64, 3), (2, 48, 64))
    """
    rng = np.random.default_rng(seed)
    surgical = rng.random() < config.surgical_share
    style = _STYLES[rng.choice(len(_STYLES), p=_STYLE_SHARES)] if surgical else Style.ABSTRACT
    shutter = rng.uniform(0.2, 0.7) if rng.random() < config.motion_blur else 0.0
    cast = cast_surgical(rng, config, style, shutter) if surgical else cast_abstract(rng, config, shutter)
    height, width = config.image_hw
    border = int(_MARGIN * height)
    size = (height + 2 * border, width + 2 * border)
    unlabelled = unlabelled_palettes(config, style, cast) if surgical else ()
    background = tissue_background(rng, size, style, unlabelled) if surgical else abstract_background(rng, size)
    offset = np.array([[1.0, 0.0, -border], [0.0, 1.0, -border]])
    sway = None
    if rng.random() < config.deformation:
        sway = Deformation.sample(
            rng, config.num_frames, rng.uniform(0.5, 5.0) * height / 192, log_uniform(rng, 0.03, 0.4)
        )
    cameras = _cameras(rng, config)
    middle = np.array([width / 2, height / 2])
    steps_xy = np.diff(cameras[:, :, :2] @ middle + cameras[:, :, 2], axis=0, prepend=0.0)
    steps_xy[0] = 0.0
    recording = _recording(rng, config, surgical)
    frames = np.empty((config.num_frames, height, width, 3), np.uint8)
    instances = np.zeros((config.num_frames, height, width), np.uint8)
    parts = np.zeros_like(instances)
    for t, camera in enumerate(cameras):
        view = camera.copy()
        view[:, 2] += camera[:, :2] @ offset[:, 2]
        field_t = None if sway is None else sway.field(t)
        canvas = Canvas.on(warp(background, view, config.image_hw, field_t, cv2.BORDER_REFLECT_101))
        for actor in cast.actors:
            actor.draw(canvas, camera, t)
        kernel = line_kernel(steps_xy[t] * shutter)
        rgb = canvas.rgb if kernel is None else cv2.filter2D(canvas.rgb, -1, kernel)
        frames[t] = recording.record(rgb, t)
        if recording.lens is not None:
            canvas.instances[recording.lens == 0] = 0
            canvas.parts[recording.lens == 0] = 0
        instances[t], parts[t] = canvas.instances, canvas.parts
    moves = find_moves(cast.actors, instances, cameras)
    return SyntheticClip(frames, instances, parts, _describe(frames, instances, cast, moves), organs_like(unlabelled))


def _cameras(rng: np.random.Generator, config: SceneConfig) -> np.ndarray:
    speed = 0.02
    if rng.random() < config.camera_motion:
        speed = log_uniform(rng, *config.camera_speed_px)
    jerk = bool(rng.random() < config.camera_jerk)
    return camera_path(rng, config.num_frames, config.image_hw, speed * config.image_hw[0] / 192, jerk)


def _recording(rng: np.random.Generator, config: SceneConfig, surgical: bool) -> Recording:
    frames, (height, width) = config.num_frames, config.image_hw

    def happens(probability: float) -> bool:
        return bool(rng.random() < probability)

    smoke = None
    if happens(config.smoke):
        smoke = unit(noise(rng, (height + 32, width + 32), Roughness.SMOOTH, rng.uniform(1.0, 2.5)))
    level = np.clip(rng.uniform(0.1, 0.8) + wander(rng, frames, 0.1, 0.4), 0, 0.75)
    grain, span = None, 48
    if happens(config.grain):
        planes = noise(rng, (height + span, width + span), Roughness.WHITE, rng.choice([1.0, 1.5]))
        color = noise(rng, (height + span, width + span), Roughness.WHITE, 1.5)
        strength = log_uniform(rng, 1.0, 9.0)
        grain = (np.stack([planes + 0.5 * color, planes, planes - 0.5 * color], axis=2) * strength).astype(np.int16)
    return Recording(
        light=light_cone(rng, config.image_hw, abstract=not surgical),
        exposure=exposure_path(rng, frames, happens(config.unsteady_light)),
        gamma_table=tone_curve(rng),
        smoke=smoke,
        smoke_step=(float(rng.normal(0, 2)), float(rng.normal(0, 2))),
        smoke_level=level,
        blur_sigma=_defocus(rng, config) * height / 192,
        grain=grain,
        grain_offsets=rng.integers(0, span, (frames, 2)),
        quality=int(rng.integers(25, 92)) if happens(config.compression) else 0,
        shrink=float(rng.uniform(0.45, 0.8)) if happens(config.low_resolution) else 1.0,
        lens=lens_circle(rng, config.image_hw) if happens(config.lens_circle) else None,
    )


def _defocus(rng: np.random.Generator, config: SceneConfig) -> np.ndarray:
    if rng.random() >= config.defocus:
        return np.zeros(config.num_frames)
    return np.clip(rng.uniform(0.3, 1.0) + wander(rng, config.num_frames, 0.2, 0.8), 0, 2.0)


def _describe(
    frames: np.ndarray, instances: np.ndarray, cast: Cast, moves: Mapping[int, tuple[bool | None, ...]]
) -> tuple[SyntheticObject, ...]:
    """Name the objects that were ever visible and find phrases for them."""
    first_frame: dict[int, int] = {}
    for t, frame in enumerate(instances):
        for object_id in np.flatnonzero(np.bincount(frame.ravel())):
            first_frame.setdefault(int(object_id), t)
    first_frame.pop(0, None)
    sightings = {t: look(frames[t], instances[t]) for t in set(first_frame.values())}
    first = {object_id: sightings[t][object_id] for object_id, t in first_frame.items()}
    actors = {actor.object_id: actor for actor in cast.actors}
    return tuple(
        SyntheticObject(
            i,
            actors[i].category,
            actors[i].kind,
            phrases_for(i, cast.names, sightings[first_frame[i]], first),
            cast.names[i],
            moves[i],
        )
        for i in sorted(first)
    )

"""Referring phrases that single out one object of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from surgvos.core import label_map_to_masks


@dataclass(frozen=True, slots=True)
class Sighting:
    """What can be said of an object in one frame.

    Attributes:
        area_px: Visible pixels.
        center_xy: Their centroid as shares of the image size.
        color: Name of their mean colour; None where no name is clear.
    """

    area_px: int
    center_xy: tuple[float, float]
    color: str | None = None


_COLORS = {
    "black": (26, 26, 28), "grey": (122, 124, 128), "white": (214, 214, 210), "red": (150, 34, 34),
    "brown": (112, 74, 44), "yellow": (216, 182, 70), "pink": (222, 158, 150), "blue": (58, 92, 178),
    "green": (80, 140, 74), "purple": (104, 58, 110), "orange": (230, 124, 44), "cyan": (96, 196, 214),
}  # fmt: skip
_CLEARER = 0.7  # a colour has a name where its distance to it is less than this share of that to the next one


def color_name(rgb: np.ndarray) -> str | None:
    """The plain name of a colour ``(3,)`` of 0..255, or None where two are about as near."""
    known = np.array([*_COLORS.values(), rgb], dtype=np.float32)[None] / 255
    lab = cv2.cvtColor(known, cv2.COLOR_RGB2LAB)[0]
    distances = np.linalg.norm(lab[:-1] - lab[-1], axis=1)
    nearest, next_one = np.argsort(distances)[:2]
    return list(_COLORS)[nearest] if distances[nearest] < _CLEARER * distances[next_one] else None


def look(image: np.ndarray, instances: np.ndarray) -> dict[int, Sighting]:
    """Sight every visible object of one image ``(h, w, 3)`` and its instance map ``(h, w)``."""
    height, width = instances.shape
    sightings = {}
    for object_id, mask in label_map_to_masks(instances).items():
        columns, rows = mask.sum(axis=0), mask.sum(axis=1)
        area = int(rows.sum())
        x = float(columns @ (np.arange(width) + 0.5)) / area
        y = float(rows @ (np.arange(height) + 0.5)) / area
        sightings[object_id] = Sighting(area, (x / width, y / height), color_name(image[mask].mean(axis=0)))
    return sightings


_SIDES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}
_CLEAR = 0.1  # how far from the middle a centroid must be to lie on a side
_APART = 0.06  # how far apart two centroids must be to be told apart by order


def _on_side(sighting: Sighting, side: str) -> bool:
    axis, sign = _SIDES[side]
    return sign * (sighting.center_xy[axis] - 0.5) > _CLEAR


def _never_on_side(sighting: Sighting, side: str) -> bool:
    axis, sign = _SIDES[side]
    return sign * (sighting.center_xy[axis] - 0.5) < 0


def phrases_for(
    object_id: int,
    names: Mapping[int, tuple[str, ...]],
    here: Mapping[int, Sighting],
    first: Mapping[int, Sighting],
) -> tuple[str, ...]:
    """Phrases that hold for one object in its first visible frame and for no other object of the clip.

    Args:
        object_id: The object.
        names: Object id -> nouns from the most special to the most general ("grasper", "instrument").
        here: Sightings in the frame where the object is first visible.
        first: Object id -> its sighting in its own first visible frame; a rival that is not visible yet is
            judged by this one.
    """
    found: list[str] = []
    mine = here[object_id]
    for noun in names[object_id]:
        rivals = [i for i in first if i != object_id and noun in names[i]]
        if not rivals:
            found += [f"the {noun}", noun]
        views = [view for i in rivals for view in (here.get(i), first[i]) if view is not None]
        found += _placed(noun, mine, views)
        found += _ranked(noun, mine, views)
        found += _colored(noun, mine, views)
    return tuple(dict.fromkeys(found))


def _placed(noun: str, mine: Sighting, rivals: list[Sighting]) -> list[str]:
    """Phrases by side and corner."""
    sides = [side for side in _SIDES if _on_side(mine, side)]
    found = []
    for side in sides:
        if all(_never_on_side(rival, side) for rival in rivals):
            found += [f"the {noun} on the {side}", f"{noun} on the {side}", f"the {side} {noun}"]
    if len(sides) == 2 and all(any(_never_on_side(rival, side) for side in sides) for rival in rivals):
        found += [f"the {noun} on the {sides[0]} {sides[1]}", f"the {noun} at the {sides[1]} {sides[0]}"]
    return found


def _ranked(noun: str, mine: Sighting, rivals: list[Sighting]) -> list[str]:
    """Phrases by size and by order from left to right, for objects with rivals of the same noun."""
    if not rivals:
        return []
    found = []
    if all(mine.area_px > 1.4 * rival.area_px for rival in rivals):
        found += [f"the largest {noun}", f"the large {noun}"]
    if all(mine.area_px * 1.4 < rival.area_px for rival in rivals):
        found += [f"the smallest {noun}", f"the small {noun}"]
    for word, axis, sign in (("leftmost", 0, -1), ("rightmost", 0, 1), ("topmost", 1, -1), ("lowest", 1, 1)):
        gaps = [sign * (mine.center_xy[axis] - rival.center_xy[axis]) for rival in rivals]
        if min(gaps) > _APART:
            found.append(f"the {word} {noun}")
    return found


def _colored(noun: str, mine: Sighting, rivals: list[Sighting]) -> list[str]:
    """Phrases by colour, where all of that noun have colours with clear names and this one's is its own."""
    others = {rival.color for rival in rivals}
    if mine.color is None or others & {mine.color, None}:
        return []
    return [f"the {mine.color} {noun}", f"{mine.color} {noun}"]


_BY_MOTION = {
    True: (
        "the moving {}", "moving {}", "the {} that moves", "the {} that is moving", "the {} in motion",
    ),
    False: (
        "the still {}", "still {}", "the {} that stands still", "the {} that does not move", "the {} at rest",
    ),
}  # fmt: skip


def motion_phrases(
    object_id: int, names: Mapping[int, tuple[str, ...]], moves: Mapping[int, bool | None]
) -> tuple[str, ...]:
    """Phrases by motion that hold for one object in a frame and for no other object that shows there.

    Where it can be told from others of a noun, that is said, and no noun that is its own without any motion.

    Args:
        object_id: The object.
        names: Object id -> nouns, of all objects that show.
        moves: Object id -> whether it moves; None where that is not certain, and nothing is said.
    """
    mine = moves[object_id]
    if mine is None:
        return ()
    alone: list[str] = []
    among_others: list[str] = []
    for noun in names[object_id]:
        rivals = [moves[i] for i in names if i != object_id and noun in names[i]]
        if set(rivals) <= {not mine}:
            (among_others if rivals else alone).append(noun)
    return tuple(phrase for noun in among_others or alone for phrase in _said_by_motion(noun, mine))


def motion_phrases_for_none(names: Mapping[int, tuple[str, ...]], moves: Mapping[int, bool | None]) -> tuple[str, ...]:
    """Phrases by motion that hold for nothing in a frame, though it shows what they name; see `motion_phrases`."""
    found: list[str] = []
    for noun in dict.fromkeys(noun for nouns in names.values() for noun in nouns):
        as_all = {moves[i] for i in names if noun in names[i]}
        if as_all in ({True}, {False}):
            found += _said_by_motion(noun, moving=as_all == {False})
    return tuple(found)


def _said_by_motion(noun: str, moving: bool) -> list[str]:
    return [form.format(noun) for form in _BY_MOTION[moving]]

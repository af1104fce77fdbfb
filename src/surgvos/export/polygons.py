"""Masks as polygons, and polygons as masks.

Formats differ in what a corner is. `mask_to_rings` goes through the centres of pixels, for readers that draw the
outline when they fill (``cv2.fillPoly``); `mask_to_outlines` goes along the edges of pixels, for readers that fill
what lies inside (pycocotools). Both give the very mask.

A hole is cut open: a line runs through the object from the hole to the edge on its left, forth and back, so that one
ring can say it. Parts that lie apart are rings of their own; `join_rings` makes one ring of them, and the pixels on
its lines between the parts are all that it adds.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from surgvos.core.masks import mask_to_box_xyxy


def mask_to_rings(mask: np.ndarray) -> list[np.ndarray]:
    """Trace a mask, one ring per part; diagonal neighbours are one part.

    Args:
        mask: bool ``(h, w)``.

    Returns:
        int32 ``(n, 2)`` each, ``(x, y)`` of pixels; filled together they are the mask, pixel by pixel.
    """
    contours, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings: list[np.ndarray] = []
    for number, outer in enumerate(contours):
        if hierarchy[0][number][3] >= 0:
            continue
        holes, child = [], int(hierarchy[0][number][2])
        while child >= 0:
            holes.append(contours[child][:, 0])
            child = int(hierarchy[0][child][0])
        rings.append(_corners(_cut_open(outer[:, 0], holes, mask)))
    return rings


def mask_to_outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Trace the edges of a mask's pixels, one ring per part; pixel ``(x, y)`` spans ``x`` to ``x + 1``.

    Args:
        mask: bool ``(h, w)``.

    Returns:
        int32 ``(n, 2)`` each, ``(x, y)``, at least four corners.
    """
    box = mask_to_box_xyxy(mask)
    if box is None:
        return []
    x0, y0, x1, y1 = box
    # Where a pixel is three, the outermost of them say on which side of it an edge lies.
    fine = mask[y0:y1, x0:x1].repeat(3, axis=0).repeat(3, axis=1)
    rings = ((ring + 1) // 3 + (x0, y0) for ring in mask_to_rings(fine))
    return [_corners(ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]) for ring in rings]


def join_rings(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Make one ring of several, each joined where it is nearest to what is there.

    Filled, it adds no pixel but those on the lines between: per line as many as its longer side has, less one.
    """
    joined, *rest = rings
    for ring in rest:
        distances = np.square(joined[:, None].astype(np.int64) - ring[None]).sum(axis=2)
        here, there = np.unravel_index(int(distances.argmin()), distances.shape)
        joined = _insert(joined, int(here), np.roll(ring, -int(there), axis=0))
    return joined


def fill_rings(rings: Sequence[np.ndarray], image_hw: tuple[int, int]) -> np.ndarray:
    """Fill rings, outlines included; what lies outside the image is cut off.

    Args:
        rings: ``(n, 2)`` each, ``(x, y)`` of pixel centres, rounded to whole pixels.
        image_hw: Size of the mask.

    Returns:
        bool ``(h, w)``: the union.
    """
    mask = np.zeros(image_hw, dtype=np.uint8)
    for ring in rings:
        cv2.fillPoly(mask, [np.round(ring).astype(np.int32)], 1)
    return mask > 0


def _cut_open(outer: np.ndarray, holes: list[np.ndarray], mask: np.ndarray) -> np.ndarray:
    """One ring of an outline and its holes, from left to right, so that each finds what it is cut to."""
    ring = outer
    for hole in sorted(holes, key=lambda points: int(points[:, 0].min())):
        start = int(np.lexsort((hole[:, 1], hole[:, 0]))[0])
        x, y = (int(value) for value in hole[start])
        # Walk left through the object; its last pixel lies on the outline, or on a hole that is joined already.
        is_out = np.flatnonzero(~mask[y, :x])
        edge = np.array([int(is_out[-1]) + 1 if is_out.size else 0, y])
        here = int(np.flatnonzero((ring == edge).all(axis=1))[0])
        ring = _insert(ring, here, np.roll(hole, -start, axis=0))
    return ring


def _insert(ring: np.ndarray, here: int, other: np.ndarray) -> np.ndarray:
    """Go along ``ring`` to ``here``, round ``other`` back to its start, and on."""
    return np.concatenate((ring[: here + 1], other, other[:1], ring[here:]))


def _corners(ring: np.ndarray) -> np.ndarray:
    """Leave out points in the middle of straight runs."""
    step_in, step_out = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    is_straight = (np.sign(step_in) == np.sign(step_out)).all(axis=1)
    is_straight &= step_in[:, 0] * step_out[:, 1] == step_in[:, 1] * step_out[:, 0]
    kept = ring[~is_straight]
    return kept if len(kept) else ring[:1]

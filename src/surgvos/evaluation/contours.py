"""Contours of label maps at half-pixel precision, and how far two contours are apart."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

_NUM_SAMPLES = 16
_NUM_NEAR_ROWS = 4
_CHUNK = 64
_START_OF_MASK, _START_OF_HOLE = (1, 0), (0, 1)


class Crossings(NamedTuple):
    """Midpoints between neighbouring pixels of different labels.

    Attributes:
        points: int ``(n, 2)`` row and column in half pixels: the pixel in row r, column c lies at ``(2r, 2c)``.
        labels: ``(n, 2)`` the labels on both sides, upper or left one first.
    """

    points: np.ndarray
    labels: np.ndarray


def crossings(label_map: np.ndarray) -> Crossings:
    """Find where labels meet; at the image's edge nothing meets.

    Example:
        >>> crossings(np.array([[1, 1, 2]])).points.tolist()
        [[0, 3]]
    """
    points, labels = [], []
    for right, down in ((1, 0), (0, 1)):
        here = label_map[: label_map.shape[0] - down, : label_map.shape[1] - right]
        there = label_map[down:, right:]
        rows, columns = np.divmod(np.flatnonzero(here != there), max(1, here.shape[1]))
        points.append(np.stack([2 * rows + down, 2 * columns + right], axis=1))
        labels.append(np.stack([here[rows, columns], there[rows, columns]], axis=1))
    return Crossings(np.concatenate(points), np.concatenate(labels))


def contour_of(label: int, found: Crossings) -> np.ndarray:
    """Pick the contour points of one label, int ``(n, 2)`` in half pixels, each once.

    They are the vertices of the level line at one half that marching squares draws.
    """
    return found.points[(found.labels == label).any(axis=1)]


def contour_starts(mask: np.ndarray) -> np.ndarray:
    """Find the point of each closed contour that an ordered list of its vertices names first and last.

    Marching squares closes a contour in the last cell of a raster scan, which is at the last pixel of what the
    contour surrounds: below that pixel of a region, to the right of that of a hole. Regions that touch the image's
    edge have open contours. Diagonal neighbours are apart where they are inside the mask, and together where they
    are outside.

    Returns:
        int ``(n, 2)`` in half pixels; see `Crossings`.
    """
    starts = []
    for region, connectivity, offset in ((mask, 4, _START_OF_MASK), (~mask, 8, _START_OF_HOLE)):
        num_labels, components = cv2.connectedComponents(region.view(np.uint8), connectivity=connectivity)
        is_open = np.zeros(num_labels, bool)
        for edge in (components[0], components[-1], components[:, 0], components[:, -1]):
            is_open[edge] = True
        is_open[0] = True
        last = np.zeros(num_labels, np.int64)
        flat = components.ravel()
        last[flat] = np.arange(flat.size)  # the last of equal indices stays
        rows, columns = np.divmod(last[~is_open], mask.shape[1])
        starts.append(2 * np.stack([rows, columns], axis=1) + offset)
    return np.concatenate(starts)


def contour_distance(one: np.ndarray, other: np.ndarray) -> float | None:
    """Compute the mean distance of each contour's points to the other contour, averaged over the two directions.

    Args:
        one: int ``(n, 2)`` in half pixels; a point that is listed twice counts twice.
        other: The same.

    Returns:
        Pixels; None where a contour is missing.

    Example:
        >>> contour_distance(np.array([[0, 1], [0, 3]]), np.array([[0, 5]]))
        1.25
    """
    if len(one) == 0 or len(other) == 0:
        return None
    there, back = (np.sqrt(squared_distances(*pair)).mean() for pair in ((one, other), (other, one)))
    return float(there + back) / 4  # half of the sum, in half pixels


def squared_distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Compute each point's squared distance to the nearest of the others.

    Args:
        points: Non-negative integers ``(n, 2)``, in any order; fastest where neighbours follow each other.
        others: The same, at least one point.

    Returns:
        int ``(n,)``, exact.
    """
    width = int(max(points[:, 1].max(initial=0), others[:, 1].max())) + 1
    ordered = np.unique(others[:, 0] * width + others[:, 1])
    others = np.stack(np.divmod(ordered, width), axis=1)
    best = _squared_to_all(points, others[:: -(-len(others) // _NUM_SAMPLES)])
    # The rows nearby first: contours of neighbouring frames lie near each other.
    left = np.arange(len(points))
    for step in range(_NUM_NEAR_ROWS):
        left = left[best[left] > step**2]
        for row_step in {step, -step}:
            best[left] = np.minimum(best[left], _squared_in_row(points[left], row_step, ordered, width))
    left = left[best[left] > _NUM_NEAR_ROWS**2]
    for start in range(0, len(left), _CHUNK):
        chunk = left[start : start + _CHUNK]
        rows, reach = points[chunk, 0], np.sqrt(best[chunk].max())
        begin, end = np.searchsorted(others[:, 0], (rows.min() - reach, rows.max() + reach + 1))
        best[chunk] = np.minimum(best[chunk], _squared_to_all(points[chunk], others[begin:end]))
    return best


def _squared_in_row(points: np.ndarray, row_step: int, ordered: np.ndarray, width: int) -> np.ndarray:
    """Squared distance to the nearest of the others in the row that lies a step away; huge where there is none."""
    rows = points[:, 0] + row_step
    place = np.searchsorted(ordered, rows * width + points[:, 1])
    nearest = np.full(len(points), np.iinfo(np.int64).max)
    for neighbour in (np.minimum(place, len(ordered) - 1), np.maximum(place - 1, 0)):
        offset = ordered[neighbour] - rows * width
        is_in_row = (offset >= 0) & (offset < width)
        squared = (offset - points[:, 1]) ** 2 + row_step**2
        nearest = np.where(is_in_row, np.minimum(nearest, squared), nearest)
    return nearest


def _squared_to_all(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest of all others; a matrix product, exact as its integers are small."""
    left, right = points.astype(float), others.astype(float)
    squared = (right**2).sum(axis=1) - 2 * left @ right.T
    return (squared.min(axis=1) + (left**2).sum(axis=1)).astype(np.int64)

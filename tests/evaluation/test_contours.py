"""Contours against marching squares traced cell by cell, distances against every pair of points."""

import doctest
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from surgvos.evaluation import contours
from surgvos.evaluation.contours import (
    contour_distance,
    contour_of,
    contour_starts,
    crossings,
    squared_distances,
)


def cell_segments(mask, row, column):
    """Directed segments of the level line in the cell between four pixels, the mask on the left hand side.

    Sides of the cell by the pixels that they lie between, in half pixels. Where two diagonal pixels are in the mask
    the line cuts each of them off.
    """
    top, left = (2 * row, 2 * column + 1), (2 * row + 1, 2 * column)
    bottom, right = (2 * row + 2, 2 * column + 1), (2 * row + 1, 2 * column + 2)
    corners = tuple(bool(mask[row + dy, column + dx]) for dy, dx in ((0, 0), (0, 1), (1, 1), (1, 0)))
    # Upper left, upper right, lower right, lower left; a corner cut off has its two sides as ends.
    cuts = {0: (top, left), 1: (right, top), 2: (bottom, right), 3: (left, bottom)}
    inside = [i for i in range(4) if corners[i]]
    if len(inside) == 1 or (len(inside) == 2 and (inside[1] - inside[0]) == 2):
        return [cuts[i] for i in inside]
    if len(inside) == 3:
        start, end = cuts[next(i for i in range(4) if not corners[i])]
        return [(end, start)]
    if len(inside) == 2:
        between = {(0, 1): (right, left), (1, 2): (bottom, top), (2, 3): (left, right), (0, 3): (top, bottom)}
        return [between[tuple(inside)]]
    return []


def traced_points(mask):
    """Points of all level lines as an ordered list names them: a closed line names its start at its end again.

    A line starts anew where the raster scan over cells closes it, so its start is the end of its last segment.
    """
    segments = [
        segment
        for row in range(mask.shape[0] - 1)
        for column in range(mask.shape[1] - 1)
        for segment in cell_segments(mask, row, column)
    ]
    followers = {start: (end, order) for order, (start, end) in enumerate(segments)}
    ends = {end for _, end in segments}
    points, seen = [], set()
    for start in [p for p in followers if p not in ends] + list(followers):
        if start in seen:
            continue
        chain, here, last = [start], start, (-1, None)
        seen.add(start)
        while here in followers:
            end, order = followers[here]
            last = max(last, (order, end))
            here = end
            if end in seen:
                break
            seen.add(end)
            chain.append(end)
        is_closed = here == start and len(chain) > 1
        points += chain + ([last[1]] if is_closed else [])
    return Counter(points)


masks = st.tuples(st.integers(2, 9), st.integers(2, 9)).flatmap(lambda hw: arrays(bool, hw))


def counted(points):
    return Counter(map(tuple, points.tolist()))


@settings(max_examples=120, deadline=None)
@given(masks)
def test_contours_are_those_of_marching_squares(mask):
    once = contour_of(1, crossings(mask.astype(np.uint8)))
    assert counted(once) == Counter(set(traced_points(mask)))
    assert counted(np.concatenate([once, contour_starts(mask)])) == traced_points(mask)


def test_contours_of_many_masks_with_holes_edges_and_diagonals():
    rng = np.random.default_rng(0)
    for _ in range(500):
        mask = rng.random(rng.integers(2, 14, 2)) < rng.choice([0.15, 0.5, 0.85])
        points = np.concatenate([contour_of(1, crossings(mask.astype(np.uint8))), contour_starts(mask)])
        assert counted(points) == traced_points(mask)


def test_known_contours():
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    assert counted(contour_of(1, crossings(mask.astype(int)))) == Counter([(3, 4), (5, 4), (4, 3), (4, 5)])
    assert contour_starts(mask).tolist() == [[5, 4]]
    assert contour_starts(~mask).tolist() == [[4, 5]]
    assert len(contour_starts(np.ones((3, 3), bool))) == 0
    assert len(crossings(np.ones((3, 3), np.uint8)).points) == 0
    assert len(crossings(np.ones((1, 1), np.uint8)).points) == 0


def plain_distance(one, other):
    def mean_nearest(points, others):
        return sum(min(math.dist(p, q) for q in others) for p in points) / len(points)

    return (mean_nearest(one, other) + mean_nearest(other, one)) / 2 / 2


point_lists = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=40)


@settings(max_examples=120, deadline=None)
@given(point_lists, point_lists)
def test_distances_equal_every_pair(one, other):
    found = contour_distance(np.array(one), np.array(other))
    assert found == pytest.approx(plain_distance(one, other), rel=0, abs=1e-9)
    assert found == pytest.approx(contour_distance(np.array(other), np.array(one)), rel=0, abs=1e-9)


@pytest.mark.parametrize("spread", [3, 40, 500, 4000])
def test_nearest_points_are_exact_near_and_far(spread):
    rng = np.random.default_rng(spread)
    for num_others in (1, 2, 17, 300):
        points, others = rng.integers(0, spread, (200, 2)), rng.integers(0, spread, (num_others, 2))
        others[:, 1] += rng.integers(0, spread)
        expected = ((points[:, None] - others[None]) ** 2).sum(axis=-1).min(axis=1)
        assert (squared_distances(points, others) == expected).all()


def test_a_missing_contour_has_no_distance():
    nothing, something = np.zeros((0, 2), int), np.array([[1, 2]])
    assert contour_distance(nothing, something) is None
    assert contour_distance(something, nothing) is None
    assert contour_distance(something, something) == 0


def test_a_shifted_square_is_as_far_as_it_was_shifted():
    label_map = np.zeros((2, 60, 60), np.uint8)
    label_map[0, 20:40, 10:30] = 1
    label_map[1, 20:40, 40:60] = 1
    one, other = (contour_of(1, crossings(m)) for m in label_map)
    assert 10 < contour_distance(one, other) < 30


def test_examples_run():
    found = doctest.testmod(contours)
    assert found.attempted > 0
    assert found.failed == 0

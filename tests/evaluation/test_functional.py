import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from surgvos.errors import InputError
from surgvos.evaluation import functional
from surgvos.evaluation.functional import (
    boundary,
    boundary_f_measure,
    default_tolerance_px,
    dice,
    jaccard,
    region_scores,
)

SCORES = (jaccard, dice, boundary_f_measure)


@st.composite
def mask_pairs(draw):
    """Two masks of one size: noise, a rectangle or nothing, alone or mixed."""
    hw = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))

    def one_mask():
        mask = np.zeros(hw, bool)
        if draw(st.booleans()):
            y0, x0 = draw(st.integers(0, hw[0] - 1)), draw(st.integers(0, hw[1] - 1))
            mask[y0 : y0 + draw(st.integers(1, hw[0])), x0 : x0 + draw(st.integers(1, hw[1]))] = True
        if draw(st.booleans()):
            mask ^= draw(arrays(bool, hw))
        return mask

    return one_mask(), one_mask()


def plain_boundary(mask):
    height, width = mask.shape
    neighbours = ((0, 1), (1, 0), (1, 1))
    return {
        (y, x)
        for y in range(height)
        for x in range(width)
        if any(y + dy < height and x + dx < width and mask[y, x] != mask[y + dy, x + dx] for dy, dx in neighbours)
    }


def plain_f_measure(prediction, truth, tolerance_px):
    """The definition, pixel by pixel, on the whole image."""
    predicted, true = plain_boundary(prediction), plain_boundary(truth)
    if not predicted or not true:
        return float(len(predicted) == len(true))

    def share_near(points, others):
        near = sum(any((y - v) ** 2 + (x - u) ** 2 <= tolerance_px**2 for v, u in others) for y, x in points)
        return near / len(points)

    precision, recall = share_near(predicted, true), share_near(true, predicted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(max_examples=150, deadline=None)
@given(mask_pairs(), st.integers(0, 5))
def test_f_measure_equals_the_plain_definition(pair, tolerance_px):
    assert boundary_f_measure(*pair, tolerance_px) == plain_f_measure(*pair, tolerance_px)


@settings(max_examples=100, deadline=None)
@given(mask_pairs())
def test_scores_are_symmetric_bounded_and_reward_perfection(pair):
    prediction, truth = pair
    for score in SCORES:
        assert 0 <= score(prediction, truth) <= 1
        assert score(prediction, truth) == score(truth, prediction)
        assert score(truth, truth) == 1
    j = jaccard(prediction, truth)
    assert dice(prediction, truth) == pytest.approx(2 * j / (1 + j))


@settings(max_examples=60, deadline=None)
@given(mask_pairs(), st.integers(0, 6), st.integers(0, 6), st.integers(0, 3))
def test_f_measure_ignores_where_in_a_large_image_the_masks_lie(pair, down, right, tolerance_px):
    height, width = pair[0].shape
    # Background all around, so that no edge of the image takes part.
    near, far = (
        tuple(np.pad(mask, ((y, 14 - y), (x, 14 - x))) for mask in pair) for y, x in ((1, 1), (1 + down, 1 + right))
    )
    assert near[0].shape == (height + 14, width + 14)
    assert boundary_f_measure(*near, tolerance_px) == boundary_f_measure(*far, tolerance_px)


def test_f_measure_of_a_transposed_pair_is_the_same():
    prediction, truth = np.zeros((2, 30, 40), bool)
    prediction[5:15, 8:22] = True
    truth[7:19, 5:20] = True
    expected = boundary_f_measure(prediction, truth, 2)
    assert 0 < expected < 1
    assert boundary_f_measure(prediction.T, truth.T, 2) == expected


def test_f_measure_of_flipped_symmetric_shapes_is_the_same():
    # An outline lies on one side of its edge: flips are exact where both masks flip to shifts of themselves.
    prediction, truth = np.zeros((2, 40, 40), bool)
    prediction[10:20, 10:20] = True
    truth[13:23, 10:20] = True
    expected = boundary_f_measure(prediction, truth, 2)
    assert 0 < expected < 1
    assert boundary_f_measure(prediction[:, ::-1], truth[:, ::-1], 2) == expected


@pytest.mark.parametrize("score", SCORES)
def test_empty_masks(score):
    empty, square = np.zeros((2, 12, 12), bool)
    square[3:7, 3:7] = True
    assert score(empty, empty) == 1
    assert score(square, empty) == 0
    assert score(empty, square) == 0


def test_known_values():
    prediction, truth = np.zeros((2, 40, 40), bool)
    prediction[10:20, 10:20] = True
    truth[10:20, 15:25] = True
    assert jaccard(prediction, truth) == 50 / 150
    assert dice(prediction, truth) == 100 / 200
    # A 10x10 square has an outline of 4 * 10 pixels, from one up-left of it to its last row and column.
    assert np.count_nonzero(boundary(prediction)) == 40
    # Rows 9 and 19 (11 pixels each), columns 9 | 19 against 14 | 24: five columns apart, so with 0 tolerance
    # only the rows' common columns 14..19 match.
    assert boundary_f_measure(prediction, truth, 0) == 12 / 40
    assert boundary_f_measure(prediction, truth, 5) == 1


def test_a_mask_that_fills_the_image_has_no_boundary():
    full, empty = np.ones((5, 5), bool), np.zeros((5, 5), bool)
    assert not boundary(full).any()
    assert boundary_f_measure(full, empty) == 1


def test_default_tolerance_is_that_of_the_field():
    assert default_tolerance_px((1024, 1280)) == 14
    assert default_tolerance_px((480, 854)) == math.ceil(0.008 * math.sqrt(480**2 + 854**2)) == 8
    square = np.zeros((96, 128), bool)
    square[20:40, 20:40] = True
    moved = np.roll(square, 2, axis=1)
    assert boundary_f_measure(square, moved) == boundary_f_measure(square, moved, 2) == 1
    assert boundary_f_measure(square, moved, 1) < 1


@pytest.mark.parametrize("score", SCORES)
def test_errors_say_what_was_expected(score):
    mask = np.zeros((4, 6), bool)
    with pytest.raises(InputError, match="prediction of 6x4 and a truth of 4x6 pixels"):
        score(mask, mask.T)
    with pytest.raises(InputError, match=r"expected a predicted mask of dtype bool .* got uint8 \(4, 6\)"):
        score(mask.astype(np.uint8), mask)
    with pytest.raises(InputError, match="expected a true mask"):
        score(mask, mask[None])


def test_negative_tolerance_is_refused():
    with pytest.raises(InputError, match="tolerance of 0 pixels or more, got -1"):
        boundary_f_measure(*np.zeros((2, 3, 3), bool), tolerance_px=-1)


def test_examples_run():
    found = doctest.testmod(functional)
    assert found.attempted > 0
    assert found.failed == 0


def degenerate_mask(rng, hw):
    """Empty, full, one pixel, a row, a block, noise, or a mixture."""
    mask = np.zeros(hw, bool)
    kind = rng.integers(7)
    if kind == 1:
        mask[:] = True
    elif kind == 2:
        mask[rng.integers(hw[0]), rng.integers(hw[1])] = True
    elif kind == 3:
        mask[rng.integers(hw[0])] = True
    elif kind >= 4:
        y, x = rng.integers(0, hw[0]), rng.integers(0, hw[1])
        mask[y : y + rng.integers(1, hw[0] + 1), x : x + rng.integers(1, hw[1] + 1)] = True
    if kind == 6:
        mask ^= rng.random(hw) < 0.1
    return mask


def test_scores_equal_the_plain_definitions_on_thousands_of_masks():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        hw = tuple(rng.integers(1, 16, 2))
        prediction, truth = degenerate_mask(rng, hw), degenerate_mask(rng, hw)
        tolerance_px = int(rng.integers(0, 5))
        pairs = list(zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True))
        common, union = sum(p and t for p, t in pairs), sum(p or t for p, t in pairs)
        found = region_scores(prediction, truth, tolerance_px)
        assert abs(found.jaccard - (common / union if union else 1)) <= 1e-9
        assert abs(found.dice - (2 * common / (common + union) if union else 1)) <= 1e-9
        assert abs(found.boundary_f - plain_f_measure(prediction, truth, tolerance_px)) <= 1e-9
        assert (found.jaccard, found.dice) == (jaccard(prediction, truth), dice(prediction, truth))
        assert found.boundary_f == boundary_f_measure(prediction, truth, tolerance_px)

"""Scores of one predicted mask against the true one. Pure functions over boolean arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from surgvos.core.masks import mask_to_box_xyxy
from surgvos.errors import InputError

BOUNDARY_TOLERANCE = 0.008  # of the image diagonal


def jaccard(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Compute the Jaccard index J (intersection over union) of two masks.

    Args:
        prediction: bool ``(h, w)``.
        truth: bool ``(h, w)``.

    Returns:
        A number in [0, 1]; 1 when both masks are empty, 0 when only one is.

    Raises:
        InputError: The masks are not boolean images of one size.

    Example:
        >>> jaccard(np.array([[True, True]]), np.array([[True, False]]))
        0.5
    """
    _check_pair(prediction, truth)
    union = _count(prediction | truth)
    return _count(prediction & truth) / union if union else 1.0


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Compute the Dice coefficient of two masks: twice the intersection over the sum of the areas.

    Arguments, range, rules for empty masks and errors are those of `jaccard`.

    Example:
        >>> round(dice(np.array([[True, True]]), np.array([[True, False]])), 4)
        0.6667
    """
    _check_pair(prediction, truth)
    total = _count(prediction) + _count(truth)
    return 2 * _count(prediction & truth) / total if total else 1.0


def boundary_f_measure(prediction: np.ndarray, truth: np.ndarray, tolerance_px: int | None = None) -> float:
    """Compute the boundary measure F: how well the outlines of two masks agree.

    Precision is the share of the prediction's boundary pixels that lie within the tolerance of a true
    boundary pixel, recall is the reverse, F is their harmonic mean.

    Args:
        prediction: bool ``(h, w)``.
        truth: bool ``(h, w)``.
        tolerance_px: Largest distance of two matching boundary pixels; None is `default_tolerance_px`.

    Returns:
        A number in [0, 1]; 1 when neither mask has a boundary, 0 when only one has. A mask that fills the
        image has no boundary, as an empty one has none.

    Raises:
        InputError: The masks are not boolean images of one size, or the tolerance is negative.

    Reference: Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation,
        CVPR 2016, section 4; Martin et al., PAMI 2004.

    Example:
        >>> square = np.zeros((8, 8), bool)
        >>> square[2:6, 2:6] = True
        >>> boundary_f_measure(square, np.roll(square, 1, axis=1), tolerance_px=1)
        1.0
    """
    _check_pair(prediction, truth)
    tolerance_px = _tolerance_px(prediction, tolerance_px)
    window = _window(prediction, truth)
    if window is None:
        return 1.0
    return _boundary_f_measure(prediction[window], truth[window], tolerance_px)


@dataclass(frozen=True, slots=True)
class RegionScores:
    """J, F and Dice of one pair of masks, in [0, 1]."""

    jaccard: float
    boundary_f: float
    dice: float


def region_scores(prediction: np.ndarray, truth: np.ndarray, tolerance_px: int | None = None) -> RegionScores:
    """Compute `jaccard`, `boundary_f_measure` and `dice` together, which looks at the masks' pixels only once.

    Arguments, rules and errors are those of the three.

    Example:
        >>> region_scores(np.array([[True, True]]), np.array([[True, False]])).jaccard
        0.5
    """
    _check_pair(prediction, truth)
    tolerance_px = _tolerance_px(prediction, tolerance_px)
    window = _window(prediction, truth)
    if window is None:
        return RegionScores(1.0, 1.0, 1.0)
    prediction, truth = prediction[window], truth[window]
    total, common = _count(prediction) + _count(truth), _count(prediction & truth)
    return RegionScores(
        common / (total - common), _boundary_f_measure(prediction, truth, tolerance_px), 2 * common / total
    )


def _tolerance_px(mask: np.ndarray, tolerance_px: int | None) -> int:
    if tolerance_px is None:
        return default_tolerance_px((mask.shape[0], mask.shape[1]))
    if tolerance_px < 0:
        raise InputError(f"expected a boundary tolerance of 0 pixels or more, got {tolerance_px}")
    return tolerance_px


def _window(prediction: np.ndarray, truth: np.ndarray) -> tuple[slice, slice] | None:
    """Where the masks and all of their boundary pixels lie; None where both are empty."""
    box = mask_to_box_xyxy(prediction | truth)
    if box is None:
        return None
    # All boundary pixels lie in the box or one row above or column left of it; one more row and column after
    # it let the crop's edge see the background that the image has there.
    x0, y0, x1, y1 = box
    return np.s_[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1]


def _boundary_f_measure(prediction: np.ndarray, truth: np.ndarray, tolerance_px: int) -> float:
    predicted, true = np.flatnonzero(boundary(prediction)), np.flatnonzero(boundary(truth))
    if predicted.size == 0 or true.size == 0:
        return float(predicted.size == true.size)
    precision = _count_near(predicted, true, prediction.shape[1], tolerance_px) / predicted.size
    recall = _count_near(true, predicted, prediction.shape[1], tolerance_px) / true.size
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _count_near(points: np.ndarray, others: np.ndarray, width: int, radius_px: int) -> int:
    """Count the points that have one of the others within a radius.

    Args:
        points: Ascending indices into the flattened image, int ``(n,)``.
        others: The same, of at least one point.
        width: Of the image.
        radius_px: Largest distance, inclusive.
    """
    others = np.append(others, np.iinfo(others.dtype).max)
    rows, columns = np.divmod(points, width)
    # The disk row by row, near rows first: where masks agree, hardly a point is left after the first.
    for step in sorted(range(-radius_px, radius_px + 1), key=abs):
        reach = math.isqrt(radius_px**2 - step**2)
        row_starts = (rows + step) * width
        nearest = others[np.searchsorted(others, row_starts + np.maximum(columns - reach, 0))]
        is_far = nearest > row_starts + np.minimum(columns + reach, width - 1)
        rows, columns = rows[is_far], columns[is_far]
        if rows.size == 0:
            break
    return points.size - rows.size


def boundary(mask: np.ndarray) -> np.ndarray:
    """Mark the pixels that differ from their right, lower or lower right neighbour.

    A neighbour outside the image counts as equal.

    Returns:
        bool ``(h, w)``: an outline one pixel wide, on the upper left side of each edge.

    Example:
        >>> boundary(np.array([[False, True, True]])).tolist()
        [[True, False, False]]
    """
    outline = np.zeros_like(mask)
    outline[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    outline[:-1] |= mask[:-1] ^ mask[1:]
    outline[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return outline


def default_tolerance_px(image_hw: tuple[int, int]) -> int:
    """Return the usual tolerance of F: 0.8 % of the image diagonal, rounded up.

    Example:
        >>> default_tolerance_px((1024, 1280))
        14
    """
    return math.ceil(BOUNDARY_TOLERANCE * math.hypot(*image_hw))


def _count(mask: np.ndarray) -> int:
    return int(np.count_nonzero(mask))


def _check_pair(prediction: np.ndarray, truth: np.ndarray) -> None:
    for name, mask in (("predicted", prediction), ("true", truth)):
        if mask.dtype != np.bool_ or mask.ndim != 2:
            raise InputError(
                f"expected a {name} mask of dtype bool and shape (h, w), got {mask.dtype} {mask.shape}; try mask > 0"
            )
    if prediction.shape != truth.shape:
        predicted_size, true_size = (f"{m.shape[1]}x{m.shape[0]}" for m in (prediction, truth))
        raise InputError(
            f"expected masks of one size, got a prediction of {predicted_size} and a truth of {true_size} "
            "pixels; try resizing the prediction with nearest-neighbour"
        )

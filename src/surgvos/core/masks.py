"""Masks as data: label maps, run lengths, boxes. Pure functions over numpy arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypedDict

import numpy as np

from surgvos.errors import InputError


class RunLength(TypedDict):
    """Uncompressed COCO run lengths: column-major, starting with a run of zeros."""

    size: list[int]
    counts: list[int]


def masks_to_label_map(masks: Mapping[int, np.ndarray], image_hw: tuple[int, int]) -> np.ndarray:
    """Paint boolean masks into one label map; where masks overlap, the lowest id wins.

    Args:
        masks: Object id (>= 1) -> bool ``(h, w)``.
        image_hw: Size of the map.

    Returns:
        uint8 ``(h, w)``, or uint16 where an id exceeds 255; 0 is background.

    Raises:
        InputError: An id is not in 1..65535.

    Example:
        >>> masks_to_label_map({2: np.array([[True, False]])}, (1, 2)).tolist()
        [[2, 0]]
    """
    bad = [object_id for object_id in masks if not 1 <= object_id <= 65535]
    if bad:
        raise InputError(f"expected object ids in 1..65535, got {bad[0]}")
    dtype = np.uint16 if any(object_id > 255 for object_id in masks) else np.uint8
    label_map = np.zeros(image_hw, dtype=dtype)
    for object_id in sorted(masks, reverse=True):
        label_map[masks[object_id]] = object_id
    return label_map


def amend_label_map(label_map: np.ndarray, masks: Mapping[int, np.ndarray]) -> np.ndarray:
    """Paint some objects of a label map anew; the others keep their pixels.

    Args:
        label_map: Integers ``(h, w)``; not written to.
        masks: Object id (>= 1) -> bool ``(h, w)``; empty masks take an object out.

    Example:
        >>> amend_label_map(np.array([[1, 2, 2, 0]]), {2: np.array([[True, False, True, True]])}).tolist()
        [[1, 0, 2, 2]]
    """
    others = np.where(np.isin(label_map, list(masks)), 0, label_map)
    painted = masks_to_label_map(masks, (label_map.shape[0], label_map.shape[1]))
    return np.where(others > 0, others, painted)


def present_ids(label_map: np.ndarray) -> list[int]:
    """Return the ids of a label map, ascending; faster than sorting its pixels.

    Example:
        >>> present_ids(np.array([[3, 0, 3]], np.uint8))
        [0, 3]
    """
    is_there = np.zeros(int(label_map.max(initial=0)) + 1, dtype=bool)
    is_there[label_map] = True
    return np.flatnonzero(is_there).tolist()


def label_map_to_masks(
    label_map: np.ndarray, ignore: int | None = None, *, nothing: Collection[int] = (0,)
) -> dict[int, np.ndarray]:
    """Split a label map into one boolean mask per id, in ascending order.

    Args:
        label_map: Integers ``(h, w)``.
        ignore: An id that is left out.
        nothing: Ids that are left out because they say that nothing is there.

    Example:
        >>> {k: v.tolist() for k, v in label_map_to_masks(np.array([[0, 3]])).items()}
        {3: [[False, True]]}
    """
    ids = [i for i in present_ids(label_map) if i not in nothing and i != ignore]
    return {object_id: label_map == object_id for object_id in ids}


def mask_to_box_xyxy(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Tight box ``x0, y0, x1, y1`` of a mask, the last row and column excluded; None when it is empty.

    Example:
        >>> mask_to_box_xyxy(np.array([[False, True], [False, True]]))
        (1, 0, 2, 2)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def encode_run_length(mask: np.ndarray) -> RunLength:
    """Encode a boolean mask as uncompressed COCO run lengths.

    Example:
        >>> encode_run_length(np.array([[False, True], [True, True]]))
        {'size': [2, 2], 'counts': [1, 3]}
    """
    flat = np.asfortranarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate(([0], changes, [flat.size]))
    counts = np.diff(edges).tolist()
    if flat.size and flat[0]:
        counts.insert(0, 0)
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": [int(c) for c in counts]}


def decode_run_length(run_length: RunLength) -> np.ndarray:
    """Decode uncompressed COCO run lengths into a boolean mask.

    Raises:
        InputError: The runs do not add up to the size.
    """
    height, width = run_length["size"]
    counts = np.asarray(run_length["counts"], dtype=np.int64)
    if (counts < 0).any() or counts.sum() != height * width:
        raise InputError(f"expected runs that add up to {height}x{width} pixels, got {int(counts.sum())}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((width, height)).T

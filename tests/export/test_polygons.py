"""Polygons say masks pixel by pixel, holes and parts included."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coding

from surgvos.export.polygons import fill_rings, join_rings, mask_to_outlines, mask_to_rings

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)).filter(np.any)


@given(mask=MASKS)
@settings(max_examples=50, deadline=None)
def test_rings_fill_to_the_very_mask(mask: np.ndarray) -> None:
    assert np.array_equal(fill_rings(mask_to_rings(mask), mask.shape), mask)


@given(mask=MASKS)
@settings(max_examples=50, deadline=None)
def test_pycocotools_fills_outlines_to_the_very_mask(mask: np.ndarray) -> None:
    parts = coding.frPyObjects([ring.ravel().tolist() for ring in mask_to_outlines(mask)], *mask.shape)
    assert np.array_equal(coding.decode(coding.merge(parts)), mask)


@given(mask=MASKS, scale=st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_one_ring_adds_no_more_than_its_lines_between_parts(mask: np.ndarray, scale: int) -> None:
    mask = mask.repeat(scale, axis=0).repeat(scale, axis=1)
    rings = mask_to_rings(mask)
    filled = fill_rings([join_rings(rings)], mask.shape)
    assert (filled >= mask).all()
    assert (filled & ~mask).sum() <= (len(rings) - 1) * (max(mask.shape) - 1)
    if len(rings) == 1:
        assert np.array_equal(filled, mask)


def test_a_frame_with_an_island_in_its_hole() -> None:
    mask = np.zeros((20, 20), dtype=bool)
    mask[2:18, 2:18] = True
    mask[5:15, 5:15] = False
    mask[8:12, 8:12] = True
    rings = mask_to_rings(mask)
    assert len(rings) == 2
    assert np.array_equal(fill_rings(rings, mask.shape), mask)

"""Masks as data: there and back again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from surgvos.core import (
    decode_run_length,
    encode_run_length,
    label_map_to_masks,
    mask_to_box_xyxy,
    masks_to_label_map,
)
from surgvos.errors import InputError

sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))
masks = sizes.flatmap(lambda hw: arrays.arrays(bool, hw))
label_maps = st.tuples(sizes, st.sampled_from((np.uint8, np.uint16))).flatmap(
    lambda args: arrays.arrays(args[1], args[0], elements=st.integers(0, np.iinfo(args[1]).max))
)


@given(masks)
def test_run_lengths_hold_the_mask(mask: np.ndarray) -> None:
    stored = json.loads(json.dumps(encode_run_length(mask)))
    decoded = decode_run_length(stored)
    assert decoded.dtype == bool
    assert np.array_equal(decoded, mask)


@given(masks)
def test_run_lengths_are_shortest_and_begin_with_zeros(mask: np.ndarray) -> None:
    runs = encode_run_length(mask)
    assert runs["size"] == list(mask.shape)
    assert sum(runs["counts"]) == mask.size
    assert all(count > 0 for count in runs["counts"][1:]), "two runs of one value"
    assert sum(runs["counts"][1::2]) == mask.sum()
    assert (runs["counts"][0] == 0) == bool(mask[0, 0])


@given(masks)
def test_run_lengths_do_not_depend_on_memory_order(mask: np.ndarray) -> None:
    assert encode_run_length(np.asfortranarray(mask)) == encode_run_length(mask)
    assert encode_run_length(np.repeat(mask, 2, axis=1)[:, ::2]) == encode_run_length(mask)


@pytest.mark.parametrize("counts", [[1, 2], [7], [-1, 7], []])
def test_runs_of_another_length_are_refused(counts: list[int]) -> None:
    with pytest.raises(InputError, match=f"add up to 2x3 pixels, got {sum(counts)}"):
        decode_run_length({"size": [2, 3], "counts": counts})


@given(label_maps)
def test_label_maps_hold_their_masks(label_map: np.ndarray) -> None:
    split = label_map_to_masks(label_map)
    assert list(split) == sorted(set(label_map.ravel().tolist()) - {0})
    painted = masks_to_label_map(split, label_map.shape)
    assert np.array_equal(painted, label_map)
    assert painted.dtype == (np.uint8 if label_map.max() <= 255 else np.uint16)


@given(label_maps, st.integers(0, 255))
def test_ignored_ids_are_left_out(label_map: np.ndarray, ignore: int) -> None:
    kept = label_map_to_masks(label_map, ignore=ignore)
    assert ignore not in kept
    assert set(kept) == set(label_map_to_masks(label_map)) - {ignore}


@settings(max_examples=50)
@given(
    sizes.flatmap(lambda hw: st.dictionaries(st.integers(1, 65535), arrays.arrays(bool, hw), min_size=1, max_size=5))
)
def test_where_masks_overlap_the_lowest_id_wins(overlapping: dict[int, np.ndarray]) -> None:
    hw = next(iter(overlapping.values())).shape
    painted = masks_to_label_map(overlapping, hw)
    stacked = np.stack([np.where(mask, object_id, 65536) for object_id, mask in overlapping.items()])
    lowest = stacked.min(axis=0)
    assert np.array_equal(painted, np.where(lowest == 65536, 0, lowest))


@pytest.mark.parametrize("object_id", [0, -1, 65536])
def test_ids_that_no_file_can_hold_are_refused(object_id: int) -> None:
    with pytest.raises(InputError, match=rf"expected object ids in 1\.\.65535, got {object_id}"):
        masks_to_label_map({object_id: np.ones((1, 1), dtype=bool)}, (1, 1))


@given(masks)
def test_boxes_are_tight(mask: np.ndarray) -> None:
    box = mask_to_box_xyxy(mask)
    if box is None:
        assert not mask.any()
        return
    x0, y0, x1, y1 = box
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    for edge in (mask[y0], mask[y1 - 1], mask[:, x0], mask[:, x1 - 1]):
        assert edge.any()


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
def test_boxes_hold_rectangles(x0: int, y0: int, width: int, height: int) -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[y0 : y0 + height, x0 : x0 + width] = True
    assert mask_to_box_xyxy(mask) == (x0, y0, x0 + width, y0 + height)

"""Instances cut into regions answer as the masks themselves would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from surgvos.errors import InputError
from surgvos.overseer.detection import Detection, count_values


@st.composite
def instances(draw: st.DrawFn) -> tuple[np.ndarray, list[int], list[float]]:
    num_instances = draw(st.integers(0, 6))
    masks = draw(hnp.arrays(bool, (num_instances, draw(st.integers(1, 9)), draw(st.integers(1, 9)))))
    class_ids = draw(st.lists(st.integers(0, 4), min_size=num_instances, max_size=num_instances))
    scores = draw(st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=num_instances, max_size=num_instances))
    return masks, class_ids, scores


@given(instances(), st.sampled_from([0.0, 0.5, 0.8]))
def test_classes_are_unions_of_instances_above_a_score(
    found: tuple[np.ndarray, list[int], list[float]], min_score: float
) -> None:
    masks, class_ids, scores = found
    detection = Detection.from_masks(masks, class_ids, scores).above(min_score)
    unions: dict[int, np.ndarray] = {}
    for mask, class_id, score in zip(masks, class_ids, scores, strict=True):
        if score >= min_score and mask.any():
            unions[class_id] = unions.get(class_id, False) | mask
    assert detection.seen.ids == tuple(sorted(unions))
    for one in range(5):
        expected = unions.get(one, np.zeros(masks.shape[1:], dtype=bool))
        assert np.array_equal(detection.mask(one), expected)
        assert detection.seen.area_px(one) == expected.sum()
        for other, union in unions.items():
            assert detection.seen.overlap_px(one, other) == (expected & union).sum()


def test_a_class_has_the_score_of_its_best_visible_instance() -> None:
    masks = np.array([[[True, False]], [[False, True]], [[False, False]]])
    seen = Detection.from_masks(masks, [3, 3, 3], [0.25, 0.5, 1.0]).seen
    assert seen.score(3) == 0.5
    assert seen.score(4) == 0


def test_single_classes_may_have_thresholds_of_their_own() -> None:
    detection = Detection.from_masks(np.ones((3, 1, 1), dtype=bool), [1, 2, 3], [0.4, 0.6, 0.6])
    assert detection.above(0.5, {1: 0.3, 2: 0.7}).seen.ids == (1, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_maps_are_detections_without_doubt(dtype: type) -> None:
    label_map = np.array([[0, 3, 3], [255, 255, 1]], dtype=dtype)
    detection = Detection.from_label_map(label_map, nothing=(255,))
    assert detection.seen.ids == (0, 1, 3)
    assert detection.seen.scores.tolist() == [1, 1, 1]
    assert detection.mask(3).tolist() == [[False, True, True], [False, False, False]]
    assert detection.regions is label_map


def test_many_small_instances_need_more_than_a_byte_per_pixel() -> None:
    masks = np.eye(400, dtype=bool).reshape(400, 20, 20)
    detection = Detection.from_masks(masks, [i % 7 for i in range(400)])
    assert detection.regions.dtype == np.uint16
    assert np.array_equal(detection.mask(3), masks[3::7].any(axis=0))


@given(hnp.arrays(np.uint8, (7, 11)), st.sampled_from([np.uint8, np.uint16, np.int32]))
def test_values_are_counted_exactly(values: np.ndarray, dtype: type) -> None:
    assert np.array_equal(count_values(values.astype(dtype), 256), np.bincount(values.ravel(), minlength=256))


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InputError, match="expected bool masks"):
        Detection.from_masks(np.zeros((2, 4, 4), dtype=bool), [1])
    with pytest.raises(InputError, match="expected bool masks"):
        Detection.from_masks(np.zeros((1, 4, 4)), [1])
    with pytest.raises(InputError, match="expected a label map"):
        Detection.from_label_map(np.zeros((4, 4)))

"""What every score promises, whatever it measures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from surgvos.errors import InputError
from surgvos.evaluation import (
    PROTOCOLS,
    AbsentRule,
    FrameRule,
    RegionMetric,
    boundary_f_measure,
    dice,
    jaccard,
)
from surgvos.evaluation.class_counts import ClassSums, count_pixels, numbered_classes
from surgvos.evaluation.class_protocols import CLASS_PROTOCOLS, AbsentClass, semantic_protocol
from surgvos.evaluation.temporal import DISTANCE, IOU, TEMPORAL_PROTOCOLS, LabelFrame, compare_neighbours

Score = Callable[[np.ndarray, np.ndarray], float]

SCORES: dict[str, Score] = {"jaccard": jaccard, "dice": dice, "boundary_f": boundary_f_measure}
FLIPS = {"left_right": np.fliplr, "up_down": np.flipud, "transposed": np.transpose}
# The boundary lies on the upper left side of each edge, so that only the transposition leaves F as it is.
INVARIANCES = [(name, flip) for name in SCORES for flip in FLIPS if name != "boundary_f" or flip == "transposed"]

each_score = pytest.mark.parametrize("name", SCORES)
each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)

sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))
mask_pairs = sizes.flatmap(lambda hw: st.tuples(*[arrays.arrays(bool, hw)] * 2))


def disk(hw: tuple[int, int] = (48, 64), center: tuple[int, int] = (24, 30), radius_px: int = 12) -> np.ndarray:
    rows, columns = np.ogrid[: hw[0], : hw[1]]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius_px**2


@each_score
@settings(max_examples=60)
@given(pair=mask_pairs)
def test_scores_lie_between_0_and_1_and_perfect_is_1(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    score = SCORES[name]
    one, other = pair
    assert score(one, one.copy()) == 1.0
    assert 0.0 <= score(one, other) <= 1.0
    assert score(one, other) == pytest.approx(score(other, one)), "the two sides count differently"


@each_score
def test_absence_is_defined(name: str) -> None:
    score, full, empty = SCORES[name], disk(), np.zeros((48, 64), dtype=bool)
    assert score(empty, empty) == 1.0
    assert score(empty, full) == 0.0
    assert score(full, empty) == 0.0


@each_score
def test_nothing_in_common_is_0(name: str) -> None:
    assert SCORES[name](disk(center=(10, 10), radius_px=5), disk(center=(36, 50), radius_px=5)) == 0.0


@each_score
def test_farther_is_worse(name: str) -> None:
    found = [SCORES[name](np.roll(disk(), shift, axis=1), disk()) for shift in (0, 3, 6, 12)]
    assert found == sorted(found, reverse=True)
    assert found[0] == 1.0
    assert found[-1] < found[1]


@pytest.mark.parametrize(("name", "flip"), INVARIANCES)
@settings(max_examples=40)
@given(pair=mask_pairs)
def test_orientation_does_not_count(name: str, flip: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    score, turn = SCORES[name], FLIPS[flip]
    one, other = (np.ascontiguousarray(turn(mask)) for mask in pair)
    assert score(one, other) == pytest.approx(score(*pair), abs=1e-12)


@each_score
def test_masks_of_two_sizes_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected masks of one size, got a prediction of 3x2 and a truth of 2x3"):
        SCORES[name](np.zeros((2, 3), dtype=bool), np.zeros((3, 2), dtype=bool))


@each_score
@pytest.mark.parametrize("bad", [np.zeros((2, 3), dtype=np.uint8), np.zeros((1, 2, 3), dtype=bool)])
def test_what_is_no_mask_is_refused(name: str, bad: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"try mask > 0"):
        SCORES[name](bad, np.zeros((2, 3), dtype=bool))


@each_protocol
def test_every_protocol_gives_a_perfect_prediction_1(protocol) -> None:
    metric = protocol.metric()
    for frame_index in range(8):
        mask = disk(center=(24, 20 + 2 * frame_index))
        metric.update("case", 1, frame_index, mask, mask.copy())
    found = metric.compute()["case"][1]
    assert (found.jaccard.mean, found.boundary_f.mean, found.dice) == (1.0, 1.0, 1.0)
    assert found.jaccard.recall == 1.0
    assert found.jaccard.decay == 0.0


@each_protocol
def test_every_protocol_gives_a_missing_object_0(protocol) -> None:
    metric = protocol.metric()
    for frame_index in range(8):
        metric.update("case", 1, frame_index, None, disk())
    found = metric.compute()["case"][1]
    assert (found.jaccard.mean, found.boundary_f.mean, found.dice) == (0.0, 0.0, 0.0)


@each_protocol
def test_no_protocol_scores_an_object_without_frames(protocol) -> None:
    assert protocol.metric().compute() == {}


rules = st.builds(RegionMetric, frames=st.sampled_from(FrameRule), absent=st.sampled_from(AbsentRule))
scenes = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 9)), min_size=4, max_size=12)


def seen(scene: list[tuple[bool, bool, int]]) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    """Prediction and truth of each frame: whether they are there, and by how much they differ."""
    truth = disk(hw=(20, 20), center=(9, 8), radius_px=5)
    return [
        (np.roll(truth, shift, axis=1) if in_prediction else None, truth if in_truth else None)
        for in_prediction, in_truth, shift in scene
    ]


@settings(max_examples=60)
@given(rules, scenes, st.randoms(use_true_random=False))
def test_the_order_of_frames_and_of_merging_does_not_count(metric: RegionMetric, scene: list, rng) -> None:
    parts = [RegionMetric(frames=metric.frames, absent=metric.absent) for _ in range(3)]
    frames = list(enumerate(seen(scene)))
    for frame_index, (prediction, truth) in frames:
        metric.update("case", 1, frame_index, prediction, truth)
    rng.shuffle(frames)
    for frame_index, (prediction, truth) in frames:
        rng.choice(parts).update("case", 1, frame_index, prediction, truth)
    first, *others = parts
    for other in others:
        first.merge(other)
    assert first.compute() == metric.compute()


@settings(max_examples=60)
@given(rules, scenes)
def test_statistics_are_bounded_and_count_scored_frames_only(metric: RegionMetric, scene: list) -> None:
    for frame_index, (prediction, truth) in enumerate(seen(scene)):
        metric.update("case", 1, frame_index, prediction, truth)
    for found in metric.compute().get("case", {}).values():
        assert 0 < len(found.frame_indices) <= len(scene)
        assert list(found.frame_indices) == sorted(set(found.frame_indices))
        assert len(found.true_jaccards) == sum(scene[i][1] for i in found.frame_indices)
        for series in (found.jaccard, found.boundary_f):
            assert 0 <= series.mean <= 1
            assert 0 <= series.recall <= 1
            assert -1 <= series.decay <= 1


def label_maps() -> list[np.ndarray]:
    """Two classes that move over background."""
    return [
        (disk(center=(12, 12 + 3 * i), radius_px=6) + 2 * disk(center=(34, 40 - 2 * i))).astype(np.uint8)
        for i in range(4)
    ]


def class_scores(protocol, predictions: list[np.ndarray], truths: list[np.ndarray]) -> dict[str, float]:
    counts = [count_pixels(p, t, numbered_classes(2)) for p, t in zip(predictions, truths, strict=True)]
    sums = ClassSums.stack([ClassSums.of_frame(found) for found in counts]).total()
    return {key: float(value) for key, value in protocol.overall(sums).items()}


each_class_protocol = pytest.mark.parametrize(
    "class_protocol", [*CLASS_PROTOCOLS.values(), semantic_protocol(AbsentClass.PERFECT)], ids=lambda p: p.name
)


@each_class_protocol
def test_every_class_protocol_gives_perfection_1_and_absence_0_whatever_the_order(class_protocol) -> None:
    truths = label_maps()
    nothing = [np.zeros_like(truth) for truth in truths]
    assert set(class_scores(class_protocol, truths, truths).values()) == {1.0}
    assert set(class_scores(class_protocol, nothing, truths).values()) == {0.0}
    assert all(np.isnan(value) for value in class_scores(class_protocol, nothing, nothing).values())
    worse = [np.roll(truth, 3, axis=1) for truth in truths]
    found = class_scores(class_protocol, worse, truths)
    assert all(0 < value < 1 for value in found.values())
    assert class_scores(class_protocol, worse[::-1], truths[::-1]) == pytest.approx(found)


@pytest.mark.parametrize("temporal_protocol", TEMPORAL_PROTOCOLS.values(), ids=TEMPORAL_PROTOCOLS)
def test_every_temporal_protocol_rewards_what_stays_and_knows_no_direction_of_time(temporal_protocol) -> None:
    frames = [LabelFrame.of(label_map, None, temporal_protocol) for label_map in label_maps()]
    still = compare_neighbours(frames[0], frames[0], temporal_protocol)
    assert (still.macro(IOU), still.macro(DISTANCE)) == (1, 0)
    there, back = (compare_neighbours(*pair, temporal_protocol) for pair in (frames[:2], frames[1::-1]))
    assert 0 < there.macro(IOU) < 1
    assert there.macro(DISTANCE) > 0
    for score in (IOU, DISTANCE):
        assert there.per_label(score) == pytest.approx(back.per_label(score))


def test_a_frame_scored_twice_is_refused() -> None:
    metric = RegionMetric(frames=FrameRule.ALL, absent=AbsentRule.PERFECT)
    metric.update("case", 1, 0, disk(), disk())
    with pytest.raises(InputError, match="expected each frame once, got frame 0 of case again"):
        metric.update("case", 1, 0, disk(), disk())
    twin = RegionMetric(frames=FrameRule.ALL, absent=AbsentRule.PERFECT)
    twin.update("case", 1, 0, disk(), disk())
    with pytest.raises(InputError, match="expected each frame once"):
        metric.merge(twin)


def test_metrics_of_other_rules_are_not_merged() -> None:
    metric = RegionMetric(frames=FrameRule.ALL, absent=AbsentRule.PERFECT)
    with pytest.raises(InputError, match="expected metrics of the same rules"):
        metric.merge(RegionMetric(frames=FrameRule.INNER, absent=AbsentRule.PERFECT))

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgvos.errors import ConfigError, InputError
from surgvos.evaluation import AbsentRule, FrameRule, RegionMetric, metrics
from surgvos.evaluation.metrics import SeriesStatistics
from surgvos.evaluation.protocols import protocol_by_name

HERE = np.array([[True, False, False]])
WIDE = np.array([[True, True, False]])  # J with HERE: 1/2
GONE = np.array([[False, False, False]])


def run(frames, absent, pairs):
    metric = RegionMetric(frames=frames, absent=absent)
    for index, (prediction, truth) in enumerate(pairs):
        metric.update("case", 1, index, prediction, truth)
    return metric.compute().get("case", {}).get(1)


#            0             1             2             3             4             5
HISTORY = [(GONE, GONE), (GONE, HERE), (WIDE, HERE), (GONE, GONE), (HERE, HERE), (WIDE, HERE)]


@pytest.mark.parametrize(
    ("frames", "absent", "expected_frames", "expected_jaccard"),
    [
        (FrameRule.ALL, AbsentRule.PERFECT, (0, 1, 2, 3, 4, 5), (1 + 0 + 0.5 + 1 + 1 + 0.5) / 6),
        (FrameRule.ALL, AbsentRule.SKIP, (1, 2, 4, 5), (0 + 0.5 + 1 + 0.5) / 4),
        (FrameRule.ALL, AbsentRule.SKIP_UNTIL_SEEN, (1, 2, 3, 4, 5), (0 + 0.5 + 1 + 1 + 0.5) / 5),
        (FrameRule.INNER, AbsentRule.PERFECT, (1, 2, 3, 4), (0 + 0.5 + 1 + 1) / 4),
        (FrameRule.TRACKED, AbsentRule.PERFECT, (2, 3, 4), (0.5 + 1 + 1) / 3),
    ],
)
def test_rules_choose_the_frames(frames, absent, expected_frames, expected_jaccard):
    score = run(frames, absent, HISTORY)
    assert score.frame_indices == expected_frames
    assert score.jaccard.mean == pytest.approx(expected_jaccard)
    assert len(score.true_jaccards) == sum(HISTORY[i][1].any() for i in expected_frames)


def test_a_prediction_in_front_of_the_truth_counts_as_seen():
    history = [(GONE, GONE), (HERE, GONE), (HERE, HERE), (HERE, HERE)]
    assert run(FrameRule.ALL, AbsentRule.SKIP_UNTIL_SEEN, history).frame_indices == (1, 2, 3)


def test_an_object_with_no_frame_to_score_is_left_out():
    assert run(FrameRule.TRACKED, AbsentRule.PERFECT, [(GONE, GONE), (HERE, GONE), (HERE, HERE)]) is None
    assert run(FrameRule.INNER, AbsentRule.PERFECT, [(HERE, HERE), (HERE, HERE)]) is None


def test_none_is_an_empty_mask():
    masks = run(FrameRule.ALL, AbsentRule.PERFECT, [(GONE, HERE), (HERE, GONE), (GONE, GONE)])
    nones = run(FrameRule.ALL, AbsentRule.PERFECT, [(None, HERE), (HERE, None), (None, None)])
    assert masks == nones


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 2), st.integers(0, 5)), unique=True, max_size=12),
    st.integers(0, 12),
    st.randoms(use_true_random=False),
)
def test_merging_parts_in_any_order_is_one_pass(keys, cut, random):
    masks = [HERE, WIDE, GONE]
    whole, left, right = (RegionMetric(frames=FrameRule.ALL, absent=AbsentRule.PERFECT) for _ in range(3))
    updates = [(*key, random.choice(masks), random.choice(masks)) for key in keys]
    for update in updates:
        whole.update(*update)
    random.shuffle(updates)
    for update in updates[:cut]:
        left.update(*update)
    for update in updates[cut:]:
        right.update(*update)
    left.merge(right)
    assert left.compute() == whole.compute()


def test_merging_refuses_what_it_cannot_merge():
    metric = RegionMetric(frames=FrameRule.ALL, absent=AbsentRule.PERFECT)
    metric.update("case", 1, 7, HERE, HERE)
    with pytest.raises(InputError, match="same rules"):
        metric.merge(RegionMetric(frames=FrameRule.INNER, absent=AbsentRule.PERFECT))
    with pytest.raises(InputError, match="frame 7 of case again"):
        metric.update("case", 1, 7, HERE, HERE)


def test_fill_absent_keeps_what_was_scored():
    metric = RegionMetric(frames=FrameRule.ALL, absent=AbsentRule.PERFECT)
    metric.update("case", 1, 1, GONE, HERE)
    metric.fill_absent("case", 1, range(4))
    score = metric.compute()["case"][1]
    assert score.frame_indices == (0, 1, 2, 3)
    assert score.jaccard.mean == 3 / 4


@pytest.mark.parametrize(
    ("values", "mean", "recall", "decay"),
    [
        ([0.6], 0.6, 1.0, 0.0),
        ([0.5, 1.0], 0.75, 0.5, -0.5),
        # Edges 1 3 5 7 9: the first quarter is frames 1-3, the last 7-9.
        ([0.9, 0.9, 0.9, 0, 0, 0, 0.3, 0.3, 0.3], 0.4, 1 / 3, 0.6),
        # Edges 1 2.25 3.5 4.75 6 -> 1 2 4 5 6.
        ([1.0, 0.8, 0, 0, 0.2, 0.4], 0.4, 1 / 3, 0.6),
    ],
)
def test_mean_recall_and_decay(values, mean, recall, decay):
    found = SeriesStatistics.of(np.array(values))
    assert (found.mean, found.recall, found.decay) == pytest.approx((mean, recall, decay))


def test_decay_of_a_long_series():
    # The published code keeps frame numbers in 8 bits, which goes wrong from 256 frames on; ours does not.
    values = np.repeat([1.0, 0.5, 0.5, 0.0], 250)
    assert SeriesStatistics.of(values).decay == pytest.approx(1.0, abs=0.01)


def test_unknown_protocols_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="davis, plain, surgsam2, resurgsam2, got 'surgsam'; try 'surgsam2'"):
        protocol_by_name("surgsam")


def test_examples_run():
    found = doctest.testmod(metrics)
    assert found.attempted > 0
    assert found.failed == 0

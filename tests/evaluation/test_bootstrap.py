import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgvos.errors import ConfigError, InputError
from surgvos.evaluation import Bootstrap, ObjectReport, RegionScore, Report, Unit
from surgvos.evaluation.scores import ChallengeIou


def score(value):
    return RegionScore(
        jaccard=value,
        boundary_f=value / 2,
        dice=value,
        jaccard_recall=100,
        jaccard_decay=0,
        boundary_f_recall=100,
        boundary_f_decay=0,
    )


def report_of(videos, object_classes=None):
    objects = {
        video: {i: ObjectReport(score(value), 5, 0) for i, value in enumerate(values, start=1)}
        for video, values in videos.items()
    }
    challenge = {video: ChallengeIou(10.0 * sum(values), 10) for video, values in videos.items()}
    return Report("plain", objects, (), challenge, {}, object_classes or {})


def plain_interval(values, num_samples, seed, level):
    """Draw units one by one, average, sort, and cut the tails off."""
    rng = np.random.default_rng(seed)
    means = []
    for sample in rng.integers(0, len(values), (num_samples, len(values))):
        drawn = [values[index] for index in sample]
        means.append(sum(drawn) / len(drawn))
    means.sort()

    def at(percent):
        position = percent / 100 * (len(means) - 1)
        low = int(position)
        high = min(low + 1, len(means) - 1)
        return means[low] + (position - low) * (means[high] - means[low])

    return at((100 - level) / 2), at(100 - (100 - level) / 2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=9), st.integers(0, 3), st.sampled_from([50.0, 90.0, 95.0]))
def test_intervals_are_those_of_the_plain_method(values, seed, level):
    settings_ = Bootstrap(num_samples=60, unit=Unit.OBJECTS, level=level, seed=seed)
    found = settings_.of_means([{"J": v} for v in values], range(len(values)))["J"]
    assert found == pytest.approx(plain_interval(values, 60, seed, level), abs=1e-9)
    assert min(values) - 1e-9 <= found[0] <= found[1] <= max(values) + 1e-9


def test_drawing_videos_keeps_their_objects_together():
    # Within a video all objects are alike, so that nothing but the draw of videos makes a difference.
    report = report_of({"a": [90, 90, 90, 90], "b": [10, 10, 10, 10]})
    objects = report.with_intervals(Bootstrap(num_samples=2000, unit=Unit.OBJECTS)).intervals
    videos = report.with_intervals(Bootstrap(num_samples=2000, unit=Unit.VIDEOS)).intervals
    assert videos.mean["J"] == (10, 90)
    assert 10 < objects.mean["J"][0] < objects.mean["J"][1] < 90
    assert set(objects.videos) == {"a", "b"}
    assert objects.videos["a"]["J"] == (90, 90)
    assert videos.videos == {}
    assert "CIoU" not in objects.mean
    assert videos.mean["CIoU"][0] == pytest.approx(40)


def test_videos_count_by_their_objects():
    report = report_of({"a": [100], "b": [0, 0, 0]})
    assert report.mean.jaccard == 25
    low, high = report.with_intervals(Bootstrap(num_samples=500, unit=Unit.VIDEOS)).intervals.mean["J"]
    assert (low, high) == (0, 100)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        values = rng.uniform(0, 100, 40)
        low, high = Bootstrap(num_samples=200, unit=Unit.OBJECTS, seed=trial).of_means(
            [{"J": v} for v in values], range(40)
        )["J"]
        covered += low <= 50 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_classes_have_means_and_intervals():
    classes = {"a": {1: "grasper", 2: "hook"}, "b": {1: "grasper"}}
    report = report_of({"a": [80, 40], "b": [60, 20]}, classes)
    assert {name: found.jaccard for name, found in report.classes.items()} == {"grasper": 70, "hook": 40}
    intervals = report.with_intervals(Bootstrap(num_samples=300, unit=Unit.OBJECTS)).intervals
    assert intervals.classes.keys() == {"grasper"}
    assert intervals.classes["grasper"]["J"] == (60, 80)


def test_same_seed_same_interval_and_json_round_trip():
    report = report_of({"a": [80, 40], "b": [60, 20]}, {"a": {1: "grasper"}})
    settings_ = Bootstrap(num_samples=50, unit=Unit.OBJECTS, seed=3)
    one, two = report.with_intervals(settings_), report.with_intervals(settings_)
    assert one == two
    assert one != report.with_intervals(Bootstrap(num_samples=50, unit=Unit.OBJECTS, seed=4))
    assert Report.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_one_unit_is_refused():
    with pytest.raises(InputError, match="expected two videos or more to draw"):
        report_of({"a": [80, 40]}).with_intervals(Bootstrap(num_samples=50, unit=Unit.VIDEOS))


@pytest.mark.parametrize("wrong", [{"num_samples": 0}, {"level": 100}, {"level": 0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="expected"):
        Bootstrap(**{"num_samples": 10, "unit": Unit.OBJECTS, **wrong})

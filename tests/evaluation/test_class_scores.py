"""Class scores against their definitions, pixel by pixel and frame by frame."""

import doctest
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from surgvos.core.label_tables import label_space_by_name
from surgvos.core.labels import LabelSpace
from surgvos.core.masks import present_ids
from surgvos.errors import InputError
from surgvos.evaluation import Bootstrap, Unit, class_counts
from surgvos.evaluation.class_counts import ClassSums, count_pixels, numbered_classes
from surgvos.evaluation.class_protocols import ENDOVIS, AbsentClass, semantic_protocol
from surgvos.evaluation.class_report import evaluate_classes
from surgvos.evaluation.object_classes import ObjectClasses, read_object_classes

EXACT = {"rel": 0, "abs": 1e-9}


def plain_counts(prediction, truth, ids, ignore=None):
    """Id -> [common, predicted, true], a pixel at a time."""
    counts = {i: [0, 0, 0] for i in ids}
    for p, t in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        if t == ignore:
            continue
        if p in counts:
            counts[p][1] += 1
        if t in counts:
            counts[t][2] += 1
            counts[t][0] += p == t
    return counts


def plain_endovis(frames, ids):
    """The scores of the ISINet literature as their definitions read; frames are (prediction, truth)."""
    challenge, isi, per_class, inter, union = [], [], {i: [] for i in ids}, 0, 0
    for prediction, truth in frames:
        true_ids = [i for i in ids if (truth == i).any()]
        seen_ids = [i for i in ids if (truth == i).any() or (prediction == i).any()]
        ious = {}
        for i in seen_ids:
            both = sum(bool(p == i and t == i) for p, t in zip(prediction.flat, truth.flat, strict=True))
            either = sum(bool(p == i or t == i) for p, t in zip(prediction.flat, truth.flat, strict=True))
            ious[i] = both / either
            per_class[i].append(both / either)
            inter, union = inter + both, union + either
        if not any((prediction == i).any() for i in ids):
            # Said by itself in the definition: an empty prediction.
            if true_ids:
                challenge.append(0.0)
                isi.append(0.0)
            continue
        if true_ids:
            challenge.append(sum(ious[i] for i in true_ids) / len(true_ids))
        isi.append(sum(ious.values()) / len(seen_ids))
    means = {i: sum(found) / len(found) for i, found in per_class.items() if found}

    def mean(values):
        return sum(values) / len(values) if values else math.nan

    return (
        {
            "CIoU": mean(challenge),
            "IoU": mean(isi),
            "mcIoU": mean(list(means.values())),
            "mIoU": inter / (union + 1e-15) if union else math.nan,
        },
        means,
    )


def plain_semantic(frames, ids, absent):
    """Dice and IoU per class: frame by frame, and over all pixels."""
    found = {}
    for i in ids:
        dices, ious, both_all, area_all = [], [], 0, 0
        for prediction, truth in frames:
            p, t = prediction == i, truth == i
            both, area = int((p & t).sum()), int(p.sum()) + int(t.sum())
            both_all, area_all = both_all + both, area_all + area
            if area:
                dices.append(2 * both / area)
                ious.append(both / (area - both))
            elif absent is AbsentClass.PERFECT:
                dices.append(1.0)
                ious.append(1.0)
        if area_all:
            found[i] = {
                "Dice": sum(dices) / len(dices),
                "IoU": sum(ious) / len(ious),
                "pooled Dice": 2 * both_all / area_all,
                "pooled IoU": both_all / (area_all - both_all),
            }
    return found


def scores_of(protocol, frames, classes):
    sums = ClassSums.stack([ClassSums.of_frame(count_pixels(p, t, classes)) for p, t in frames]).total()
    return protocol.overall(sums), protocol.per_class(sums)


def degenerate_frames(rng, num_classes):
    """Label maps that are noise, blocks, empty or full, alone or in part, in any combination."""
    hw = tuple(rng.integers(1, 7, 2))

    def one():
        kind = rng.integers(5)
        if kind == 0:
            return np.zeros(hw, np.uint8)
        if kind == 1:
            return np.full(hw, rng.integers(1, num_classes + 1), np.uint8)
        noise = rng.integers(0, num_classes + 1, hw).astype(np.uint8)
        if kind == 2:
            noise[: hw[0] // 2] = 0
        if kind == 3:
            noise[:] = noise[0, 0]
        return noise

    frames = [(one(), one()) for _ in range(rng.integers(1, 5))]
    return [(p, p.copy()) if rng.random() < 0.1 else (p, t) for p, t in frames]


def test_endovis_scores_equal_the_definition_on_many_frames():
    rng = np.random.default_rng(0)
    for _ in range(600):
        num_classes = int(rng.integers(1, 5))
        frames = degenerate_frames(rng, num_classes)
        overall, per_class = scores_of(ENDOVIS, frames, numbered_classes(num_classes))
        expected, by_class = plain_endovis(frames, range(1, num_classes + 1))
        assert {key: float(value) for key, value in overall.items()} == pytest.approx(expected, **EXACT, nan_ok=True)
        found = {i: float(v) for i, v in enumerate(per_class["IoU"], start=1) if not np.isnan(v)}
        assert found == pytest.approx(by_class, **EXACT)


@pytest.mark.parametrize("absent", AbsentClass)
def test_semantic_scores_equal_the_definition_on_many_frames(absent):
    rng = np.random.default_rng(1)
    for _ in range(400):
        num_classes = int(rng.integers(1, 5))
        frames = degenerate_frames(rng, num_classes)
        overall, per_class = scores_of(semantic_protocol(absent), frames, numbered_classes(num_classes))
        expected = plain_semantic(frames, range(1, num_classes + 1), absent)
        for key, values in per_class.items():
            found = {i: float(v) for i, v in enumerate(values, start=1) if not np.isnan(v)}
            assert found == pytest.approx({i: scores[key] for i, scores in expected.items()}, **EXACT)
            mean = np.mean(list(found.values())) if found else math.nan
            assert float(overall[key]) == pytest.approx(mean, **EXACT, nan_ok=True)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_counts_equal_a_pixel_at_a_time_for_any_ids(data):
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16]))
    hw = data.draw(st.tuples(st.integers(1, 8), st.integers(1, 8)))
    pool = data.draw(st.lists(st.integers(0, 255 if dtype is np.uint8 else 65535), min_size=3, max_size=8, unique=True))
    background, ignore, *ids = pool
    prediction, truth = (data.draw(arrays(dtype, hw, elements=st.sampled_from(pool))) for _ in range(2))
    names = LabelSpace.from_names([str(i) for i in ids]).labels
    labels = tuple(type(label)(i, label.name, label.color) for i, label in zip(ids, names, strict=True))
    counts = count_pixels(prediction, truth, LabelSpace(labels, background=background, ignore=ignore))
    expected = plain_counts(prediction, truth, ids, ignore)
    assert counts.common.tolist() == [expected[i][0] for i in ids]
    assert counts.predicted.tolist() == [expected[i][1] for i in ids]
    assert counts.true.tolist() == [expected[i][2] for i in ids]


def test_more_pixels_than_a_float_can_count(monkeypatch):
    monkeypatch.setattr(class_counts, "_MAX_PIXELS_PER_COUNT", 20)
    rng = np.random.default_rng(2)
    prediction, truth = rng.integers(0, 4, (2, 13, 7)).astype(np.uint8)
    counts = count_pixels(prediction, truth, numbered_classes(3))
    assert counts.common.tolist() == [row[0] for row in plain_counts(prediction, truth, [1, 2, 3]).values()]


def test_hundreds_of_classes():
    rng = np.random.default_rng(3)
    prediction, truth = rng.integers(0, 401, (2, 40, 40)).astype(np.uint16)
    counts = count_pixels(prediction, truth, numbered_classes(400))
    assert counts.predicted.tolist() == [row[1] for row in plain_counts(prediction, truth, range(1, 401)).values()]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_present_ids(dtype):
    label_map = np.array([[7, 0], [7, 255]], dtype)
    assert present_ids(label_map) == [0, 7, 255]
    assert present_ids(np.zeros((0, 3), dtype)) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000))
def test_sums_add_up_in_any_grouping(seed):
    rng = np.random.default_rng(seed)
    frames = degenerate_frames(rng, 3) + degenerate_frames(rng, 3)
    sums = [ClassSums.of_frame(count_pixels(p, t, numbered_classes(3))) for p, t in frames]
    cut = int(rng.integers(1, len(sums)))
    halves = [ClassSums.stack(part).total() for part in (sums[:cut], sums[cut:])]
    whole, merged = ClassSums.stack(sums).total(), ClassSums.stack(halves).total()
    for protocol in (ENDOVIS, semantic_protocol()):
        for key, value in protocol.overall(whole).items():
            assert protocol.overall(merged)[key] == pytest.approx(value, **EXACT, nan_ok=True)


# Folders


def write(folder, maps):
    folder.mkdir(parents=True, exist_ok=True)
    for index, label_map in enumerate(maps):
        if label_map is not None:
            Image.fromarray(np.asarray(label_map, np.uint8)).save(folder / f"{index:05d}.png")


@pytest.fixture
def videos(tmp_path):
    """Three videos of six frames with three classes; prediction and truth."""
    rng = np.random.default_rng(5)
    frames = {}
    for video in ("seq_1", "seq_2", "seq_3"):
        frames[video] = [tuple(rng.integers(0, 4, (2, 9, 11)).astype(np.uint8)) for _ in range(6)]
        frames[video][2][0][:] = 0
        for side, folder in enumerate(("pred", "gt")):
            write(tmp_path / folder / video, [pair[side] for pair in frames[video]])
    return tmp_path, frames


def test_a_report_has_scores_per_class_per_video_and_over_all_frames(videos):
    folder, frames = videos
    report = evaluate_classes(folder / "pred", folder / "gt", ENDOVIS, numbered_classes(3))
    everything = [pair for pairs in frames.values() for pair in pairs]
    expected, by_class = plain_endovis(everything, (1, 2, 3))
    assert report.overall == pytest.approx({k: 100 * v for k, v in expected.items()}, **EXACT)
    found = report.classes_of(list(frames))
    assert {name: scores["IoU"] for name, scores in found.items()} == pytest.approx(
        {str(i): 100 * v for i, v in by_class.items()}, **EXACT
    )
    for video, pairs in frames.items():
        expected, _ = plain_endovis(pairs, (1, 2, 3))
        assert report.overall_of([video]) == pytest.approx({k: 100 * v for k, v in expected.items()}, **EXACT)
    document = json.loads(json.dumps(report.to_json()))
    assert document["mean"] == report.overall
    assert document["videos"]["seq_2"]["mean"] == report.overall_of(["seq_2"])
    assert (document["num_frames"], document["protocol"]) == (18, "endovis")
    rows = {row.labels: row.values for row in report.table().rows}
    assert rows["all", "all"]["CIoU"] == report.overall["CIoU"]
    assert rows["seq_1", "2"]["IoU"] == report.classes_of(["seq_1"])["2"]["IoU"]


def test_folds_have_the_same_weight(videos):
    folder, _ = videos
    folds = {"0": ["seq_1"], "1": ["seq_2", "seq_3"]}
    report = evaluate_classes(folder / "pred", folder / "gt", ENDOVIS, numbered_classes(3), folds=folds)
    one, two = (report.overall_of(members)["CIoU"] for members in folds.values())
    assert report.fold_mean["CIoU"] == pytest.approx((one + two) / 2, **EXACT)
    assert report.to_json()["mean_of_folds"] == report.fold_mean
    with pytest.raises(InputError, match="expected fold 1 to be of the videos seq_1, seq_2, seq_3, got seq_4"):
        evaluate_classes(folder / "pred", folder / "gt", ENDOVIS, numbered_classes(3), folds={"1": ["seq_4"]})


def test_intervals_draw_whole_videos(videos):
    folder, frames = videos
    report = evaluate_classes(folder / "pred", folder / "gt", ENDOVIS, numbered_classes(3))
    settings_ = Bootstrap(num_samples=40, unit=Unit.VIDEOS, seed=1)
    intervals = report.with_intervals(settings_).intervals
    samples = []
    for draw in settings_.draws(3):
        drawn = [pair for times, pairs in zip(draw, frames.values(), strict=True) for pair in list(pairs) * times]
        samples.append(plain_endovis(drawn, (1, 2, 3)))
    for key, found in intervals.overall.items():
        values = [100 * overall[key] for overall, _ in samples]
        assert found == pytest.approx((np.percentile(values, 2.5), np.percentile(values, 97.5)), **EXACT)
    values = [100 * by_class[2] for _, by_class in samples]
    assert intervals.classes["2"]["IoU"] == pytest.approx(tuple(np.percentile(values, (2.5, 97.5))), **EXACT)
    with pytest.raises(InputError, match="expected videos as the unit of class scores, got objects"):
        report.with_intervals(Bootstrap(num_samples=5, unit=Unit.OBJECTS))
    with pytest.raises(InputError, match="expected two videos or more"):
        evaluate_classes(
            folder / "pred" / "seq_1", folder / "gt" / "seq_1", ENDOVIS, numbered_classes(3)
        ).with_intervals(settings_)


def test_a_class_of_one_video_only_has_no_interval(tmp_path):
    write(tmp_path / "gt" / "a", [[[1, 2]]])
    write(tmp_path / "gt" / "b", [[[1, 0]]])
    report = evaluate_classes(tmp_path / "gt", tmp_path / "gt", ENDOVIS, numbered_classes(3))
    found = report.with_intervals(Bootstrap(num_samples=20, unit=Unit.VIDEOS))
    assert found.intervals.classes == {"1": {"IoU": (100, 100)}}
    assert {row.labels: row.intervals for row in found.table().rows}["all", "2"] == {}


def test_a_frame_that_was_not_predicted_counts_as_predicted_empty(tmp_path):
    one = np.ones((4, 4))
    write(tmp_path / "gt", [one, one, np.zeros((4, 4))])
    write(tmp_path / "pred", [one, None, None])
    report = evaluate_classes(tmp_path / "pred", tmp_path / "gt", ENDOVIS, numbered_classes(1))
    assert report.overall == pytest.approx({"CIoU": 50, "IoU": 50, "mcIoU": 50, "mIoU": 50})
    assert report.warnings == ("video gt: frames without a prediction, scored as empty: 2",)


def test_objects_become_classes(tmp_path):
    truth = np.array([[1, 1, 2, 2], [0, 0, 0, 0]])
    write(tmp_path / "gt" / "case", [truth])
    write(tmp_path / "maps" / "case", [[[4, 9, 5, 5], [0, 0, 0, 0]]])
    for object_id, mask in ((4, [[1, 0, 0, 0], [0] * 4]), (9, [[0, 1, 1, 0], [0] * 4]), (5, [[0, 0, 1, 1], [0] * 4])):
        write(tmp_path / "objects" / "case" / "masks" / f"{object_id:03d}", [mask])
    classes = LabelSpace.from_names(["grasper", "hook"])
    table = ObjectClasses({4: 1, 9: "grasper"}, {"case": {5: "hook"}})
    for folder, common in (("maps", [100, 100]), ("objects", [100 * 2 / 3, 50])):
        report = evaluate_classes(tmp_path / folder, tmp_path / "gt", ENDOVIS, classes, object_classes=table)
        found = report.classes_of(["case"])
        assert [found[name]["IoU"] for name in ("grasper", "hook")] == pytest.approx(common)
    with pytest.raises(InputError, match="video case, frame 0: expected a class for every object, got none for"):
        evaluate_classes(tmp_path / "maps", tmp_path / "gt", ENDOVIS, classes, object_classes=ObjectClasses({4: 1}, {}))
    with pytest.raises(InputError, match="class of object 4 in grasper, hook, got 'knife'"):
        ObjectClasses({4: "knife"}, {}).ids_of_video("case", classes)


class TestErrors:
    def test_ids_that_no_table_knows(self, tmp_path):
        write(tmp_path / "gt", [[[1, 2]], [[1, 9]]])
        write(tmp_path / "pred", [[[1, 2]], [[1, 2]]])
        message = r"video gt, frame 1: expected class ids 1, 2 or 0 for none in the ground truth, got 9; .*--ignore 9"
        with pytest.raises(InputError, match=message):
            evaluate_classes(tmp_path / "pred", tmp_path / "gt", ENDOVIS, numbered_classes(2))
        with pytest.raises(InputError, match="for none in the prediction, got 9"):
            evaluate_classes(tmp_path / "gt", tmp_path / "pred", ENDOVIS, numbered_classes(2))
        ignoring = LabelSpace.from_names(["a", "b"], ignore=9)
        report = evaluate_classes(tmp_path / "pred", tmp_path / "gt", ENDOVIS, ignoring)
        assert report.overall["CIoU"] == 100

    def test_sizes_that_differ(self, tmp_path):
        write(tmp_path / "gt", [[[1, 1]]])
        write(tmp_path / "pred", [[[1], [1]]])
        with pytest.raises(InputError, match="frame 0: expected label maps of one size, got a prediction of 1x2"):
            evaluate_classes(tmp_path / "pred", tmp_path / "gt", ENDOVIS, numbered_classes(2))

    def test_an_empty_folder(self, tmp_path):
        write(tmp_path / "gt", [[[1, 1]]])
        (tmp_path / "pred").mkdir()
        with pytest.raises(InputError, match="got no PNG file there"):
            evaluate_classes(tmp_path / "pred", tmp_path / "gt", ENDOVIS, numbered_classes(2))

    @pytest.mark.parametrize("text", ["{", "3", '{"a": "b"}', '{"1": [2]}', '{"1": true}'])
    def test_files_that_are_no_table_of_objects(self, tmp_path, text):
        path = tmp_path / "table.json"
        path.write_text(text)
        with pytest.raises(InputError, match="expected"):
            read_object_classes(path)


def test_what_is_nothing_may_be_what_is_ignored():
    """As in CaDIS: 0 is a class, 255 is everything else and not scored."""
    space = label_space_by_name("cadis-2")
    prediction, truth = np.uint8([[0, 0, 255, 4]]), np.uint8([[0, 255, 0, 255]])
    counts = count_pixels(prediction, truth, space)
    assert (counts.common[0], counts.predicted[0], counts.true[0], counts.predicted[4]) == (1, 1, 2, 0)


def test_object_tables_from_files(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('{"1": "hook", "seq_2": {"1": 2, "3": "grasper"}}')
    table = read_object_classes(path)
    assert table.of_video("seq_1") == {1: "hook"}
    assert table.names_of_video("seq_2", LabelSpace.from_names(["a", "b"])) == {1: "b", 3: "grasper"}


def test_examples_run():
    found = doctest.testmod(class_counts)
    assert found.attempted > 0
    assert found.failed == 0

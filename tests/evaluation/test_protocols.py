"""Each rule in which a published evaluator departs from the plain definition, by itself."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from surgvos.errors import ConfigError, InputError
from surgvos.evaluation import PROTOCOLS, evaluate_folders
from surgvos.evaluation.folders import find_videos
from surgvos.evaluation.protocols import PLAIN, RESURGSAM2, SURGSAM2, rules_of

HW = (20, 30)


def box(x0, width=8):
    mask = np.zeros(HW, bool)
    mask[6:14, x0 : x0 + width] = True
    return mask


def write(folder, frames, *, per_object=False):
    for name, masks in frames.items():
        if per_object:
            for object_id, mask in masks.items():
                path = folder / f"{object_id:03d}" / f"{name:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype(np.uint8) * 255).save(path)
            continue
        label_map = np.zeros(HW, np.uint8)
        for object_id, mask in masks.items():
            label_map[mask] = object_id
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(label_map).save(folder / f"{name:05d}.png")


@pytest.fixture
def score(tmp_path):
    def run(predicted, true, protocol):
        write(tmp_path / "gt" / "case", true)
        write(tmp_path / "pred" / "case", predicted, per_object=True)
        return evaluate_folders(tmp_path / "pred", tmp_path / "gt", protocol)

    return run


def only(rule, protocol=RESURGSAM2):
    """The plain definition but for one rule."""
    return dataclasses.replace(PLAIN, name=rule, **{rule: getattr(protocol, rule)})


TRUE = {i: {1: box(2), 2: box(16)} for i in range(6)}


def without(frames, object_id, indices):
    return {i: {k: m for k, m in masks.items() if k != object_id or i not in indices} for i, masks in frames.items()}


def test_a_missing_object_is_penalised_by_the_plain_definition(score):
    predicted = without(TRUE, 2, range(6))
    assert score(predicted, TRUE, PLAIN).mean.jaccard == 50
    left_out = score(predicted, TRUE, only("missing_objects"))
    assert left_out.mean.jaccard == 100
    assert left_out.warnings == ("video case: object ids never predicted, left out: 2",)


def test_a_missing_frame_is_penalised_by_the_plain_definition(score):
    predicted = without(TRUE, 2, [3, 4, 5])
    assert score(predicted, TRUE, PLAIN).objects["case"][2].score.jaccard == 50
    left_out = score(predicted, TRUE, only("missing_frames"))
    assert left_out.objects["case"][2].score.jaccard == 100
    assert left_out.objects["case"][2].num_missing_frames == 3


def test_the_ends_are_those_of_the_predicted_frames(score):
    predicted = {i: ({1: box(2)} if 2 <= i <= 4 else {}) | {2: box(16)} for i in range(6)}
    predicted[2][1] = predicted[4][1] = box(2, 4)
    found = score(predicted, TRUE, SURGSAM2).objects["case"][1]
    assert (found.score.jaccard, found.num_frames) == (100, 1)


def test_absence_before_the_first_sight_is_left_out_and_later_absence_is_perfect(score):
    true = {i: {1: box(2)} if i == 2 else {} for i in range(6)}
    predicted = {i: {1: box(2, 4) if i == 2 else box(0, 0)} for i in range(6)}
    assert score(predicted, true, PLAIN).mean.jaccard == pytest.approx((5 * 100 + 50) / 6)
    assert score(predicted, true, only("absent")).mean.jaccard == pytest.approx((3 * 100 + 50) / 4)


def test_overlapping_predictions_are_merged_by_the_plain_definition_only(score):
    true = {i: {1: box(2), 2: box(10)} for i in range(6)}
    predicted = {i: {1: box(2, 16), 2: box(10)} for i in range(6)}
    plain = score(predicted, true, PLAIN)
    assert [plain.objects["case"][i].score.jaccard for i in (1, 2)] == [50, 0]
    assert "objects overlap, pixels given to the lowest id: 6" in plain.warnings[0]
    kept = score(predicted, true, only("overlap"))
    assert [kept.objects["case"][i].score.jaccard for i in (1, 2)] == [50, 100]


def test_an_object_that_the_truth_shows_in_no_scored_frame_is_left_out_as_published(score):
    true = {i: {1: box(2)} | ({2: box(16)} if i == 0 else {}) for i in range(6)}
    predicted = {i: {1: box(2), 2: box(16) if i == 0 else box(0, 0)} for i in range(6)}
    inner = only("frames", SURGSAM2)
    assert sorted(score(predicted, true, inner).objects["case"]) == [1, 2]
    left_out = dataclasses.replace(inner, truthless_objects=SURGSAM2.truthless_objects)
    assert sorted(score(predicted, true, left_out).objects["case"]) == [1]


def test_quirks_name_what_differs_and_plain_takes_it_back():
    assert PLAIN.quirks == {}
    assert RESURGSAM2.quirks == {
        "absent": "skip_until_seen",
        "missing_objects": "left_out",
        "missing_frames": "left_out",
        "truthless_objects": "left_out",
        "overlap": "kept",
    }
    assert SURGSAM2.quirks == RESURGSAM2.quirks | {"frames": "inner"}
    for protocol in PROTOCOLS.values():
        assert protocol.with_plain(["all"]).quirks == {}
        for rule in protocol.quirks:
            assert protocol.with_plain([rule]).quirks.keys() == protocol.quirks.keys() - {rule}
    with pytest.raises(ConfigError, match=f"{', '.join(rules_of(PLAIN))}, or all, got 'missing'; try 'missing_"):
        PLAIN.with_plain(["missing"])


def test_challenge_iou_is_a_mean_over_true_objects_then_over_frames(score):
    true = {0: {1: box(2)}, 1: {1: box(2), 2: box(16)}, 2: {}, 3: {2: box(16)}}
    predicted = {0: {1: box(2)}, 1: {1: box(2, 4), 2: box(16)}, 2: {1: box(2)}, 3: {2: box(16, 2)}}
    report = score(predicted, true, PLAIN)
    assert report.challenge_iou == pytest.approx((100 + 75 + 25) / 3)
    assert report.challenge["case"].num_frames == 3
    row = report.table().rows[-1]
    assert row.values["CIoU"] == report.challenge_iou


def test_what_segment_writes_is_found(tmp_path):
    """<video>/masks/<frame>.png, <video>/masks/<object>/<frame>.png, and one such folder by itself."""
    write(tmp_path / "gt" / "case", TRUE)
    write(tmp_path / "maps" / "case" / "masks", TRUE)
    write(tmp_path / "objects" / "case" / "masks", TRUE, per_object=True)
    for folder in ("maps", "objects"):
        out = tmp_path / folder
        (out / "case" / "run.json").write_text("{}")
        for predictions in (out, out / "case", out / "case" / "masks"):
            report = evaluate_folders(predictions, tmp_path / "gt", "davis")
            assert report.mean.jaccard == 100, predictions
            assert list(find_videos(predictions).videos) == ["case"]
            assert report.warnings == ()


def test_a_run_without_masks_is_refused_in_a_sentence(tmp_path):
    write(tmp_path / "gt" / "case", TRUE)
    (tmp_path / "pred" / "masks").mkdir(parents=True)
    with pytest.raises(InputError, match=r"got no PNG file there .*; try the folder that holds the masks"):
        evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")

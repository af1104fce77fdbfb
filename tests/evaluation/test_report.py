import json

import numpy as np
import pytest
from PIL import Image

from surgvos.errors import ConfigError, InputError
from surgvos.evaluation import PROTOCOLS, Report, evaluate_folders

HW = (24, 32)


def box(x0, width=8):
    mask = np.zeros(HW, bool)
    mask[6:14, x0 : x0 + width] = True
    return mask


def write_label_maps(folder, frames):
    """Frame name -> {object id: mask}."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, masks in frames.items():
        label_map = np.zeros(HW, np.uint8)
        for object_id, mask in masks.items():
            label_map[mask] = object_id
        Image.fromarray(label_map).save(folder / f"{name}.png")


def write_object_folders(folder, frames, value=None):
    for name, masks in frames.items():
        for object_id, mask in masks.items():
            (folder / f"{object_id:03d}").mkdir(parents=True, exist_ok=True)
            image = mask.astype(np.uint8) * (value or object_id)
            Image.fromarray(image).save(folder / f"{object_id:03d}" / f"{name}.png")


def names(num_frames):
    return [f"{i:05d}" for i in range(num_frames)]


@pytest.fixture
def scene():
    """Five frames of two objects; the second enters in frame 2."""
    return {name: {1: box(2)} | ({2: box(20)} if i >= 2 else {}) for i, name in enumerate(names(5))}


def without(frames, object_id):
    return {name: {k: m for k, m in masks.items() if k != object_id} for name, masks in frames.items()}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("write", [write_label_maps, write_object_folders])
def test_a_perfect_prediction_scores_100(tmp_path, scene, protocol, write):
    write_label_maps(tmp_path / "gt" / "case", scene)
    write(tmp_path / "pred" / "case", scene)
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", protocol)
    assert sorted(report.objects["case"]) == [1, 2]
    assert (report.mean.jaccard, report.mean.boundary_f, report.mean.dice) == (100, 100, 100)
    assert report.warnings == ()


def test_davis_scores_from_the_frame_after_the_first_to_the_last_but_one(tmp_path, scene):
    half = box(2, width=4)
    # Wrong where it must not count: in the frames of first appearance and in the last.
    predicted = {
        "00000": {},
        "00001": {1: half},
        "00002": {1: half},
        "00003": {1: half, 2: box(20)},
        "00004": {},
    }
    write_label_maps(tmp_path / "gt" / "case", scene)
    write_label_maps(tmp_path / "pred" / "case", predicted)
    found = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis").objects["case"]
    assert (found[1].score.jaccard, found[1].num_frames) == (50, 3)
    assert (found[2].score.jaccard, found[2].num_frames) == (100, 1)
    assert found[1].score.jaccard_recall == 0


def test_published_protocols_differ_in_the_first_and_last_frame(tmp_path, scene):
    predicted = {name: ({1: box(2)} if name in ("00000", "00004") else {1: box(2, 4)}) for name in scene}
    write_label_maps(tmp_path / "gt", without(scene, 2))
    write_label_maps(tmp_path / "pred", predicted)
    scores = {p: evaluate_folders(tmp_path / "pred", tmp_path / "gt", p).mean.jaccard for p in PROTOCOLS}
    every_frame = pytest.approx((2 * 100 + 3 * 50) / 5)
    assert scores == {"davis": 50, "plain": every_frame, "surgsam2": 50, "resurgsam2": every_frame}


def test_missing_frames_and_objects_count_as_empty_by_davis(tmp_path, scene):
    write_label_maps(tmp_path / "gt" / "a", scene)
    write_label_maps(tmp_path / "gt" / "b", scene)
    predicted = without(scene, 2)
    del predicted["00002"]
    write_label_maps(tmp_path / "pred" / "a", predicted)
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")
    first, second = report.objects["a"][1], report.objects["a"][2]
    assert (first.score.jaccard, first.num_missing_frames) == (pytest.approx(200 / 3), 1)
    assert second.score.jaccard == 0
    assert [found.score.jaccard for found in report.objects["b"].values()] == [0, 0]
    assert report.objects["b"][1].num_missing_frames == 3
    assert report.mean.jaccard == pytest.approx(200 / 3 / 4)
    assert report.warnings == (
        "video b: no prediction",
        "video a: object ids never predicted, scored as empty: 2",
        "video a: frames without a prediction of object 1, scored as empty: 1",
        "video b: object ids never predicted, scored as empty: 1, 2",
    )


def test_missing_frames_and_objects_are_left_out_loudly_by_the_published_protocols(tmp_path, scene):
    write_label_maps(tmp_path / "gt" / "a", scene)
    predicted = without(scene, 2)
    del predicted["00002"]
    write_object_folders(tmp_path / "pred" / "a", predicted)
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "resurgsam2")
    assert sorted(report.objects["a"]) == [1]
    assert (report.mean.jaccard, report.objects["a"][1].num_frames) == (100, 4)
    assert report.warnings == (
        "video a: object ids never predicted, left out: 2",
        "video a: frames without a prediction of object 1, left out: 1",
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_that_are_not_there_are_reported_and_not_scored(tmp_path, scene, protocol):
    write_label_maps(tmp_path / "gt" / "a", scene)
    write_object_folders(tmp_path / "pred" / "a", {n: m | {9: box(12)} for n, m in scene.items()})
    write_object_folders(tmp_path / "pred" / "extra", scene)
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", protocol)
    assert sorted(report.objects["a"]) == [1, 2]
    assert report.warnings == (
        "video extra: predicted but not in the ground truth, not scored",
        "video a: object ids predicted but not in the ground truth, not scored: 9",
    )


def test_sparse_ground_truth_scores_only_its_own_frames(tmp_path):
    frames = {name: {1: box(2)} for name in names(9)}
    write_label_maps(tmp_path / "gt", {n: frames[n] for n in names(9)[::2]})
    write_label_maps(tmp_path / "pred", {n: ({1: box(2)} if int(n) % 2 == 0 else {}) for n in frames})
    found = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis").objects["gt"][1]
    assert (found.score.jaccard, found.num_frames) == (100, 3)


def test_an_object_without_a_frame_to_score_is_said_to_be(tmp_path):
    frames = {name: {1: box(2)} | ({2: box(20)} if name == "00003" else {}) for name in names(4)}
    write_label_maps(tmp_path / "gt" / "a", frames)
    write_label_maps(tmp_path / "pred" / "a", without(frames, 2))
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")
    assert sorted(report.objects["a"]) == [1]
    assert report.warnings == ("video a: object ids without a frame that the protocol scores: 2",)


def test_overlapping_objects_are_scored_each_on_its_own(tmp_path):
    frames = {name: {1: box(2, 10), 2: box(6, 10)} for name in names(4)}
    for side in ("gt", "pred"):
        write_object_folders(tmp_path / side, frames, value=255)
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")
    assert [found.score.jaccard for found in report.objects["gt"].values()] == [100, 100]


def test_videos_named_by_digits_are_told_from_objects(tmp_path, scene):
    for side in ("gt", "pred"):
        write_label_maps(tmp_path / side / "001", scene)
        write_label_maps(tmp_path / side / "002", scene)
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")
    assert {video: sorted(found) for video, found in report.objects.items()} == {"001": [1, 2], "002": [1, 2]}


def test_frame_numbers_match_whatever_their_padding(tmp_path, scene):
    write_label_maps(tmp_path / "gt", scene)
    write_label_maps(tmp_path / "pred", {str(int(name)): masks for name, masks in scene.items()})
    assert evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis").mean.jaccard == 100


def test_what_segment_writes_is_taken_as_it_is(tmp_path, scene):
    write_label_maps(tmp_path / "gt" / "case", scene)
    write_label_maps(tmp_path / "out" / "case" / "masks", scene)
    many = evaluate_folders(tmp_path / "out", tmp_path / "gt", "davis")
    one = evaluate_folders(tmp_path / "out" / "case", tmp_path / "gt", "davis")
    assert many == one
    assert many.mean.jaccard == 100


def test_object_selection(tmp_path, scene):
    write_label_maps(tmp_path / "gt", scene)
    write_label_maps(tmp_path / "pred", without(scene, 2))
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis", objects=[1])
    assert sorted(report.objects["gt"]) == [1]
    assert report.warnings == ()


def test_ignored_pixels_are_not_scored(tmp_path):
    write_label_maps(tmp_path / "gt", {n: {1: box(2), 255: box(10)} for n in names(4)})
    write_label_maps(tmp_path / "pred", {n: {1: box(2, 16)} for n in names(4)})
    plain = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis", objects=[1])
    assert plain.mean.jaccard == 50
    ignoring = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis", ignore=255)
    assert sorted(ignoring.objects["gt"]) == [1]
    assert (ignoring.mean.jaccard, ignoring.mean.boundary_f) == (100, 100)


def test_grey_images_are_cut_at_the_threshold(tmp_path):
    (tmp_path / "gt").mkdir()
    for name in names(3):
        Image.fromarray(box(2) * np.uint8(200) + box(10) * np.uint8(90)).save(tmp_path / "gt" / f"{name}.png")
    write_label_maps(tmp_path / "pred", {n: {1: box(2)} for n in names(3)})
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis", threshold=127)
    assert report.mean.jaccard == 100
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis", threshold=89)
    assert report.mean.jaccard == 50


def test_a_mask_video_is_the_truth_of_object_1(tmp_path):
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / "gt.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, HW[::-1], False)
    for i in range(4):
        writer.write(box(2 + i) * np.uint8(255))
    writer.release()
    write_label_maps(tmp_path / "pred", {n: {1: box(2 + i)} for i, n in enumerate(names(4))})
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt.avi", "davis")
    assert (report.mean.jaccard, report.objects["gt"][1].num_frames) == (100, 2)
    assert evaluate_folders(tmp_path / "pred", tmp_path / "gt.avi", "davis", threshold=0).mean.jaccard < 100


def test_workers_do_not_change_the_report(tmp_path, scene):
    write_label_maps(tmp_path / "gt", scene)
    write_label_maps(tmp_path / "pred", {n: {1: box(1 + i), 2: box(20, 1 + i)} for i, n in enumerate(scene)})
    one, four = (evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis", num_workers=n) for n in (1, 4))
    assert one == four


def test_progress_counts_frames(tmp_path, scene):
    for side in ("gt", "pred"):
        write_label_maps(tmp_path / side, scene)
    seen = []
    evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis", progress=lambda *step: seen.append(step))
    assert seen == [(i, 5) for i in range(1, 6)]


def test_report_round_trip_and_form(tmp_path, scene):
    write_label_maps(tmp_path / "gt" / "a", scene)
    write_label_maps(tmp_path / "pred" / "a", {n: {1: box(2, 7), 2: box(21)} for n in scene})
    report = evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")
    document = json.loads(json.dumps(report.to_json()))
    assert Report.from_json(document) == report
    assert document["protocol"] == "davis"
    assert {"J", "F", "J&F", "Dice", "J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay"} <= set(
        document["objects"]["a"]["1"]
    )
    entries = document["objects"]["a"].values()
    for key in ("J", "F", "J&F", "Dice"):
        assert document["mean"][key] == pytest.approx(sum(entry[key] for entry in entries) / 2)
        assert document["videos"]["a"][key] == document["mean"][key]
    assert document["mean"]["J&F"] == pytest.approx((document["mean"]["J"] + document["mean"]["F"]) / 2)
    with pytest.raises(InputError, match="key 'objects'"):
        Report.from_json({"protocol": "davis"})


class TestErrors:
    def test_colour_images_and_files_that_are_no_images(self, tmp_path, scene):
        write_label_maps(tmp_path / "gt", scene)
        write_label_maps(tmp_path / "pred", scene)
        Image.new("RGB", HW[::-1], (200, 30, 30)).save(tmp_path / "pred" / "00003.png")
        with pytest.raises(InputError, match=r"got colours in .*00003\.png"):
            evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")
        (tmp_path / "pred" / "00003.png").write_bytes(b"no image")
        with pytest.raises(InputError, match=r"expected a readable image, got .*00003\.png"):
            evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")
        (tmp_path / "gt.avi").write_bytes(b"no video")
        with pytest.raises(InputError, match=r"gt\.avi"):
            evaluate_folders(tmp_path / "pred", tmp_path / "gt.avi", "davis")

    def test_sizes_that_differ(self, tmp_path, scene):
        write_label_maps(tmp_path / "gt", scene)
        write_label_maps(tmp_path / "pred", scene)
        Image.fromarray(np.ones((12, 16), np.uint8)).save(tmp_path / "pred" / "00003.png")
        with pytest.raises(InputError, match="got 16x12 for object 1; try resizing"):
            evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")

    def test_names_of_frames_that_do_not_meet(self, tmp_path, scene):
        write_label_maps(tmp_path / "gt", scene)
        write_label_maps(tmp_path / "pred", {f"frame_{n}": masks for n, masks in scene.items()})
        with pytest.raises(InputError, match="such as 0, got frame_00000 and others; try renaming"):
            evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")

    def test_names_of_videos_that_do_not_meet(self, tmp_path, scene):
        write_label_maps(tmp_path / "gt" / "a", scene)
        write_label_maps(tmp_path / "pred" / "b", scene)
        with pytest.raises(InputError, match="videos, such as a, got b in"):
            evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")

    def test_nothing_to_score(self, tmp_path, scene):
        write_label_maps(tmp_path / "gt", {"00000": {1: box(2)}})
        write_label_maps(tmp_path / "pred", {"00000": {1: box(2)}})
        with pytest.raises(InputError, match="at least one object to score by protocol davis"):
            evaluate_folders(tmp_path / "pred", tmp_path / "gt", "davis")

    def test_folders_without_masks(self, tmp_path, scene):
        write_label_maps(tmp_path / "gt", scene)
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="no PNG file there in"):
            evaluate_folders(tmp_path / "empty", tmp_path / "gt", "davis")
        with pytest.raises(InputError, match="nowhere, which does not exist"):
            evaluate_folders(tmp_path / "nowhere", tmp_path / "gt", "davis")
        with pytest.raises(InputError, match="nowhere, which does not exist"):
            evaluate_folders(tmp_path / "gt", tmp_path / "nowhere", "davis")

    def test_threshold_on_a_folder_per_object(self, tmp_path, scene):
        write_object_folders(tmp_path / "gt", scene)
        with pytest.raises(InputError, match="got a folder per object"):
            evaluate_folders(tmp_path / "gt", tmp_path / "gt", "davis", threshold=100)

    def test_unknown_protocol(self, tmp_path):
        with pytest.raises(ConfigError, match="got 'endovis'"):
            evaluate_folders(tmp_path, tmp_path, "endovis")

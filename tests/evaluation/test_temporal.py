"""Steadiness over time against its definitions, pair by pair and pixel by pixel."""

import doctest
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from surgvos.core.labels import LabelSpace
from surgvos.errors import CheckpointError, ConfigError, InputError
from surgvos.evaluation import Bootstrap, Unit, flow, temporal
from surgvos.evaluation.flow import RaftFlow, can_be_followed, dis_flow, load_raft, resize_flow, warp
from surgvos.evaluation.protocols import rules_of
from surgvos.evaluation.temporal import (
    DISTANCE,
    FLOW_DICE,
    FLOW_IOU,
    IOU,
    SASVI,
    TEMPORAL,
    LabelFrame,
    compare_neighbours,
    resize_to_lower_pixel,
)
from surgvos.evaluation.temporal_report import evaluate_temporal

EXACT = {"rel": 0, "abs": 1e-9}


def blobs(rng, hw, num_labels=3):
    """A label map of rectangles, some of noise."""
    label_map = np.zeros(hw, np.uint8)
    for label in range(1, num_labels + 1):
        if rng.random() < 0.8:
            y, x = rng.integers(0, hw[0]), rng.integers(0, hw[1])
            label_map[y : y + rng.integers(1, hw[0] + 1), x : x + rng.integers(1, hw[1] + 1)] = label
    if rng.random() < 0.3:
        label_map = np.where(rng.random(hw) < 0.3, rng.integers(0, num_labels + 1, hw), label_map).astype(np.uint8)
    return label_map


def plain_overlap(one, other, label, scored):
    height, width = one.shape
    both = either = area = 0
    for y in range(height):
        for x in range(width):
            if scored[y][x]:
                a, b = one[y][x] == label, other[y][x] == label
                both, either, area = both + (a and b), either + (a or b), area + int(a) + int(b)
    return (both / either, 2 * both / area) if either else None


def plain_warp(label_map, motion, *, cut):
    """Where each pixel's label is found, one at a time; and whether that is inside the image."""
    height, width = label_map.shape
    found, inside = np.zeros_like(label_map), np.zeros(label_map.shape, bool)
    for y in range(height):
        for x in range(width):
            u, v = np.float32(x) + motion[y, x, 0], np.float32(y) + motion[y, x, 1]
            inside[y, x] = -0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5
            u, v = min(max(u, 0), width - 1), min(max(v, 0), height - 1)
            column, row = (int(u), int(v)) if cut else (math.floor(u + 0.5), math.floor(v + 0.5))
            found[y, x] = label_map[row, column]
    return found, inside


def plain_followed(motion, reverse):
    height, width = motion.shape[:2]
    found = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            u = min(max(x + float(motion[y, x, 0]), 0), width - 1)
            v = min(max(y + float(motion[y, x, 1]), 0), height - 1)
            left, top = min(int(u), width - 2), min(int(v), height - 2)
            a, b = u - left, v - top
            there = sum(
                weight * reverse[top + dy, left + dx].astype(float)
                for dy, dx, weight in (
                    (0, 0, (1 - a) * (1 - b)),
                    (0, 1, a * (1 - b)),
                    (1, 0, (1 - a) * b),
                    (1, 1, a * b),
                )
            )
            miss = sum((motion[y, x] + there) ** 2)
            found[y, x] = miss < 0.01 * (sum(motion[y, x].astype(float) ** 2) + sum(there**2)) + 0.5
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_a_warp_equals_one_pixel_at_a_time(seed, cut):
    rng = np.random.default_rng(seed)
    hw = tuple(rng.integers(1, 12, 2))
    label_map, motion = blobs(rng, hw), rng.normal(0, 4, (*hw, 2)).astype(np.float32)
    found, inside = plain_warp(label_map, motion, cut=cut)
    warped = warp(label_map, motion, truncate=cut)
    assert (warped.labels == found).all()
    assert (warped.is_inside == inside).all()


def test_pixels_are_followed_where_they_return():
    rng = np.random.default_rng(0)
    for _ in range(30):
        motion = rng.normal(0, 3, (9, 11, 2)).astype(np.float32)
        reverse = -motion + rng.normal(0, 0.5, motion.shape).astype(np.float32)
        assert (can_be_followed(motion, reverse) == plain_followed(motion, reverse)).all()
    still = np.zeros((9, 11, 2), np.float32)
    assert can_be_followed(still, still).all()
    assert not can_be_followed(still + 3, still + 3).any()


def frames_of(pairs, protocol):
    return [LabelFrame.of(label_map, image, protocol) for label_map, image in pairs]


@pytest.mark.parametrize("protocol", [TEMPORAL, SASVI.with_plain(["image_hw"])], ids=["plain", "published"])
def test_pairs_equal_the_definition_on_many_label_maps(protocol):
    rng = np.random.default_rng(3)
    image = np.zeros((12, 14, 3), np.uint8)
    for _ in range(60):
        one, other = blobs(rng, (12, 14)), blobs(rng, (12, 14))
        forward = rng.normal(0, 1.5, (12, 14, 2)).astype(np.float32)
        backward = -forward + rng.normal(0, 0.3, forward.shape).astype(np.float32)
        estimates = iter([backward, forward] if protocol is TEMPORAL else [forward])
        found = compare_neighbours(
            *frames_of([(one, image), (other, image)], protocol), protocol, flow=lambda *_, e=estimates: next(e)
        )
        labels = range(1, 4) if protocol is TEMPORAL else range(4)
        everywhere = np.ones(one.shape, bool)
        steady = {label: plain_overlap(one, other, label, everywhere) for label in labels}
        assert found.per_label(IOU) == pytest.approx({k: v[0] for k, v in steady.items() if v}, **EXACT)
        if protocol is TEMPORAL:
            moved, inside = plain_warp(one, backward, cut=False)
            scored = inside & can_be_followed(backward, forward)
        else:
            moved, scored = plain_warp(one, forward, cut=True)[0], everywhere
        followed = {label: plain_overlap(moved, other, label, scored) for label in labels}
        assert found.per_label(FLOW_IOU) == pytest.approx({k: v[0] for k, v in followed.items() if v}, **EXACT)
        assert found.per_label(FLOW_DICE) == pytest.approx({k: v[1] for k, v in followed.items() if v}, **EXACT)


def test_published_flow_is_estimated_small_and_used_unscaled():
    seen = []

    def constant(first, second):
        seen.append((first.shape, second.shape, first.mean() < second.mean()))
        return np.full((*first.shape[:2], 2), (2.9, 0), np.float32)

    dark, bright = np.zeros((2, 60, 80, 3), np.uint8) + np.uint8([[[[[0]]]], [[[[9]]]]])[:, 0]
    label_map = np.zeros((60, 80), np.uint8)
    label_map[20:40, 30:50] = 1
    pairs = frames_of([(label_map, dark), (label_map, bright)], SASVI)
    compare_neighbours(*pairs, SASVI, flow=constant)
    assert seen == [((512, 384, 3), (512, 384, 3), True)]
    assert pairs[0].label_map.shape == (299, 299)
    # Unscaled: two whole pixels of 299, whatever the frame's size.
    still = compare_neighbours(*pairs, SASVI, flow=lambda a, b: np.zeros((*a.shape[:2], 2), np.float32))
    moved = compare_neighbours(*pairs, SASVI, flow=constant)
    width = (pairs[0].label_map == 1).any(axis=0).sum()
    assert still.per_label(FLOW_IOU)[1] == 1
    assert moved.per_label(FLOW_IOU)[1] == pytest.approx((width - 2) / (width + 2))
    seen.clear()
    compare_neighbours(*frames_of([(label_map, dark), (label_map, bright)], TEMPORAL), TEMPORAL, flow=constant)
    assert seen == [((60, 80, 3), (60, 80, 3), False), ((60, 80, 3), (60, 80, 3), True)]


def test_labels_that_move_with_the_image_are_perfectly_steady_only_by_the_plain_definition():
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (30, 40, 3)).astype(np.uint8).repeat(6, axis=0).repeat(6, axis=1)
    label_map = np.zeros(ground.shape[:2], np.uint8)
    label_map[60:120, 80:150] = 1
    moved = [(np.roll(label_map, 10 * i, axis=1), np.roll(ground, 10 * i, axis=1)) for i in range(2)]
    scores = {}
    for protocol in (TEMPORAL, SASVI):
        found = compare_neighbours(*frames_of(moved, protocol), protocol, flow=dis_flow)
        scores[protocol.name] = found.per_label(FLOW_IOU)[1]
    assert scores["temporal"] > 0.97
    assert scores["sasvi"] < 0.75


def test_appearing_and_vanishing_labels_score_0_and_have_no_distance():
    one, other = np.zeros((2, 8, 8), np.uint8)
    one[2:4, 2:4], other[5:7, 5:7] = 1, 2
    found = compare_neighbours(LabelFrame(one), LabelFrame(other), TEMPORAL)
    assert found.per_label(IOU) == {1: 0, 2: 0}
    assert found.per_label(DISTANCE) == {}
    assert found.macro(DISTANCE) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(1, 30))
def test_label_maps_are_resized_as_torch_does_by_nearest(height, width, new_height, new_width):
    label_map = np.random.default_rng(0).integers(0, 9, (height, width))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(label_map)[None, None].float(), (new_height, new_width), mode="nearest"
    )[0, 0]
    assert (resize_to_lower_pixel(label_map, (new_height, new_width)) == expected.numpy()).all()


def test_quirks_are_named_and_can_be_taken_back_one_by_one():
    assert TEMPORAL.quirks == {}
    assert SASVI.quirks.keys() == set(rules_of(SASVI))
    assert SASVI.with_plain(["all"]).quirks == {}
    with pytest.raises(ConfigError, match="or all, got 'truncat'; try 'truncate'"):
        SASVI.with_plain(["truncat"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as torchvision's, with weights that mean nothing."""
    from torchvision.models.optical_flow import raft_small

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


class TestFlow:
    def test_raft_gives_a_vector_per_pixel_of_any_size(self, weights):
        estimator = load_raft(weights, device="cpu")
        rng = np.random.default_rng(0)
        for hw in ((130, 150), (40, 60)):
            first, second = rng.integers(0, 255, (2, *hw, 3)).astype(np.uint8)
            found = estimator(first, second)
            assert found.shape == (*hw, 2)
            assert np.isfinite(found).all()

    def test_raft_sees_pixels_in_minus_1_to_1_and_its_vectors_are_scaled_back(self):
        seen = []

        class Constant(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))

            def forward(self, first, second, num_flow_updates):
                seen.append((tuple(first.shape), float(first.min()), float(second.max()), num_flow_updates))
                return [torch.full((1, 2, *first.shape[2:]), 99.0), torch.ones(1, 2, *first.shape[2:])]

        frames = np.zeros((2, 400, 800, 3), np.uint8)
        frames[1] = 255
        found = RaftFlow(Constant(), num_updates=5, max_side_px=400)(*frames)
        assert seen == [((1, 3, 200, 400), -1, 1, 5)]
        assert found.shape == (400, 800, 2)
        assert np.allclose(found, 2)
        with pytest.raises(ConfigError, match="longest side of 128 pixels"):
            RaftFlow(Constant(), max_side_px=64)

    def test_weights_of_another_network_are_refused(self, tmp_path, weights):
        with pytest.raises(CheckpointError, match="expected"):
            load_raft(tmp_path / "nowhere.pth")
        state = torch.load(weights, weights_only=True)
        state.pop(next(iter(state)))
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(CheckpointError, match="expected the weights of torchvision's raft_small, got others"):
            load_raft(tmp_path / "other.pth")

    def test_dis_finds_a_shift(self):
        rng = np.random.default_rng(1)
        ground = rng.integers(0, 255, (20, 24, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        found = dis_flow(ground, np.roll(ground, (3, 5), axis=(0, 1)))
        assert np.median(found[20:-20, 20:-20].reshape(-1, 2), axis=0) == pytest.approx([5, 3], abs=0.2)

    def test_resized_vectors_point_to_the_same_places(self):
        motion = np.full((10, 20, 2), (4, 2), np.float32)
        assert np.allclose(resize_flow(motion, (20, 80), rescale=True), (16, 4))
        assert np.allclose(resize_flow(motion, (20, 80), rescale=False), (4, 2))
        assert resize_flow(motion, (10, 20), rescale=False) is motion


# Folders


def write(folder, images, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{names[index] if names else f'{index:05d}'}.png")


@pytest.fixture
def steady(tmp_path):
    rng = np.random.default_rng(7)
    maps = {video: [blobs(rng, (20, 24)) for _ in range(4)] for video in ("a", "b")}
    for video, found in maps.items():
        write(tmp_path / "pred" / video / "masks", found)
        write(tmp_path / "frames" / video, [np.stack([m * 60] * 3, axis=2) for m in found])
    return tmp_path, maps


def test_pairs_of_all_videos_are_pooled_then_labels_averaged(steady):
    folder, maps = steady
    report = evaluate_temporal(folder / "pred", TEMPORAL)
    per_label = {}
    for found in maps.values():
        for one, other in pairwise(found):
            for label in (1, 2, 3):
                overlap = plain_overlap(one, other, label, np.ones(one.shape, bool))
                if overlap:
                    per_label.setdefault(label, []).append(overlap[0])
    means = [100 * sum(v) / len(v) for v in per_label.values()]
    assert report.scores["IoU"] == pytest.approx(sum(means) / len(means), **EXACT)
    rows = {row.labels: row.values for row in report.table().rows}
    assert rows["all", "2"]["pairs"] == len(per_label[2])
    assert rows["a", "mean"]["pairs"] == 3
    assert report.to_json()["num_pairs"] == 6


def test_workers_do_not_change_the_report(steady):
    folder, _ = steady
    documents = [
        evaluate_temporal(folder / "pred", SASVI, frames=folder / "frames", flow=dis_flow, num_workers=n).to_json()
        for n in (1, 4)
    ]
    assert documents[0] == documents[1]
    assert documents[0]["mean"].keys() == {"IoU", "contour distance", "flow IoU", "flow Dice"}


def test_names_and_background_come_from_the_label_space(steady):
    folder, _ = steady
    space = LabelSpace(LabelSpace.from_names(["x", "y"]).labels, background=3)
    found = evaluate_temporal(folder / "pred", TEMPORAL, classes=space).to_json()["labels"]["IoU"]
    assert found.keys() == {"0", "x", "y"}


def test_intervals_draw_videos(steady):
    folder, _ = steady
    report = evaluate_temporal(folder / "pred", TEMPORAL)
    both = [evaluate_temporal(folder / "pred" / video, TEMPORAL).scores["IoU"] for video in "ab"]
    low, high = report.with_intervals(Bootstrap(num_samples=200, unit=Unit.VIDEOS)).intervals["IoU"]
    assert (low, high) == pytest.approx((min(both), max(both)), **EXACT)
    with pytest.raises(InputError, match="try --unit videos"):
        report.with_intervals(Bootstrap(num_samples=5, unit=Unit.OBJECTS))


def test_frames_are_found_by_name_or_by_place(steady, tmp_path):
    folder, maps = steady
    expected = evaluate_temporal(folder / "pred", TEMPORAL, frames=folder / "frames", flow=dis_flow).scores
    for video in maps:
        write(tmp_path / "named" / video, maps[video], [f"frame{i:04d}_rgb_mask" for i in range(4)])
    found = evaluate_temporal(tmp_path / "named", TEMPORAL, frames=folder / "frames", flow=dis_flow).scores
    assert found == expected
    more = [*maps["a"], maps["a"][0]]
    write(tmp_path / "more" / "a", more, [f"frame{i}" for i in range(5)])
    with pytest.raises(InputError, match="video a: expected a frame for each of 5 masks, such as frame0, got 4"):
        evaluate_temporal(tmp_path / "more", TEMPORAL, frames=folder / "frames", flow=dis_flow)


def test_mistakes_are_answered_in_a_sentence(steady, tmp_path):
    folder, maps = steady
    write(tmp_path / "one" / "a", maps["a"][:1])
    with pytest.raises(InputError, match="expected a video of two frames or more"):
        evaluate_temporal(tmp_path / "one", TEMPORAL)
    write(tmp_path / "sizes" / "a", [maps["a"][0], maps["a"][1][:10]])
    with pytest.raises(InputError, match="one size, got 24x20 and then 24x10 pixels"):
        evaluate_temporal(tmp_path / "sizes", TEMPORAL)
    with pytest.raises(InputError, match="expected the frames of video a in"):
        evaluate_temporal(folder / "pred", TEMPORAL, frames=tmp_path / "one" / "a", flow=dis_flow)


def test_examples_run():
    for module in (flow, temporal):
        found = doctest.testmod(module)
        assert found.attempted > 0
        assert found.failed == 0

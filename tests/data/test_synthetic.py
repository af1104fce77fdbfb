"""Synthetic clips: exact, repeatable labels and phrases that mean one object."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from surgvos.core import object_palette
from surgvos.data.synthetic import Part, SceneConfig, generate_clip, iterate_clips, write_clip
from surgvos.data.synthetic.phrases import Sighting, phrases_for
from surgvos.errors import ConfigError, InputError

SMALL = SceneConfig(image_hw=(96, 128), num_frames=5)
SURGICAL = dataclasses.replace(SMALL, surgical_share=1.0)


def clips(config, count, seed=3):
    return itertools.islice(iterate_clips(config, seed), count)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_same_seed_same_bits(share):
    config = dataclasses.replace(SMALL, surgical_share=share)
    for seed in range(4):
        one, two = generate_clip(seed, config), generate_clip(seed, config)
        for name in ("frames", "instances", "parts"):
            assert np.array_equal(getattr(one, name), getattr(two, name))
        assert one.objects == two.objects


def test_stream_starts_anywhere():
    late = next(iterate_clips(SMALL, 5, start=3))
    fourth = next(itertools.islice(iterate_clips(SMALL, 5), 3, None))
    other = next(iterate_clips(SMALL, 6, start=3))
    assert np.array_equal(late.frames, fourth.frames)
    assert not np.array_equal(late.frames, other.frames)


@pytest.mark.filterwarnings("error")
def test_labels_are_consistent():
    for clip in clips(SMALL, 25):
        assert clip.frames.shape == (5, 96, 128, 3)
        assert clip.instances.shape == clip.parts.shape == (5, 96, 128)
        assert clip.frames.dtype == clip.instances.dtype == clip.parts.dtype == np.uint8
        assert [item.id for item in clip.objects] == sorted(set(np.unique(clip.instances)) - {0})
        instruments = [item.id for item in clip.objects if item.kind == "instrument"]
        assert np.array_equal(clip.parts > 0, np.isin(clip.instances, instruments))
        assert set(np.unique(clip.parts)) <= {int(part) for part in Part}


def test_frames_differ_over_time():
    for clip in clips(SMALL, 15):
        for before, after in itertools.pairwise(clip.frames):
            assert not np.array_equal(before, after)


@pytest.mark.parametrize("num_frames", [1, 2])
def test_short_clips(num_frames):
    for clip in clips(dataclasses.replace(SMALL, num_frames=num_frames), 12):
        assert len(clip.frames) == num_frames


def test_masks_follow_the_edges_of_what_is_drawn():
    # A still, unblurred, uncompressed picture: an object's pixels must differ from what lies across its border.
    plain = dataclasses.replace(
        SMALL, surgical_share=0.0, num_shapes=(1, 1), motion_blur=0.0, defocus=0.0, grain=0.0, compression=0.0,
        low_resolution=0.0, smoke=0.0, lens_circle=0.0,
    )  # fmt: skip
    scores = []
    for clip in clips(plain, 30):
        for frame, instances in zip(clip.frames, clip.instances, strict=True):
            mask = (instances > 0).astype(np.uint8)
            kernel = np.ones((3, 3), np.uint8)
            edge = (cv2.dilate(mask, kernel) - cv2.erode(mask, kernel)) > 0
            inside, outside = cv2.erode(mask, kernel, iterations=2) > 0, cv2.dilate(mask, kernel, iterations=2) == 0
            if min(inside.sum(), outside.sum(), edge.sum()) < 50:
                continue
            gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
            slope = np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1))
            scores.append(slope[edge].mean() > np.maximum(slope[inside].mean(), slope[outside].mean()))
    assert len(scores) > 40
    assert np.mean(scores) > 0.7


def visibility(clip, object_id):
    return [bool((frame == object_id).any()) for frame in clip.instances]


def test_some_objects_leave_and_come_back():
    config = dataclasses.replace(SMALL, num_frames=10, reentry=0.6)
    patterns = [visibility(clip, item.id) for clip in clips(config, 15) for item in clip.objects]
    returns = [p for p in patterns if p[0] and not all(p) and any(p[p.index(False) :])]
    assert len(returns) >= 3


def test_insertion_begins_with_the_tip():
    config = dataclasses.replace(
        SURGICAL, insertion=0.8, reentry=0.0, late_entry=0.0, exit=0.0, num_anatomy=(0, 0), num_instruments=(1, 1),
        occluder=0.0, camera_motion=0.0, strand=0.0,
    )  # fmt: skip
    grown = 0
    for clip in clips(config, 25):
        shaft = [(frame == Part.SHAFT).sum() for frame in clip.parts]
        tip = [((frame == Part.JAWS) | (frame == Part.WRIST)).sum() for frame in clip.parts]
        grown += bool(tip[0] > 0 and shaft[-1] > 2 * shaft[0] + 100)
    assert grown >= 6


def test_lens_border_hides_what_is_under_it():
    for clip in clips(dataclasses.replace(SURGICAL, lens_circle=1.0, compression=0.0, low_resolution=0.0), 5):
        black = (clip.frames == 0).all(axis=(0, 3))
        assert black[0, 0] or black[-1, -1] or black[0, -1] or black[-1, 0]
        corner = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
        assert all((clip.instances[:, y, x] == 0).all() for y, x in corner if black[y, x])


def test_phrases_name_one_object():
    for clip in clips(dataclasses.replace(SURGICAL, num_instruments=(2, 4)), 20):
        said = [phrase for item in clip.objects for phrase in item.phrases]
        assert len(said) == len(set(said))
        for item in clip.objects:
            rivals = [other for other in clip.objects if other.id != item.id and other.category == item.category]
            if not rivals:
                assert f"the {item.category}" in item.phrases


spots = st.builds(
    Sighting, st.integers(1, 5000), st.tuples(st.floats(0, 1, allow_nan=False), st.floats(0, 1, allow_nan=False))
)


@settings(max_examples=200, deadline=None)
@given(st.lists(spots, min_size=1, max_size=5), st.data())
def test_no_phrase_fits_two_objects(sightings, draw):
    here = dict(enumerate(sightings, start=1))
    nouns = {i: (draw.draw(st.sampled_from(["grasper", "hook"])), "instrument") for i in here}
    said = [phrase for i in here for phrase in phrases_for(i, nouns, here, here)]
    assert len(said) == len(set(said))


def test_phrases_hold_where_the_object_first_appears():
    here = {1: Sighting(900, (0.2, 0.5)), 2: Sighting(400, (0.8, 0.5))}
    nouns = {1: ("grasper", "instrument"), 2: ("grasper", "instrument")}
    phrases = phrases_for(1, nouns, here, here)
    assert "the grasper on the left" in phrases
    assert "the largest grasper" in phrases
    assert "the grasper" not in phrases
    assert not any("right" in phrase for phrase in phrases)


def test_write_clip_round_trip(tmp_path):
    clip = generate_clip(11, SMALL)
    write_clip(clip, tmp_path, "a")
    write_clip(clip, tmp_path, "b")
    palette = object_palette(256).ravel().tolist()
    for t, instances in enumerate(clip.instances):
        image = Image.open(tmp_path / "Annotations" / "a" / f"{t:05d}.png")
        assert image.mode == "P"
        assert image.getpalette()[:30] == palette[:30]
        assert np.array_equal(np.asarray(image), instances)
        frame = np.asarray(Image.open(tmp_path / "JPEGImages" / "a" / f"{t:05d}.jpg").convert("RGB"))
        assert frame.shape == clip.frames[t].shape
        assert np.abs(frame.astype(int) - clip.frames[t]).mean() < 12
    listing = json.loads((tmp_path / "objects.json").read_text())
    assert list(listing) == ["a", "b"]
    assert [entry["id"] for entry in listing["a"]] == [item.id for item in clip.objects]
    assert listing["b"][0]["phrases"] == list(clip.objects[0].phrases)
    with pytest.raises(InputError, match="expected a new video"):
        write_clip(clip, tmp_path, "a")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 0}, "num_frames >= 1"),
        ({"smoke": 1.5}, "expected smoke in 0..1"),
        ({"num_instruments": (4, 2)}, "low <= high"),
        ({"insertion": 0.9}, "try less"),
    ],
)
def test_config_is_checked(change, message):
    with pytest.raises(ConfigError, match=message):
        SceneConfig(**change)


def test_workers_need_no_torch():
    script = "import sys, surgvos.data.synthetic; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("image_hw", [(32, 40), (384, 480), (240, 192)])
def test_other_sizes(image_hw):
    config = SceneConfig(image_hw=image_hw, num_frames=2)
    for clip in clips(config, 6):
        assert clip.frames.shape == (2, *image_hw, 3)

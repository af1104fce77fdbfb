"""Batches of clips: from synthetic scenes and from folders, augmented, and each a function of its index."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers import moving_square_frames
from surgvos.data.batches import BatchShape
from surgvos.data.clips import Clip, ClipBatch, choose_objects, collate_clips
from surgvos.data.synthetic import SceneConfig
from surgvos.data.synthetic_clips import SyntheticClipsConfig
from surgvos.data.transforms import Augmentation, ColorJitter, augment
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.errors import ConfigError, InputError

SHAPE = BatchShape(num_frames=3, image_hw=(64, 96), batch_size=3)
SCENE = SceneConfig(num_frames=5)
PLAIN = Augmentation(
    flip_probability=0,
    max_rotation=0,
    max_shear=0,
    clip_jitter=ColorJitter(),
    frame_jitter=ColorJitter(),
    grey_probability=0,
)


def _same(a: ClipBatch, b: ClipBatch) -> bool:
    return (
        torch.equal(a.images, b.images)
        and torch.equal(a.masks, b.masks)
        and torch.equal(a.object_image, b.object_image)
    )


def _write_video(root: Path, name: str, num_frames: int, *, suffix: str = ".jpg", ids: tuple[int, ...] = (2,)) -> None:
    frames, masks = moving_square_frames(num_frames, hw=(48, 64), side_px=16, step_px=4)
    for folder in ("JPEGImages", "Annotations"):
        (root / folder / name).mkdir(parents=True)
    for index, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        Image.fromarray(frame).save(root / "JPEGImages" / name / f"{index:05d}{suffix}")
        label_map = np.zeros(mask.shape, np.uint8)
        for number, object_id in enumerate(ids):
            label_map[np.roll(mask, 12 * number, axis=0)] = object_id
        image = Image.fromarray(label_map, mode="P")
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        image.save(root / "Annotations" / name / f"{index:05d}.png")


def test_objects_are_laid_out_in_one_row() -> None:
    images = np.zeros((2, 32, 40, 3), np.uint8)
    masks = np.zeros((2, 3, 32, 40), bool)
    masks[1, 2] = True
    batch = collate_clips([Clip(images + 1, masks[:, :1]), Clip(images + 2, masks)])
    assert batch.images.shape == (2, 2, 3, 32, 40)
    assert batch.images[:, 1].unique().tolist() == [2]
    assert batch.object_image.tolist() == [0, 1, 1, 1]
    assert batch.visible.tolist() == [[False] * 4, [False, False, False, True]]
    assert (batch.num_frames, batch.num_objects) == (2, 4)


def test_clips_that_do_not_stack_are_refused() -> None:
    short = Clip(np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 1, 32, 32), bool))
    long = Clip(np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 1, 32, 32), bool))
    with pytest.raises(InputError, match="one length and size"):
        collate_clips([short, long])
    with pytest.raises(InputError, match="at least one object"):
        collate_clips([Clip(short.images, short.masks[:, :0])])
    with pytest.raises(ConfigError, match="expected num_frames >= 1"):
        BatchShape(num_frames=0, image_hw=(64, 64), batch_size=1)


def test_objects_are_drawn_among_the_visible() -> None:
    label_maps = np.zeros((2, 8, 8), np.uint8)
    label_maps[0, 0, :4] = 3
    label_maps[0, 1:3] = 5
    label_maps[1, 4:] = 7
    rng = np.random.default_rng(0)
    assert sorted(choose_objects(label_maps, 9, rng)) == [3, 5]
    assert choose_objects(label_maps, 9, rng, min_area_px=5) == [5]
    drawn = {choose_objects(label_maps, 1, rng)[0] for _ in range(30)}
    assert drawn == {3, 5}


def test_synthetic_batches_are_functions_of_their_index() -> None:
    config = SyntheticClipsConfig(scene=SCENE, pool_size=4, reuse=2)
    first, second = config.open(SHAPE, seed=1), config.open(SHAPE, seed=1)
    forward = [first[i] for i in range(6)]
    backward = {i: second[i] for i in reversed(range(6))}
    assert all(_same(forward[i], backward[i]) for i in range(6))
    assert not any(_same(a, b) for a, b in itertools.combinations(forward, 2))
    assert not _same(forward[0], config.open(SHAPE, seed=2)[0])


def test_synthetic_batches_show_their_objects_first() -> None:
    config = SyntheticClipsConfig(scene=SCENE, pool_size=6, late_probability=0.0, min_area_px=10)
    source = config.open(SHAPE, seed=0)
    for batch in (source[i] for i in range(4)):
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape[:3] == (3, 3, 3)
        assert batch.images.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        assert batch.masks.shape == (3, batch.num_objects, 64, 96)
        assert (batch.masks[0].flatten(1).sum(dim=1) >= 10).all()
        assert (batch.object_image.bincount(minlength=3) >= 1).all()
        assert (batch.object_image.bincount() <= 3).all()


def test_cuts_show_another_scene_without_the_objects() -> None:
    config = SyntheticClipsConfig(scene=SCENE, pool_size=4, cut_probability=1.0)
    plain = SyntheticClipsConfig(scene=SCENE, pool_size=4, cut_probability=0.0)
    cut, whole = config.open(SHAPE, seed=3)[0], plain.open(SHAPE, seed=3)[0]
    replaced = (cut.images != whole.images).flatten(2).any(dim=2)
    assert replaced.sum(dim=0).tolist() == [1, 1, 1]
    assert not replaced[0].any()
    per_object = replaced[:, cut.object_image]
    assert not cut.visible[per_object].any()
    assert torch.equal(cut.masks[~per_object], whole.masks[~per_object])


def test_a_scene_shorter_than_the_clips_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"scene\.num_frames of at least the 3 frames of a clip, got 2"):
        SyntheticClipsConfig(scene=SceneConfig(num_frames=2)).open(SHAPE, seed=0)
    with pytest.raises(ConfigError, match="of 1 or more, got 3, 2, 0, 96"):
        SyntheticClipsConfig(reuse=0)


@given(seed=st.integers(0, 500))
@settings(max_examples=25, deadline=None)
def test_augmentation_moves_image_and_labels_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label_maps = np.zeros((2, 60, 80), np.uint8)
    label_maps[:, 20:44, 30:60] = 1
    images = np.where(label_maps[..., None] > 0, 220, 30).astype(np.uint8).repeat(3, axis=3)
    look = Augmentation(max_zoom=1.4, clip_jitter=ColorJitter(), frame_jitter=ColorJitter(), grey_probability=0)
    moved, labels = augment(images, label_maps, (48, 96), look, rng)
    assert moved.shape == (2, 48, 96, 3)
    assert labels.shape == (2, 48, 96)
    assert np.array_equal(moved[0], moved[1])
    bright = moved[0, ..., 1] > 160
    disagree = (bright != (labels[0] > 0)).sum()
    assert labels[0].any()
    assert disagree < 0.12 * (labels[0] > 0).sum() + 20  # the blended outline alone


def test_without_any_variation_a_clip_is_only_resized() -> None:
    frames, masks = moving_square_frames(2, hw=(64, 96))
    label_maps = np.stack(masks).astype(np.uint8)
    images, labels = augment(np.stack(frames), label_maps, (64, 96), PLAIN, np.random.default_rng(0))
    assert np.array_equal(images, np.stack(frames))
    assert np.array_equal(labels, label_maps)
    large = np.stack(frames).repeat(4, axis=1).repeat(4, axis=2)
    small, _ = augment(large, label_maps.repeat(4, 1).repeat(4, 2), (64, 96), PLAIN, np.random.default_rng(0))
    assert np.abs(small.astype(int) - np.stack(frames)).max() <= 1


def test_flips_and_reversals_come_when_asked_for() -> None:
    frames, masks = moving_square_frames(3, hw=(64, 96))
    label_maps = np.stack(masks).astype(np.uint8)
    always = replace(PLAIN, flip_probability=1.0, reverse_probability=1.0)
    images, labels = augment(np.stack(frames), label_maps, (64, 96), always, np.random.default_rng(0))
    assert np.array_equal(images, np.stack(frames)[::-1, :, ::-1])
    assert np.array_equal(labels, label_maps[::-1, :, ::-1])


def test_grey_clips_have_equal_channels() -> None:
    frames, masks = moving_square_frames(2, hw=(64, 96))
    grey, _ = augment(
        np.stack(frames),
        np.stack(masks).astype(np.uint8),
        (64, 96),
        replace(PLAIN, grey_probability=1.0),
        np.random.default_rng(0),
    )
    assert np.array_equal(grey[..., 0], grey[..., 1])
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_a_geometry_that_loses_an_object_is_left_out() -> None:
    label_maps = np.zeros((1, 64, 64), np.uint8)
    label_maps[0, :2, :2] = 1
    label_maps[0, 30:34, 30:34] = 2
    images = np.zeros((1, 64, 64, 3), np.uint8)
    look = Augmentation(flip_probability=0, max_rotation=45, max_shear=0)
    for seed in range(20):
        _, labels = augment(images, label_maps, (64, 64), look, np.random.default_rng(seed))
        assert set(np.unique(labels)) == {0, 1, 2}


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_folders_give_consecutive_frames(tmp_path: Path, suffix: str) -> None:
    _write_video(tmp_path, "a", 8, suffix=suffix)
    source = VosFolderConfig(root=str(tmp_path), augmentation=PLAIN).open(
        BatchShape(num_frames=3, image_hw=(48, 64), batch_size=2), seed=0
    )
    assert len(source) == 6
    lefts = set()
    for batch in (source[i] for i in range(6)):
        columns = batch.masks.any(dim=2).int().argmax(dim=2)  # (T, B)
        assert columns.diff(dim=0).unique().tolist() == [4]
        lefts.update(columns[0].tolist())
    assert len(lefts) > 2
    assert _same(source[4], source[4])


def test_short_videos_turn_back(tmp_path: Path) -> None:
    _write_video(tmp_path, "a", 2)
    config = VosFolderConfig(root=str(tmp_path), augmentation=PLAIN)
    batch = config.open(BatchShape(num_frames=5, image_hw=(48, 64), batch_size=1), seed=0)[0]
    columns = batch.masks.any(dim=2).int().argmax(dim=2)[:, 0]
    assert columns.tolist() == [8, 12, 8, 12, 8]


def test_ids_can_be_chosen_and_ignored(tmp_path: Path) -> None:
    _write_video(tmp_path, "a", 3, ids=(1, 2, 255))
    shape = BatchShape(num_frames=1, image_hw=(48, 64), batch_size=1)

    def counts(**settings: object) -> set[int]:
        source = VosFolderConfig(root=str(tmp_path), augmentation=PLAIN, **settings).open(shape, seed=0)  # type: ignore[arg-type]
        return {source[i].num_objects for i in range(4)}

    assert counts() == {3}
    assert counts(ignore=255) == {2}
    assert counts(object_ids=(2,)) == {1}
    assert counts(max_objects=1) == {1}
    with pytest.raises(InputError, match="expected objects in the videos"):
        counts(object_ids=(9,))


def test_folders_that_are_not_as_expected_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected folders JPEGImages and Annotations"):
        VosFolderConfig(root=str(tmp_path)).open(SHAPE, seed=0)
    _write_video(tmp_path, "a", 2)
    with pytest.raises(InputError, match="got 'b', which is not there"):
        VosFolderConfig(root=str(tmp_path), videos=("b",)).open(SHAPE, seed=0)
    (tmp_path / "Annotations" / "c").mkdir()
    with pytest.raises(InputError, match="expected the images of an annotated video"):
        VosFolderConfig(root=str(tmp_path)).open(SHAPE, seed=0)


def test_images_and_annotations_of_different_sizes_are_refused(tmp_path: Path) -> None:
    _write_video(tmp_path, "a", 2)
    for path in (tmp_path / "JPEGImages" / "a").iterdir():
        Image.new("RGB", (32, 32)).save(path)
    source = VosFolderConfig(root=str(tmp_path)).open(SHAPE, seed=0)
    with pytest.raises(InputError, match="one size, got 32x32 and 64x48 pixels in video 'a'"):
        source[0]

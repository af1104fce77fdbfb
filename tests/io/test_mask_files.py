"""Label maps, mask folders and mask videos."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from helpers import moving_square_frames, samples_dir, write_video
from surgvos.core import object_palette
from surgvos.errors import InputError, SurgvosError
from surgvos.io.masks import (
    MaskWriter,
    read_binary_mask,
    read_label_map,
    read_mask_folder,
    read_mask_video,
    write_label_map,
)

LABEL_MAP = np.array([[0, 1, 2], [7, 255, 0]], dtype=np.uint8)


@given(
    label_map=st.sampled_from(["uint8", "uint16", "int64", "bool"]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
            elements=None if dtype == "bool" else st.integers(0, 255 if dtype == "uint8" else 65535),
        )
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_label_maps_come_back_as_they_were(tmp_path: Path, label_map: np.ndarray) -> None:
    write_label_map(tmp_path / "map.png", label_map)
    read = read_label_map(tmp_path / "map.png")
    assert np.array_equal(read, label_map)
    assert read.dtype == (np.uint8 if label_map.max() <= 255 else np.uint16)


def test_label_maps_are_palette_images_in_the_colours_of_the_objects(tmp_path: Path) -> None:
    write_label_map(tmp_path / "map.png", LABEL_MAP)
    image = Image.open(tmp_path / "map.png")
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image.convert("RGB")), object_palette()[LABEL_MAP])


def test_a_palette_of_ones_own(tmp_path: Path) -> None:
    palette = np.array([[0, 0, 0], [9, 8, 7], [1, 2, 3]], dtype=np.uint8)
    write_label_map(tmp_path / "map.png", LABEL_MAP[:1], palette)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "map.png").convert("RGB"))[0], palette)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA"])
def test_every_kind_of_label_map_is_read(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(LABEL_MAP)
    if mode == "P":
        image.putpalette(bytes(range(256)) * 3)
    elif mode == "RGBA":
        image = Image.merge("RGBA", [image, image, image, Image.new("L", image.size, 40)])
    elif mode == "LA":
        image = Image.merge("LA", [image, Image.new("L", image.size, 40)])
    else:
        image = image.convert(mode)
    image.save(tmp_path / "map.png")
    read = read_label_map(tmp_path / "map.png")
    assert np.array_equal(read, LABEL_MAP)
    assert read.dtype == np.uint8


def test_label_maps_of_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "map.png")
    assert read_label_map(tmp_path / "map.png").tolist() == [[1, 0]]


def test_what_is_no_label_map(tmp_path: Path) -> None:
    Image.fromarray(object_palette()[LABEL_MAP]).save(tmp_path / "colours.png")
    with pytest.raises(InputError, match=r"got colours in .*colours.png.*try saving it as a palette PNG"):
        read_label_map(tmp_path / "colours.png")
    Image.fromarray(LABEL_MAP).save(tmp_path / "lossy.jpg")
    with pytest.raises(InputError, match=r"lossy.jpg.*try PNG"):
        read_label_map(tmp_path / "lossy.jpg")
    (tmp_path / "text.png").write_text("mask")
    with pytest.raises(InputError, match=r"expected a readable image, got .*text.png"):
        read_label_map(tmp_path / "text.png")
    with pytest.raises(InputError, match=r"none.png"):
        read_label_map(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        (np.zeros((2, 2, 3), np.uint8), r"got uint8 \(2, 2, 3\)"),
        (np.zeros((2, 2), np.float32), "float32"),
        (np.array([[70000]]), "got 70000"),
        (np.array([[-1]]), "got -1"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, label_map: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_label_map(tmp_path / "map.png", label_map)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "map.png"
    write_label_map(path, LABEL_MAP)

    def save(self: Image.Image, target: Path, **_: Any) -> None:
        Path(target).write_bytes(b"half a file")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(SurgvosError, match=r"expected to write .*map.png.*No space left on device; try freeing space"):
        write_label_map(path, LABEL_MAP * 0)
    assert [p.name for p in tmp_path.iterdir()] == ["map.png"]
    assert np.array_equal(read_label_map(path), LABEL_MAP)


def test_binary_masks(tmp_path: Path) -> None:
    Image.fromarray(object_palette()[LABEL_MAP]).save(tmp_path / "colours.png")
    write_label_map(tmp_path / "palette.png", LABEL_MAP)
    for name in ("colours.png", "palette.png"):
        mask = read_binary_mask(tmp_path / name)
        assert mask.dtype == np.bool_
        assert np.array_equal(mask, LABEL_MAP > 0)


# Writing many


def test_the_writer_writes_everything(tmp_path: Path) -> None:
    with MaskWriter(tmp_path / "masks", depth=2) as writer:
        for index in range(20):
            writer.write(f"{index:05d}", np.full((6, 5), index, dtype=np.uint8))
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == [f"{i:05d}.png" for i in range(20)]
    assert all(read_label_map(tmp_path / "masks" / f"{i:05d}.png").max() == i for i in range(20))


def test_the_writer_reports_a_failure_at_close(tmp_path: Path) -> None:
    (tmp_path / "masks").write_text("a file where the folder should be")
    writer = MaskWriter(tmp_path / "masks")
    writer.write("00000", LABEL_MAP)
    with pytest.raises(SurgvosError, match=r"expected to write .*00000.png"):
        writer.close()


def test_the_writer_reports_a_failure_at_the_next_write(tmp_path: Path) -> None:
    writer = MaskWriter(tmp_path, depth=1)
    writer.write("bad", np.zeros((2, 2), np.float32))
    deadline = time.monotonic() + 5

    def write_until_refused() -> None:
        while time.monotonic() < deadline:
            writer.write("good", LABEL_MAP)

    with pytest.raises(InputError, match="label map of integers"):
        write_until_refused()
    writer.close()


def test_the_writer_does_not_hide_the_error_of_its_block(tmp_path: Path) -> None:
    def fail() -> None:
        with MaskWriter(tmp_path) as writer:
            writer.write("bad", np.zeros((2, 2), np.float32))
            raise KeyError("the block's own")

    with pytest.raises(KeyError, match="the block's own"):
        fail()


def test_names_that_leave_the_folder(tmp_path: Path) -> None:
    with MaskWriter(tmp_path / "masks") as writer, pytest.raises(InputError, match="can name a file"):
        writer.write("../outside", LABEL_MAP)


# Reading many


def test_a_folder_of_label_maps(tmp_path: Path) -> None:
    for name in ("frame10", "frame2"):
        write_label_map(tmp_path / f"{name}.png", LABEL_MAP)
    (tmp_path / "frame3.part.png").write_bytes(b"left behind by a kill")
    folder = read_mask_folder(tmp_path)
    assert list(folder) == ["frame2", "frame10"]
    assert len(folder) == 2
    assert "frame2" in folder
    assert "frame3.part" not in folder
    masks = folder["frame10"]
    assert sorted(masks) == [1, 2, 7, 255]
    assert np.array_equal(masks[7], LABEL_MAP == 7)
    assert np.array_equal(folder.label_map("frame2"), LABEL_MAP)
    with pytest.raises(KeyError):
        folder["frame3"]


def test_a_folder_per_object_keeps_overlaps(tmp_path: Path) -> None:
    wide, narrow = np.array([[1, 1, 1]], np.uint8), np.array([[0, 255, 0]], np.uint8)
    write_label_map(tmp_path / "001" / "00000.png", wide)
    write_label_map(tmp_path / "012" / "00000.png", narrow)
    write_label_map(tmp_path / "012" / "00001.png", narrow * 0)
    folder = read_mask_folder(tmp_path)
    assert list(folder) == ["00000", "00001"]
    assert {i: m.tolist() for i, m in folder["00000"].items()} == {1: [[True] * 3], 12: [[False, True, False]]}
    assert folder["00001"] == {}
    assert folder.label_map("00000").tolist() == [[1, 1, 1]]


def test_folders_without_masks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder of jpg, png"):
        read_mask_folder(tmp_path)
    with pytest.raises(InputError, match="expected a folder of masks"):
        read_mask_folder(tmp_path / "none")


def test_a_mask_video(tmp_path: Path) -> None:
    _, masks = moving_square_frames(8)
    inner = [np.roll(mask, 4, axis=1) & mask for mask in masks]
    gray = [np.where(b, 200, np.where(a, 90, 0)).astype(np.uint8) for a, b in zip(masks, inner, strict=True)]
    frames = [np.repeat(g[..., None], 3, axis=2) for g in gray]
    path = write_video(tmp_path / "masks.mp4", frames, pix_fmt="yuv444p")
    video = read_mask_video(path, {1: 45, 2: 145})
    assert list(video) == [f"{i:05d}" for i in range(8)]
    for index, found in enumerate(video.values()):
        assert (found[1] != masks[index]).mean() < 0.01
        assert (found[2] != inner[index]).mean() < 0.01


@pytest.mark.parametrize("thresholds", [{}, {1: 255}, {1: -1}])
def test_thresholds_are_checked(tmp_path: Path, thresholds: dict[int, float]) -> None:
    with pytest.raises(InputError, match=r"thresholds in 0\.\.254"):
        read_mask_video(tmp_path / "masks.mp4", thresholds)


def test_real_label_maps() -> None:
    maps = [
        *samples_dir().glob("cadis/relabelled/*.png"),
        *samples_dir().glob("segcol/labels/*.png"),
        *samples_dir().glob("endovis17/original/*_label.png"),
    ]
    if not maps:
        pytest.skip("label maps are absent from SURGVOS_SAMPLES")
    for path in maps:
        label_map = read_label_map(path)
        assert label_map.ndim == 2, path
        assert len(np.unique(label_map)) < 40, path


def test_a_real_mask_video() -> None:
    path = samples_dir() / "endovis15_robotic" / "dataset2_masks.avi"
    if not path.is_file():
        pytest.skip("endovis15_robotic is absent from SURGVOS_SAMPLES")
    masks = read_mask_video(path, {1: 35, 2: 115})
    assert len(masks) == 375
    first = masks["00000"]
    assert first[1].shape == (576, 720)
    assert (first[1] & first[2]).sum() == first[2].sum() > 0

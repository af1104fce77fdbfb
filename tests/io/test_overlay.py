"""Overlays as images and videos."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers import moving_square_frames, write_video
from surgvos.core import ObjectResult, Phase, object_palette
from surgvos.errors import InputError, SurgvosError
from surgvos.io.masks import read_mask_folder, write_label_map
from surgvos.io.overlay import OverlayWriter, draw_overlay, render_overlay
from surgvos.io.video import open_video

FRAMES, MASKS = moving_square_frames(12, hw=(144, 192), side_px=48)
SEEN = ObjectResult(Phase.TRACKING, presence=0.97, predicted_iou=0.9, prompted=False)


def changed(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    return (image != drawn).any(axis=2)


def grown(mask: np.ndarray, num_pixels: int) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=num_pixels) > 0


def shrunk(mask: np.ndarray, num_pixels: int) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=num_pixels) > 0


def test_the_fill_is_translucent_in_the_objects_colour() -> None:
    drawn = draw_overlay(FRAMES[0], {3: MASKS[0]}, opacity=0.4)
    inside = shrunk(MASKS[0], 16)
    expected = np.round(0.6 * FRAMES[0][inside] + 0.4 * object_palette()[3].astype(float))
    assert inside.any()
    assert np.abs(drawn[inside] - expected).max() <= 1


def test_the_frame_is_left_alone_outside_masks_contours_and_labels() -> None:
    before = FRAMES[0].copy()
    drawn = draw_overlay(FRAMES[0], {1: MASKS[0]})
    assert np.array_equal(FRAMES[0], before)
    touched = changed(FRAMES[0], drawn)
    top = np.flatnonzero(MASKS[0].any(axis=1))[0]
    below = touched.copy()
    below[:top] = False  # the label sits above the object
    assert not (below & ~grown(MASKS[0], 4)).any()
    assert touched[:top].any()
    assert touched[:top].mean() < 0.2


def test_the_contour_stands_out() -> None:
    drawn = draw_overlay(FRAMES[0], {1: MASKS[0]})
    edge = MASKS[0] & ~shrunk(MASKS[0], 1)
    color = object_palette()[1].astype(float)
    inside = shrunk(MASKS[0], 16)
    distance_to_color = np.abs(drawn - color).sum(axis=2)
    assert distance_to_color[edge].mean() < 0.7 * distance_to_color[inside].mean()


@pytest.mark.parametrize("corner", [(0, 0), (0, 168), (120, 0), (120, 168)])
def test_labels_stay_inside_the_image(corner: tuple[int, int]) -> None:
    mask = np.zeros((144, 192), dtype=bool)
    mask[corner[0] : corner[0] + 24, corner[1] : corner[1] + 24] = True
    plain = draw_overlay(FRAMES[0], {1: mask}, labels={1: " "})
    drawn = draw_overlay(FRAMES[0], {1: mask}, {1: SEEN}, {1: "a label that is long"})
    assert drawn.shape == FRAMES[0].shape
    assert changed(plain, drawn).sum() > 400


def test_labels_keep_clear_of_each_other() -> None:
    drawn_alone = [
        changed(FRAMES[0], draw_overlay(FRAMES[0], {i: MASKS[0]}, labels={i: "grasper"})) & ~grown(MASKS[0], 4)
        for i in (1, 2)
    ]
    both = draw_overlay(FRAMES[0], {1: MASKS[0], 2: MASKS[0]}, labels={1: "grasper", 2: "grasper"})
    touched = changed(FRAMES[0], both)
    assert touched.sum() > (MASKS[0] | drawn_alone[0] | drawn_alone[1]).sum()


def test_an_image_smaller_than_a_label() -> None:
    image = np.full((9, 11, 3), 90, dtype=np.uint8)
    drawn = draw_overlay(image, {1: np.eye(9, 11, dtype=bool)}, labels={1: "needle driver"})
    assert drawn.shape == image.shape


def test_presence_and_absence() -> None:
    named = draw_overlay(FRAMES[0], {1: MASKS[0]}, labels={1: "hook"})
    with_presence = draw_overlay(FRAMES[0], {1: MASKS[0]}, {1: SEEN}, {1: "hook"})
    assert changed(named, with_presence).any()
    assert np.array_equal(draw_overlay(FRAMES[0], {1: np.zeros_like(MASKS[0])}, {1: SEEN}), FRAMES[0])


def test_ids_beyond_the_palette_have_a_colour() -> None:
    drawn = draw_overlay(FRAMES[0], {256: MASKS[0]})
    inside = shrunk(MASKS[0], 16)
    expected = 0.6 * FRAMES[0][inside] + 0.4 * object_palette()[1].astype(float)
    assert np.abs(drawn[inside] - expected).max() <= 1


def test_masks_of_another_size() -> None:
    with pytest.raises(InputError, match="masks of 192x144 pixels like the image, got 96x72 for object 2"):
        draw_overlay(FRAMES[0], {2: MASKS[0][::2, ::2]})


# Videos


@pytest.mark.parametrize("hw", [(144, 192), (143, 191)], ids=["even", "odd"])
@pytest.mark.parametrize("fps", [25, 29.97, 12.5])
def test_an_overlay_video_plays_and_looks_like_its_frames(tmp_path: Path, hw: tuple[int, int], fps: float) -> None:
    path = tmp_path / "out" / "overlay.mp4"
    frames = [frame[: hw[0], : hw[1]] for frame in FRAMES]
    with OverlayWriter(path, fps, hw) as writer:
        for frame in frames:
            writer.write(frame)
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["overlay.mp4"]
    video = open_video(path)
    assert len(video) == len(frames)
    assert video.fps == pytest.approx(fps, rel=1e-4)
    assert video.hw == (144, 192)
    for frame, original in zip(video, frames, strict=True):
        assert np.abs(frame.image[: hw[0], : hw[1]].astype(int) - original).mean() < 12
    content = path.read_bytes()
    assert content.find(b"moov") < content.find(b"mdat")


def overlay_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "surgvos-overlay"]


def test_an_interrupted_overlay_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with OverlayWriter(tmp_path / "overlay.mp4", 25, (144, 192)) as writer:
            writer.write(FRAMES[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    assert overlay_threads() == []


def test_an_overlay_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def write_many() -> None:
        with OverlayWriter(tmp_path / "overlay.mp4", 25, (144, 192)) as writer:
            for frame in FRAMES:
                writer.write(frame)

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(SurgvosError, match=r"expected to write .*overlay.mp4.*No space left on device"):
        write_many()
    assert list(tmp_path.iterdir()) == []
    assert overlay_threads() == []


def test_without_libx264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    path = tmp_path / "overlay.mp4"

    def write_all() -> None:
        with OverlayWriter(path, 25, (144, 192)) as writer:
            for frame in FRAMES:
                writer.write(frame)

    with pytest.warns(UserWarning, match="libx264"):
        write_all()
    assert len(open_video(path)) == len(FRAMES)


def test_what_an_overlay_writer_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fps above 0, got 0"):
        OverlayWriter(tmp_path / "overlay.mp4", 0, (10, 10))
    with (
        pytest.raises(InputError, match=r"shape \(144, 192, 3\), got \(10, 10, 3\)"),
        OverlayWriter(tmp_path / "overlay.mp4", 25, (144, 192)) as writer,
    ):
        writer.write(FRAMES[0][:10, :10])


def test_rendering_from_written_masks(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "case.mp4", FRAMES))
    for index in (0, 1, 5):
        write_label_map(tmp_path / "masks" / f"{index:05d}.png", MASKS[index])
    masks = read_mask_folder(tmp_path / "masks")
    assert render_overlay(video, masks, tmp_path / "overlay.mp4", fps=25, labels={1: "hook"}) == len(FRAMES)
    rendered = open_video(tmp_path / "overlay.mp4")
    differences = [np.abs(a.image.astype(int) - b.image).mean() for a, b in zip(rendered, video, strict=True)]
    assert min(differences[i] for i in (0, 1, 5)) > 2 * max(differences[i] for i in (2, 3, 4, 6, 11))


def test_rendering_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frames to draw on, got none"):
        render_overlay([], {}, tmp_path / "overlay.mp4", fps=25)

"""Video files, folders and streams as frames."""

from __future__ import annotations

import random
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import moving_square_frames, packet_spans, samples_dir, scramble_packets, write_video
from surgvos.core import Frame, FrameStream, VideoSource
from surgvos.errors import InputError
from surgvos.io.video import open_video, prefetch

FRAMES, _ = moving_square_frames(33)

ENCODINGS = [
    ("h264.mp4", {"max_b_frames": 3}),
    ("h264_444.mp4", {"pix_fmt": "yuv444p"}),
    ("h264_10bit.mp4", {"pix_fmt": "yuv420p10le"}),
    ("h264.avi", {"max_b_frames": 3}),  # timestamps in storage order, not in display order
    ("h264.mkv", {"max_b_frames": 3}),
    ("h264.ts", {"max_b_frames": 3}),
    ("h264_open.mp4", {"max_b_frames": 3, "options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}}),
    ("raw.h264", {"max_b_frames": 3}),  # no timestamps at all
    ("h265.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
    ("mpeg4.avi", {"codec": "mpeg4", "max_b_frames": 2}),
    ("mpeg2.mpg", {"codec": "mpeg2video", "max_b_frames": 2}),  # no packet positions to go by
    ("vp9.webm", {"codec": "libvpx-vp9"}),
    ("gray.mkv", {"codec": "ffv1", "pix_fmt": "gray"}),
    ("intra.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
]


def quiet_frames(video: VideoSource) -> list[Frame]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(video)


@pytest.mark.parametrize(("file_name", "encoding"), ENCODINGS, ids=[name for name, _ in ENCODINGS])
def test_random_access_gives_the_pixels_of_sequential_reading(tmp_path: Path, file_name: str, encoding: dict) -> None:
    path = write_video(tmp_path / file_name, FRAMES, **encoding)
    video = open_video(path)
    frames = list(video)

    assert isinstance(video, VideoSource)
    assert [frame.index for frame in frames] == list(range(len(FRAMES)))
    assert len(video) == len(FRAMES)
    assert frames[17].name == "00017"
    assert video.hw == frames[0].hw == FRAMES[0].shape[:2]
    indices = [*range(33), *reversed(range(33)), *random.Random(0).sample(range(33), 33)]
    wrong = [i for i in indices if not np.array_equal(video[i].image, frames[i].image)]
    assert wrong == []
    fresh = [i for i in (32, 11, 9, 20) if not np.array_equal(open_video(path)[i].image, frames[i].image)]
    assert fresh == []


@pytest.mark.parametrize(("file_name", "encoding"), ENCODINGS, ids=[name for name, _ in ENCODINGS])
def test_frames_are_in_order_and_look_like_what_was_encoded(tmp_path: Path, file_name: str, encoding: dict) -> None:
    video = open_video(write_video(tmp_path / file_name, FRAMES, **encoding))
    for frame, original in zip(video, FRAMES, strict=True):
        expected = original if "gray" not in file_name else original.dot([0.299, 0.587, 0.114])[..., None]
        errors = [np.abs(frame.image.astype(int) - expected).mean()]
        errors += [np.abs(frame.image.astype(int) - np.roll(expected, shift, axis=1)).mean() for shift in (-1, 1)]
        assert errors[0] == min(errors)
        assert errors[0] < 16


@pytest.mark.parametrize("colorspace", [1, 5])
@pytest.mark.parametrize("color_range", [1, 2])
def test_colours_honour_matrix_and_range(tmp_path: Path, colorspace: int, color_range: int) -> None:
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[:, :32], image[:, 32:] = (200, 30, 30), (30, 60, 220)
    path = write_video(
        tmp_path / "colours.mp4",
        [image] * 3,
        pix_fmt="yuv444p",
        colorspace=colorspace,
        color_range=color_range,
        options={"crf": "4"},
    )
    decoded = open_video(path)[1].image
    assert np.abs(decoded[:, 8:24].astype(int) - (200, 30, 30)).max() <= 3
    assert np.abs(decoded[:, 40:56].astype(int) - (30, 60, 220)).max() <= 3


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_display_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    image = np.full((64, 96, 3), 60, dtype=np.uint8)
    image[:16, :16] = (255, 0, 0)
    video = open_video(write_video(tmp_path / "turned.mp4", [image] * 3, rotate=degrees, pix_fmt="yuv444p"))
    expected = np.rot90(image, degrees // 90)
    assert video.hw == expected.shape[:2]
    assert np.abs(video[1].image.astype(int) - expected).mean() < 3


def test_variable_frame_rate_keeps_every_frame_and_its_time(tmp_path: Path) -> None:
    pts = [50, 51, 55, 56, 70, 90, 91]
    path = write_video(tmp_path / "vfr.mkv", FRAMES[: len(pts)], pts=pts)
    times_s = [frame.time_s for frame in open_video(path)]
    assert times_s == pytest.approx([(p - 50) / 25 for p in pts], abs=0.002)


def test_indexing_follows_python(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "case.mp4", FRAMES[:5]))
    assert video[-1].index == 4
    assert video[np.int64(2)].index == 2
    assert video.name == "case"
    assert open_video(video.path, name="other").name == "other"
    for index in (5, -6):
        with pytest.raises(IndexError, match="below 5"):
            video[index]


def test_a_video_can_be_shared_by_threads(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "case.mp4", FRAMES))
    frames = list(video)
    wrong: list[int] = []

    def read(seed: int) -> None:
        for i in random.Random(seed).sample(range(33), 20):
            if not np.array_equal(video[i].image, frames[i].image):
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    assert all(np.array_equal(a.image, b.image) for a, b in zip(video, frames, strict=True))
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("damaged", [3, 10, 11, 24, 32], ids=lambda p: f"packet{p}")
@pytest.mark.parametrize("file_name", ["case.mp4", "case.avi"])
def test_damage_in_the_middle_does_not_shift_frames(tmp_path: Path, file_name: str, damaged: int) -> None:
    path = write_video(tmp_path / file_name, FRAMES, max_b_frames=0, options={"sc_threshold": "0"})
    intact = list(open_video(path))
    spans = packet_spans(path)
    video = open_video(scramble_packets(path, [damaged]))
    with pytest.warns(UserWarning, match="repeat the picture in front"):
        frames = list(video)

    assert len(frames) == len(video) == len(intact)
    assert np.array_equal(frames[damaged].image, frames[damaged - 1].image)
    assert [f.time_s for f in frames] == [f.time_s for f in intact]
    next_key = next((i for i in range(damaged + 1, len(spans)) if spans[i][2]), len(spans))
    untouched = [*range(damaged), *range(next_key, len(spans))]
    assert all(np.array_equal(frames[i].image, intact[i].image) for i in untouched)
    for i in [*reversed(range(len(frames))), *range(len(frames))]:
        assert np.array_equal(video[i].image, frames[i].image), i


def test_damage_is_reported_once(tmp_path: Path) -> None:
    path = scramble_packets(write_video(tmp_path / "case.mp4", FRAMES, max_b_frames=0), [3, 5, 24])
    video = open_video(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(video)
        list(video)
        _ = video[3]
    assert len(caught) == 1
    assert "frame 3" in str(caught[0].message)


def test_a_recording_that_begins_between_key_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "case.ts", FRAMES, max_b_frames=0, options={"sc_threshold": "0"})
    intact = list(open_video(path))
    content = path.read_bytes()
    path.write_bytes(content[: 188 * 3] + content[packet_spans(path)[4][0] :])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = list(open_video(path))
    assert len(frames) == 23
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, intact[10:], strict=True))


def test_frames_that_vanished_from_the_file_are_reported(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", FRAMES, pts=list(range(33)), max_b_frames=0)
    holed = write_video(tmp_path / "holed.mkv", FRAMES[:30], pts=[*range(12), *range(15, 33)], max_b_frames=0)
    with pytest.warns(UserWarning, match="leap in front of frame 12"):
        assert len(open_video(holed)) == 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_video(whole)) == 33


def test_a_damaged_start_shows_the_first_readable_picture(tmp_path: Path) -> None:
    path = write_video(tmp_path / "case.mp4", FRAMES, max_b_frames=0, options={"sc_threshold": "0"})
    intact = list(open_video(path))
    video = open_video(scramble_packets(path, [0]))
    frames = quiet_frames(video)
    assert len(frames) == len(intact)
    assert all(np.array_equal(frames[i].image, intact[10].image) for i in range(10))
    assert np.array_equal(frames[20].image, intact[20].image)
    assert np.array_equal(video[4].image, frames[4].image)


@pytest.mark.parametrize("fraction", [0.45, 0.7, 0.95])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "webm"])
def test_truncated_files_play_what_is_readable(tmp_path: Path, suffix: str, fraction: float) -> None:
    codec = "libvpx-vp9" if suffix == "webm" else "libx264"
    faststart = {"movflags": "faststart"} if suffix == "mp4" else {}
    frames = moving_square_frames(60, hw=(144, 192))[0]
    path = write_video(tmp_path / f"case.{suffix}", frames, codec=codec, container_options=faststart)
    intact = list(open_video(path))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])

    video = open_video(path)
    num_readable = len(quiet_frames(video))
    assert 0 < num_readable == len(video) < 60
    for i in range(num_readable):
        same = np.abs(video[i].image.astype(int) - intact[i].image).mean()
        assert same < 6, f"frame {i} is not the frame {i} of the intact file"
    if num_readable < 45:
        with pytest.warns(UserWarning, match=f"expected 60 frames .* got {num_readable} readable ones"):
            len(open_video(path))


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "0 bytes"), (b"this is not a video\n" * 400, "FFmpeg can open"), (b"\0" * 5000, "FFmpeg can open")],
    ids=["empty", "text", "zeros"],
)
def test_files_that_are_no_videos(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "case.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"expected a video.*case.mp4.*{expected}.*try|{expected}.*case.mp4.*try"):
        open_video(path)


def test_a_file_cut_before_its_first_picture(tmp_path: Path) -> None:
    path = write_video(tmp_path / "case.mp4", FRAMES, container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: packet_spans(path)[0][0] + 40])
    with pytest.raises(InputError, match="readable frames"):
        len(open_video(path))


def test_a_file_without_its_index(tmp_path: Path) -> None:
    path = write_video(tmp_path / "case.mp4", FRAMES)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(InputError, match="copy or export it again"):
        open_video(path)


def test_missing_sources(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; try checking the path"):
        open_video(tmp_path / "nothing.mp4")
    with pytest.raises(InputError, match="expected a camera at 'camera:97'"):
        open_video("camera:97")


def test_an_address_without_a_server() -> None:
    with pytest.raises(InputError, match=r"rtsp://127\.0\.0\.1:9/none"):
        open_video("rtsp://127.0.0.1:9/none")


def test_audio_only(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="has none"):
        open_video(path)


# Folders of images


def write_images(folder: Path, names: list[str], frames: list[np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(folder / name)
    return folder


def test_a_folder_of_images_in_natural_order(tmp_path: Path) -> None:
    names = ["frame10.png", "frame2.bmp", "Frame1.tif", "frame30.PNG"]
    folder = write_images(tmp_path / "case7", names, FRAMES[:4])
    (folder / "notes.txt").write_text("not a frame")
    (folder / "._frame10.png").write_bytes(b"left behind by another file system")
    video = open_video(folder)
    assert [frame.name for frame in video] == ["Frame1", "frame2", "frame10", "frame30"]
    assert [frame.index for frame in video] == [0, 1, 2, 3]
    assert np.array_equal(video[2].image, FRAMES[0])
    assert np.array_equal(video[-1].image, FRAMES[3])
    assert video[0].time_s is None
    assert video.name == "case7"
    assert isinstance(video, VideoSource)


def test_images_of_every_depth_become_rgb(tmp_path: Path) -> None:
    gray = FRAMES[0][..., 0]
    rgb = np.repeat(gray[..., None], 3, axis=2)
    Image.fromarray(gray).save(tmp_path / "a.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "b.png")
    Image.fromarray(np.dstack([rgb, np.full_like(gray, 9)])).save(tmp_path / "c.png")
    Image.fromarray(rgb).quantize(256).save(tmp_path / "d.png")
    for frame in open_video(tmp_path):
        assert np.abs(frame.image.astype(int) - rgb).max() <= (0 if frame.name != "d" else 8), frame.name


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(FRAMES[0]).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    video = open_video(tmp_path / "phone.jpg")
    assert len(video) == 1
    assert video.hw == video[0].hw == (FRAMES[0].shape[1], FRAMES[0].shape[0])


def test_images_of_different_sizes(tmp_path: Path) -> None:
    write_images(tmp_path, ["a.png", "b.png", "c.png"], [FRAMES[0], FRAMES[1], FRAMES[2][:50]])
    with pytest.raises(InputError, match=r"128x96 pixels like 'a.png', got 128x50 in .*c.png"):
        open_video(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image"], ids=["empty", "text"])
def test_an_unreadable_image(tmp_path: Path, content: bytes) -> None:
    write_images(tmp_path, ["a.png", "b.png"], FRAMES[:2])
    (tmp_path / "b.png").write_bytes(content)
    with pytest.raises(InputError, match=r"expected a readable image, got .*b.png.*try copying"):
        open_video(tmp_path)


def test_a_truncated_image(tmp_path: Path) -> None:
    write_images(tmp_path, ["a.png", "b.png"], FRAMES[:2])
    path = tmp_path / "b.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = open_video(tmp_path)
    with pytest.raises(InputError, match=r"expected a readable image, got .*b.png"):
        video[1]


def test_two_images_of_one_name(tmp_path: Path) -> None:
    write_images(tmp_path, ["a.png", "a.jpg"], FRAMES[:2])
    with pytest.raises(InputError, match="one image per frame name"):
        open_video(tmp_path)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder of jpg, png, bmp or tif images"):
        open_video(tmp_path)
    write_video(tmp_path / "one.mp4", FRAMES[:2])
    with pytest.raises(InputError, match=r"1 video file.*try one of them, such as .*one.mp4"):
        open_video(tmp_path)


# Prefetch


class CountingStream:
    """Yields frames, counts them, and may fail."""

    def __init__(self, num_frames: int, fail_at: int | None = None) -> None:
        self.num_frames, self.fail_at, self.num_read, self.is_closed = num_frames, fail_at, 0, False

    def __iter__(self) -> Iterator[Frame]:
        try:
            for index in range(self.num_frames):
                if index == self.fail_at:
                    raise InputError("the cable was pulled")
                self.num_read += 1
                yield Frame(index, str(index), FRAMES[0])
        finally:
            self.is_closed = True


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "surgvos-prefetch"]


def test_prefetch_yields_all_frames_in_order() -> None:
    stream = CountingStream(50)
    assert [frame.index for frame in prefetch(stream, depth=3)] == list(range(50))
    assert stream.is_closed
    assert prefetch_threads() == []


def test_prefetch_reads_ahead_and_no_further() -> None:
    stream = CountingStream(50)
    frames = prefetch(stream, depth=3)
    next(frames)
    for _ in range(200):
        if stream.num_read == 5:
            break
        threading.Event().wait(0.005)
    threading.Event().wait(0.02)
    # One was taken, three wait, and one is in the reader's hands.
    assert stream.num_read == 5
    frames.close()
    assert prefetch_threads() == []
    assert stream.is_closed


def test_prefetch_passes_errors_on_after_the_frames_in_front() -> None:
    frames = prefetch(CountingStream(9, fail_at=4))
    assert [next(frames).index for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(InputError, match="the cable was pulled"):
        next(frames)
    assert prefetch_threads() == []


def test_leaving_a_prefetch_early_stops_its_thread() -> None:
    for frame in prefetch(CountingStream(50), depth=2):
        if frame.index == 3:
            break
    assert prefetch_threads() == []


def test_prefetch_checks_its_depth() -> None:
    with pytest.raises(InputError, match="at least 1, got 0"):
        prefetch(CountingStream(1), depth=0)


def test_prefetch_is_a_stream_without_a_length(tmp_path: Path) -> None:
    frames = prefetch(open_video(write_video(tmp_path / "case.mp4", FRAMES[:6])))
    assert isinstance(frames, FrameStream)
    assert not isinstance(frames, VideoSource)
    assert len(list(frames)) == 6


# Real footage


@pytest.mark.parametrize(
    ("file_name", "num_frames", "hw"),
    [
        ("endovis15_robotic/dataset2_video.avi", 375, (576, 720)),
        ("clips/laparoscopy_720p25.mp4", 250, (720, 1280)),
        ("clips/hysterectomy_1080p25.mp4", 250, (1080, 1920)),
    ],
)
def test_real_videos(file_name: str, num_frames: int, hw: tuple[int, int]) -> None:
    path = samples_dir() / file_name
    if not path.is_file():
        pytest.skip(f"{file_name} is absent from SURGVOS_SAMPLES")
    video = open_video(path)
    wanted = {0, 1, 63, 64, 130, num_frames - 1}
    frames = {frame.index: frame for frame in video if frame.index in wanted}
    assert len(video) == num_frames
    assert video.hw == hw
    assert frames[num_frames - 1].time_s == pytest.approx((num_frames - 1) / 25)
    for index in (130, 64, num_frames - 1, 1):
        assert np.array_equal(video[index].image, frames[index].image)

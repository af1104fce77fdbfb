"""Which videos are meant by words: files, folders, patterns, lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgvos.batch.video_sources import find_named_videos
from surgvos.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two operations with a video of the same name each, a folder of frames, and things that are no videos."""
    for name in ("b/op10.mp4", "b/op2.MP4", "b/notes.txt", "b/.hidden.mp4", "b/frames.5/0.png", "b/empty/x.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    for name in ("p1/left.mp4", "p2/left.mp4"):
        (tmp_path / "a" / name).parent.mkdir(parents=True)
        (tmp_path / "a" / name).write_bytes(b"")
    return tmp_path


def names(*words: Path | str) -> list[str] | None:
    found = find_named_videos([str(word) for word in words])
    return None if found is None else [video.name for video in found]


def test_one_video_is_no_list(root: Path) -> None:
    for word in (
        root / "b/op2.MP4",
        root / "b/frames.5",
        root / "b/empty",
        root / "nowhere.mp4",
        "camera:0",
        "rtsp://x",
    ):
        assert names(word) is None


def test_a_folder_of_videos_and_of_folders_of_frames(root: Path) -> None:
    assert names(root / "b") == ["frames.5", "op2", "op10"]


def test_several_words_in_their_order_each_video_once(root: Path) -> None:
    assert names(root / "b/op10.mp4", root / "b", root / "missing.mp4") == ["op10", "frames.5", "op2", "missing"]


def test_a_pattern(root: Path) -> None:
    assert names(root / "b/op*") == ["op2", "op10"]
    assert names(root / "**/*.mp4") == ["a_p1_left", "a_p2_left", "b_op10"]
    with pytest.raises(InputError, match="expected a pattern that some videos fit"):
        names(root / "b/*.avi")


def test_videos_of_one_name_are_told_apart_by_their_folders(root: Path) -> None:
    assert names(root / "a/*/left.mp4") == ["p1_left", "p2_left"]


def test_two_that_cannot_be_told_apart_are_refused(root: Path) -> None:
    (root / "b/op10.avi").write_bytes(b"")
    with pytest.raises(InputError, match="got two called 'op10'"):
        names(root / "b")


def test_a_list_is_read_relative_to_itself(root: Path) -> None:
    (root / "list.txt").write_text("# of today\nb/op10.mp4\n\n  a/p1/left.mp4\n")
    found = find_named_videos([str(root / "list.txt")])
    assert found is not None
    assert [Path(video.source) for video in found] == [root / "b/op10.mp4", root / "a/p1/left.mp4"]
    for content in ("", "# nothing\n"):
        (root / "list.txt").write_text(content)
        with pytest.raises(InputError, match="expected a video in each line"):
            names(root / "list.txt")
    with pytest.raises(InputError, match="expected a list of videos"):
        names(root / "no.txt")


def test_a_stream_is_not_one_of_many(root: Path) -> None:
    with pytest.raises(InputError, match="got the stream 'camera:0'"):
        names(root / "b/op2.MP4", "camera:0")

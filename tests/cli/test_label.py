"""``surgvos label`` as a user meets it: it opens, is killed, comes back, and its project feeds the other commands."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from helpers import moving_square_frames, samples_dir, write_video
from label_browser import LabelPage, open_browser
from label_miniatures import NUM_FRAMES, label_project, open_annotator, square
from surgvos.cli.main import app
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.data.vos_videos import find_vos_videos
from surgvos.io.masks import read_label_map
from surgvos.server.label.commands import Lock


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# --- what becomes of a project -------------------------------------------------------------------------------------


def test_a_project_is_exported_evaluated_and_trained_on(tmp_path: Path) -> None:
    project = label_project(tmp_path)
    exported = run("label", project, "--export", tmp_path / "set")
    assert exported.exit_code == 0, exported.output
    assert f"{NUM_FRAMES} labelled frames" in exported.output
    (video,) = find_vos_videos(tmp_path / "set")
    for index, label_map in video.label_maps():
        np.testing.assert_array_equal(label_map, square(index, "red"))
    assert VosFolderConfig(root=tmp_path / "set").root.is_dir()
    scored = run("evaluate", tmp_path / "set" / "Annotations" / "frames", project)
    assert scored.exit_code == 0, scored.output
    assert "100.0" in scored.output
    agreed = run("agreement", project, project)
    assert agreed.exit_code == 0, agreed.output
    assert "hook" in agreed.output


def test_an_empty_locked_frame_says_that_nothing_is_there(tmp_path: Path) -> None:
    annotator = open_annotator(tmp_path)
    annotator.lock(Lock(frame=3, is_locked=True))
    annotator.project.close()
    files = sorted((tmp_path / "project" / "masks").iterdir())
    assert [path.name for path in files] == ["00003.png"]
    assert not read_label_map(files[0]).any()


def test_files_behind_a_kill_are_written_anew(tmp_path: Path) -> None:
    project = label_project(tmp_path)
    masks = project / "masks"
    (masks / "00002.png").unlink()
    (masks / "00004.png").write_bytes((masks / "00000.png").read_bytes())
    (project / ".complete").unlink()
    open_annotator(tmp_path).project.close()
    for frame in range(NUM_FRAMES):
        np.testing.assert_array_equal(read_label_map(masks / f"{frame:05d}.png"), square(frame, "red"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mp4"], "does not exist"),
        (["{frames}", "--host", "0.0.0.0"], "expected a token"),
        (["{frames}", "--token", "short"], "at least 16"),
        (["{frames}", "--project", "{frames}"], "expected a project or an empty folder"),
        (["{frames}", "--overseer", "weights.pth"], "expected a label space for"),
        (["{project}", "--export", "{tmp}/set"], "expected labelled frames"),
    ],
)
def test_wrong_use_is_said(tmp_path: Path, arguments: list[str], message: str) -> None:
    pytest.importorskip("fastapi", reason="the packages of a server are not installed: pip install 'surgvos[server]'")
    open_annotator(tmp_path).project.close()
    places = {"frames": tmp_path / "frames", "project": tmp_path / "project", "tmp": tmp_path}
    words = [word.format(**places) for word in arguments]
    if "--project" not in words:
        words += ["--project", str(tmp_path / "project")]
    result = run("label", *words)
    assert result.exit_code == 2
    assert message in result.output


def test_another_video_is_noticed(tmp_path: Path) -> None:
    open_annotator(tmp_path).project.close()
    other = write_video(tmp_path / "other.mp4", moving_square_frames(3)[0])
    result = run("label", other, "--project", tmp_path / "project", "--no-browser")
    assert result.exit_code == 2
    assert "the video that was labelled" in result.output


# --- end to end, with the model in the box -------------------------------------------------------------------------


@contextmanager
def started(source: Path, project: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and the address of its page."""
    words = ["label", str(source), "--project", str(project), "--port", "0", "--no-browser", "--device", "cpu"]
    words += ["--overseer", "surgvos-nano"]
    process = subprocess.Popen([sys.executable, "-m", "surgvos", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found, said
        yield process, found.group()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("fastapi", reason="the packages of a server are not installed: pip install 'surgvos[server]'")
    with open_browser() as opened:
        yield opened


def _label_and_kill(
    browser: Any, source: Path, project: Path, clicks: tuple[tuple[float, float], ...], num_tracked: int
) -> None:
    """Ask in every way, track, correct, lock, undo, reload, kill, come back, export: the page and the disk agree."""
    middle = num_tracked // 2
    with started(source, project) as (server, url):
        page = LabelPage(browser, url)
        page.add("tool")
        for x, y in clicks:
            page.click(x, y)
        assert (page.shown() == 1).any()
        _ask_in_other_ways(page)
        page.press("t")
        page.wait(f"surgvosLabel.store.mask({num_tracked}, 1)")
        page.press("Escape")
        page.wait("!surgvosLabel.store.tracking")
        page.page.click("#objects li:first-child .state")
        page.go(num_tracked)
        page.press("l")
        page.wait(f"surgvosLabel.store.locked.has({num_tracked})")
        locked = page.shown()
        page.go(middle)
        tracked = page.shown()
        page.press("e")
        page.page.uncheck("#again")
        ys, xs = np.nonzero(tracked == 1)
        page.drag((float(np.median(xs)) - 10, float(np.median(ys))), (float(np.median(xs)) + 10, float(np.median(ys))))
        corrected = page.shown()
        assert 0 < (corrected == 1).sum() < (tracked == 1).sum()
        page.press("Control+z")
        page.settled()
        np.testing.assert_array_equal(page.shown(), tracked)
        page.press("Control+Shift+z")
        page.settled()
        page.page.reload()
        page.wait("window.surgvosLabel?.store.video")
        page.wait(f"surgvosLabel.place.frame === {middle}")
        np.testing.assert_array_equal(page.shown(), corrected)
        page.track()
        page.go(middle)
        np.testing.assert_array_equal(page.shown(), corrected)
        page.go(middle + 1)
        again = page.shown()
        server.kill()
        server.wait()
    with started(source, project) as (server, url):
        page = LabelPage(browser, url)
        shown = {}
        for frame, expected in ((middle, corrected), (middle + 1, again), (num_tracked, locked)):
            page.go(frame)
            shown[frame] = page.shown()
            np.testing.assert_array_equal(shown[frame], expected)
        assert page.errors == []
        server.terminate()
        server.wait()
    for frame, expected in shown.items():
        np.testing.assert_array_equal(read_label_map(project / "masks" / f"{frame:05d}.png"), expected)
    exported = run("label", project, "--export", project.parent / "set")
    assert exported.exit_code == 0, exported.output
    annotations = project.parent / "set" / "Annotations" / source.stem
    for frame, expected in shown.items():
        np.testing.assert_array_equal(read_label_map(annotations / f"{frame:05d}.png"), expected)


def _ask_in_other_ways(page: LabelPage) -> None:
    """Box, brush, eraser, phrase and suggestion, with the networks in the box; what the last two find is theirs."""
    height, width = page.shown().shape
    page.add("by box")
    page.press("b")
    page.drag((0.05 * width, 0.6 * height), (0.2 * width, 0.9 * height))
    page.press("p")
    page.drag((0.8 * width, 0.1 * height), (0.95 * width, 0.1 * height))
    assert page.shown()[round(0.1 * height), round(0.9 * width)] == 2
    page.press("e")
    page.drag((0.9 * width, 0.1 * height), (0.95 * width, 0.1 * height))
    assert page.shown()[round(0.1 * height), round(0.92 * width)] == 0
    page.press("c")
    for ask, edit in ((lambda: page.press("s"), "suggest"), (lambda: page.find("the instrument"), "phrase")):
        before = page.shown()
        page.page.evaluate("() => (document.getElementById('note').hidden = true)")
        ask()
        page.wait(f"surgvosLabel.store.undo.edit === {edit!r} || !document.getElementById('note').hidden")
        page.settled()
        if page.get("surgvosLabel.store.undo.edit") == edit:
            assert not np.array_equal(page.shown(), before)
            page.press("Control+z")
            page.settled()
        np.testing.assert_array_equal(page.shown(), before)


def test_from_a_click_to_masks_on_disk_through_a_kill(browser: Any, tmp_path: Path) -> None:
    frames, masks = moving_square_frames(10, hw=(192, 256), side_px=60)
    source = write_video(tmp_path / "case.mp4", frames)
    ys, xs = np.nonzero(masks[0])
    _label_and_kill(browser, source, tmp_path / "project", ((float(xs.mean()), float(ys.mean())),), num_tracked=6)


def test_the_same_on_a_real_clip(browser: Any, tmp_path: Path) -> None:
    source = samples_dir() / "clips" / "laparoscopy_720p25.mp4"
    _label_and_kill(browser, source, tmp_path / "project", ((640.0, 300.0), (700.0, 320.0)), num_tracked=4)

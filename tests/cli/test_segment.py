"""``surgvos segment`` as a user meets it: what it writes, and what it says when something is wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from helpers import moving_square_frames, scramble_packets, write_video
from surgvos.cli.main import app
from surgvos.io.masks import read_label_map, write_label_map
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoConfig, NanoModel

HW = (96, 128)
NUM_FRAMES = 20


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model too small to be good, large enough to run."""
    torch.manual_seed(0)
    config = NanoConfig(
        widths=(16, 16, 16, 16),
        depths=(1, 1, 1),
        decoder_widths=(16, 16, 16, 16, 16),
        head_dim=16,
        input_area_px=64 * 96,
    )
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, NanoModel(config))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "case.mp4"
    write_video(path, moving_square_frames(NUM_FRAMES, hw=HW)[0])
    return path


@pytest.fixture(scope="module")
def mask_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mask") / "first.png"
    label_map = np.zeros(HW, dtype=np.uint8)
    label_map[30:60, 10:40], label_map[70:90, 80:120] = 2, 5
    write_label_map(path, label_map)
    return path


def segment(source: Path | str, out: Path, weights: Path | str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["segment", str(source), "--out", str(out), "--model", str(weights), *arguments])


def sentence_of(result: Result) -> str:
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("warning:")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_the_box_model_may_follow_by_memory_alone(tmp_path: Path, video: Path, mask_file: Path) -> None:
    masks, said = [], []
    for name, arguments in (("refined", ()), ("plain", ("--no-refine",))):
        result = segment(video, tmp_path / name, "surgvos-nano", "--mask", f"0:{mask_file}", "--stop", "4", *arguments)
        assert result.exit_code == 0, result.output
        masks.append(np.stack([read_label_map(tmp_path / name / f"masks/{index:05d}.png") for index in range(4)]))
        said.append(json.loads((tmp_path / name / "run.json").read_text())["record"]["session"]["refine"])
    assert said == [True, False]
    np.testing.assert_array_equal(masks[0][0], masks[1][0])  # what was shown is not refined
    assert (masks[0][1:] != masks[1][1:]).any()


def test_masks_log_record_and_overlay(tmp_path: Path, video: Path, weights: Path, mask_file: Path) -> None:
    result = segment(video, tmp_path / "out", weights, "--mask", f"0:{mask_file}", "--point", "9@3:20,40", "--overlay")
    assert result.exit_code == 0, result.output
    assert f"{NUM_FRAMES} frames" in result.output
    names = sorted(path.name for path in (tmp_path / "out/masks").iterdir())
    assert names == [f"{index:05d}.png" for index in range(NUM_FRAMES)]
    first = read_label_map(tmp_path / "out/masks/00000.png")
    assert first.shape == HW
    assert np.unique(first).tolist() == [0, 2, 5]
    lines = [json.loads(line) for line in (tmp_path / "out/frames.jsonl").read_text().splitlines()]
    assert [sorted(line["objects"]) for line in lines] == [["2", "5"]] * 3 + [["2", "5", "9"]] * (NUM_FRAMES - 3)
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["status"] == "done"
    assert len(record["record"]["model"]["sha256"]) == 64
    assert record["record"]["memory"]["policy"] == "recent"
    assert {"python", "torch", "surgvos"} <= record["record"]["versions"].keys()
    assert (tmp_path / "out/overlay.mp4").stat().st_size > 0


def test_one_object_of_a_mask_file(tmp_path: Path, video: Path, weights: Path, mask_file: Path) -> None:
    assert segment(video, tmp_path / "out", weights, "--mask", f"7@0:{mask_file}").exit_code == 0
    assert np.unique(read_label_map(tmp_path / "out/masks/00000.png")).tolist() == [0, 7]


def test_a_prompt_file_says_the_same_as_options(tmp_path: Path, video: Path, weights: Path) -> None:
    prompts = [
        {"frame": 0, "object": 1, "points": [[20, 40], [90, 20]], "labels": [1, 0]},
        {"frame": 2, "object": 3, "box": [10, 20, 60, 70]},
    ]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    options = ("--point", "1@0:20,40", "--point", "1@0:90,20,-", "--box", "3@2:10,20,60,70")
    assert segment(video, tmp_path / "a", weights, "--prompts", str(tmp_path / "prompts.json")).exit_code == 0
    assert segment(video, tmp_path / "b", weights, *options).exit_code == 0
    assert (tmp_path / "a/frames.jsonl").read_bytes() == (tmp_path / "b/frames.jsonl").read_bytes()
    # What a run writes down can be given to the next one.
    recorded = json.loads((tmp_path / "a/run.json").read_text())["record"]["prompts"]
    (tmp_path / "again.json").write_text(json.dumps(recorded))
    assert segment(video, tmp_path / "c", weights, "--prompts", str(tmp_path / "again.json")).exit_code == 0
    assert (tmp_path / "c/frames.jsonl").read_bytes() == (tmp_path / "b/frames.jsonl").read_bytes()


def test_backward_and_both(tmp_path: Path, video: Path, weights: Path) -> None:
    point = ("--point", "1@8:30,40")
    assert segment(video, tmp_path / "back", weights, *point, "--direction", "backward").exit_code == 0
    assert len(list((tmp_path / "back/masks").iterdir())) == 9
    assert segment(video, tmp_path / "both", weights, *point, "--direction", "both").exit_code == 0
    assert len(list((tmp_path / "both/masks").iterdir())) == NUM_FRAMES


def test_a_folder_of_images_keeps_its_names(tmp_path: Path, weights: Path) -> None:
    for index, frame in enumerate(moving_square_frames(3, hw=HW)[0]):
        path = tmp_path / "frames" / f"img_{index + 9}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), frame[..., ::-1])
    assert segment(tmp_path / "frames", tmp_path / "out", weights, "--point", "1@0:30,40").exit_code == 0
    assert {path.stem for path in (tmp_path / "out/masks").iterdir()} == {"img_9", "img_10", "img_11"}


class TestBadInput:
    """One sentence, exit code 2, and what was finished stays."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "at least one object to follow"),
            (("--point", "1@0:900,4"), r"points inside the 128x96 image, got (900, 4)"),
            (("--point", "1@99:9,4"), "prompts on frames 0..19, got one on frame 99"),
            (("--point", "1@0"), "--point as OBJ@FRAME:x,y[,+|-]"),
            (("--point", "1@0:a,b"), "expected 2 numbers in --point, got '1@0:a,b'"),
            (("--box", "1@0:10,10,5,20"), "x0 < x1"),
            (("--mask", "0:nowhere.png"), "nowhere.png"),
            (("--mask", "first.png"), "--mask as [OBJ@]FRAME:FILE.png"),
            (("--prompts", "nowhere.json"), "expected a JSON list of prompts"),
            (("--point", "1@0:9,4", "--direction", "up"), "forward, backward or both, got 'up'"),
            (("--point", "1@0:9,4", "--memory", "sieve"), "a memory policy"),
            (("--point", "1@0:9,4", "--start", "50"), "a start in 0..19, got 50"),
        ],
    )
    def test_prompts_and_options(
        self, tmp_path: Path, video: Path, weights: Path, arguments: tuple[str, ...], said: str
    ) -> None:
        assert said in sentence_of(segment(video, tmp_path / "out", weights, *arguments))

    def test_a_mask_of_another_size(self, tmp_path: Path, video: Path, weights: Path) -> None:
        write_label_map(tmp_path / "small.png", np.ones((10, 10), dtype=np.uint8))
        result = segment(video, tmp_path / "out", weights, "--mask", f"0:{tmp_path / 'small.png'}")
        assert "a mask of 128x96 pixels like the video, got 10x10" in sentence_of(result)

    def test_models(self, tmp_path: Path, video: Path) -> None:
        point = ("--point", "1@0:9,4")
        assert "'no-such-model'" in sentence_of(segment(video, tmp_path / "out", "no-such-model", *point))
        (tmp_path / "broken.safetensors").write_bytes(b"\x10\x00\x00\x00")
        said = sentence_of(segment(video, tmp_path / "out", tmp_path / "broken.safetensors", *point))
        assert "broken.safetensors" in said

    def test_files_that_are_no_videos(self, tmp_path: Path, weights: Path) -> None:
        (tmp_path / "empty.mp4").write_bytes(b"")
        (tmp_path / "text.mp4").write_text("not a video")
        (tmp_path / "folder").mkdir()
        for source in ("nowhere.mp4", "empty.mp4", "text.mp4", "folder"):
            said = sentence_of(segment(tmp_path / source, tmp_path / "out", weights, "--point", "1@0:9,4"))
            assert source in said
        assert not (tmp_path / "out").exists()

    def test_frames_of_different_sizes(self, tmp_path: Path, weights: Path) -> None:
        (tmp_path / "frames").mkdir()
        for index in range(6):
            side = 96 if index < 4 else 64
            cv2.imwrite(str(tmp_path / f"frames/{index}.png"), np.full((side, 128, 3), 90, dtype=np.uint8))
        said = sentence_of(segment(tmp_path / "frames", tmp_path / "out", weights, "--point", "1@0:9,4"))
        assert "128x64" in said
        assert not (tmp_path / "out/masks").exists()

    def test_a_truncated_video_gives_the_frames_it_has(self, tmp_path: Path, weights: Path) -> None:
        write_video(tmp_path / "whole.mkv", moving_square_frames(NUM_FRAMES, hw=HW)[0])
        content = (tmp_path / "whole.mkv").read_bytes()
        (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
        result = segment(tmp_path / "cut.mkv", tmp_path / "out", weights, "--point", "1@0:9,4")
        assert result.exit_code == 0, result.output
        num_masks = len(list((tmp_path / "out/masks").iterdir()))
        assert 1 <= num_masks < NUM_FRAMES
        assert len((tmp_path / "out/frames.jsonl").read_text().splitlines()) == num_masks

    def test_a_full_disk(self, tmp_path: Path, video: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        replace, count = os.replace, 0

        def full_after_five(*arguments: object, **options: object) -> None:
            nonlocal count
            count += ".png" in str(arguments[1])
            if count > 5:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "replace", full_after_five)
        result = segment(video, tmp_path / "out", weights, "--point", "1@0:9,4")
        assert result.exit_code == 1
        assert "No space left on device" in result.stderr
        assert not result.stderr.startswith("Traceback")
        for path in (tmp_path / "out/masks").iterdir():
            assert read_label_map(path).shape == HW

    def test_broken_frames_in_the_middle_move_no_other_frame(self, tmp_path: Path, weights: Path) -> None:
        path = tmp_path / "case.mkv"
        write_video(path, moving_square_frames(NUM_FRAMES, hw=HW)[0])
        scramble_packets(path, [9, 10])
        result = segment(path, tmp_path / "out", weights, "--point", "1@0:9,4")
        assert result.exit_code == 0, result.output
        assert len(list((tmp_path / "out/masks").iterdir())) == NUM_FRAMES


def test_ctrl_c_ends_with_a_sentence_and_can_be_resumed(tmp_path: Path, weights: Path) -> None:
    write_video(tmp_path / "long.mp4", moving_square_frames(200, hw=HW, step_px=1)[0])
    command = [sys.executable, "-m", "surgvos", "segment", str(tmp_path / "long.mp4"), "--model", str(weights)]
    command += ["--out", str(tmp_path / "out"), "--point", "1@0:30,40"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "out/frames.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run ended before it could be stopped")
    assert process.returncode == 1
    assert said.strip().splitlines()[-1].startswith("surgvos: stopped by Ctrl-C")
    assert "Traceback" not in said
    num_done = len(log.read_text().splitlines())
    resumed = segment(tmp_path / "long.mp4", tmp_path / "out", weights, "--point", "1@0:30,40", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert [json.loads(line)["index"] for line in log.read_text().splitlines()] == list(range(200))
    assert 0 < num_done < 200

"""Twenty small videos, one of which is no video, and what a single run makes of them."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from helpers import moving_square_frames, write_video
from surgvos.batch.job import SegmentJob, VideoTask
from surgvos.batch.ledger import LEDGER, read_ledger
from surgvos.batch.prompt_sources import PromptFolder
from surgvos.batch.video_sources import find_named_videos
from surgvos.core.frame import FrameStream
from surgvos.data.prompt_protocols import PlacedPrompt
from surgvos.io.masks import write_label_map
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoModel
from surgvos.tracking.answering import SessionOptions
from surgvos.tracking.run import RunSettings
from surgvos.tracking.searching import SearchOptions
from training.tiny import TINY_NANO

HW = (48, 64)
NUM_VIDEOS = 20
LONG, CORRUPT = "case_03", "case_07"
NUM_FRAMES, NUM_LONG_FRAMES = 3, 100


@dataclass(frozen=True)
class DeadlyPrompts:
    """A video that kills whoever begins with it."""

    def placed(self, video: FrameStream) -> list[PlacedPrompt]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []


def write_cases(root: Path) -> Path:
    """``root/cases/case_00.mp4`` to 19, their first masks, and weights; returns ``root``."""
    (root / "cases").mkdir()
    for number in range(NUM_VIDEOS):
        name = f"case_{number:02d}"
        num_frames = NUM_LONG_FRAMES if name == LONG else NUM_FRAMES
        frames, masks = moving_square_frames(num_frames, hw=HW, side_px=16, seed=number)
        write_label_map(root / f"masks/{name}.png", masks[0].astype(np.uint8))
        path = root / f"cases/{name}.mp4"
        if name == CORRUPT:
            path.write_bytes(b"this was a video once")
        else:
            write_video(path, frames)
    torch.manual_seed(0)
    save_model(root / "tiny.safetensors", NanoModel(replace(TINY_NANO, input_area_px=64 * 64)))
    return root


def job_of(root: Path) -> SegmentJob:
    return SegmentJob(
        model=str(root / "tiny.safetensors"),
        size=None,
        device="cpu",
        dtype="fp32",
        memory="recent",
        options=SessionOptions(),
        search=SearchOptions(),
        settings=RunSettings(checkpoint_seconds=0.0),
        keeps_prompts=True,
    )


def tasks_of(root: Path, out: Path) -> list[VideoTask]:
    videos = find_named_videos([str(root / "cases")])
    assert videos is not None
    return [
        VideoTask(name=name, source=source, out=out / name, prompts=PromptFolder(root / "masks", name))
        for name, source in ((video.name, video.source) for video in videos)
    ]


def files_of(out: Path) -> dict[str, bytes]:
    """Everything that is a result."""
    kept = ("frames.jsonl", "prompts.json", ".png")
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if str(path).endswith(kept)}


def states_of(out: Path) -> dict[str, list[str]]:
    """Video -> its states in the ledger, oldest first."""
    states: dict[str, list[str]] = {}
    for line in read_ledger(out / LEDGER):
        states.setdefault(line["video"], []).append(line["state"])
    return states


def wait_for_the_middle(video: str, out: Path, *, num_frames: int = 20, timeout_s: float = 600) -> int:
    """Wait until somebody is in the middle of a video, and say which process."""
    log = out / video / "frames.jsonl"
    deadline = time.monotonic() + timeout_s
    while not (log.exists() and log.read_bytes().count(b"\n") >= num_frames):
        assert time.monotonic() < deadline, "nobody began"
        time.sleep(0.01)
    started = [line for line in read_ledger(out / LEDGER) if line["video"] == video and line["state"] == "started"]
    assert json.loads((out / video / "run.json").read_text())["status"] == "running"
    return int(started[-1]["pid"])


def kill_who_does(video: str, out: Path) -> None:
    """Kill a worker in the middle of a video."""
    os.kill(wait_for_the_middle(video, out), signal.SIGKILL)

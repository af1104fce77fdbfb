"""Replaying recorded runs of published predictors through a session.

The session runs with ``as_published`` and a policy that keeps all frames and scales pointer times to the clip, as the
published predictors do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

from reference.weights import build_reference_model, reference_folder
from surgvos.core import BoxPrompt, Frame, FrameResult, MaskPrompt, PointPrompt
from surgvos.memory import MemoryPolicy, Recent
from surgvos.tracking.answering import SessionOptions
from surgvos.tracking.features import FeatureCache, normalize_images
from surgvos.tracking.session import Session
from surgvos.tracking.step import track_objects

VIDEO_HW = (96, 128)
LOGIT_TOLERANCE = 2e-2
SCORE_TOLERANCE = 1e-3


@dataclass
class RecordedFrames:
    """The recorded video: frames at model size, declared as a video of another size."""

    images: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Frame:
        blank = np.zeros((*VIDEO_HW, 3), dtype=np.uint8)
        return Frame(index=index, name=f"{index:05d}", image=blank)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))


class RecordedFeatures(FeatureCache):
    """Features of the recorded images instead of the blank frames that carry the video's size."""

    def __init__(self, model: Any, images: np.ndarray) -> None:
        super().__init__(model, capacity=len(images))
        self._images = images

    def _to_input(self, frame: Frame) -> torch.Tensor:
        return normalize_images(torch.from_numpy(self._images[frame.index]).permute(2, 0, 1)[None])


@dataclass
class Replay:
    """One recording being replayed."""

    name: str
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    video: RecordedFrames
    masks: dict[str, np.ndarray]
    session: Session
    results: dict[int, dict[int, FrameResult]] = field(default_factory=dict)
    steps: list[tuple[int, bool, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    def run(self, name: str, **where: Any) -> None:
        """Propagate, and compare order and last masks with the recorded run of this name."""
        order = []
        for result in self.session.propagate(self.video, **where):
            order.append(result.frame_index)
            for object_id in result.masks:
                self.results.setdefault(object_id, {})[result.frame_index] = result
        assert order == self.arrays[f"{name}_order"].tolist()
        self.compare_video_size(result, self.arrays[f"{name}_video_res_last"])

    def preview(self, frame_index: int) -> None:
        result = self.session.preview(self.video[frame_index])
        if "prompt_video_res" in self.arrays:
            self.compare_video_size(result, self.arrays["prompt_video_res"])

    @staticmethod
    def compare_video_size(result: FrameResult, recorded: np.ndarray) -> None:
        for plane, logits in zip(recorded[:, 0], result.logits.values(), strict=True):
            ours = torch.nn.functional.interpolate(torch.from_numpy(logits)[None, None], size=VIDEO_HW, mode="bilinear")
            np.testing.assert_allclose(ours[0, 0].numpy(), plane, atol=LOGIT_TOLERANCE, rtol=0)


def said(r: Replay, pattern: str) -> tuple[str, ...]:
    """What the recording's description of its prompts says, such as the frame of a correction."""
    match = re.search(pattern, r.meta["prompts"])
    assert match is not None, f"expected {pattern!r} in the prompts of {r.name}, got {r.meta['prompts']!r}"
    return match.groups()


def video_point(x: str, y: str) -> np.ndarray:
    """A point given as shares of the video's width and height."""
    return np.array([[float(x) * VIDEO_HW[1], float(y) * VIDEO_HW[0]]])


MASK_OF = {1: "mask_obj1_frame0", 2: "mask_obj2"}


def load(
    name: str, monkeypatch: pytest.MonkeyPatch, policy_of: Callable[[Recent], MemoryPolicy] = lambda recent: recent
) -> Replay:
    """Prepare a replay.

    Args:
        name: Of the recording, without an ending.
        monkeypatch: Of the test; the session's steps are logged by it.
        policy_of: Builds a policy from the one that keeps all frames.
    """
    folder = reference_folder()
    meta = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as stored:
        arrays = dict(stored)
    with np.load(folder / f"{name.partition('_video_')[0]}_video_frames.npz") as stored:
        images, masks = stored["frames_u8"], {key: stored[key] for key in stored if key.startswith("mask")}
    model = build_reference_model(meta)
    span = min(len(images), 16)
    recent = Recent(max_pointers=span, pointer_span=span - 1, keep_history=True, max_prompted=None)
    session = Session(model, policy_of(recent), SessionOptions(as_published=True, non_overlap=False))
    session._answering.features = RecordedFeatures(model, images)
    replay = Replay(name, meta, arrays, RecordedFrames(images), masks, session)

    def logged(model: Any, features: Any, banks: Any, policy: Any, query: Any, prompts: Any = None) -> Any:
        step = track_objects(model, features, banks, policy, query, prompts)
        is_mask = prompts is not None and prompts.mask is not None
        for selection in step.selections:
            if not is_mask:
                replay.steps.append(
                    (query.frame_index, query.direction < 0, selection.attended_frames, selection.pointer_frames)
                )
        return step

    monkeypatch.setattr("surgvos.tracking.answering.track_objects", logged)
    # Recorded masks are given at the model's size, which is not the declared size of the video.
    monkeypatch.setattr("surgvos.tracking.objects.FramePrompts.check_fit", lambda *_: None)
    return replay


def replay_mask(r: Replay) -> None:
    r.session.add_prompt(0, 1, MaskPrompt(r.masks["mask_obj1_frame0"]))
    r.preview(0)
    r.run("fwd")


def replay_click(r: Replay) -> None:
    r.session.add_prompt(0, 1, PointPrompt(r.meta["points_video_px"], r.meta["labels"]))
    r.preview(0)
    r.run("fwd")


def replay_box_reverse(r: Replay) -> None:
    frame = r.meta["frame"]
    r.session.add_prompt(frame, 1, BoxPrompt(r.meta["box_video_px"]))
    r.session.add_prompt(frame, 1, PointPrompt(r.meta["points_video_px"], r.meta["labels"]))
    r.preview(frame)
    r.run("fwd", start=frame)
    r.run("rev", start=frame, direction="backward")


def recorded_steps(meta: dict[str, Any]) -> list[tuple[int, bool, tuple[int, ...], tuple[int, ...]]]:
    return [
        (
            entry["frame"],
            entry["reverse"],
            tuple(index for _, index in entry["attended"]),
            tuple(index for _, index in entry["obj_ptr_frames"]),
        )
        for entry in meta["memory_log"]
    ]


def compare(replay: Replay) -> None:
    """Masks, pointers, presence and spatial memories of all frames, with those recorded."""
    for object_id, tracked in replay.session._objects.items():
        prefix = f"obj{object_id}_"
        entries = {**tracked.bank.recent, **tracked.bank.prompted}
        frames = replay.arrays[prefix + "frames"].tolist()
        assert sorted(entries) == frames
        for position, index in enumerate(frames):
            result = replay.results[object_id][index]
            recorded = replay.arrays[prefix + "low_res_logits"][position]
            np.testing.assert_allclose(result.logits[object_id], recorded, atol=LOGIT_TOLERANCE, rtol=0)
            pointer = replay.arrays[prefix + "obj_ptr"][position]
            np.testing.assert_allclose(entries[index].pointer, pointer, atol=SCORE_TOLERANCE, rtol=0)
            if prefix + "object_score_logits" in replay.arrays:
                probability = 1 / (1 + np.exp(-replay.arrays[prefix + "object_score_logits"][position]))
                assert entries[index].presence == pytest.approx(probability, abs=SCORE_TOLERANCE)
        for which, index in (("first", frames[0]), ("last", frames[-1])):
            recorded = replay.arrays[f"{prefix}maskmem_features_{which}"][0]
            # Stored in bfloat16, so that two runs may differ by one unit in the last place.
            np.testing.assert_allclose(entries[index].features.float(), recorded, atol=LOGIT_TOLERANCE, rtol=2**-7)
        assert sorted(tracked.bank.prompted) == replay.meta[f"obj{object_id}_cond_frames"]

"""How long a frame takes, where the time goes, and what it needs in memory."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from surgvos.core import Frame, FrameResult, PointPrompt
from surgvos.evaluation.peers import TransformersPeer
from surgvos.models.interface import VideoModel
from surgvos.tracking.answering import SessionOptions
from surgvos.tracking.session import Session

NUM_WARM_UP_FRAMES = 8
"""After so many frames SAM 2 reads as many memories as it ever will."""

_STAGES = {
    "encode_image": "image_encoder",
    "condition": "memory_attention",
    "decode": "mask_decoder",
    "encode_memory": "memory_encoder",
    "refine": "refinement",
}
_OTHER = "pre_and_post_processing"


@dataclass(frozen=True, slots=True)
class PeerTiming:
    """How another implementation fared on the same frames.

    Attributes:
        seconds_per_frame: Median.
        ratio: Median over the frames of its time divided by ours; above 1 we are faster.
        max_logit_difference: Largest absolute difference of mask logits at the model's resolution, in any frame.
    """

    seconds_per_frame: float
    ratio: float
    max_logit_difference: float


@dataclass(frozen=True, slots=True)
class Timing:
    """What `measure` found.

    Attributes:
        seconds_per_frame: Median, from image to masks of all objects; decoding and writing files not included.
        stages: Mean seconds per frame in each part of the model, and in what happens around it.
        session_bytes: What the session keeps for later frames.
        peak_memory_bytes: Of the process, before a peer is built.
        peak_device_memory_bytes: Of an accelerator, or None.
        peer: Where one was asked for.
    """

    seconds_per_frame: float
    stages: dict[str, float]
    session_bytes: int
    peak_memory_bytes: int
    peak_device_memory_bytes: int | None
    peer: PeerTiming | None


@dataclass(frozen=True, slots=True)
class Scene:
    """Discs that circle over a drifting, blocky ground, each prompted by one click in frame 0.

    Attributes:
        image_hw: Size of the frames.
        num_objects: Discs.
    """

    image_hw: tuple[int, int]
    num_objects: int

    def frame(self, index: int) -> Frame:
        """Draw a frame."""
        height, width = self.image_hw
        cells = np.random.default_rng(0).integers(30, 160, (16, 16, 3), dtype=np.uint8)
        ground = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)
        image = np.ascontiguousarray(np.roll(ground, index, axis=1))
        for disc, (x, y) in enumerate(self.centers_xy(index)):
            color = (250 - 20 * disc, 60 + 20 * disc, 200)
            cv2.circle(image, (int(x), int(y)), max(2, min(height, width) // 16), color, thickness=-1)
        return Frame(index=index, name=f"{index:05d}", image=image)

    def centers_xy(self, index: int) -> np.ndarray:
        """Centres of the discs, float ``(num_objects, 2)``."""
        height, width = self.image_hw
        angle = 2 * np.pi * np.arange(self.num_objects) / self.num_objects + 0.05 * index
        return np.stack([width / 2 + 0.35 * width * np.cos(angle), height / 2 + 0.35 * height * np.sin(angle)], axis=1)


def measure(
    model: VideoModel,
    *,
    num_objects: int,
    num_frames: int,
    memory: str = "recent",
    refine: bool = True,
    image_hw: tuple[int, int] | None = None,
    make_peer: Callable[[], TransformersPeer] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Timing:
    """Time a session with objects that were clicked in its first frame.

    Both sides see every frame, one right after the other, so that whatever else the machine does meets both.

    Args:
        model: The network.
        num_objects: Objects followed together.
        num_frames: Frames that are timed, after `NUM_WARM_UP_FRAMES`.
        memory: Name of the policy.
        refine: See `SessionOptions`.
        image_hw: Size of the frames; by default that of the model's input, so that nothing is resized.
        make_peer: Builds the other side; needs frames of the input's size.
        progress: Called with frames done and frames in all.
    """
    device = next(model.parameters()).device
    scene = Scene(image_hw or model.input_hw((720, 1280)), num_objects)
    ours = _Ours(model, scene, memory, device, refine=refine)
    warm_up = [ours.step(index)[0] for index in range(NUM_WARM_UP_FRAMES)]
    peak_memory, peak_device_memory = peak_memory_bytes(), _peak_device_memory_bytes(device)
    theirs = None if make_peer is None else _Theirs(make_peer(), scene, device)
    for index, result in enumerate(warm_up):
        if theirs is not None:
            theirs.step(index, result)
    our_seconds, their_seconds = [], []
    end = NUM_WARM_UP_FRAMES + num_frames
    for index in range(NUM_WARM_UP_FRAMES, end):
        result, seconds = ours.step(index)
        our_seconds.append(seconds)
        if theirs is not None:
            their_seconds.append(theirs.step(index, result))
        if progress is not None:
            progress(len(our_seconds), num_frames)
    return Timing(
        seconds_per_frame=statistics.median(our_seconds),
        stages=ours.stages(range(end, end + max(1, num_frames // 4))),
        session_bytes=ours.session.nbytes,
        peak_memory_bytes=peak_memory,
        peak_device_memory_bytes=peak_device_memory,
        peer=None if theirs is None else _compare(our_seconds, their_seconds, theirs.max_logit_difference),
    )


def _compare(ours: list[float], theirs: list[float], max_logit_difference: float) -> PeerTiming:
    ratio = statistics.median(other / own for own, other in zip(ours, theirs, strict=True))
    return PeerTiming(statistics.median(theirs), ratio, max_logit_difference)


def peak_memory_bytes() -> int:
    """The most memory that this process ever had in use."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _peak_device_memory_bytes(device: torch.device) -> int | None:
    if device.type == "cpu":
        return None
    peak = getattr(torch.get_device_module(device), "max_memory_allocated", None)
    return None if peak is None else int(peak(device))


class _Clock:
    """Seconds between two readings, with an accelerator's work done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start = 0.0

    def start(self) -> None:
        self._wait()
        self._start = time.perf_counter()

    def read(self) -> float:
        self._wait()
        return time.perf_counter() - self._start

    def _wait(self) -> None:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)


class _StagedModel:
    """A model whose methods are timed while ``is_timing``; everything else is the model's own."""

    def __init__(self, model: VideoModel, device: torch.device) -> None:
        self._model = model
        self._clock = _Clock(device)
        self.is_timing = False
        self.seconds = {stage: 0.0 for method, stage in _STAGES.items() if hasattr(model, method)}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        if name not in _STAGES or not self.is_timing:
            return found

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._clock.start()
            answer = found(*args, **kwargs)
            self.seconds[_STAGES[name]] += self._clock.read()
            return answer

        return timed


class _Ours:
    """A session, and the time of its frames."""

    def __init__(self, model: VideoModel, scene: Scene, memory: str, device: torch.device, *, refine: bool) -> None:
        self._scene = scene
        self._model = _StagedModel(model, device)
        self._clock = _Clock(device)
        self.session = Session(self._model, memory, SessionOptions(refine=refine))
        for object_id, center_xy in enumerate(scene.centers_xy(0), start=1):
            self.session.add_prompt(0, object_id, PointPrompt(center_xy))

    def step(self, index: int) -> tuple[FrameResult, float]:
        """The answer for a frame, and its seconds."""
        frame = self._scene.frame(index)
        self._clock.start()
        result = self.session.step(frame)
        return result, self._clock.read()

    def stages(self, frames: range) -> dict[str, float]:
        """Mean seconds of each stage; apart from `step`, as waiting for an accelerator after each takes time."""
        self._model.is_timing = True
        total = sum(self.step(index)[1] for index in frames)
        self._model.is_timing = False
        stages = {stage: seconds / len(frames) for stage, seconds in self._model.seconds.items()}
        return stages | {_OTHER: total / len(frames) - sum(stages.values())}


class _Theirs:
    """Another implementation, the time of its frames, and how far its masks are from ours."""

    def __init__(self, peer: TransformersPeer, scene: Scene, device: torch.device) -> None:
        self._peer = peer
        self._scene = scene
        self._clock = _Clock(device)
        self.max_logit_difference = 0.0
        for object_id, center_xy in enumerate(scene.centers_xy(0), start=1):
            peer.add_points(0, object_id, [center_xy], [1])

    def step(self, index: int, ours: FrameResult) -> float:
        """Seconds of a frame."""
        image = self._scene.frame(index).image
        self._clock.start()
        logits = self._peer.step(image, index)
        seconds = self._clock.read()
        difference = np.abs(np.stack(list(ours.logits.values())) - logits.cpu().numpy()).max()
        self.max_logit_difference = max(self.max_logit_difference, float(difference))
        return seconds

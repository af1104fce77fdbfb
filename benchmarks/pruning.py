"""What pruning memory buys: recent beside pruned, over input sizes, backbones and objects, with random weights.

    taskset -c 1 python benchmarks/pruning.py --threads 1 --out pruning.json

Both policies go through the same frames in one process, frame by frame in turn, with full memories: two real frames,
then copies of the second up to frame 100. FLOPs are those of the modules that run, two per multiplication and
addition. The last table times one object as Surgical-SAM-2 publishes it (the model alone, on frames that lie ready,
the mean after frame 100), and beside it all of a frame from a 1280x1024 image to a mask of that size.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from surgvos.core import Frame, PointPrompt
from surgvos.evaluation.timing import Scene
from surgvos.memory import MemoryBank, MemoryEntry, MemoryPolicy, MemoryQuery, MemorySelection, Pruned, Recent
from surgvos.memory.policy import select_all
from surgvos.models.interface import ImageFeatures, MemoryBatch, VideoModel
from surgvos.models.random_weights import build_with_random_weights
from surgvos.tracking.features import normalize_images, resize_image
from surgvos.tracking.session import Session
from surgvos.tracking.step import encode_entries, track_objects

FIRST_TIMED_FRAME = 101
VIDEO_HW = (1024, 1280)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Clock = Callable[[], float]


def linear_flops(input_shape: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """FLOPs of a linear layer by oneDNN, which PyTorch does not count."""
    return 2 * math.prod(input_shape) * out_shape[-1]


ONEDNN_FLOPS = {torch.ops.mkldnn._linear_pointwise: linear_flops} if torch.backends.mkldnn.is_available() else {}
POLICIES: dict[str, MemoryPolicy] = {"recent": Recent(), "pruned": Pruned()}


@dataclass(frozen=True)
class Cost:
    """What a frame costs with one policy; medians of seconds, peaks of memory.

    Attributes:
        backbone, size, objects, memory: What was run.
        tokens: Of memory, that each object's image tokens attend to.
        gflop: Of a whole frame.
        attention_gflop: Of memory attention.
        seconds: Of a whole frame, from image to masks.
        attention_s: Of memory attention.
        choosing_s: Of the policy's choice.
        session_mib: What the session keeps for later frames.
        peak_mib: Of the process, or of the accelerator, while such a frame runs; None where nobody says.
    """

    backbone: str
    size: int
    objects: int
    memory: str
    tokens: int
    gflop: float
    attention_gflop: float
    seconds: float
    attention_s: float
    choosing_s: float
    session_mib: float
    peak_mib: float | None


@dataclass(frozen=True)
class Ratios:
    """Pruned over recent: predicted by FLOPs, and the median of the ratios of single frames."""

    backbone: str
    size: int
    objects: int
    attention_predicted: float
    attention_measured: float
    frame_predicted: float
    frame_measured: float


@dataclass(frozen=True)
class Protocols:
    """One object, in frames per second: as published, and from image to mask with all work done."""

    backbone: str
    size: int
    memory: str
    published_fps: float
    end_to_end_fps: float


class Watch:
    """Seconds of the parts of one frame, with an accelerator's work done."""

    def __init__(self, device: torch.device, clock: Clock) -> None:
        self._device, self._clock = device, clock
        self.seconds: dict[str, float] = {}

    def time(self, part: str, run: Callable[[], Any]) -> Any:
        started = self._now()
        answer = run()
        self.seconds[part] = self.seconds.get(part, 0.0) + self._now() - started
        return answer

    def _now(self) -> float:
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return self._clock()


class WatchedModel:
    """A model whose memory attention is timed, and that notes how long memory is."""

    def __init__(self, model: VideoModel, watch: Watch) -> None:
        self._model, self._watch = model, watch
        self.tokens = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def condition(self, features: ImageFeatures, memory: MemoryBatch | None) -> Tensor:
        if memory is not None:
            assert memory.pointers is not None
            _, num_memories, channels, height, width = memory.features.shape
            pieces = memory.pointers.shape[1] * (memory.pointers.shape[2] // channels)
            self.tokens = num_memories * height * width + pieces
        return self._watch.time("attention", lambda: self._model.condition(features, memory))


class WatchedPolicy:
    """A policy whose choice is timed."""

    def __init__(self, policy: MemoryPolicy, watch: Watch) -> None:
        self._policy, self._watch = policy, watch

    def select(self, bank: MemoryBank, query: MemoryQuery) -> MemorySelection:
        return self.select_together([bank], query)[0]

    def select_together(self, banks: Sequence[MemoryBank], query: MemoryQuery) -> list[MemorySelection]:
        return self._watch.time("choosing", lambda: select_all(self._policy, banks, query))

    def admit(self, bank: MemoryBank, entry: MemoryEntry, query: MemoryQuery) -> None:
        self._policy.admit(bank, entry, query)


class Follower:
    """A session with full memories, one frame after the other."""

    def __init__(self, model: VideoModel, policy: MemoryPolicy, scene: Scene, clock: Clock) -> None:
        self.device = next(iter(model.parameters())).device
        self.watch = Watch(self.device, clock)
        self.model = WatchedModel(model, self.watch)
        self.scene, self.policy = scene, policy
        self.session = Session(self.model, WatchedPolicy(policy, self.watch))
        for object_id, center_xy in enumerate(scene.centers_xy(0), start=1):
            self.session.add_prompt(0, object_id, PointPrompt(center_xy))
        for index in (0, 1):
            self.session.step(scene.frame(index))
        for tracked in self.session.objects.values():
            fill(tracked.bank, policy)

    def step(self, index: int) -> dict[str, float]:
        """Seconds of the parts of a frame, and of the frame."""
        frame = self.scene.frame(index)
        self.watch.seconds.clear()
        self.watch.time("frame", lambda: self.session.step(frame))
        return dict(self.watch.seconds)


@torch.inference_mode()
def fill(bank: MemoryBank, policy: MemoryPolicy) -> None:
    """Remember frame 1 as every further frame up to the first that is timed."""
    seen = bank.recent[1]
    assert seen.features is not None
    assert seen.pointer is not None
    for index in range(2, FIRST_TIMED_FRAME):
        # Apart by a little, so that there is something to choose.
        own = replace(
            seen,
            frame_index=index,
            features=seen.features + 0.1 * torch.randn_like(seen.features),
            pointer=seen.pointer.clone(),
        )
        policy.admit(bank, own, MemoryQuery(index))


def compare(
    backbone: str, size: int, objects: int, num_frames: int, model: VideoModel, clock: Clock
) -> tuple[list[Cost], Ratios]:
    """Time both policies on the same frames in turn."""
    scene = Scene((size, size), objects)
    followers = {name: Follower(model, policy, scene, clock) for name, policy in POLICIES.items()}
    flops = {name: count_flops(lambda own=own: own.step(FIRST_TIMED_FRAME)) for name, own in followers.items()}
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in followers}
    peaks: dict[str, list[float]] = {name: [] for name in followers}
    for index in range(FIRST_TIMED_FRAME + 1, FIRST_TIMED_FRAME + 1 + num_frames):
        for name in sorted(followers, reverse=index % 2 == 0):
            reset_peak(followers[name].device)
            seconds[name].append(followers[name].step(index))
            peaks[name] += peak_mib(followers[name].device)
    costs = [
        Cost(
            backbone=backbone,
            size=size,
            objects=objects,
            memory=name,
            tokens=own.model.tokens,
            gflop=flops[name][0],
            attention_gflop=flops[name][1],
            seconds=statistics.median(row["frame"] for row in seconds[name]),
            attention_s=statistics.median(row["attention"] for row in seconds[name]),
            choosing_s=statistics.median(row["choosing"] for row in seconds[name]),
            session_mib=own.session.nbytes / 2**20,
            peak_mib=max(peaks[name], default=None),
        )
        for name, own in followers.items()
    ]
    pairs = list(zip(seconds["recent"], seconds["pruned"], strict=True))
    ratios = Ratios(
        backbone=backbone,
        size=size,
        objects=objects,
        attention_predicted=flops["pruned"][1] / flops["recent"][1],
        attention_measured=statistics.median(after["attention"] / before["attention"] for before, after in pairs),
        frame_predicted=flops["pruned"][0] / flops["recent"][0],
        frame_measured=statistics.median(after["frame"] / before["frame"] for before, after in pairs),
    )
    return costs, ratios


def count_flops(run: Callable[[], Any]) -> tuple[float, float]:
    """GFLOP of a frame, and of its memory attention."""
    counter = FlopCounterMode(display=False, custom_mapping=ONEDNN_FLOPS)
    with counter:
        run()
    attention = sum(counter.get_flop_counts()["MemoryAttention"].values())
    return counter.get_total_flops() / 1e9, attention / 1e9


class Published:
    """One object, timed as Surgical-SAM-2 does: the model alone, on pixels that lie ready, without waiting."""

    def __init__(self, model: VideoModel, policy: MemoryPolicy, scene: Scene, num_frames: int, clock: Clock) -> None:
        self.model, self.policy, self.clock = model, policy, clock
        follower = Follower(model, policy, scene, clock)
        (tracked,) = follower.session.objects.values()
        self.bank, self.device = tracked.bank, follower.device
        frames = range(FIRST_TIMED_FRAME, FIRST_TIMED_FRAME + num_frames)
        self.pixels = {index: self._ready(scene.frame(index)) for index in frames}

    def _ready(self, frame: Frame) -> Tensor:
        image = resize_image(frame.image, self.model.input_hw(frame.hw), self.model.resize)
        return normalize_images(torch.tensor(image, device=self.device).permute(2, 0, 1).unsqueeze(0))

    def step(self, index: int) -> float:
        """Seconds of a frame."""
        query = MemoryQuery(index)
        dtype = self.model.compute_dtype
        lower = torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32)
        with torch.inference_mode(), lower:
            started = self.clock()
            features = self.model.encode_image(self.pixels[index])
            found = track_objects(self.model, features, [self.bank], self.policy, query)
            (entry,) = encode_entries(self.model, features, found.best, index, prompted=False)
            self.policy.admit(self.bank, entry, query)
            return self.clock() - started


def time_protocols(backbone: str, size: int, num_frames: int, model: VideoModel, clock: Clock) -> list[Protocols]:
    """Frames per second by both protocols and both policies, in turn."""
    scene = Scene(VIDEO_HW, 1)
    published = {name: Published(model, policy, scene, num_frames, clock) for name, policy in POLICIES.items()}
    whole = {name: Follower(model, policy, scene, clock) for name, policy in POLICIES.items()}
    seconds: dict[tuple[str, str], list[float]] = {(p, name): [] for p in ("published", "whole") for name in POLICIES}
    for index in range(FIRST_TIMED_FRAME, FIRST_TIMED_FRAME + num_frames):
        for name in POLICIES:
            seconds["published", name].append(published[name].step(index))
            seconds["whole", name].append(whole[name].step(index)["frame"])
    fps = {key: 1 / statistics.mean(values) for key, values in seconds.items()}
    return [Protocols(backbone, size, name, fps["published", name], fps["whole", name]) for name in POLICIES]


def reset_peak(device: torch.device) -> None:
    """Start a new peak of memory, where that can be done."""
    if device.type != "cpu":
        torch.get_device_module(device).reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib(device: torch.device) -> list[float]:
    """The peak since then, or nothing."""
    if device.type != "cpu":
        return [torch.get_device_module(device).max_memory_allocated(device) / 2**20]
    if sys.platform != "linux":
        return []
    lines = Path("/proc/self/status").read_text().splitlines()
    return [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")]


def print_table(title: str, rows: Sequence[Any]) -> None:
    """Print dataclasses of one kind as a Markdown table."""
    if not rows:
        return
    names = list(asdict(rows[0]))
    print(f"\n{title}\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(_shown(value) for value in asdict(row).values())} |")
    sys.stdout.flush()


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.5f}" if value < 0.01 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def batching_gain(costs: Iterable[Cost]) -> dict[str, float]:
    """How many times one object's seconds several objects take, by model and policy."""
    costs = list(costs)
    alone = {(c.backbone, c.size, c.memory): c.seconds for c in costs if c.objects == 1}
    return {
        f"{c.backbone} {c.size} {c.memory}, {c.objects} objects": c.seconds / alone[c.backbone, c.size, c.memory]
        for c in costs
        if c.objects > 1
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["tiny", "small", "base-plus"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 1024])
    parser.add_argument(
        "--objects", type=int, default=5, help="beside one, at the first size, with the second backbone"
    )
    parser.add_argument("--frames", type=int, default=8, help="timed at 512; fewer in proportion to larger areas")
    parser.add_argument("--published-frames", type=int, default=10, help="after frame 100; 0 leaves that out")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: with one thread on a shared machine")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--out", type=Path, default=None, help="JSON")
    chosen = parser.parse_args()
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)

    costs: list[Cost] = []
    ratios: list[Ratios] = []
    protocols: list[Protocols] = []
    middle = chosen.backbones[min(1, len(chosen.backbones) - 1)]
    for size in chosen.sizes:
        for backbone in chosen.backbones:
            model = build_with_random_weights(
                f"sam2.1-hiera-{backbone}", device=chosen.device, dtype=chosen.dtype, image_size=size
            )
            for parameter in model.parameters():
                parameter.requires_grad_(False)
            is_middle = backbone == middle and size == chosen.sizes[0]
            num_frames = max(3, chosen.frames * 512**2 // size**2)
            for objects in (1, chosen.objects) if is_middle and chosen.objects > 1 else (1,):
                own_costs, own_ratios = compare(backbone, size, objects, num_frames, model, CLOCKS[chosen.clock])
                costs += own_costs
                ratios.append(own_ratios)
                print_table(f"{backbone} at {size}, {objects} object(s)", own_costs)
            if is_middle and chosen.published_frames:
                protocols = time_protocols(backbone, size, chosen.published_frames, model, CLOCKS[chosen.clock])
    print_table("Costs of a frame", costs)
    print_table("Pruned over recent", ratios)
    print_table("Published protocol and end to end, frames per second", protocols)
    gains = batching_gain(costs)
    print()
    for name, times in gains.items():
        print(f"{name}: {times:.2f} times one object")
    if chosen.out is not None:
        found = {"costs": costs, "ratios": ratios, "protocols": protocols}
        plain = {name: [asdict(row) for row in rows] for name, rows in found.items()}
        chosen.out.write_text(json.dumps({**plain, "objects_over_one": gains, "settings": vars(chosen)}, default=str))


if __name__ == "__main__":
    main()

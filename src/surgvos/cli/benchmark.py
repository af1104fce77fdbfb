"""``surgvos benchmark``: seconds per frame and stage, memory, and a comparison with transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgvos.cli.option_groups import with_option_groups
from surgvos.cli.segment_options import ModelOptions
from surgvos.cli.sizes import parse_size
from surgvos.errors import ConfigError

if TYPE_CHECKING:
    from surgvos.evaluation.peers import TransformersPeer
    from surgvos.evaluation.timing import Timing
    from surgvos.models.interface import VideoModel

_PEER = "transformers"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """What is timed."""

    video: Annotated[str | None, typer.Option(help="Size of the video, such as 1280x720 [the model's input]")] = None
    objects: Annotated[int, typer.Option(min=1, max=250, help="Objects followed together")] = 1
    frames: Annotated[int, typer.Option(min=1, help="Frames that are timed, after a warm-up")] = 20
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on the CPU [PyTorch's choice]")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerOptions:
    """What it is compared with."""

    versus: Annotated[
        str | None, typer.Option(help="transformers: run Hugging Face's Sam2VideoModel with the same weights as well")
    ] = None
    peer_dtype: Annotated[str, typer.Option(help="Precision of the other side: fp32, bf16 or fp16")] = "fp32"

    def check(self, video: str | None) -> None:
        """Refuse what cannot be compared."""
        if self.versus not in (None, _PEER):
            raise ConfigError(f"expected --versus {_PEER}, got {self.versus!r}")
        if self.versus and video:
            raise ConfigError("expected --versus without --video, got both; both sides see frames of the input's size")

    def make(self, model: Any) -> TransformersPeer:
        """The same network, run by transformers."""
        import torch

        from surgvos.evaluation.peers import TransformersPeer
        from surgvos.models.devices import resolve_dtype
        from surgvos.models.sam2 import Sam2Model

        if not isinstance(model, Sam2Model):
            raise ConfigError(f"expected a SAM 2 model to compare with {_PEER}, got a {type(model).__name__}")
        return TransformersPeer(model, resolve_dtype(self.peer_dtype, torch.device("cpu")))

    def names(self) -> dict[str, str]:
        """What a report says of it; nothing where nothing is compared."""
        if not self.versus:
            return {}
        import transformers

        return {"versus": f"{_PEER} {transformers.__version__}", "peer_dtype": self.peer_dtype}


@with_option_groups
def benchmark(
    network: ModelOptions,
    work: WorkOptions,
    peer: PeerOptions,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Build the named network without its weights: nothing is fetched")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here")] = None,
) -> None:
    """Measure seconds per frame, in each stage, and memory, from images to masks; without decoding and writing.

    \b
    Examples:
      surgvos benchmark --objects 4
      surgvos benchmark --backend compile
      surgvos benchmark --model sam2.1-hiera-tiny --random-weights --size 512 --versus transformers --dtype fp32
    """
    import torch

    from surgvos.cli.progress import progress_bar
    from surgvos.evaluation.timing import measure

    peer.check(work.video)
    if work.threads is not None:
        torch.set_num_threads(work.threads)
    model = _load(network, random_weights=random_weights)
    image_hw = None if work.video is None else parse_size(work.video)
    with progress_bar("frames") as progress:
        timing = measure(
            model,
            num_objects=work.objects,
            num_frames=work.frames,
            memory=network.memory,
            refine=network.refines(),
            image_hw=image_hw,
            make_peer=(lambda: peer.make(model)) if peer.versus else None,
            progress=progress,
        )
    setting = {
        "model": network.model,
        "random_weights": random_weights,
        "input_hw": model.input_hw(image_hw or (720, 1280)),
        "objects": work.objects,
        "frames": work.frames,
        "memory": network.memory,
        "refine": network.refines(),
        "dtype": str(model.compute_dtype).removeprefix("torch."),
        "device": str(next(model.parameters()).device),
        "backend": network.backend,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **peer.names(),
    }
    _show(setting, timing)
    if json_file is not None:
        from surgvos.io.results import write_json_atomic

        write_json_atomic(json_file, setting | _to_json(timing))


def _load(network: ModelOptions, *, random_weights: bool) -> VideoModel:
    from surgvos.models.backends import use_backend
    from surgvos.models.random_weights import build_with_random_weights
    from surgvos.models.registry import load_model

    load = build_with_random_weights if random_weights else load_model
    model = load(network.model, device=network.device, dtype=network.dtype, image_size=network.size)
    return use_backend(model, network.backend)


def _show(setting: dict[str, Any], timing: Timing) -> None:
    from rich.console import Console
    from rich.table import Table

    height, width = setting["input_hw"]
    title = f"{setting['model']}, {width}x{height}, {setting['objects']} object(s), {setting['dtype']}"
    where = f"{setting['device']}, {setting['backend']}, {setting['threads']} thread(s)"
    table = Table(title=f"{title}, {where}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("seconds per frame", f"{timing.seconds_per_frame:.4f}", style="bold")
    table.add_row("frames per second", f"{1 / timing.seconds_per_frame:.1f}")
    table.add_section()
    for stage, seconds in timing.stages.items():
        table.add_row(stage.replace("_", " "), f"{seconds:.4f}")
    table.add_section()
    table.add_row("process memory at its peak", _mebibytes(timing.peak_memory_bytes))
    if timing.peak_device_memory_bytes is not None:
        table.add_row("device memory at its peak", _mebibytes(timing.peak_device_memory_bytes))
    table.add_row("kept for later frames", _mebibytes(timing.session_bytes))
    if timing.peer is not None:
        table.add_section()
        table.add_row(f"{setting['versus']}, {setting['peer_dtype']}", f"{timing.peer.seconds_per_frame:.4f}")
        table.add_row("its time divided by ours", f"{timing.peer.ratio:.2f}", style="bold")
        table.add_row("largest difference of mask logits", f"{timing.peer.max_logit_difference:.2g}")
    Console().print(table)


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"


def _to_json(timing: Timing) -> dict[str, Any]:
    content = {
        "seconds_per_frame": timing.seconds_per_frame,
        "frames_per_second": 1 / timing.seconds_per_frame,
        "stages": timing.stages,
        "peak_memory_bytes": timing.peak_memory_bytes,
        "peak_device_memory_bytes": timing.peak_device_memory_bytes,
        "session_bytes": timing.session_bytes,
    }
    if timing.peer is None:
        return content
    return content | {
        "peer_seconds_per_frame": timing.peer.seconds_per_frame,
        "ratio": timing.peer.ratio,
        "max_logit_difference": timing.peer.max_logit_difference,
    }

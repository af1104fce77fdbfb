"""Options of ``surgvos segment``, by topic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from surgvos.data.prompt_protocols import PlacedPrompt
    from surgvos.tracking.answering import SessionOptions
    from surgvos.tracking.run import RunSettings
    from surgvos.tracking.searching import SearchOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What follows, and where."""

    model: Annotated[str, typer.Option(help="Name of a model, a weights file, or its folder")] = "surgvos-nano"
    size: Annotated[
        int | None,
        typer.Option(
            min=32,
            help="Side in px of the input, or of a square of as many pixels where it keeps the video's proportions "
            "(surgvos-nano, whose own is 286): more is finer, and slower [its own]",
        ),
    ] = None
    memory: Annotated[str, typer.Option(help="What is remembered: recent, pruned or diverse")] = "recent"
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps")] = "auto"
    dtype: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16")] = "auto"
    backend: Annotated[
        str, typer.Option(help="Engine of the image encoder: torch, compile (PyTorch's compiler) or onnx (CPU, fp32)")
    ] = "torch"
    refine: Annotated[
        bool | None,
        typer.Option(
            "--refine/--no-refine",
            help="Correct what is followed by the objects that the image alone shows, where the model can: better "
            "outlines, for up to 1.4 times the time [yes; live: no]",
        ),
    ] = None

    def refines(self, *, by_default: bool = True) -> bool:
        """Whether what is followed is refined; `SessionOptions.refine`."""
        return by_default if self.refine is None else self.refine

    def parse(self) -> dict[str, Any]:
        """Fields of a `SegmentJob`."""
        return {name: getattr(self, name) for name in ("model", "size", "memory", "device", "dtype", "backend")}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions:
    """What is shown, or said."""

    mask: Annotated[
        list[str] | None, typer.Option(help="[OBJ@]FRAME:FILE.png; without OBJ every id in the file is an object")
    ] = None
    point: Annotated[list[str] | None, typer.Option(help="OBJ@FRAME:x,y[,+|-]; - is a click beside the object")] = None
    box: Annotated[list[str] | None, typer.Option(help="OBJ@FRAME:x0,y0,x1,y1")] = None
    text: Annotated[
        list[str] | None,
        typer.Option(help='[OBJ[@FRAME]=]"PHRASE": look for what it says; several phrases of one OBJ compete'),
    ] = None
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="JSON list of prompts; for many videos a folder of VIDEO/prompts.json, VIDEO.json, or VIDEO.png, the "
            "label map of its first frame"
        ),
    ] = None

    def parse(self, video: str | None, *, start: int | None, direction: str) -> list[PlacedPrompt]:
        """The prompts that are written out, and those of the file, where one video of this name is meant.

        A phrase without a frame is looked for from where the run starts; -1 is the last frame of a video.

        Raises:
            InputError: One of them is not of its form.
        """
        from surgvos.cli.prompt_arguments import parse_box, parse_mask, parse_point, parse_texts
        from surgvos.data.prompt_files import read_prompt_file

        placed = [found for text in self.mask or [] for found in parse_mask(text)]
        placed += [parse_box(text) for text in self.box or []]
        placed += [parse_point(text) for text in self.point or []]
        if video is not None and self.prompts is not None:
            placed += read_prompt_file(self.prompts, video)
        first_frame = start if start is not None else -1 if direction == "backward" else 0
        return placed + parse_texts(self.text or [], placed, first_frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingOptions:
    """How phrases are looked for."""

    show_unconfirmed: Annotated[
        bool, typer.Option("--show-unconfirmed", help="Write what a phrase comes across also while it is not certain")
    ] = False
    published_search: Annotated[
        bool, typer.Option("--published-search", help="Look for phrases as ReSurgSAM2 does: show all, never look again")
    ] = False

    def parse(self) -> SearchOptions:
        from surgvos.tracking.searching import SearchOptions

        if self.published_search:
            return SearchOptions.published()
        return SearchOptions(show_unconfirmed=self.show_unconfirmed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Which frames are passed, and what is written of them."""

    direction: Annotated[str, typer.Option(help="forward, backward or both")] = "forward"
    start: Annotated[int | None, typer.Option(min=0, help="First frame [the first prompted one]")] = None
    stop: Annotated[int | None, typer.Option(min=0, help="First frame that is left out [none]")] = None
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write overlay.mp4")] = False
    overlap: Annotated[bool, typer.Option("--overlap", help="Do not let objects push each other aside")] = False
    per_object: Annotated[
        bool, typer.Option("--per-object", help="Write masks/OBJ/FRAME.png, OBJ such as 001, one file per object")
    ] = False
    fill_holes: Annotated[int, typer.Option(min=0, help="Fill holes of up to this many pixels of the model's grid")] = 0
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped, past videos that are finished")
    ] = False

    def parse(self) -> tuple[RunSettings, SessionOptions]:
        from surgvos.tracking.answering import SessionOptions
        from surgvos.tracking.run import RunSettings
        from surgvos.tracking.session import Direction

        settings = RunSettings(
            direction=cast(Direction, self.direction),
            start=self.start,
            stop=self.stop,
            per_object=self.per_object,
            overlay=self.overlay,
        )
        return settings, SessionOptions(non_overlap=not self.overlap, fill_hole_area_px=self.fill_holes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Who does the work, where there are many videos."""

    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that share many videos, each with a model [1; with --ray one per GPU]"),
    ] = None
    ray: Annotated[
        str | None, typer.Option(help="Share many videos on Ray: the address of a cluster, auto, or local to start one")
    ] = None

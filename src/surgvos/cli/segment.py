"""``surgvos segment``: a video goes in, masks come out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from surgvos.cli.progress import progress_bar
from surgvos.core.masks import encode_run_length
from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from surgvos.errors import InputError


def segment(
    source: Annotated[str, typer.Argument(help="Video file, folder of images, camera:0, or rtsp://...")],
    out: Annotated[Path, typer.Option(help="Folder for masks/, frames.jsonl, run.json and overlay.mp4")],
    model: Annotated[str, typer.Option(help="Name of a model, a weights file, or its folder")] = "surgvos-nano",
    memory: Annotated[str, typer.Option(help="What is remembered: recent")] = "recent",
    mask: Annotated[
        list[str] | None, typer.Option(help="[OBJ@]FRAME:FILE.png; without OBJ every id in the file is an object")
    ] = None,
    point: Annotated[list[str] | None, typer.Option(help="OBJ@FRAME:x,y[,+|-]; - is a click beside the object")] = None,
    box: Annotated[list[str] | None, typer.Option(help="OBJ@FRAME:x0,y0,x1,y1")] = None,
    prompts: Annotated[Path | None, typer.Option(help="JSON list of prompts")] = None,
    direction: Annotated[str, typer.Option(help="forward, backward or both")] = "forward",
    start: Annotated[int | None, typer.Option(min=0, help="First frame [the first prompted one]")] = None,
    stop: Annotated[int | None, typer.Option(min=0, help="First frame that is left out [none]")] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write overlay.mp4")] = False,
    overlap: Annotated[bool, typer.Option("--overlap", help="Do not let objects push each other aside")] = False,
    fill_holes: Annotated[
        int, typer.Option(min=0, help="Fill holes of up to this many pixels of the model's grid")
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16")] = "auto",
) -> None:
    """Follow objects through a video and write a mask for every frame.

    Show each object once, by a mask, a click or a box (x to the right, y down, in pixels of the video):

        surgvos segment case.mp4 --out out --mask 1@0:first.png

        surgvos segment case.mp4 --out out --point 1@0:640,360 --box 2@0:100,80,420,300 --overlay
    """
    placed = _collect_prompts(mask, point, box, prompts)
    if not placed:
        raise InputError("expected at least one object to follow, got none; try --point 1@0:x,y")

    from surgvos.io.run_record import file_sha256, package_versions
    from surgvos.io.video import open_video
    from surgvos.models.registry import find_weights, load_model
    from surgvos.tracking.run import RunSettings, segment_video
    from surgvos.tracking.session import Direction, Session, SessionOptions

    video = open_video(source)
    weights = find_weights(model)
    loaded = load_model(weights, device=device, dtype=dtype)
    session = Session(loaded, memory, SessionOptions(non_overlap=not overlap, fill_hole_area_px=fill_holes))
    for placed_prompt in placed:
        session.add_prompt(*placed_prompt)
    settings = RunSettings(
        direction=cast(Direction, direction), start=start, stop=stop, overlay=overlay, fps=video.fps or 25.0
    )
    record = {
        "source": source,
        "model": {"name": model, "dtype": str(loaded.compute_dtype), "sha256": file_sha256(weights)},
        "memory": {"policy": memory, **asdict(session.policy)},  # type: ignore[call-overload]
        "session": asdict(session.options),
        "run": asdict(settings),
        "prompts": [_describe(*placed_prompt) for placed_prompt in placed],
        "versions": package_versions(),
    }
    with progress_bar("frames") as progress:
        summary = segment_video(session, video, out, settings, record, resume=resume, progress=progress)
    speed = f" at {summary.num_frames_now / summary.seconds:.1f} frames/s" if summary.num_frames_now else ""
    typer.echo(f"{summary.num_frames} frames in {out}{speed}")


def _collect_prompts(
    masks: list[str] | None, points: list[str] | None, boxes: list[str] | None, file: Path | None
) -> list[tuple[int, int, Any]]:
    from surgvos.cli.prompt_arguments import parse_box, parse_mask, parse_point, read_prompt_file

    placed = [found for text in masks or [] for found in parse_mask(text)]
    placed += [parse_box(text) for text in boxes or []]
    placed += [parse_point(text) for text in points or []]
    placed += [] if file is None else read_prompt_file(file)
    # In one order, however they were said: a tie between objects goes to the lower id.
    return sorted(placed, key=lambda prompt: prompt[:2])


def _describe(frame_index: int, object_id: int, prompt: Prompt) -> dict[str, Any]:
    """A prompt as `read_prompt_file` takes it."""
    described: dict[str, Any] = {"frame": frame_index, "object": object_id}
    if isinstance(prompt, MaskPrompt):
        described["mask"] = encode_run_length(prompt.mask)
    if isinstance(prompt, BoxPrompt):
        described["box"] = prompt.box_xyxy.tolist()
    if isinstance(prompt, PointPrompt):
        described |= {"points": prompt.points_xy.tolist(), "labels": prompt.labels.tolist()}
    return described

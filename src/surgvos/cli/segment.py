"""``surgvos segment``: a video goes in, or a whole data set, and masks come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from surgvos.cli.progress import progress_bar
from surgvos.core.frame import FrameStream, VideoSource
from surgvos.errors import InputError

if TYPE_CHECKING:
    from surgvos.cli.segmenter import Segmenter
    from surgvos.data.prompt_protocols import PlacedPrompt


def segment(
    source: Annotated[
        str, typer.Argument(help="Video file, folder of images, camera:0, rtsp://..., or the folder of a data set")
    ],
    out: Annotated[Path, typer.Option(help="Folder for masks/, frames.jsonl, run.json and overlay.mp4")],
    model: Annotated[str, typer.Option(help="Name of a model, a weights file, or its folder")] = "surgvos-nano",
    size: Annotated[int | None, typer.Option(min=32, help="Input size of a SAM 2 model [its own]")] = None,
    memory: Annotated[str, typer.Option(help="What is remembered: recent, pruned or diverse")] = "recent",
    mask: Annotated[
        list[str] | None, typer.Option(help="[OBJ@]FRAME:FILE.png; without OBJ every id in the file is an object")
    ] = None,
    point: Annotated[list[str] | None, typer.Option(help="OBJ@FRAME:x,y[,+|-]; - is a click beside the object")] = None,
    box: Annotated[list[str] | None, typer.Option(help="OBJ@FRAME:x0,y0,x1,y1")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help='[OBJ[@FRAME]=]"PHRASE": look for what it says; several phrases of one OBJ compete'),
    ] = None,
    show_unconfirmed: Annotated[
        bool, typer.Option("--show-unconfirmed", help="Write what a phrase comes across also while it is not certain")
    ] = False,
    published_search: Annotated[
        bool, typer.Option("--published-search", help="Look for phrases as ReSurgSAM2 does: show all, never look again")
    ] = False,
    overseer: Annotated[
        str | None,
        typer.Option(help="A detector that says what is there: weights (Mask R-CNN, DETR, Mask2Former) or label maps"),
    ] = None,
    label_space: Annotated[
        str | None, typer.Option(help="What the detector's classes mean: a name such as cadis-2, or a YAML file")
    ] = None,
    rules: Annotated[
        str | None, typer.Option(help="sasvi [default], sasvi-published, sasvi-published-cadis or first-frame")
    ] = None,
    annotated: Annotated[
        Path | None, typer.Option(help="Folder of annotated frames, which the overseer takes as they are")
    ] = None,
    no_tracker: Annotated[
        bool, typer.Option("--no-tracker", help="The detector alone, frame by frame: the baseline")
    ] = False,
    save_overseer: Annotated[
        bool, typer.Option("--save-overseer", help="Also write what the detector itself saw, to OUT/overseer")
    ] = False,
    prompts: Annotated[
        Path | None, typer.Option(help="JSON list of prompts; for a data set, the folder of VIDEO/prompts.json")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Segment a whole data set, as in 'surgvos data list', or vos: any in the layout of DAVIS"),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Its split [its last one: valid, holdout]")] = None,
    videos: Annotated[str | None, typer.Option(help="Only these videos of it, such as seq_2,seq_5")] = None,
    annotations: Annotated[
        str | None, typer.Option(help="Its label maps to prompt from [VOS/Annotations_vos_instrument or Annotations]")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="How each object of it is shown [mask], point, points or box; such as points,num_points=3"),
    ] = None,
    objects: Annotated[str | None, typer.Option(help="Only these object ids of a data set, such as 1,2,3")] = None,
    direction: Annotated[str, typer.Option(help="forward, backward or both")] = "forward",
    start: Annotated[int | None, typer.Option(min=0, help="First frame [the first prompted one]")] = None,
    stop: Annotated[int | None, typer.Option(min=0, help="First frame that is left out [none]")] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write overlay.mp4")] = False,
    overlap: Annotated[bool, typer.Option("--overlap", help="Do not let objects push each other aside")] = False,
    per_object: Annotated[
        bool, typer.Option("--per-object", help="Write masks/OBJ/FRAME.png, OBJ such as 001, one file per object")
    ] = False,
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

    Or say what it is called, to a model that reads phrases; it is followed once it is certain:

        surgvos segment case.mp4 --out out --model ref17.pth --text "large needle driver" --text "2=suction"

    Or let a detector say what is there, and label every frame with its classes:

        surgvos segment case.mp4 --out out --overseer cadis_maskrcnn.pth --label-space cadis-2 --overlay

    Or let the label maps of a data set show every object of every video where it first appears:

        surgvos segment VOS-Endovis18 --dataset endovis18 --prompt points --out out
    """
    from surgvos.cli.segmenter import open_segmenter
    from surgvos.tracking.run import RunSettings
    from surgvos.tracking.searching import SearchOptions
    from surgvos.tracking.session import Direction, SessionOptions

    settings = RunSettings(
        direction=cast(Direction, direction), start=start, stop=stop, per_object=per_object, overlay=overlay
    )

    def loaded() -> Segmenter:
        return open_segmenter(
            model,
            size=size,
            device=device,
            dtype=dtype,
            memory=memory,
            options=SessionOptions(non_overlap=not overlap, fill_hole_area_px=fill_holes),
            search=SearchOptions.published() if published_search else SearchOptions(show_unconfirmed=show_unconfirmed),
            settings=settings,
        )

    of_data_sets = {"split": split, "videos": videos, "annotations": annotations, "prompt": prompt, "objects": objects}
    of_overseers: dict[str, Any] = {"label-space": label_space, "rules": rules, "annotated": annotated}
    of_overseers |= {"no-tracker": no_tracker or None, "save-overseer": save_overseer or None}
    if overseer is not None:
        from surgvos.cli.segment_overseen import parse_overseeing, segment_overseen

        _refuse("without --overseer", mask=mask, point=point, box=box, text=text, prompts=prompts, dataset=dataset)
        _refuse("without --overseer", **{"per-object": per_object or None})
        _refuse("as an option of --dataset", **of_data_sets)
        asked = parse_overseeing(
            overseer,
            label_space,
            rules,
            annotated,
            no_tracker=no_tracker,
            keeps_detections=save_overseer,
            device=device,
        )
        segment_overseen(loaded, settings, source, out, asked, resume=resume)
        return
    _refuse("as an option of --overseer", **of_overseers)
    if dataset is None:
        _refuse("as an option of --dataset", **of_data_sets)
        shown = _collect_prompts(mask, point, box, prompts, source)
        _segment_video(loaded, source, shown, _Spoken(text or [], start, direction), out, resume=resume)
        return
    _refuse("as an option of a single video", mask=mask, point=point, box=box, text=text, start=start, stop=stop)

    from surgvos.cli.segment_dataset import Prompting, find_videos, segment_dataset

    prompting = Prompting.parse(prompt, prompts, objects)
    found = find_videos(Path(source), dataset, split, videos, annotations)
    segment_dataset(loaded(), found, prompting, out, resume=resume)


class _Spoken(NamedTuple):
    """Phrases, and what says from which frame on they are looked for."""

    texts: list[str]
    start: int | None
    direction: str

    def first_frame(self, video: FrameStream) -> int:
        if self.start is not None:
            return self.start
        return len(video) - 1 if self.direction == "backward" and isinstance(video, VideoSource) else 0


def _segment_video(
    loaded: Callable[[], Segmenter],
    source: str,
    shown: list[PlacedPrompt],
    spoken: _Spoken,
    out: Path,
    *,
    resume: bool,
) -> None:
    if not shown and not spoken.texts:
        raise InputError('expected at least one object to follow, got none; try --point 1@0:x,y or --text "..."')

    from surgvos.cli.prompt_arguments import parse_texts
    from surgvos.io.video import open_video

    video = open_video(source)
    placed = shown + parse_texts(spoken.texts, shown, spoken.first_frame(video))
    # In one order, however they were said: a tie between objects goes to the lower id.
    placed.sort(key=lambda prompt: prompt[:2])
    segmenter = loaded()
    with progress_bar("frames") as progress:
        summary = segmenter.segment(video, placed, out, source=source, resume=resume, progress=progress)
    speed = f" at {summary.num_frames_now / summary.seconds:.1f} frames/s" if summary.num_frames_now else ""
    typer.echo(f"{summary.num_frames} frames in {out}{speed}")
    for object_id, phrases in summary.not_found.items():
        typer.echo(f"object {object_id} was not found: {', '.join(phrases)}")


def _collect_prompts(
    masks: list[str] | None, points: list[str] | None, boxes: list[str] | None, file: Path | None, source: str
) -> list[PlacedPrompt]:
    from surgvos.cli.prompt_arguments import parse_box, parse_mask, parse_point, read_prompt_file

    placed = [found for text in masks or [] for found in parse_mask(text)]
    placed += [parse_box(text) for text in boxes or []]
    placed += [parse_point(text) for text in points or []]
    path = Path(source).resolve()
    placed += [] if file is None else read_prompt_file(file, path.name if path.is_dir() else path.stem)
    return placed


def _refuse(whose: str, **options: Any) -> None:
    """Refuse options that would do nothing."""
    given = [f"--{name}" for name, value in options.items() if value not in (None, [])]
    if given:
        raise InputError(f"expected {given[0]} only {whose}; try without it, or --help")

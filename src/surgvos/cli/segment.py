"""``surgvos segment``: a video goes in, or many, or a whole data set, and masks come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgvos.cli.option_groups import refuse, with_option_groups
from surgvos.cli.progress import progress_bar
from surgvos.cli.segment_dataset import DataSetOptions, check_prompt_folder
from surgvos.cli.segment_many import segment_many
from surgvos.cli.segment_options import FindingOptions, ModelOptions, PromptOptions, RunOptions, WorkerOptions
from surgvos.cli.segment_overseen import OverseerOptions
from surgvos.errors import InputError

if TYPE_CHECKING:
    from surgvos.batch.job import SegmentJob, VideoTask
    from surgvos.batch.video_sources import NamedVideo


@with_option_groups
def segment(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Video file, folder of images, camera:0 or rtsp://...; or many: several of these, a folder of them, a "
            "pattern, a .txt list; or the folder of a data set"
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for masks/, frames.jsonl, run.json and overlay.mp4; of many, OUT/VIDEO")
    ],
    network: ModelOptions,
    shown: PromptOptions,
    finding: FindingOptions,
    oversight: OverseerOptions,
    of_data_set: DataSetOptions,
    running: RunOptions,
    crew: WorkerOptions,
) -> None:
    """Follow objects through a video and write a mask for every frame.

    Show each object once, by a mask, a click or a box (x to the right, y down, in pixels of the video):

        surgvos segment case.mp4 --out out --mask 1@0:first.png

        surgvos segment case.mp4 --out out --point 1@0:640,360 --box 2@0:100,80,420,300 --overlay

    Or say what it is called, to a model that reads phrases; it is followed once it is certain:

        surgvos segment case.mp4 --out out --model ref17.pth --text "large needle driver" --text "2=suction"

    Or let a detector say what is there, and label every frame with its classes:

        surgvos segment case.mp4 --out out --overseer cadis_maskrcnn.pth --label-space cadis-2 --overlay

    Many videos are said what to follow by --text, --overseer, or a folder of --prompts by their names:

        surgvos segment cases/ --out out --prompts first_masks/ --workers 4

    Or let the label maps of a data set show every object of every video where it first appears:

        surgvos segment VOS-Endovis18 --dataset endovis18 --prompt points --out out
    """
    from surgvos.batch.video_sources import find_named_videos

    if oversight.overseer is None:
        refuse("as an option of --overseer", oversight)
    else:
        refuse("without --overseer", shown)
        refuse("without --overseer", of_data_set)
        refuse("without --overseer", running, "per_object")
    videos: Sequence[NamedVideo] | None = None
    if of_data_set.dataset is None:
        refuse("as an option of --dataset", of_data_set)
        videos = find_named_videos(sources)
        if videos is None:
            refuse("where there are many videos", crew)
            task = _task_of_one(sources[0], out, shown, oversight, running)
            _segment_one(_job(network, finding, oversight, running, many=False), task, resume=running.resume)
            return
    refuse("as an option of a single video", shown, "mask", "point", "box")
    refuse("as an option of a single video", running, "start", "stop")
    if videos is not None:
        tasks = _tasks_of_many(videos, out, shown, oversight, running)
    else:
        refuse("as an option of a single video", shown, "text")
        tasks = of_data_set.tasks(_only_folder(sources), shown.prompts, out)
    segment_many(_job(network, finding, oversight, running, many=True), tasks, out, crew, resume=running.resume)


def _job(
    network: ModelOptions, finding: FindingOptions, oversight: OverseerOptions, running: RunOptions, *, many: bool
) -> SegmentJob:
    from surgvos.batch.job import SegmentJob

    settings, options = running.parse()
    return SegmentJob(
        **network.parse(),
        options=replace(options, refine=network.refines()),
        search=finding.parse(),
        settings=settings,
        overseeing=oversight.parse(by_video=many),
        keeps_prompts=many and oversight.overseer is None,
    )


def _task_of_one(
    source: str, out: Path, shown: PromptOptions, oversight: OverseerOptions, running: RunOptions
) -> VideoTask:
    from surgvos.batch.job import VideoTask
    from surgvos.batch.prompt_sources import GivenPrompts

    path = Path(source).resolve()
    name = path.name if path.is_dir() else path.stem
    placed = shown.parse(name, start=running.start, direction=running.direction)
    if not placed and oversight.overseer is None:
        raise InputError('expected at least one object to follow, got none; try --point 1@0:x,y or --text "..."')
    return VideoTask(name=name, source=source, out=out, prompts=GivenPrompts(tuple(placed)) if placed else None)


def _tasks_of_many(
    videos: Sequence[NamedVideo], out: Path, shown: PromptOptions, oversight: OverseerOptions, running: RunOptions
) -> list[VideoTask]:
    from surgvos.batch.job import VideoTask
    from surgvos.batch.prompt_sources import GivenPrompts, PromptFolder

    if (oversight.overseer is not None) + bool(shown.text) + (shown.prompts is not None) != 1:
        raise InputError(
            f"expected one of --text, --overseer and --prompts FOLDER for {len(videos)} videos, got none or several; "
            "try --prompts with a VIDEO.png for each, the label map of its first frame"
        )
    if shown.prompts is not None:
        check_prompt_folder(shown.prompts)
    said = GivenPrompts(tuple(shown.parse(None, start=None, direction=running.direction))) if shown.text else None
    return [
        VideoTask(
            name=video.name,
            source=video.source,
            out=out / video.name,
            prompts=said if shown.prompts is None else PromptFolder(shown.prompts, video.name),
        )
        for video in videos
    ]


def _segment_one(job: SegmentJob, task: VideoTask, *, resume: bool) -> None:
    from surgvos.batch.segmenter import Segmenter

    with progress_bar("frames") as progress:
        summary = Segmenter(job).segment(task, resume=resume, progress=progress).summary
    speed = f" at {summary.num_frames_now / summary.seconds:.1f} frames/s" if summary.num_frames_now else ""
    asked = job.overseeing
    # A detector in the box has a label space of its own, of the same name.
    meaning = "" if asked is None else f"; pixels are ids of {asked.label_space or asked.detector}"
    typer.echo(f"{summary.num_frames} frames in {task.out}{speed}{meaning}")
    for object_id, phrases in summary.not_found.items():
        typer.echo(f"object {object_id} was not found: {', '.join(phrases)}")


def _only_folder(sources: list[str]) -> Path:
    if len(sources) > 1:
        raise InputError(f"expected one folder of a data set, got {len(sources)}; try one after the other")
    return Path(sources[0])

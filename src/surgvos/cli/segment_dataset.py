"""``surgvos segment --dataset``: every video of a data set, each object shown once by a protocol."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from surgvos.cli.progress import progress_bar
from surgvos.cli.prompt_arguments import read_prompt_file, write_prompt_file
from surgvos.cli.segmenter import Segmenter
from surgvos.data.dataset import Video
from surgvos.data.datasets import DATASETS, dataset_by_name
from surgvos.data.prompt_protocols import PlacedPrompt, PromptProtocol, prompts_for_video
from surgvos.data.vos_videos import VosVideo, find_vos_videos
from surgvos.errors import ConfigError, InputError, SurgvosError
from surgvos.io.video import open_video
from surgvos.tracking.run import RUN, RunSummary

PROMPTS = "prompts.json"

ANY = "vos"
"""In place of a data set's name: any folder in the layout of DAVIS, which has no splits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompting:
    """Where the prompts of a video come from.

    Attributes:
        protocol: Derives them from the label maps.
        files: Folder with ``<video>/prompts.json`` to read them from instead.
        object_ids: Ids to prompt; None prompts all.
    """

    protocol: PromptProtocol
    files: Path | None = None
    object_ids: frozenset[int] | None = None

    @classmethod
    def parse(cls, protocol: str | None, files: Path | None, objects: str | None) -> Prompting:
        """Read ``points,num_points=3`` and ``1,2,3``; no protocol and no files mean masks.

        Raises:
            ConfigError: There is no such protocol, or it has no such setting.
            InputError: Both a protocol and files, the objects are not numbers, or the folder does not exist.
        """
        from surgvos.config.load import apply_overrides

        if files is not None and protocol is not None:
            raise InputError(f"expected --prompt or --prompts, got both; try without --prompt {protocol}")
        if files is not None and not files.is_dir():
            raise InputError(f"expected a folder with VIDEO/{PROMPTS} for a data set, got {str(files)!r}")
        kind, *assignments = (protocol or "mask").split(",")
        settings = apply_overrides(PromptProtocol(), [f"kind={kind}", *assignments])
        return cls(protocol=settings, files=files, object_ids=None if objects is None else _object_ids(objects))

    def prompts_of(self, video: VosVideo) -> list[PlacedPrompt]:
        """The prompts of a video, by frame and object.

        Raises:
            InputError: There are none.
        """
        if self.files is None:
            return prompts_for_video(video.label_maps(), self.protocol, video=video.name, object_ids=self.object_ids)
        path = self.files / video.name / PROMPTS
        wanted = [
            placed
            for placed in read_prompt_file(path, video.name)
            if self.object_ids is None or placed[1] in self.object_ids
        ]
        if not wanted:
            raise InputError(f"expected prompts of the chosen objects in {str(path)!r}, got none")
        return wanted


def segment_dataset(
    segmenter: Segmenter, videos: Sequence[VosVideo], prompting: Prompting, out: Path, *, resume: bool
) -> None:
    """Segment videos into ``out/<video>``, one after the other; what fails is said at the end, after all others.

    Raises:
        InputError: ``out`` holds results of these videos, and they are not to be gone on with.
        SurgvosError: Some videos could not be segmented.
    """
    held = [video.name for video in videos if (out / video.name / RUN).exists()]
    if held and not resume:
        raise InputError(
            f"expected an output folder without results, got {str(out)!r} with those of {held[0]}; "
            "try --resume to go on with that run, or another --out"
        )
    failed: dict[str, str] = {}
    for video in videos:
        try:
            with progress_bar(f"{video.name}: frames") as progress:
                placed = prompting.prompts_of(video)
                target = out / video.name
                if not (target / PROMPTS).exists():
                    write_prompt_file(target / PROMPTS, placed, video.name)
                summary = segmenter.segment(
                    open_video(video.images), placed, target, source=str(video.images), resume=resume, progress=progress
                )
            typer.echo(_line(video.name, summary, len({object_id for _, object_id, _ in placed})))
        except ConfigError:
            raise  # a wrong setting is wrong for every video
        except (SurgvosError, OSError) as error:
            failed[video.name] = str(error)
            typer.echo(f"{video.name}: failed: {error}", err=True)
    typer.echo(f"{len(videos) - len(failed)} of {len(videos)} videos in {out}")
    if failed:
        raise SurgvosError(
            f"expected to segment all {len(videos)} videos, got {len(failed)} that failed ({', '.join(failed)}); "
            "try the same command with --resume once they are repaired"
        )


def _line(name: str, summary: RunSummary, num_objects: int) -> str:
    line = f"{name}: {summary.num_frames} frames, {num_objects} object{'s' * (num_objects != 1)}"
    if not summary.num_frames_now:
        return f"{line}, finished before"
    return f"{line}, {summary.num_frames_now / summary.seconds:.1f} frames/s"


def find_videos(
    root: Path, dataset: str, split: str | None, names: str | None, annotations: str | None
) -> list[VosVideo]:
    """The videos of a data set that are asked for, in natural order.

    Raises:
        InputError: There is no such data set, split, video or folder.
    """
    chosen = names.split(",") if names else []
    if dataset == ANY:
        if split is not None:
            raise InputError(f"expected no --split for {ANY}, got {split!r}; try the folder {str(root / split)!r}")
        return find_vos_videos(root, names=chosen, annotations=annotations)
    if dataset not in DATASETS:
        known = [*DATASETS, ANY]
        nearest = difflib.get_close_matches(dataset, known, n=1, cutoff=0.0)[0]
        raise InputError(f"expected a data set of {', '.join(known)}, got {dataset!r}; try {nearest!r}")
    published = dataset_by_name(dataset)
    found = published.videos(root, split or list(published.splits)[-1])
    missing = sorted(set(chosen) - {video.name for video in found})
    if missing:
        there = ", ".join(video.name for video in found)
        raise InputError(f"expected videos of {there} in {str(root)!r}, got {missing[0]!r}")
    return [
        VosVideo(video.name, video.images, _label_maps_of(video, annotations))
        for video in found
        if not chosen or video.name in chosen
    ]


def _label_maps_of(video: Video, annotations: str | None) -> Path:
    if annotations is not None:
        return video.annotations.parents[1] / annotations / video.name
    return video.prompts or video.annotations


def _object_ids(text: str) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"expected object ids separated by commas, such as 1,3, got {text!r}") from error

"""``surgvos segment --dataset``: every video of a data set, each object shown once by a protocol, or by its phrase."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgvos.errors import InputError

if TYPE_CHECKING:
    from surgvos.batch.job import VideoTask
    from surgvos.batch.prompt_sources import PromptSource
    from surgvos.data.dataset import Video
    from surgvos.data.vos_videos import VosVideo

ANY = "vos"
"""In place of a data set's name: any folder in the layout of DAVIS, which has no splits."""

BY_PHRASE = "text"
"""In place of a prompt protocol: objects are looked for by the phrases that the data set has for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSetOptions:
    """Which videos of a data set, and how its objects are shown."""

    dataset: Annotated[
        str | None,
        typer.Option(help="Segment a whole data set, as in 'surgvos data list', or vos: any in the layout of DAVIS"),
    ] = None
    split: Annotated[str | None, typer.Option(help="Its split [its last one: valid, holdout]")] = None
    videos: Annotated[str | None, typer.Option(help="Only these videos of it, such as seq_2,seq_5")] = None
    annotations: Annotated[
        str | None, typer.Option(help="Its label maps to prompt from [VOS/Annotations_vos_instrument or Annotations]")
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option(
            help="How each object of it is shown [mask], point, points or box, such as points,num_points=3; or text: "
            "looked for by its phrases.json"
        ),
    ] = None
    objects: Annotated[str | None, typer.Option(help="Only these object ids of a data set, such as 1,2,3")] = None

    def tasks(self, root: Path, prompts: Path | None, out: Path) -> list[VideoTask]:
        """The videos that are asked for, in natural order, each with where its prompts come from.

        Args:
            root: Folder of the data set.
            prompts: Folder to read prompts from instead.
            out: Folder for the folders of results.

        Raises:
            InputError: There is no such data set, split, video, folder or file of phrases.
            ConfigError: There is no such protocol, or it has no such setting.
        """
        from surgvos.batch.job import VideoTask

        sources = self._prompt_sources(prompts)
        return [
            VideoTask(name=video.name, source=str(video.images), out=out / video.name, prompts=sources(video))
            for video in self._find(root)
        ]

    def _prompt_sources(self, folder: Path | None) -> Callable[[VosVideo], PromptSource]:
        """Video -> where its prompts come from; no protocol and no folder mean masks."""
        from surgvos.batch.prompt_sources import FirstAppearances, PromptFolder
        from surgvos.config.load import apply_overrides
        from surgvos.data.prompt_protocols import PromptProtocol

        if folder is not None and self.prompt is not None:
            raise InputError(f"expected --prompt or --prompts, got both; try without --prompt {self.prompt}")
        ids = None if self.objects is None else _object_ids(self.objects)
        if folder is not None:
            check_prompt_folder(folder)
            return lambda video: PromptFolder(folder, video.name, ids)
        if self.prompt == BY_PHRASE:
            return lambda video: _named_objects(video, ids)
        kind, *assignments = (self.prompt or "mask").split(",")
        protocol = apply_overrides(PromptProtocol(), [f"kind={kind}", *assignments])
        return lambda video: FirstAppearances(video, protocol, ids)

    def _find(self, root: Path) -> list[VosVideo]:
        from surgvos.data.datasets import DATASETS, dataset_by_name
        from surgvos.data.vos_videos import VosVideo, find_vos_videos

        chosen = self.videos.split(",") if self.videos else []
        if self.dataset == ANY:
            if self.split is not None:
                elsewhere = str(root / self.split)
                raise InputError(f"expected no --split for {ANY}, got {self.split!r}; try the folder {elsewhere!r}")
            return find_vos_videos(root, names=chosen, annotations=self.annotations)
        if self.dataset not in DATASETS:
            known = [*DATASETS, ANY]
            nearest = difflib.get_close_matches(self.dataset or "", known, n=1, cutoff=0.0)[0]
            raise InputError(f"expected a data set of {', '.join(known)}, got {self.dataset!r}; try {nearest!r}")
        published = dataset_by_name(self.dataset)
        found = published.videos(root, self.split or list(published.splits)[-1])
        missing = sorted(set(chosen) - {video.name for video in found})
        if missing:
            there = ", ".join(video.name for video in found)
            raise InputError(f"expected videos of {there} in {str(root)!r}, got {missing[0]!r}")
        return [
            VosVideo(video.name, video.images, self._label_maps_of(video))
            for video in found
            if not chosen or video.name in chosen
        ]

    def _label_maps_of(self, video: Video) -> Path:
        if self.annotations is not None:
            return video.annotations.parents[1] / self.annotations / video.name
        return video.prompts or video.annotations


def check_prompt_folder(folder: Path) -> None:
    """Refuse what holds no prompts for many videos.

    Raises:
        InputError: It is no folder.
    """
    from surgvos.batch.prompt_sources import PROMPT_FILES

    if not folder.is_dir():
        forms = " or ".join(form.format(video="VIDEO") for form in PROMPT_FILES)
        raise InputError(f"expected a folder with {forms} for many videos, got {str(folder)!r}")


def _named_objects(video: VosVideo, object_ids: frozenset[int] | None) -> PromptSource:
    from surgvos.batch.prompt_sources import NamedObjects
    from surgvos.data.phrases import PHRASES, read_phrases

    path = video.images.parents[1] / PHRASES
    return NamedObjects(video.images, read_phrases(path).get(video.name, ()), object_ids)


def _object_ids(text: str) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"expected object ids separated by commas, such as 1,3, got {text!r}") from error

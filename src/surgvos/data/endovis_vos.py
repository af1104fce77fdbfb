"""EndoVis 2017 and 2018 as re-annotated for video object segmentation: object masks that come without frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from surgvos.core.labels import LabelSpace
from surgvos.data import endovis17, endovis18
from surgvos.data.archives import FileTree
from surgvos.data.dataset import (
    Access,
    Archive,
    DataSet,
    Part,
    Plan,
    PrepareOptions,
    Video,
    collect,
    found_video,
    seq_names,
)
from surgvos.data.prepared import ANNOTATIONS, FRAMES, PROMPTS, VideoPlan
from surgvos.errors import InputError
from surgvos.io.image_folder import decode_image, natural_key
from surgvos.io.masks import decode_label_map

FOLDERS = ("train", "valid")
_FILE = re.compile(rf"(?:^|/)({'|'.join(FOLDERS)})/({FRAMES}|{ANNOTATIONS}|{PROMPTS})/(seq_\d+)/(\d+)\.(?i:png|jpe?g)$")


class LayoutSource:
    """Files that lie in the layout of DAVIS already, and the challenge's frames for those that have none."""

    def __init__(self, files: FileTree, challenge: Literal[17, 18]) -> None:
        self.files = files
        self.challenge = endovis17.Source17(files) if challenge == 17 else endovis18.Source18(files)
        self.names: dict[tuple[str, str, str], dict[int, str]] = {}
        for name in files:
            if found := _FILE.search(name):
                self.names.setdefault((found[1], found[2], found[3]), {}).setdefault(int(found[4]), name)

    def has(self, part: Part, what: str, video: str, number: int) -> bool:
        """Whether there is a frame of a video, or its label map."""
        if what == "labels":
            return number in self.names.get((part.folder, ANNOTATIONS, video), {})
        return number in self.names.get((part.folder, FRAMES, video), {}) or self.challenge.has("frames", video, number)

    def others(self, parts: tuple[Part, ...]) -> list[Part]:
        """Videos with label maps that are not among those that are known of the data set, as parts of their own."""
        known = {(part.folder, video) for part in parts for video in part.videos}
        found = []
        for (folder, kind, video), names in self.names.items():
            if kind == ANNOTATIONS and (folder, video) not in known:
                numbers = sorted(names)
                found.append(Part(folder, folder, (video,), range(numbers[0], numbers[-1] + 1)))
        return sorted(found, key=lambda part: (part.folder, natural_key(Path(part.videos[0]))))

    def video(self, part: Part, video: str, frames: tuple[int, ...], categories: Mapping[int, str]) -> VideoPlan:
        """How a video is made: everything is copied, frames of the challenge are cropped where they need it."""
        names = self.names.get((part.folder, PROMPTS, video), {})
        prompts = {number: partial(self._labels, name) for number, name in names.items()}
        return VideoPlan(
            name=video,
            frames=frames,
            suffixes={FRAMES: self._suffix(part, video), ANNOTATIONS: ".png"},
            make=partial(self._make, part, video),
            categories=categories,
            given_prompts=prompts or None,
        )

    def _suffix(self, part: Part, video: str) -> str:
        names = self.names.get((part.folder, FRAMES, video), {}).values()
        suffixes = {Path(name).suffix.lower() for name in names} or {".png"}
        if len(suffixes) > 1:
            raise InputError(f"expected frames of one kind in {part.folder}/{video}, got {sorted(suffixes)}")
        return suffixes.pop()

    def _make(self, part: Part, video: str, number: int) -> dict[str, bytes]:
        name = self.names.get((part.folder, FRAMES, video), {}).get(number)
        if name is None:
            frame = self.challenge.frame(video, number)
        else:
            frame = self.files.read(name)
            _check_size(decode_image(frame, self.files.where(name)).shape, self.files.where(name))
        return {FRAMES: frame, ANNOTATIONS: self._labels(self.names[part.folder, ANNOTATIONS, video][number])}

    def _labels(self, name: str) -> bytes:
        content = self.files.read(name)
        _check_size(decode_label_map(content, self.files.where(name)).shape, self.files.where(name))
        return content


@dataclass(frozen=True)
class _PublishedVos(DataSet):
    """What both have in common."""

    challenge: ClassVar[Literal[17, 18]]
    label_spaces: ClassVar[Mapping[str, LabelSpace]] = {}

    def plan(self, files: FileTree, options: PrepareOptions) -> Plan:
        """See `DataSet.plan`; videos that are not known of the set are prepared too, and noted."""
        source = LayoutSource(files, self.challenge)
        others = source.others(self.parts)
        videos, gaps = collect((*self.parts, *others), source.has)
        gaps = tuple(gap for gap in gaps if gap.part in self.parts or gap.what == "frames")
        notes = [f"{part.folder}/{part.videos[0]} is prepared too, though not known of {self.name}" for part in others]
        plans = tuple((part, source.video(part, video, frames, {})) for part, video, frames in videos)
        return Plan(plans, gaps, tuple(notes))

    def videos(self, root: str | Path, split: str | None = None) -> tuple[Video, ...]:
        """See `DataSet.videos`; a split ``train`` or ``valid`` has all videos of that folder."""
        if split not in FOLDERS:
            return super().videos(root, split)
        folder = Path(root) / split / FRAMES
        names = sorted((path for path in folder.iterdir() if path.is_dir()), key=natural_key) if folder.is_dir() else []
        if not names:
            raise InputError(f"expected videos in {str(folder)!r}, got none; try 'surgvos data prepare {self.name}'")
        return tuple(found_video(Path(root) / split, split, path.name) for path in names)


def _vos_access() -> Access:
    return Access(
        address="https://github.com/jinlab-imvr/Surgical-SAM-2",
        steps="downloading from the links in the README of https://github.com/jinlab-imvr/Surgical-SAM-2",
        licence="As the authors of Surgical-SAM-2 say; the frames under the terms of the challenge.",
    )


def frames_only(archives: tuple[Archive, ...], access: Access) -> tuple[Archive, ...]:
    """The challenge's archives as the source of frames of a set with folders ``train`` and ``valid``."""
    return tuple(
        replace(archive, holds=("frames",), splits=(*FOLDERS, "holdout"), access=access) for archive in archives
    )


@dataclass(frozen=True)
class VosEndoVis17(_PublishedVos):
    """The object masks of Surgical-SAM-2 on EndoVis 2017; it is evaluated on the hold-out sequences 9 and 10.

    Object ids are opaque: they do not follow the types of the challenge. The archive is used as it is, with palette
    or grey label maps and PNG or JPEG frames; where it has no frames, those of the challenge are taken and cropped.
    """

    name: ClassVar[str] = "vos-endovis17"
    title: ClassVar[str] = "EndoVis 2017 with the object masks of Surgical-SAM-2"
    access: ClassVar[Access] = _vos_access()
    challenge: ClassVar[Literal[17, 18]] = 17
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(name="VOS-Endovis17.zip", holds=("labels",), splits=("holdout",), videos=seq_names(9, 10)),
        *frames_only(endovis17.FRAME_ARCHIVES, endovis17.ACCESS),
    )

    parts: tuple[Part, ...] = (Part("holdout", "valid", seq_names(9, 10), range(300)),)


@dataclass(frozen=True)
class VosEndoVis18(_PublishedVos):
    """The object masks of Surgical-SAM-2 on EndoVis 2018: 11 training and 4 validation sequences of 149 frames.

    Object ids are instances of one video. The archive is used as it is; where it has no frames, those of the
    challenge are copied.
    """

    name: ClassVar[str] = "vos-endovis18"
    title: ClassVar[str] = "EndoVis 2018 with the object masks of Surgical-SAM-2"
    access: ClassVar[Access] = _vos_access()
    challenge: ClassVar[Literal[17, 18]] = 18
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(name="VOS-Endovis18.zip", holds=("labels",), splits=FOLDERS, videos=endovis18.TRAIN + endovis18.VALID),
        *frames_only(endovis18.FRAME_ARCHIVES, endovis18.ACCESS),
    )

    parts: tuple[Part, ...] = (
        Part("train", "train", endovis18.TRAIN, range(149)),
        Part("valid", "valid", endovis18.VALID, range(149)),
    )


def _check_size(shape: tuple[int, ...], where: str) -> None:
    if shape[:2] != DataSet.image_hw:
        raise InputError(
            f"expected frames and labels of {DataSet.image_hw[1]}x{DataSet.image_hw[0]}, got {shape[1]}x{shape[0]} in "
            f"{where!r}; try the published archive"
        )

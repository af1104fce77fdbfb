"""Whole operations on video, which are segmented as they are: found and listed, not prepared."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from surgvos.data.cataract1k import Cataract1k
from surgvos.data.dataset import Access
from surgvos.errors import InputError
from surgvos.io.image_folder import IMAGE_SUFFIXES, ImageSequence, list_images, natural_key
from surgvos.io.video import VIDEO_SUFFIXES
from surgvos.io.video_file import VideoFile


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationSet:
    """A published set of videos of whole operations.

    Attributes:
        name: By which it is asked for.
        title: What it is.
        access: Where to get it.
        pattern: What the name of a video, or of a folder of its frames, looks like.
        expected: Names of videos; others that look like them may be there.
    """

    name: str
    title: str
    access: Access
    pattern: str
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """A video of a whole operation.

    Attributes:
        name: As it is published.
        path: Video file, or folder of frames, to segment.
        hw: Height and width in pixels; of the first frame, for a folder.
        fps: Frames per second; None where nothing says.
        num_frames: Frames of a folder; None for a file, which would have to be read to its end.
    """

    name: str
    path: Path
    hw: tuple[int, int]
    fps: float | None
    num_frames: int | None

    def __str__(self) -> str:
        frames = "" if self.num_frames is None else f", {self.num_frames} frames"
        clock = "" if self.fps is None else f", {self.fps:g} frames/s"
        return f"{self.name}: {self.hw[1]}x{self.hw[0]}{frames}{clock}, {self.path}"


def find_operations(known: OperationSet, root: str | Path) -> tuple[list[Operation], list[str]]:
    """Find the videos of a set in a folder, however deep: files, and folders of frames, by their names.

    Args:
        known: The set.
        root: Where to look; archives are not entered, as videos are not read out of them.

    Returns:
        The operations in natural order, and, one sentence each, what is there but cannot be read.

    Raises:
        InputError: There is no such folder, or no video of the set in it.
    """
    if not Path(root).is_dir():
        raise InputError(f"expected the folder of {known.title}, got {str(root)!r}, which is none")
    found, faults = [], []
    for path in _paths(known, Path(root)):
        try:
            found.append(_read(path))
        except InputError as error:
            faults.append(str(error))
    if not found and not faults:
        raise InputError(
            f"expected videos or folders of frames such as {known.expected[0]} in {str(root)!r}, got none; "
            f"try {known.access.steps}"
        )
    return found, faults


def missing_operations(known: OperationSet, found: list[Operation]) -> list[str]:
    """Names of published videos that were not found."""
    there = {operation.name for operation in found}
    return [name for name in known.expected if name not in there]


def _paths(known: OperationSet, root: Path) -> list[Path]:
    paths = []
    for place, subfolders, names in os.walk(root):
        folder = Path(place)
        if folder != root and re.fullmatch(known.pattern, folder.name) and _has_images(names):
            paths.append(folder)
            subfolders.clear()
            continue
        files = (folder / name for name in names if not name.startswith("."))
        videos = (path for path in files if path.suffix.lower() in VIDEO_SUFFIXES)
        paths += [path for path in videos if re.fullmatch(known.pattern, path.stem)]
    return sorted(paths, key=lambda path: (natural_key(Path(path.stem)), str(path)))


def _has_images(names: list[str]) -> bool:
    return any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names)


def _read(path: Path) -> Operation:
    if path.is_dir():
        frames = list_images(path)
        return Operation(path.name, path, ImageSequence(frames[:1], name=path.name).hw, None, len(frames))
    video = VideoFile(path)
    return Operation(path.stem, path, video.hw, video.fps, None)


def _set(name: str, title: str, access: Access, pattern: str, expected: tuple[str, ...]) -> OperationSet:
    return OperationSet(name=name, title=title, access=access, pattern=pattern, expected=expected)


OPERATIONS = {
    known.name: known
    for known in (
        _set(
            "cholec80",
            "Cholec80, 80 laparoscopic cholecystectomies",
            Access(
                address="https://camma.unistra.fr/datasets/",
                steps="requesting them at https://camma.unistra.fr/datasets/",
                licence="CC BY-NC-SA 4.0: not for commercial use.",
            ),
            r"video\d{2}",
            tuple(f"video{number:02d}" for number in range(1, 81)),
        ),
        _set(
            "cataracts",
            "CATARACTS, 50 cataract operations",
            Access(
                address="https://cataracts.grand-challenge.org/",
                steps="joining https://cataracts.grand-challenge.org (an account is needed)",
                licence="The terms of the challenge, which are accepted on joining; ask its organisers before other "
                "uses.",
            ),
            r"(train|test)\d{2}",
            tuple(f"{part}{number:02d}" for part in ("train", "test") for number in range(1, 26)),
        ),
        _set(
            "cataract1k-videos",
            "Cataract-1K, operations of which frames are labelled",
            Cataract1k.access,
            r"case_?\d+",
            tuple(name for names in Cataract1k().splits.values() for name in names),
        ),
    )
}
"""Sets of whole operations by name. `cadis`, `cholecseg8k` and `cataract1k` label frames of them."""

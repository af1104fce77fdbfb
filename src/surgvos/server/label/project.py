"""A project on disk: one folder that holds everything a person said of one video.

``project.json`` says which video and which label space, ``journal.jsonl`` holds every edit, ``masks/<frame>.png`` and
``object_classes.json`` are what it all comes to, in the layout that the other commands read, and ``place.json`` is
where the person was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

from surgvos.config.load import load_file, to_plain
from surgvos.core.labels import LabelSpace, object_palette
from surgvos.core.masks import masks_to_label_map
from surgvos.errors import ConfigError, InputError
from surgvos.io.image_folder import ImageSequence
from surgvos.io.label_spaces import ClassEntry, LabelSpaceFile
from surgvos.io.locks import try_lock
from surgvos.io.masks import write_label_map
from surgvos.io.results import write_json_atomic
from surgvos.io.video import open_video
from surgvos.io.video_file import VideoFile
from surgvos.server.label.journal import Journal, Step
from surgvos.server.label.labels import Change, Labels, SetObject

PROJECT, JOURNAL, MASKS, CLASSES, PLACE = (
    "project.json",
    "journal.jsonl",
    "masks",
    "object_classes.json",
    "place.json",
)
COMPLETE = ".complete"
"""Stands in the folder while all masks are written; without it they are written anew."""


LabelledVideo: TypeAlias = VideoFile | ImageSequence
"""What can be labelled: a video whose frames can be read in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEntry:
    """The video of a project.

    Attributes:
        path: Where it is, as seen from the project's folder, or absolute.
        name: By which results are named.
        width, height: In pixels.
        num_frames: Its length.
    """

    path: str
    name: str
    width: int
    height: int
    num_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFile:
    """What ``project.json`` says.

    Attributes:
        format: Of the folder.
        video: What is labelled.
        label_space: Classes that objects may have, or None.
    """

    format: int = 1
    video: VideoEntry
    label_space: LabelSpaceFile | None = None

    def __post_init__(self) -> None:
        if self.format != 1:
            raise ConfigError(f"expected a project of format 1, got {self.format}; try a newer surgvos")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a person was: the frame, and the object that clicks went to."""

    frame: int = 0
    object: int | None = None


class Project:
    """The labels of one video, and the folder that keeps them. One process has it open at a time.

    Attributes:
        folder: The project.
        video: What is labelled.
        file: What ``project.json`` says.
        labels: What holds now; changed by `do`, `undo` and `redo` alone.
        place: Where the person was.

    Args:
        folder: With a ``project.json``.
        video: The video that it names.

    Raises:
        InputError: Another process has the project open, or the video is not the one that was labelled.
    """

    def __init__(self, folder: Path, video: LabelledVideo) -> None:
        self.folder, self.video = folder, video
        self.file = read_project_file(folder)
        _check_video(self.file.video, video)
        self._lock = _take(folder)
        self._journal = Journal(folder / JOURNAL, video.hw)
        self.labels: Labels = self._journal.labels
        self.place = self._read_place()
        self._index_of = {frame_name(video, index): index for index in range(len(video))}
        self._stale: dict[int, None] = {}
        if not (folder / COMPLETE).exists():
            self._stale = dict.fromkeys(sorted({*self.labels.masks, *self.labels.locked, *self._written_frames()}))

    @property
    def classes(self) -> tuple[ClassEntry, ...]:
        """The label space, in order; empty without one."""
        return () if self.file.label_space is None else self.file.label_space.classes

    @property
    def history(self) -> tuple[Step | None, Step | None]:
        """What would be taken back, and what would be done again."""
        done, undone = self._journal.done, self._journal.undone
        return (done[-1] if done else None), (undone[-1] if undone else None)

    @property
    def steps(self) -> list[Step]:
        """Edits that can be taken back, the last one last."""
        return self._journal.done

    def new_step(self) -> int:
        """The number of an edit about to begin; see `do`."""
        return self._journal.new_step()

    def do(self, edit: str, frame: int, changes: Iterable[Change], step: int | None = None) -> list[Change]:
        """Make an edit, once it is written; see `Journal.do`."""
        made = self._journal.do(edit, frame, changes, step)
        self._note(made)
        return made

    def undo(self) -> Step | None:
        """Take the last edit back."""
        step = self._journal.undo()
        self._note(step.inverse if step else ())
        return step

    def redo(self) -> Step | None:
        """Do again what was taken back last."""
        step = self._journal.redo()
        self._note(step.changes if step else ())
        return step

    def sync(self) -> None:
        """Wait until every edit is on the disk itself; see `Journal.sync`."""
        self._journal.sync()

    def remember_place(self, place: Place) -> None:
        """Keep where the person is."""
        if place != self.place:
            self.place = place
            write_json_atomic(self.folder / PLACE, to_plain(place))

    def write_next(self) -> bool:
        """Bring one more file under ``masks/`` up to date; False when all are. Edits do not wait for these files."""
        frame = next(iter(self._stale), None)
        if frame is None:
            return False
        path = self.folder / MASKS / f"{frame_name(self.video, frame)}.png"
        if frame in self.labels.masks or frame in self.labels.locked:
            # A frame that something is said of has a file, be it that nothing is there.
            write_label_map(path, self.label_map(frame))
        else:
            path.unlink(missing_ok=True)
        del self._stale[frame]
        return True

    def close(self) -> None:
        """Write what is left to write, and let others open the project."""
        while self.write_next():
            pass
        (self.folder / COMPLETE).touch()
        self._journal.close()
        self._lock.close()

    def label_map(self, frame: int) -> np.ndarray:
        """All objects of a frame in one map, as ``masks/`` has it."""
        masks = {object_id: found.mask for object_id, found in self.labels.masks.get(frame, {}).items()}
        return masks_to_label_map(masks, self.video.hw)

    def _note(self, changes: Iterable[Change]) -> None:
        """Note which files no longer hold what they should."""
        changes = list(changes)
        if not changes:
            return
        (self.folder / COMPLETE).unlink(missing_ok=True)
        for change in changes:
            if not isinstance(change, SetObject):
                self._stale[change.frame] = None
        if any(isinstance(change, SetObject) for change in changes):
            named = {str(i): value.label or value.name for i, value in self.labels.objects.items()}
            write_json_atomic(self.folder / CLASSES, named)

    def _written_frames(self) -> set[int]:
        names = (path.stem for path in (self.folder / MASKS).glob("*.png"))
        return {self._index_of[name] for name in names if name in self._index_of}

    def _read_place(self) -> Place:
        try:
            place = load_file(Place, self.folder / PLACE)
        except ConfigError:
            return Place()
        return place if 0 <= place.frame < len(self.video) else Place()


def create_project(
    folder: Path, source: str | Path, video: LabelledVideo, label_space: LabelSpace | None = None
) -> None:
    """Make the folder of a project.

    Args:
        folder: New, or empty.
        source: Path of the video.
        video: The video.
        label_space: Classes that objects may have.

    Raises:
        InputError: The folder holds something else.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"expected a project or an empty folder, got {str(folder)!r}; try another --project")
    folder.mkdir(parents=True, exist_ok=True)
    entry = VideoEntry(
        path=_seen_from(folder, Path(source)),
        name=video.name,
        width=video.hw[1],
        height=video.hw[0],
        num_frames=len(video),
    )
    space = None if label_space is None else _space_to_file(label_space)
    write_json_atomic(folder / PROJECT, to_plain(ProjectFile(video=entry, label_space=space)))


def is_project(folder: Path) -> bool:
    """Whether a folder is that of a project."""
    return (folder / PROJECT).is_file()


def read_project_file(folder: Path) -> ProjectFile:
    """Read what ``project.json`` says.

    Raises:
        ConfigError: It is missing, or says something else.
    """
    return load_file(ProjectFile, folder / PROJECT)


def open_labelled_video(path: str | Path) -> LabelledVideo:
    """Open a video that can be labelled.

    Raises:
        InputError: It is none, or a stream.
    """
    video = open_video(path)
    if not isinstance(video, VideoFile | ImageSequence):
        raise InputError(f"expected a video file or a folder of images, got the stream {str(path)!r}")
    return video


def video_path(folder: Path) -> Path:
    """Where the video of a project is.

    Raises:
        ConfigError: The project cannot be read.
    """
    return folder / read_project_file(folder).video.path


def frame_name(video: LabelledVideo, index: int) -> str:
    """Stem under which results of a frame are written, as its `Frame` would say, without decoding it."""
    return video.paths[index].stem if isinstance(video, ImageSequence) else f"{index:05d}"


def default_color(object_id: int) -> tuple[int, int, int]:
    """The colour of an object that was given none; that of its id in palette PNGs."""
    red, green, blue = (int(value) for value in object_palette()[(object_id - 1) % 255 + 1])
    return red, green, blue


def _check_video(entry: VideoEntry, video: LabelledVideo) -> None:
    said = (entry.num_frames, (entry.height, entry.width))
    if said != (len(video), video.hw):
        raise InputError(
            f"expected the video that was labelled, {entry.num_frames} frames of {entry.width}x{entry.height}, got "
            f"{len(video)} of {video.hw[1]}x{video.hw[0]}; try another --project for another video"
        )


def _seen_from(folder: Path, path: Path) -> str:
    """A path that still holds when both are moved together."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return str(path.resolve())


def _space_to_file(space: LabelSpace) -> LabelSpaceFile:
    classes = tuple(ClassEntry(id=label.id, name=label.name, color=label.color) for label in space.labels)
    return LabelSpaceFile(classes=classes, background=space.background, ignore=space.ignore)


def _take(folder: Path) -> BinaryIO:
    """Hold a project for this process; the system lets go of it when the process ends, however it ends."""
    held = (folder / PROJECT).open("rb+")
    if not try_lock(held):
        held.close()
        raise InputError(
            f"expected a project that nobody has open, got {str(folder)!r}, which another surgvos label has open; "
            "try its page in the browser"
        )
    return held

"""What a data set is: where to get it, how it is split, how it is prepared, and its videos once it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from surgvos.core.labels import LabelSpace
from surgvos.data.archives import FileTree, first_names
from surgvos.data.prepared import (
    ANNOTATIONS,
    FRAMES,
    PROMPTS,
    Progress,
    VideoPlan,
    write_bytes,
    write_json,
    write_objects,
    write_video,
)
from surgvos.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where a data set is requested.

    Attributes:
        address: Web page.
        steps: What to do there, to follow "try": "registering at ... and downloading".
        licence: Terms, in one sentence.
    """

    address: str
    steps: str
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One file to download.

    Attributes:
        name: As it is published.
        holds: ``frames``, ``labels`` or both, as in `Gap.what`.
        splits: Names of splits it holds something of.
        videos: Names of videos it holds something of.
        access: Where to get it, when that is another place than the data set's.
        optional: The data set can be prepared without it.
    """

    name: str
    holds: tuple[str, ...]
    splits: tuple[str, ...]
    videos: tuple[str, ...]
    access: Access | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """Videos of one split.

    Attributes:
        split: Name of the split.
        folder: Where it lies in the prepared data set: ``train`` or ``valid``.
        videos: Their names.
        frames: Numbers of their frames, as in the names of the files; None where only the files themselves say.
    """

    split: str
    folder: str
    videos: tuple[str, ...]
    frames: range | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that a source lacks: ``frames`` or ``labels`` of a video; every frame is listed, if they are known."""

    part: Part
    video: str
    what: str
    frames: tuple[int, ...]

    def __str__(self) -> str:
        is_all = not self.frames or (self.part.frames is not None and len(self.frames) == len(self.part.frames))
        numbers = "" if is_all else f" ({_ranges(self.frames)})"
        return f"{self.what} of {self.video} in {self.part.split}{numbers}"


@dataclass(frozen=True, slots=True)
class Video:
    """A video of a prepared data set.

    Attributes:
        name: Of its folders.
        split: It belongs to.
        images: Folder of frames.
        annotations: Folder of label maps, pixel = object id.
        prompts: Folder of the label maps on whose frames an object first appears, or None.
    """

    name: str
    split: str
    images: Path
    annotations: Path
    prompts: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """How a data set is prepared.

    Attributes:
        partial: Prepare what is there and report the rest, instead of refusing.
        corrections: Apply published corrections of labels; see the data set.
    """

    partial: bool = False
    corrections: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What was prepared.

    Attributes:
        num_videos: Videos.
        num_frames: Frames in them.
        num_written: Frames of which something was written; the others were there from an earlier run.
        notes: What a user should know: corrections, doubts, what was left out.
    """

    num_videos: int
    num_frames: int
    num_written: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a source becomes a prepared data set: what each video is made of, what lacks, what is worth a note."""

    videos: tuple[tuple[Part, VideoPlan], ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet(ABC):
    """A published data set of videos with object masks.

    Class attributes say what is known of it; the fields say what of it is expected and can be made smaller.

    Attributes:
        parts: Its splits.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    access: ClassVar[Access]
    archives: ClassVar[tuple[Archive, ...]]
    label_spaces: ClassVar[Mapping[str, LabelSpace]]
    folds: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Validation videos of each fold of the split ``train``."""
    has_corrections: ClassVar[bool] = False
    in_clips: ClassVar[bool] = False
    """Whether a video of a split is prepared as several, named ``<video>_<first frame>``."""
    image_hw: ClassVar[tuple[int, int]] = (1024, 1280)
    """Height and width of prepared frames, in pixels."""

    parts: tuple[Part, ...]

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        """Split -> names of its videos."""
        found: dict[str, tuple[str, ...]] = {}
        for part in self.parts:
            found[part.split] = found.get(part.split, ()) + part.videos
        return found

    @abstractmethod
    def plan(self, files: FileTree, options: PrepareOptions) -> Plan:
        """Find out what a source holds, without decoding it."""

    def missing(self, files: FileTree) -> tuple[Gap, ...]:
        """What a source lacks to be prepared whole."""
        return self.plan(files, PrepareOptions()).gaps

    def prepare(
        self,
        sources: Sequence[str | Path],
        target: str | Path,
        options: PrepareOptions | None = None,
        progress: Progress | None = None,
    ) -> Preparation:
        """Write the data set in the layout of DAVIS, one folder per split; what is already there is kept.

        ``<target>/{train,valid}/JPEGImages/<video>/<frame>.png``, ``Annotations/<video>/<frame>.png`` (palette,
        pixel = object id) and, in ``valid``, ``VOS/Annotations_vos_instrument/<video>/<frame>.png`` (only frames on
        which an object first appears).

        Args:
            sources: Folders and archives that were downloaded.
            target: Where to write; nothing is written elsewhere.
            options: See `PrepareOptions`.
            progress: Called with frames done and frames in all.

        Raises:
            InputError: Something lacks, is damaged, or has labels, colours or sizes that are not known.
        """
        options = options or PrepareOptions()
        if not options.corrections and not self.has_corrections:
            raise InputError(f"expected a data set with corrections, got {self.name}, which has none to leave out")
        with FileTree.open(*sources, leave_out=target) as files:
            plan = self.plan(files, options)
            if (plan.gaps and not options.partial) or not plan.videos:
                raise self.lacking(plan.gaps, sources, partial_helps=bool(plan.videos))
            return self._write(plan, Path(target), progress or _quiet)

    def _write(self, plan: Plan, target: Path, progress: Progress) -> Preparation:
        num_all = sum(len(video.frames) for _, video in plan.videos)
        written: list[bool] = []
        listings: dict[str, dict[str, list[dict[str, object]]]] = {}

        def on_frame(was_written: bool) -> None:
            written.append(was_written)
            progress(len(written), num_all)

        for part, video in plan.videos:
            ids = write_video(video, target / part.folder, prompts=part.folder != "train", on_frame=on_frame)
            listings.setdefault(part.folder, {})[video.name] = video.listing(ids)
        for folder, listing in listings.items():
            write_objects(target / folder, listing)
        for name, content in plan.files.items():
            write_bytes(target / name, content)
        notes = (*plan.notes, *(f"not prepared: {gap}" for gap in plan.gaps))
        record = {"name": self.name, "title": self.title, "licence": self.access.licence, "notes": list(notes)}
        write_json(target / RECORD, {**record, "address": self.access.address})
        return Preparation(num_videos=len(plan.videos), num_frames=num_all, num_written=sum(written), notes=notes)

    def lacking(self, gaps: Sequence[Gap], sources: Sequence[str | Path], *, partial_helps: bool = False) -> InputError:
        """The error for a source that lacks something: it names what, the archives, and where to request them."""
        names: dict[str, list[str]] = {}
        for archive in self.archives_of(gaps):
            names.setdefault((archive.access or self.access).steps, []).append(archive.name)
        steps = "; ".join(f"{place}: {first_names(found, 8)}" for place, found in names.items())
        way_out = ", or --partial to prepare the rest" if partial_helps else ""
        return InputError(
            f"expected {first_names([str(gap) for gap in gaps])}, got none in "
            f"{', '.join(str(source) for source in sources)}; try {steps}{way_out}"
        )

    def archives_of(self, gaps: Sequence[Gap]) -> tuple[Archive, ...]:
        """The archives that would fill gaps."""
        return tuple(
            archive
            for archive in self.archives
            if any(
                gap.what in archive.holds and gap.part.split in archive.splits and gap.video in archive.videos
                for gap in gaps
            )
        )

    def videos(self, root: str | Path, split: str | None = None) -> tuple[Video, ...]:
        """The videos of a prepared data set, of one split or of all.

        Raises:
            InputError: There is no such split, or nothing prepared.
        """
        if split is not None and split not in self.splits:
            raise InputError(f"expected a split of {self.name} in {list(self.splits)}, got {split!r}")
        found = []
        for part in self.parts:
            folder = Path(root) / part.folder
            for video in part.videos if split in (None, part.split) else ():
                found += [found_video(folder, part.split, name) for name in self.prepared_names(folder, video)]
        if not found:
            raise InputError(
                f"expected videos of {self.name} in {str(root)!r}, got none; try 'surgvos data prepare {self.name}'"
            )
        return tuple(found)

    def prepared_names(self, folder: Path, video: str) -> list[str]:
        """What a video of a split became in the folder of the split: itself or its clips; empty if it is not there."""
        pattern = f"{video}_*" if self.in_clips else video
        return sorted(path.name for path in (folder / FRAMES).glob(pattern) if path.is_dir())


RECORD = "dataset.json"
"""What was prepared; written last, so that its absence says that a preparation did not end."""


def found_video(folder: Path, split: str, name: str) -> Video:
    """A video in the folder of a split."""
    prompts = folder / PROMPTS / name
    return Video(
        name=name,
        split=split,
        images=folder / FRAMES / name,
        annotations=folder / ANNOTATIONS / name,
        prompts=prompts if prompts.is_dir() else None,
    )


def collect(
    parts: Sequence[Part],
    has: Callable[[Part, str, str, int], bool],
    whats: Sequence[str] = ("frames", "labels"),
    numbers: Callable[[str], Sequence[int]] = lambda video: (),
) -> tuple[list[tuple[Part, str, tuple[int, ...]]], tuple[Gap, ...]]:
    """Compare what is expected with what is there.

    Args:
        parts: What is expected.
        has: Whether the source has ``what`` of a frame of a video of a part.
        whats: Kinds of things that a frame consists of.
        numbers: Video -> numbers of its frames in the source, ascending, for parts that do not know them.

    Returns:
        (part, video, complete frames) of every video that has some, and what lacks.
    """
    found, gaps = [], []
    for part in parts:
        for video in part.videos:
            expected = numbers(video) if part.frames is None else part.frames
            lacking = {what: tuple(n for n in expected if not has(part, what, video, n)) for what in whats}
            gaps += [Gap(part, video, what, frames) for what, frames in lacking.items() if frames or not expected]
            incomplete = {n for frames in lacking.values() for n in frames}
            complete = tuple(n for n in expected if n not in incomplete)
            if complete:
                found.append((part, video, complete))
    return found, tuple(gaps)


def seq_names(*numbers: int) -> tuple[str, ...]:
    """``1, 3`` -> ``("seq_1", "seq_3")``."""
    return tuple(f"seq_{number}" for number in numbers)


def _ranges(numbers: Sequence[int]) -> str:
    """``[0, 1, 2, 7]`` -> ``000-002, 007``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [f"{first:03d}" if first == last else f"{first:03d}-{last:03d}" for first, last in runs]
    return "frames " + first_names(shown)


def _quiet(num_done: int, num_in_all: int | None) -> None:
    """Show no progress."""

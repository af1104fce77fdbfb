"""Ref-EndoVis17 and -18: object masks with phrases that name the objects, on the frames of the challenges."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from surgvos.core.labels import LabelSpace
from surgvos.data import endovis17, endovis18
from surgvos.data.archives import FileTree
from surgvos.data.dataset import Access, Archive, DataSet, Part, Plan, PrepareOptions, collect, seq_names
from surgvos.data.endovis_vos import FOLDERS, LayoutSource, frames_only
from surgvos.data.phrases import PHRASES, Phrase, from_meta_expressions, in_spans, to_plain
from surgvos.data.prepared import as_json
from surgvos.errors import InputError

ACTIONS = (
    "idle",
    "manipulating tool",
    "performing knot tying",
    "suturing tissue",
    "manipulating tissue",
    "grasping tissue",
    "retracting tissue",
    "cutting tissue",
    "suctioning blood",
    "clipping tissue",
    "sensing vessels",
    "transecting vessel",
    "cauterizing tissue",
)
"""Action 1 is the first; action 0 is that of tissue, which does nothing."""

LOCATIONS = (
    "bottom left",
    "bottom center",
    "bottom right",
    "left",
    "center",
    "right",
    "top left",
    "top center",
    "top right",
)
"""Location 1 is the first."""

CORRECTIONS: Mapping[str, Mapping[str, Mapping[int, str]]] = {
    "ref-endovis17": {"seq_9": {2: "bipolar forceps", 4: "prograsp forceps"}},
    "ref-endovis18": {"seq_13": {2: "prograsp forceps", 3: "large needle driver"}},
}
"""Categories that the authors corrected after publication: data set -> training video -> object -> category."""

_META = re.compile(r"(?:^|/)(train|valid)/Meta/(seq_\d+)\.json$")
_EXPRESSIONS = re.compile(r"(?:^|/)(train|valid)/meta_expressions\.json$")


@dataclass(frozen=True, slots=True)
class Doing:
    """What an object does in one frame: an action, a place, and whether its category is the only one of its kind."""

    action: int
    location: int
    unique: bool


@dataclass(frozen=True, slots=True)
class Meta:
    """One ``Meta/seq_<n>.json``.

    Attributes:
        categories: Object id -> what it is.
        frames: Frame number -> object id -> what it does.
    """

    categories: Mapping[int, str]
    frames: Mapping[int, Mapping[int, Doing]]


def parse_meta(plain: Any, where: str, *, locate: bool) -> Meta:
    """Read a video's description.

    Args:
        plain: Content of the file.
        where: The file, for messages.
        locate: Places will be named, so they must have names; see `phrase_of`.

    Raises:
        InputError: It has another shape, or an action or a location without a name.
    """
    try:
        categories = {int(i): str(name) for i, name in plain["info"]["category"].items()}
        frames = {
            int(number): {
                int(i): Doing(int(item["action"]), int(item.get("location", 0)), bool(item.get("unique", True)))
                for i, item in objects.items()
            }
            for number, objects in plain["frames"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "expected {'info': {'category': {id: name}}, 'frames': {frame: {id: {'action', 'location', 'unique'}}}}, "
            f"got {where!r} ({type(error).__name__}: {error})"
        ) from error
    for number, objects in frames.items():
        for object_id, doing in objects.items():
            if object_id not in categories:
                raise InputError(
                    f"expected a category of object {object_id} (frame {number:05d}), got none in {where!r}"
                )
            if not 0 <= doing.action <= len(ACTIONS):
                raise InputError(f"expected an action in 0..{len(ACTIONS)}, got {doing.action} in {where!r}")
            if locate and doing.action and not doing.unique and not 1 <= doing.location <= len(LOCATIONS):
                raise InputError(f"expected a location in 1..{len(LOCATIONS)}, got {doing.location} in {where!r}")
    return Meta(categories, frames)


def phrase_of(category: str, doing: Doing, *, locate: bool) -> str:
    """The sentence that the authors train with.

    Args:
        category: What the object is.
        doing: What it does; action 0 gives the category alone.
        locate: Say where, if the category is not unique in the frame (EndoVis 2017).

    Reference: Liu et al., "ReSurgSAM2", arXiv 2505.08581; the grammar is that of their published data loader.
    """
    if doing.action == 0:
        return category
    verb = "are" if category.endswith("s") else "is"
    sentence = f"{category} {verb} {ACTIONS[doing.action - 1]}"
    return sentence if doing.unique or not locate else f"{sentence} on the {LOCATIONS[doing.location - 1]}"


def phrases_of(meta: Meta, *, locate: bool) -> tuple[Phrase, ...]:
    """All sentences of a video, with the frames in which each is true."""
    return in_spans(
        (number, phrase_of(meta.categories[object_id], doing, locate=locate), object_id)
        for number, objects in meta.frames.items()
        for object_id, doing in objects.items()
    )


@dataclass(frozen=True)
class _RefEndoVis(DataSet):
    """What both have in common."""

    challenge: ClassVar[Literal[17, 18]]
    label_spaces: ClassVar[Mapping[str, LabelSpace]] = {}
    has_corrections: ClassVar[bool] = True

    def plan(self, files: FileTree, options: PrepareOptions) -> Plan:
        """See `DataSet.plan`; phrases are read, as they are small."""
        source = LayoutSource(files, self.challenge)
        texts = _Texts(files, self.name if options.corrections else None, locate=self.challenge == 17)

        def has(part: Part, what: str, video: str, number: int) -> bool:
            return texts.has(part, video) if what == "phrases" else source.has(part, what, video, number)

        videos, gaps = collect(self.parts, has, ("frames", "labels", "phrases"))
        plans = []
        for part, video, frames in videos:
            meta = texts.metas.get((part.folder, video))
            plans.append((part, source.video(part, video, frames, meta.categories if meta else {})))
        wanted = {(part.folder, video) for part, video, _ in videos}
        return Plan(tuple(plans), gaps, tuple(texts.notes), texts.files_of(wanted))


@dataclass
class _Texts:
    """Phrases and descriptions of a source, corrected.

    Attributes:
        files: The source.
        corrected_set: Data set whose corrections are applied, or None.
        locate: See `phrase_of`.
    """

    files: FileTree
    corrected_set: str | None
    locate: bool
    metas: dict[tuple[str, str], Meta] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    asked: dict[str, dict[str, tuple[Phrase, ...]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.files:
            if found := _META.search(name):
                self._read_meta(found[1], found[2], name)
            elif found := _EXPRESSIONS.search(name):
                where = self.files.where(name)
                self.asked[found[1]] = from_meta_expressions(_read_json(self.files, name), where)
                self.contents[f"{found[1]}/meta_expressions.json"] = self.files.read(name)

    def has(self, part: Part, video: str) -> bool:
        """Whether there are phrases of a video: those that are asked, or what they are made from."""
        if part.folder == "valid":
            return bool(self.asked.get(part.folder, {}).get(video))
        return (part.folder, video) in self.metas

    def files_of(self, wanted: set[tuple[str, str]]) -> dict[str, bytes]:
        """What is written beside the masks: the published files, and all phrases in our format."""
        books: dict[str, dict[str, tuple[Phrase, ...]]] = {folder: {} for folder in FOLDERS}
        for folder, video in sorted(wanted):
            asked = self.asked.get(folder, {}).get(video)
            meta = self.metas.get((folder, video))
            if asked is not None:
                books[folder][video] = asked
            elif meta is not None:
                books[folder][video] = phrases_of(meta, locate=self.locate)
        texts = {f"{folder}/{PHRASES}": as_json(to_plain(book)) for folder, book in books.items() if book}
        return {**self.contents, **texts}

    def _read_meta(self, folder: str, video: str, name: str) -> None:
        plain = _read_json(self.files, name)
        content = self.files.read(name)
        meta = parse_meta(plain, self.files.where(name), locate=self.locate)
        corrections = CORRECTIONS.get(self.corrected_set or "", {}).get(video, {}) if folder == "train" else {}
        changed = {i: new for i, new in corrections.items() if meta.categories.get(i) not in (None, new)}
        if changed:
            for object_id, category in changed.items():
                before = plain["info"]["category"][str(object_id)]
                plain["info"]["category"][str(object_id)] = category
                self.notes.append(f"{folder}/{video}: object {object_id} is {category}, not {before} (corrected)")
            meta = parse_meta(plain, self.files.where(name), locate=self.locate)
            content = as_json(plain)
        self.metas[folder, video] = meta
        self.contents[f"{folder}/Meta/{video}.json"] = content


def _access(number: int) -> Access:
    address = f"https://huggingface.co/datasets/HeverLaw/Ref-EndoVis{number}"
    return Access(
        address=address,
        steps=f"downloading from {address}",
        licence="As the authors of ReSurgSAM2 say there; the frames under the terms of the challenge.",
    )


TRAIN_17, VALID_17 = seq_names(1, 3, 4, 7, 8, 9, 10), seq_names(2, 5, 6)


@dataclass(frozen=True)
class RefEndoVis17(_RefEndoVis):
    """Ref-EndoVis17: seven training and three validation sequences of 300 frames, each training and test part joined.

    Another split than that of ``endovis17`` and ``vos-endovis17``: results are not comparable. ``phrases.json`` in
    each folder has all phrases in one format. Corrections are the authors': the tools of ``seq_9`` were swapped.

    Reference: Liu et al., "ReSurgSAM2", arXiv 2505.08581.
    """

    name: ClassVar[str] = "ref-endovis17"
    title: ClassVar[str] = "Ref-EndoVis17, phrases and object masks of ReSurgSAM2"
    access: ClassVar[Access] = _access(17)
    challenge: ClassVar[Literal[17, 18]] = 17
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(name="Ref-Endovis17.zip", holds=("labels", "phrases"), splits=FOLDERS, videos=TRAIN_17 + VALID_17),
        *frames_only(endovis17.FRAME_ARCHIVES, endovis17.ACCESS),
    )

    parts: tuple[Part, ...] = (
        Part("train", "train", TRAIN_17, range(300)),
        Part("valid", "valid", VALID_17, range(300)),
    )


@dataclass(frozen=True)
class RefEndoVis18(_RefEndoVis):
    """Ref-EndoVis18: the usual split of EndoVis 2018; objects 1-10 are instruments, 11, 12 and 17 are tissue.

    Corrections are the authors': the tools of ``seq_13`` were named wrongly.

    Reference: Liu et al., "ReSurgSAM2", arXiv 2505.08581.
    """

    name: ClassVar[str] = "ref-endovis18"
    title: ClassVar[str] = "Ref-EndoVis18, phrases and object masks of ReSurgSAM2"
    access: ClassVar[Access] = _access(18)
    challenge: ClassVar[Literal[17, 18]] = 18
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            name="Ref-Endovis18.zip",
            holds=("labels", "phrases"),
            splits=FOLDERS,
            videos=endovis18.TRAIN + endovis18.VALID,
        ),
        *frames_only(endovis18.FRAME_ARCHIVES, endovis18.ACCESS),
    )

    parts: tuple[Part, ...] = (
        Part("train", "train", endovis18.TRAIN, range(149)),
        Part("valid", "valid", endovis18.VALID, range(149)),
    )


def _read_json(files: FileTree, name: str) -> Any:
    try:
        return json.loads(files.read(name))
    except ValueError as error:
        raise InputError(f"expected JSON, got {files.where(name)!r} ({error})") from error

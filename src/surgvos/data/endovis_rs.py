"""The expressions of EndoVis-RS17 and -RS18: windows of frames with a sentence; slips are corrected and reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from surgvos.data.phrases import Phrase, in_spans
from surgvos.errors import InputError

INSTRUMENTS = (
    "bipolar forceps",
    "prograsp forceps",
    "large needle driver",
    "monopolar curved scissors",
    "suction",
    "clip applier",
    "ultrasound probe",
    "vessel sealer",
    "grasping retractor",
)
"""What instruments are called in Ref-EndoVis too."""

_SPELLING = {"cliping": "clipping"}
_FRAME = re.compile(r"^(seq_\d+)_frame(\d+)$")
_VERB = re.compile(r" (?:is|are|on the)\b")


@dataclass(frozen=True, slots=True)
class Window:
    """One entry of a file: frames of a video in which a sentence is true of an object."""

    video: str
    frames: tuple[int, ...]
    phrase: str
    object_id: int
    expression_id: str


@dataclass(frozen=True, slots=True)
class Change:
    """What was corrected in an expression, and why."""

    video: str
    expression_id: str
    before: str
    after: str
    reason: str

    def __str__(self) -> str:
        return f"{self.video}, expression {self.expression_id}: {self.before!r} -> {self.after!r} ({self.reason})"


def is_endovis_rs(plain: Any) -> bool:
    """Whether plain data has the shape of an EndoVis-RS file: ``[[video, [frames], {exp, obj_id, exp_id}], ...]``."""
    return isinstance(plain, list) and bool(plain) and isinstance(plain[0], list) and len(plain[0]) == 3


def parse_windows(plain: Any, where: str) -> list[Window]:
    """Read the entries of a file as they are.

    Raises:
        InputError: An entry has another shape.
    """
    windows = []
    for number, entry in enumerate(plain):
        try:
            video, frames, item = entry
            found = [_FRAME.match(frame) for frame in frames]
            if not frames or any(match is None or match[1] != video for match in found):
                raise ValueError(f"frames {frames} of {video}")
            numbers = tuple(int(match[2]) for match in found if match)
            windows.append(Window(video, numbers, str(item["exp"]), int(item["obj_id"]), str(item["exp_id"])))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"expected [video, [frames], {{'exp', 'obj_id', 'exp_id'}}] as entry {number} of {where!r}, got "
                f"{str(entry)[:120]} ({type(error).__name__}: {error})"
            ) from error
    return windows


def clean(windows: Iterable[Window]) -> tuple[list[Window], tuple[Change, ...]]:
    """Correct slips: blanks, capitals, misspelt words, names of instruments, ids that contradict the name.

    An id contradicts the name where nearly all other windows give that id to another instrument, and this
    instrument has exactly one id of its own. Where it has several, the window stays and the doubt is reported.

    Returns:
        The windows in their order, and each change of an expression once.
    """
    cleaned = list(windows)
    changes: dict[tuple[str, str, str], Change] = {}
    for reason, edit in _TEXT_EDITS:
        for place, window in enumerate(cleaned):
            after = edit(window.phrase)
            if after != window.phrase:
                change = Change(window.video, window.expression_id, window.phrase, after, reason)
                changes[window.video, window.expression_id, reason] = change
                cleaned[place] = replace(window, phrase=after)
    ids_of = _ids_of_instruments(cleaned)
    for place, window in enumerate(cleaned):
        ids = ids_of.get(instrument_of(window.phrase) or "", {window.object_id})
        if window.object_id in ids:
            continue
        reason = "another instrument's id" if len(ids) == 1 else "doubtful: another instrument's id; left as it is"
        object_id = next(iter(ids)) if len(ids) == 1 else window.object_id
        before, after = (f"{window.phrase} [object {i}]" for i in (window.object_id, object_id))
        changes[window.video, window.expression_id, reason] = Change(
            window.video, window.expression_id, before, after, reason
        )
        cleaned[place] = replace(window, object_id=object_id)
    return cleaned, tuple(changes.values())


def to_phrases(windows: Iterable[Window]) -> dict[str, tuple[Phrase, ...]]:
    """Join windows to phrases with the frames in which they are true."""
    frames: dict[str, list[tuple[int, str, int]]] = {}
    for window in windows:
        triples = ((number, window.phrase, window.object_id) for number in window.frames)
        frames.setdefault(window.video, []).extend(triples)
    return {video: in_spans(found) for video, found in frames.items()}


def instrument_of(phrase: str) -> str | None:
    """The instrument that a phrase begins with, or None."""
    return next((name for name in INSTRUMENTS if phrase.startswith(name)), None)


def _ids_of_instruments(windows: list[Window]) -> dict[str, set[int]]:
    """Instrument -> ids of which it has the most windows."""
    votes: dict[int, dict[str, int]] = {}
    for window in windows:
        if name := instrument_of(window.phrase):
            found = votes.setdefault(window.object_id, {})
            found[name] = found.get(name, 0) + len(window.frames)
    ids: dict[str, set[int]] = {}
    for object_id, found in votes.items():
        ids.setdefault(max(found, key=lambda name: found[name]), set()).add(object_id)
    return ids


def _plain_name(phrase: str) -> str:
    """``suction scissors is idle`` -> ``suction is idle``: nothing follows the name of an instrument but the verb."""
    name = instrument_of(phrase)
    verb = _VERB.search(phrase)
    return name + phrase[verb.start() :] if name and verb else phrase


_TEXT_EDITS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("blanks", lambda phrase: " ".join(phrase.split())),
    ("capitals", str.lower),
    ("spelling", lambda phrase: " ".join(_SPELLING.get(word, word) for word in phrase.split(" "))),
    ("name of the instrument", _plain_name),
)

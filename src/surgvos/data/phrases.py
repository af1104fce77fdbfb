"""Phrases that name objects of videos, in one documented file format, and what they are converted from."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from surgvos.data.prepared import write_json
from surgvos.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """One phrase for one object of one video.

    Attributes:
        phrase: What a user would say.
        object: Id of the object that it names, or None where the video shows no such object.
        start: Name of the frame from which it is asked; None: the first.
        stop: Name of the last frame in which it is true; None: the last.
    """

    phrase: str
    object: int | None
    start: str | None = None
    stop: str | None = None


PhraseBook = Mapping[str, tuple[Phrase, ...]]
"""Video -> its phrases; an object may have several."""

PHRASES = "phrases.json"
"""Name of the file in the folder of a split."""

_KNOWN = ("phrase", "object", "start", "stop")
_MIRRORED = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"}


def read_phrases(path: str | Path) -> dict[str, tuple[Phrase, ...]]:
    """Read a file of phrases, in the format of `write_phrases`.

    Raises:
        InputError: It is no JSON of this shape; the sentence says which video and phrase, and what is wrong.
    """
    path = Path(path)
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected a JSON file of phrases, got {str(path)!r} ({error})") from error
    return parse_phrases(plain, str(path))


def parse_phrases(plain: Any, where: str) -> dict[str, tuple[Phrase, ...]]:
    """Read phrases from plain data; ``where`` stands in messages.

    Raises:
        InputError: See `read_phrases`.
    """
    book: dict[str, tuple[Phrase, ...]] = {}
    for video, entry in _videos(plain, where).items():
        expressions = entry.get("expressions") if isinstance(entry, dict) else None
        if not isinstance(expressions, list):
            raise InputError(f"expected a list 'expressions' of video {video!r}, got {_kind(expressions)} in {where!r}")
        book[video] = tuple(
            _phrase(item, f"expression {number} of video {video!r} in {where!r}")
            for number, item in enumerate(expressions)
        )
    return book


def write_phrases(path: str | Path, book: PhraseBook) -> None:
    """Write phrases as ``{"videos": {name: {"expressions": [{"phrase", "object", "start", "stop"}]}}}``.

    Raises:
        SurgvosError: The disk is full or the folder not writable.
    """
    write_json(Path(path), to_plain(book))


def to_plain(book: PhraseBook) -> dict[str, Any]:
    """The plain data of a file of phrases; what is None is left out, but for ``object``."""
    videos = {
        video: {
            "expressions": [
                {key: value for key, value in asdict(phrase).items() if value is not None or key == "object"}
                for phrase in phrases
            ]
        }
        for video, phrases in book.items()
    }
    return {"videos": videos}


def is_meta_expressions(plain: Any) -> bool:
    """Whether plain data has the shape of ``meta_expressions.json``: expressions by their id, not in a list."""
    videos = plain.get("videos") if isinstance(plain, dict) else None
    return isinstance(videos, dict) and any(
        isinstance(entry, dict) and isinstance(entry.get("expressions"), dict) for entry in videos.values()
    )


def from_meta_expressions(plain: Any, where: str) -> dict[str, tuple[Phrase, ...]]:
    """Convert the ``meta_expressions.json`` of Ref-EndoVis (and of referring video sets alike).

    Expressions are asked from the first frame on, as in the published evaluation, which does not use the file's
    ``first_frame``.

    Raises:
        InputError: A video or an expression has another shape.
    """
    book: dict[str, tuple[Phrase, ...]] = {}
    for video, entry in _videos(plain, where).items():
        expressions = entry.get("expressions") if isinstance(entry, dict) else None
        if not isinstance(expressions, dict):
            raise InputError(f"expected 'expressions' by id of video {video!r}, got {_kind(expressions)} in {where!r}")
        found = []
        for number, item in expressions.items():
            if not isinstance(item, dict) or not {"exp", "obj_id"} <= item.keys():
                raise InputError(
                    f"expected 'exp' and 'obj_id' in expression {number} of video {video!r}, got {item!r} in {where!r}"
                )
            found.append(
                _phrase(
                    {"phrase": item["exp"], "object": _as_id(item["obj_id"])},
                    f"expression {number} of video {video!r} in {where!r}",
                )
            )
        book[video] = tuple(found)
    return book


def mirrored(phrase: str) -> str:
    """Say of a mirrored image what a phrase says of the image.

    Example:
        >>> mirrored("bipolar forceps are idle on the top left")
        'bipolar forceps are idle on the top right'
    """
    return re.sub(rf"\b({'|'.join(_MIRRORED)})\b", lambda word: _MIRRORED[word[0]], phrase)


def in_spans(frames: Iterable[tuple[int, str, int]]) -> tuple[Phrase, ...]:
    """Join what is true frame by frame: consecutive frames with one phrase for one object become one entry.

    Args:
        frames: (frame number, phrase, object id).

    Returns:
        Phrases with ``start`` and ``stop``, by object and then by time.
    """
    spans: list[tuple[int, str, int, int]] = []
    for object_id, phrase, number in sorted({(object_id, phrase, number) for number, phrase, object_id in frames}):
        if spans and spans[-1][:2] == (object_id, phrase) and spans[-1][3] == number - 1:
            spans[-1] = (object_id, phrase, spans[-1][2], number)
        else:
            spans.append((object_id, phrase, number, number))
    spans.sort(key=lambda span: (span[0], span[2], span[1]))
    return tuple(
        Phrase(phrase=phrase, object=object_id, start=f"{first:05d}", stop=f"{last:05d}")
        for object_id, phrase, first, last in spans
    )


def _videos(plain: Any, where: str) -> dict[str, Any]:
    videos = plain.get("videos") if isinstance(plain, dict) else None
    if not isinstance(videos, dict):
        raise InputError(
            f"expected {{'videos': {{name: {{'expressions': [...]}}}}}}, got {_kind(plain)} without it in {where!r}"
        )
    return videos


def _phrase(item: Any, where: str) -> Phrase:
    if not isinstance(item, dict):
        raise InputError(f"expected an object with 'phrase' and 'object', got {_kind(item)} in {where}")
    unknown = sorted(item.keys() - set(_KNOWN))
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], _KNOWN, 1)
        raise InputError(
            f"expected keys in {list(_KNOWN)}, got {unknown[0]!r} in {where}; try {(nearest or _KNOWN)[0]!r}"
        )
    if "object" not in item:
        raise InputError(f"expected 'object', got none in {where}; try an object id, or null for what is not there")
    text = item.get("phrase")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"expected a phrase, got {text!r} in {where}")
    object_id = item["object"]
    is_id = isinstance(object_id, int) and not isinstance(object_id, bool) and 1 <= object_id <= 65535
    if object_id is not None and not is_id:
        raise InputError(f"expected an object id in 1..65535 or null, got {object_id!r} in {where}")
    for key in ("start", "stop"):
        if not isinstance(item.get(key), str | None):
            raise InputError(f"expected the name of a frame as {key!r}, got {item[key]!r} in {where}; try '00017'")
    return Phrase(phrase=text, object=object_id, start=item.get("start"), stop=item.get("stop"))


def _as_id(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}")

"""Read phrases from whichever known file they stand in."""

from __future__ import annotations

import json
from pathlib import Path

from surgvos.data.endovis_rs import Change, clean, is_endovis_rs, parse_windows, to_phrases
from surgvos.data.phrases import Phrase, from_meta_expressions, is_meta_expressions, parse_phrases
from surgvos.errors import InputError


def import_phrases(path: str | Path) -> tuple[dict[str, tuple[Phrase, ...]], tuple[Change, ...]]:
    """Read our own format, ``meta_expressions.json``, or a file of EndoVis-RS.

    Returns:
        Video -> phrases, and what was corrected.

    Raises:
        InputError: It is none of these.
    """
    path = Path(path)
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected a JSON file of phrases, got {str(path)!r} ({error})") from error
    if is_endovis_rs(plain):
        windows, changes = clean(parse_windows(plain, str(path)))
        return to_phrases(windows), changes
    if is_meta_expressions(plain):
        return from_meta_expressions(plain, str(path)), ()
    return parse_phrases(plain, str(path)), ()

"""JSON files of lists that may be longer than memory, written item by item; and what to say of files that are wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from surgvos.errors import InputError


def write_list(file: TextIO, items: Iterable[Any]) -> None:
    """Write a JSON list, one item per line."""
    file.write("[")
    for number, item in enumerate(items):
        file.write(",\n" if number else "\n")
        json.dump(item, file, separators=(",", ":"), allow_nan=False)
    file.write("\n]")


def write_object(file: TextIO, values: dict[str, Any]) -> None:
    """Write a JSON object whose iterators become lists, one after the other, in the order given."""
    file.write("{")
    for number, (key, value) in enumerate(values.items()):
        file.write(f"{',' if number else ''}\n{json.dumps(key)}: ")
        if isinstance(value, Iterator):
            write_list(file, value)
        else:
            json.dump(value, file, allow_nan=False)
    file.write("\n}\n")


def read_json_file(path: Path, what: str) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It is missing, or no JSON; ``what`` says what was expected.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no JSON"
        raise InputError(f"expected {what}, got {str(path)!r} ({reason}); try another file") from error


@contextmanager
def explaining(path: Path, what: str) -> Iterator[None]:
    """Turn what goes wrong while a file is taken apart into one sentence.

    Raises:
        InputError: Something that should be there is not, or is of another type.
    """
    try:
        yield
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise InputError(f"expected {what}, got {str(path)!r} with something else ({reason})") from error


def file_in(path: Path, *names: str) -> Path:
    """The first of these files in a folder, or the file itself if ``path`` is one.

    Raises:
        InputError: There is none.
    """
    if path.is_file():
        return path
    for name in names:
        if found := sorted(path.glob(name)):
            return found[0]
    raise InputError(f"expected {' or '.join(names)}, got {str(path)!r} without; try the file itself")

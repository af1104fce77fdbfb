"""Which class each object is of, from JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError


@dataclass(frozen=True, slots=True)
class ObjectClasses:
    """The class of each object, for all videos alike or for each by itself.

    Attributes:
        everywhere: Object id -> class, as an id or a name.
        videos: Video -> object id -> class; what it says goes before ``everywhere``.
    """

    everywhere: Mapping[int, int | str]
    videos: Mapping[str, Mapping[int, int | str]]

    def of_video(self, video: str) -> dict[int, int | str]:
        """Object id -> class, in one video."""
        return {**self.everywhere, **self.videos.get(video, {})}

    def names_of_video(self, video: str, classes: LabelSpace | None = None) -> dict[int, str]:
        """Object id -> name of its class; ids are named by a label space, or by themselves."""
        return {
            object_id: str(found) if classes is None or isinstance(found, str) else classes[found].name
            for object_id, found in self.of_video(video).items()
        }

    def ids_of_video(self, video: str, classes: LabelSpace) -> dict[int, int]:
        """Object id -> id of its class.

        Raises:
            InputError: The label space has no such name or id.
        """
        by_name = {label.name: label.id for label in classes.labels}
        ids: dict[int, int] = {}
        for object_id, found in self.of_video(video).items():
            if isinstance(found, str) and found not in by_name:
                raise InputError(
                    f"expected the class of object {object_id} in {', '.join(by_name)}, got {found!r}; "
                    "try other --classes"
                )
            ids[object_id] = by_name[found] if isinstance(found, str) else classes[found].id
        return ids


def read_object_classes(path: str | Path) -> ObjectClasses:
    """Read the class of each object from JSON.

    ``{"1": "bipolar forceps", "3": 3}`` holds for every video, ``{"seq_2": {"1": "bipolar forceps"}}`` for one; both
    may stand in one file.

    Raises:
        InputError: The file is missing or says something else.
    """
    found = read_json(path)
    try:
        everywhere = {int(key): _class(value) for key, value in found.items() if not isinstance(value, dict)}
        videos = {
            video: {int(key): _class(value) for key, value in entries.items()}
            for video, entries in found.items()
            if isinstance(entries, dict)
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f'expected {{"object id": "class", ...}} in {str(path)!r}, perhaps by video, got something else'
        ) from error
    return ObjectClasses(everywhere, videos)


def _class(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(value)
    return value


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It is missing, or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected a JSON file, got {str(path)!r}, which cannot be read as one") from error

"""Which classes there are, and which class each object is of, from JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgvos.core.labels import Label, LabelSpace, object_palette
from surgvos.errors import InputError


def numbered_classes(num_classes: int, *, ignore: int | None = None) -> LabelSpace:
    """Make a label space of the ids 1 to ``num_classes``, named by their numbers."""
    return LabelSpace.from_names([str(i) for i in range(1, num_classes + 1)], ignore=ignore)


def read_label_space(path: str | Path, *, ignore: int | None = None) -> LabelSpace:
    """Read a label space from JSON: ``["grasper", ...]`` counted from 1, or ``{"1": "grasper", ...}``.

    The second form may also say ``"background"`` (0 where left out) and ``"ignore"``, each with an id; the argument
    ``ignore`` goes before the latter.

    Raises:
        InputError: The file is missing or says something else.

    Example:
        >>> read_label_space("classes.json").labels[0].name  # doctest: +SKIP
        'grasper'
    """
    found = _read_json(Path(path))
    if isinstance(found, list):
        found = {str(number): name for number, name in enumerate(found, start=1)}
    try:
        special = {key: int(found[key]) for key in ("background", "ignore") if key in found}
        names = {int(key): str(name) for key, name in found.items() if key not in special}
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f'expected ["name", ...] or {{"id": "name", ...}} in {str(path)!r}, got something else'
        ) from error
    palette = object_palette(1 + max(names, default=0))
    labels = tuple(
        Label(i, name, (int(palette[i][0]), int(palette[i][1]), int(palette[i][2])))
        for i, name in sorted(names.items())
    )
    ignored = special.get("ignore") if ignore is None else ignore
    return LabelSpace(labels, background=special.get("background", 0), ignore=ignored)


def read_folds(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read folds from JSON: name of each fold -> its videos.

    Raises:
        InputError: The file is missing or says something else.
    """
    found = _read_json(Path(path))
    is_valid = isinstance(found, dict) and all(
        isinstance(videos, list) and all(isinstance(video, str) for video in videos) for videos in found.values()
    )
    if not is_valid or not found:
        raise InputError(f'expected {{"fold": ["video", ...], ...}} in {str(path)!r}, got something else')
    return {str(fold): tuple(videos) for fold, videos in found.items()}


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
    found = _read_json(Path(path))
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


def present_ids(label_map: np.ndarray) -> list[int]:
    """Return the ids of a label map, ascending; faster than sorting its pixels.

    Example:
        >>> present_ids(np.array([[3, 0, 3]], np.uint8))
        [0, 3]
    """
    is_there = np.zeros(int(label_map.max(initial=0)) + 1, dtype=bool)
    is_there[label_map] = True
    return np.flatnonzero(is_there).tolist()


def _class(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(value)
    return value


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected a JSON file, got {str(path)!r}, which cannot be read as one") from error

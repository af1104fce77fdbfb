"""Read classes and folds from the words of a command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.evaluation.class_counts import numbered_classes
from surgvos.evaluation.object_classes import read_json

_JSON = ".json"


def parse_classes(text: str, ignore: int | None = None) -> LabelSpace:
    """Read ``7``, the name of a label space, or a file.

    Args:
        text: What was given.
        ignore: Id of pixels that are not scored, whatever the label space says of it.

    Raises:
        InputError, ConfigError: There is no such label space or file.
    """
    from surgvos.io.label_spaces import find_label_space

    if text.isdecimal() and int(text) > 0:
        return numbered_classes(int(text), ignore=ignore)
    space = find_label_space(text)
    return space if ignore is None else replace(space, ignore=ignore)


def parse_folds(text: str) -> dict[str, tuple[str, ...]]:
    """Read a JSON file, ``{"0": ["seq_1", "seq_3"]}``, or take those of a data set.

    Raises:
        InputError: The file is no such file, or the data set is not known or has no folds.
    """
    if text.endswith(_JSON) or Path(text).is_file():
        return _read_folds(text)

    from surgvos.data.datasets import dataset_by_name

    folds = dataset_by_name(text).folds
    if not folds:
        raise InputError(f"expected a data set with folds, got {text!r}; try a JSON file")
    return {str(number): tuple(videos) for number, videos in enumerate(folds)}


def _read_folds(path: str) -> dict[str, tuple[str, ...]]:
    found = read_json(path)
    is_valid = isinstance(found, dict) and all(
        isinstance(videos, list) and all(isinstance(video, str) for video in videos) for videos in found.values()
    )
    if not is_valid or not found:
        raise InputError(f'expected {{"fold": ["video", ...], ...}} in {path!r}, got something else')
    return {str(fold): tuple(videos) for fold, videos in found.items()}

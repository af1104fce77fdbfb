"""Read classes and folds from the words of a command line."""

from __future__ import annotations

from pathlib import Path

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.evaluation.label_tables import numbered_classes, read_folds, read_label_space

_JSON = ".json"


def parse_classes(text: str, ignore: int | None = None) -> LabelSpace:
    """Read ``7``, ``classes.json``, or a data set's label space: ``endovis18``, ``endovis17:parts``.

    Args:
        text: What was given.
        ignore: Id of pixels that are not scored, whatever the label space says of it.

    Raises:
        InputError: There is no such file or label space.
        ConfigError: There is no such data set.
    """
    if text.isdecimal() and int(text) > 0:
        return numbered_classes(int(text), ignore=ignore)
    if text.endswith(_JSON) or Path(text).is_file():
        return read_label_space(text, ignore=ignore)

    from surgvos.data.datasets import dataset_by_name

    name, _, kind = text.partition(":")
    spaces = dataset_by_name(name).label_spaces
    kind = kind or "type"
    if kind not in spaces:
        known = ", ".join(f"{name}:{kind}" for kind in spaces) or "none"
        raise InputError(f"expected a label space of {known}, got {text!r}; try a JSON file of names")
    space = spaces[kind]
    return LabelSpace(space.labels, background=space.background, ignore=space.ignore if ignore is None else ignore)


def parse_folds(text: str) -> dict[str, tuple[str, ...]]:
    """Read a JSON file, ``{"0": ["seq_1", "seq_3"]}``, or take those of a data set.

    Raises:
        InputError: The file is no such file, or the data set has no folds.
        ConfigError: There is no such data set.
    """
    if text.endswith(_JSON) or Path(text).is_file():
        return read_folds(text)

    from surgvos.data.datasets import dataset_by_name

    folds = dataset_by_name(text).folds
    if not folds:
        raise InputError(f"expected a data set with folds, got {text!r}; try a JSON file")
    return {str(number): tuple(videos) for number, videos in enumerate(folds)}

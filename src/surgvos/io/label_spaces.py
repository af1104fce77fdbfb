"""Label spaces of one's own, from YAML or JSON files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from surgvos.config.load import load_file
from surgvos.core.label_tables import LABEL_SPACES, label_space_by_name
from surgvos.core.labels import Label, LabelSpace, object_palette
from surgvos.errors import ConfigError, InputError
from surgvos.io.results import write_json_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEntry:
    """One class of a file: ``{id: 1, name: grasper, color: [0, 255, 0]}``; a colour is found where none is given."""

    id: int
    name: str
    color: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.color is not None and not all(0 <= value <= 255 for value in self.color):
            raise ConfigError(f"expected a colour of three numbers in 0..255, got {list(self.color)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RawValue:
    """A value of the data set's own files and the id that it means: ``{value: 10, id: 1}``."""

    value: int
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSpaceFile:
    """A label space as it stands in a file.

    Attributes:
        classes: Its classes.
        background: Id of "nothing".
        ignore: Id of what is not scored.
        raw_ids: Where the values in label files are not the ids.
    """

    classes: tuple[ClassEntry, ...]
    background: int = 0
    ignore: int | None = None
    raw_ids: tuple[RawValue, ...] = ()


def read_label_space(path: str | Path) -> LabelSpace:
    """Read a label space from a YAML or JSON file; see `LabelSpaceFile`. Unknown names are errors.

    Raises:
        ConfigError: The file cannot be read, or does not describe a label space.
        InputError: Ids or names repeat, or ids are out of range.

    Example of a file::

        classes:
          - {id: 1, name: grasper}
          - {id: 2, name: hook, color: [169, 255, 184]}
        ignore: 255
    """
    content = load_file(LabelSpaceFile, path)
    palette = object_palette()
    labels = tuple(
        Label(entry.id, entry.name, entry.color or tuple(int(v) for v in palette[entry.id % 256]))  # type: ignore[arg-type]
        for entry in content.classes
    )
    return LabelSpace(
        labels,
        background=content.background,
        ignore=content.ignore,
        name=Path(path).stem,
        raw_ids={raw.value: raw.id for raw in content.raw_ids},
    )


def write_label_space(path: str | Path, space: LabelSpace) -> None:
    """Write a label space so that `read_label_space` finds these ids, names and colours.

    Raises:
        SurgvosError: The disk is full or the folder not writable.
    """
    content = {
        "classes": [{"id": label.id, "name": label.name, "color": list(label.color)} for label in space.labels],
        "background": space.background,
        "ignore": space.ignore,
    }
    write_json_atomic(path, content)


def find_label_space(name: str | Path) -> LabelSpace:
    """Find a label space: the name of a data set's, or a file of one's own.

    Raises:
        InputError, ConfigError: There is neither.
    """
    if str(name) in LABEL_SPACES:
        return LABEL_SPACES[str(name)]
    if Path(name).suffix.lower() in (".yaml", ".yml", ".json"):
        return read_label_space(name)
    try:
        return label_space_by_name(str(name))
    except InputError as error:
        raise InputError(f"{error}, or a YAML file of your own") from None

"""Label spaces: which id means what, and in which colour."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field

import numpy as np

from surgvos.errors import InputError


def object_palette(num_colors: int = 256) -> np.ndarray:
    """Colours for object ids: black for 0, then hues far apart from each other and from red tissue.

    Returns:
        uint8 ``(num_colors, 3)`` RGB; the same id always has the same colour.
    """
    colors = [(0.0, 0.0, 0.0)]
    golden_angle = 0.381966
    for position in range(1, num_colors):
        hue = (0.52 + golden_angle * (position - 1)) % 1.0
        saturation = (0.85, 0.62, 1.0)[(position // 7) % 3]
        value = (1.0, 0.88, 0.75)[(position // 3) % 3]
        colors.append(colorsys.hsv_to_rgb(hue, saturation, value))
    return np.round(np.array(colors) * 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Label:
    """One entry of a label space."""

    id: int
    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """A set of labels with a background and, perhaps, an id that is not scored.

    Attributes:
        labels: Entries with distinct ids and names, background left out.
        background: Id of "nothing".
        ignore: Id of pixels that are left out of every score, or None.
    """

    labels: tuple[Label, ...]
    background: int = 0
    ignore: int | None = None
    _by_id: dict[int, Label] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_id = {label.id: label for label in self.labels}
        names = {label.name for label in self.labels}
        if len(by_id) != len(self.labels) or len(names) != len(self.labels):
            raise InputError("expected label ids and names to be distinct, got a repetition")
        if self.background in by_id or self.ignore in by_id:
            raise InputError("expected background and ignore ids outside the labels, got an overlap")
        object.__setattr__(self, "_by_id", by_id)

    @classmethod
    def from_names(cls, names: list[str], *, ignore: int | None = None) -> LabelSpace:
        """Number names from 1 and give each a colour of `object_palette`."""
        palette = object_palette(len(names) + 1)
        labels = tuple(
            Label(i, name, (int(palette[i][0]), int(palette[i][1]), int(palette[i][2])))
            for i, name in enumerate(names, start=1)
        )
        return cls(labels, ignore=ignore)

    def __getitem__(self, label_id: int) -> Label:
        if label_id not in self._by_id:
            raise InputError(f"expected a label id in {sorted(self._by_id)}, got {label_id}")
        return self._by_id[label_id]

    def __len__(self) -> int:
        return len(self.labels)

"""Label spaces: which id means what, and in which colour."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from surgvos.errors import InputError

_SHADES = ((0, 0.0), (255, 0.45), (0, 0.4), (255, 0.7), (0, 0.65))
"""Of which two colours are mixed: black or white, and how much of it."""


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


def shade(color: tuple[int, int, int], number: int) -> tuple[int, int, int]:
    """A colour for one of several things of a kind: that of the kind for the first, then lighter and darker ones.

    Args:
        color: RGB of the kind.
        number: From 0; after five shades they repeat.
    """
    towards, share = _SHADES[number % len(_SHADES)]
    red, green, blue = (round(value + (towards - value) * share) for value in color)
    return red, green, blue


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
        ignore: Id of pixels that are left out of every score, or None. It may be the background's.
        name: By which it is found, if any.
        background_color: Of the background, and of ignored pixels.
        raw_ids: Value in the data set's own files -> id; empty where the files hold ids.

    Example:
        >>> space = LabelSpace.from_names(["grasper", "hook"])
        >>> space.paint({2: np.array([[True, False]])}, (1, 2)).tolist()
        [[2, 0]]
    """

    labels: tuple[Label, ...]
    background: int = 0
    ignore: int | None = None
    name: str = field(default="", kw_only=True)
    background_color: tuple[int, int, int] = field(default=(0, 0, 0), kw_only=True)
    raw_ids: Mapping[int, int] = field(default_factory=dict, kw_only=True, hash=False)
    _by_id: dict[int, Label] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_id = {label.id: label for label in self.labels}
        names = {label.name for label in self.labels}
        if len(by_id) != len(self.labels) or len(names) != len(self.labels):
            raise InputError("expected label ids and names to be distinct, got a repetition")
        if self.background in by_id or self.ignore in by_id:
            raise InputError("expected background and ignore ids outside the labels, got an overlap")
        known = {*by_id, self.background, self.ignore}
        for number in (*by_id, self.background, *self.raw_ids, *([] if self.ignore is None else [self.ignore])):
            if not 0 <= number <= 65535:
                raise InputError(f"expected label ids in 0..65535, got {number}")
        unknown = sorted(set(self.raw_ids.values()) - known)
        if unknown:
            raise InputError(f"expected raw_ids to lead to labels, background or ignore, got {unknown[0]}")
        object.__setattr__(self, "_by_id", by_id)

    @classmethod
    def from_names(cls, names: Sequence[str], *, ignore: int | None = None, name: str = "") -> LabelSpace:
        """Number names from 1 and give each a colour of `object_palette`."""
        palette = object_palette(len(names) + 1)
        labels = tuple(Label(i, text, _color(palette[i])) for i, text in enumerate(names, start=1))
        return cls(labels, ignore=ignore, name=name)

    def __getitem__(self, label_id: int) -> Label:
        if label_id not in self._by_id:
            raise InputError(f"expected a label id in {sorted(self._by_id)}, got {label_id}")
        return self._by_id[label_id]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids of the labels, ascending."""
        return tuple(sorted(self._by_id))

    @property
    def nothing(self) -> tuple[int, ...]:
        """Ids that are no label: background and what is ignored."""
        return tuple(dict.fromkeys(i for i in (self.background, self.ignore) if i is not None))

    def palette(self) -> np.ndarray:
        """Colours by id, uint8 ``(256, 3)`` RGB, for palette PNGs; ids above 255 have none."""
        colors = np.zeros((256, 3), dtype=np.uint8)
        for number in self.nothing:
            if number < 256:
                colors[number] = self.background_color
        for label in self.labels:
            if label.id < 256:
                colors[label.id] = label.color
        return colors

    def paint(self, masks: Mapping[int, np.ndarray], image_hw: tuple[int, int]) -> np.ndarray:
        """Paint masks into one label map; where masks overlap, the lowest id wins.

        Args:
            masks: Label id -> bool ``(h, w)``.
            image_hw: Size of the map.

        Returns:
            uint8 ``(h, w)``, or uint16 where an id of the space exceeds 255; the background elsewhere.

        Raises:
            InputError: An id is no label of the space.
        """
        dtype = np.uint8 if max(*self.ids, *self.nothing, 0) <= 255 else np.uint16
        label_map = np.full(image_hw, self.background, dtype=dtype)
        for label_id in sorted(masks, reverse=True):
            label_map[masks[label_id]] = self[label_id].id
        return label_map

    def from_raw(self, raw: np.ndarray) -> np.ndarray:
        """Turn a label map as it stands in the data set's files into ids of this space.

        Args:
            raw: uint8 or uint16 ``(h, w)``.

        Raises:
            InputError: A value is none of ``raw_ids``, or, where there are none, no id.
        """
        return self._translated(raw, self.raw_ids or {number: number for number in (*self.ids, *self.nothing)})

    def checked(self, label_map: np.ndarray) -> np.ndarray:
        """The same label map, if it holds nothing but ids of this space.

        Raises:
            InputError: It holds other values.
        """
        return self._translated(label_map, {number: number for number in (*self.ids, *self.nothing)})

    def _translated(self, values: np.ndarray, known: Mapping[int, int]) -> np.ndarray:
        counts = np.bincount(values.ravel())
        strange = [int(value) for value in np.flatnonzero(counts) if int(value) not in known]
        if strange:
            raise InputError(
                f"expected label values of {self.name or 'the label space'} ({_ranges(known)}), got "
                f"{', '.join(map(str, strange[:5]))}"
            )
        table = np.zeros(max(known) + 1, dtype=np.uint8 if max(known.values()) <= 255 else np.uint16)
        table[list(known)] = list(known.values())
        return table[values]

    def from_colors(self, image: np.ndarray) -> np.ndarray:
        """Turn a label image in this space's colours into ids.

        Args:
            image: uint8 ``(h, w, 3)`` RGB, free of compression artefacts.

        Raises:
            InputError: Two labels share a colour, or the image has a colour that is none of the space's.
        """
        colors = {self.background_color: self.background}
        for label in self.labels:
            if label.color in colors:
                other = next((at.name for at in self.labels if at.color == label.color), "background")
                raise InputError(
                    f"expected a label space of distinct colours, got one for both {other} and {label.name}; "
                    "try label maps of ids"
                )
            colors[label.color] = label.id
        packed = image.astype(np.int64) @ np.array([65536, 256, 1])
        found, positions = np.unique(packed, return_inverse=True)
        ids = {(red * 256 + green) * 256 + blue: number for (red, green, blue), number in colors.items()}
        strange = [value for value in found.tolist() if value not in ids]
        if strange:
            raise InputError(f"expected colours of {self.name or 'the label space'}, got #{strange[0]:06X}")
        table = np.array([ids[value] for value in found.tolist()])
        dtype = np.uint8 if table.max(initial=0) <= 255 else np.uint16
        return table.astype(dtype)[positions.reshape(image.shape[:2])]


def _color(values: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def _ranges(numbers: Mapping[int, int]) -> str:
    """Numbers in a few words: ``0-16, 255``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)

"""What a project says of a video, and how that changes: an edit is a row of changes, and so is its inverse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np

from surgvos.core.masks import RunLength, decode_run_length, encode_run_length
from surgvos.core.results import Phase
from surgvos.errors import InputError


class Origin(StrEnum):
    """Who made a mask. What a person made is never changed by tracking."""

    CLICK = "click"
    BOX = "box"
    BRUSH = "brush"
    ABSENT = "absent"
    PHRASE = "phrase"
    SUGGESTED = "suggested"
    TRACKED = "tracked"

    @property
    def is_by_hand(self) -> bool:
        """Whether a person made or shaped it."""
        return self is not Origin.TRACKED


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledObject:
    """What an object is called.

    Attributes:
        name: By which a person finds it.
        color: RGB, each in 0..255.
        label: Its class in the label space of the project, or None.
    """

    name: str
    color: tuple[int, int, int]
    label: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMask:
    """One object in one frame.

    Attributes:
        hw: Size of the video in pixels.
        counts: Run lengths as COCO has them (column by column, a run of zeros first), int32, not to be written to.
        origin: Who made it.
        phase: What the object is going through.
        confidence: Presence times predicted IoU, in [0, 1].
        points: Clicks that made it: ``(x, y, 1 on the object or 0 beside it)``.
        box_xyxy: The box that made it, or None.
    """

    hw: tuple[int, int]
    counts: np.ndarray
    origin: Origin
    phase: Phase = Phase.TRACKING
    confidence: float = 1.0
    points: tuple[tuple[float, float, int], ...] = ()
    box_xyxy: tuple[float, float, float, float] | None = None

    @classmethod
    def of(cls, mask: np.ndarray, origin: Origin, **more: Any) -> ObjectMask:
        """Take in a mask, bool ``(h, w)``."""
        counts = np.asarray(encode_run_length(mask)["counts"], dtype=np.int32)
        return cls((mask.shape[0], mask.shape[1]), counts, origin, **more)

    @property
    def run_length(self) -> RunLength:
        """The mask as uncompressed COCO run lengths."""
        return {"size": list(self.hw), "counts": self.counts.tolist()}

    @property
    def mask(self) -> np.ndarray:
        """The mask, bool ``(h, w)``."""
        return decode_run_length(self.run_length)

    @property
    def area_px(self) -> int:
        """Pixels of the mask."""
        return int(self.counts[1::2].sum())

    def summary(self) -> dict[str, Any]:
        """Everything but the pixels, as JSON values."""
        return {"origin": self.origin.value, "phase": self.phase.value, "confidence": round(self.confidence, 3)}

    def to_plain(self) -> dict[str, Any]:
        """As JSON values that `from_plain` takes."""
        plain = {**self.summary(), "counts": self.counts.tolist()}
        if self.points:
            plain["points"] = [list(point) for point in self.points]
        if self.box_xyxy is not None:
            plain["box"] = list(self.box_xyxy)
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], hw: tuple[int, int]) -> ObjectMask:
        """Read what `to_plain` wrote.

        Raises:
            InputError: The runs do not add up to the size.
        """
        counts = np.asarray(plain["counts"], dtype=np.int32)
        if counts.ndim != 1 or (counts < 0).any() or counts.sum(dtype=np.int64) != hw[0] * hw[1]:
            raise InputError(f"expected runs that add up to {hw[1]}x{hw[0]} pixels, got {counts.sum()}")
        box = plain.get("box")
        return cls(
            hw,
            counts,
            Origin(plain["origin"]),
            Phase(plain["phase"]),
            float(plain["confidence"]),
            tuple((float(x), float(y), int(sign)) for x, y, sign in plain.get("points", ())),
            None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        )


@dataclass(frozen=True, slots=True)
class SetObject:
    """An object is called so, or (None) is no more."""

    object_id: int
    value: LabelledObject | None


@dataclass(frozen=True, slots=True)
class SetLock:
    """A frame is final, or is not."""

    frame: int
    is_locked: bool


@dataclass(frozen=True, slots=True)
class SetMask:
    """An object is so in a frame, or (None) nothing is said of it there."""

    frame: int
    object_id: int
    value: ObjectMask | None


Change: TypeAlias = SetObject | SetLock | SetMask


@dataclass(slots=True)
class Labels:
    """Objects, masks and locks of one video.

    Attributes:
        objects: Object id -> what it is called.
        locked: Frames that are final.
        masks: Frame -> object id -> mask; in a frame, a pixel belongs to one object at most.
    """

    objects: dict[int, LabelledObject] = field(default_factory=dict)
    locked: set[int] = field(default_factory=set)
    masks: dict[int, dict[int, ObjectMask]] = field(default_factory=dict)

    def apply(self, changes: Iterable[Change]) -> list[Change]:
        """Make changes, in order.

        Returns:
            Those that take them back, in the order in which to make them.
        """
        return [self._set(change) for change in changes][::-1]

    def _set(self, change: Change) -> Change:
        before: Any
        if isinstance(change, SetObject):
            before = self.objects.get(change.object_id)
            _put(self.objects, change.object_id, change.value)
            return SetObject(change.object_id, before)
        if isinstance(change, SetLock):
            before = change.frame in self.locked
            (self.locked.add if change.is_locked else self.locked.discard)(change.frame)
            return SetLock(change.frame, before)
        in_frame = self.masks.setdefault(change.frame, {})
        before = in_frame.get(change.object_id)
        _put(in_frame, change.object_id, change.value)
        if not in_frame:
            del self.masks[change.frame]
        return SetMask(change.frame, change.object_id, before)

    def all(self) -> Iterator[Change]:
        """The changes that make these labels of empty ones."""
        yield from (SetObject(object_id, value) for object_id, value in self.objects.items())
        for frame in sorted(self.masks):
            yield from (SetMask(frame, object_id, value) for object_id, value in self.masks[frame].items())
        yield from (SetLock(frame, True) for frame in sorted(self.locked))

    def next_locked(self, frame: int, direction: int) -> int | None:
        """The nearest locked frame behind (direction -1) or ahead (1) of a frame, itself left out."""
        found = [index for index in self.locked if (index - frame) * direction > 0]
        return min(found, key=lambda index: abs(index - frame), default=None)


def changes_to_plain(changes: Iterable[Change]) -> list[list[Any]]:
    """Changes as JSON values."""
    return [_change_to_plain(change) for change in changes]


def changes_from_plain(plain: Sequence[Sequence[Any]], hw: tuple[int, int]) -> list[Change]:
    """Read what `changes_to_plain` wrote.

    Raises:
        ValueError, KeyError, TypeError: It is something else.
    """
    return [_change_from_plain(item, hw) for item in plain]


def object_to_plain(value: LabelledObject) -> dict[str, Any]:
    """What an object is called, as JSON values."""
    return {"name": value.name, "color": list(value.color), "label": value.label}


def _change_to_plain(change: Change) -> list[Any]:
    if isinstance(change, SetObject):
        return ["object", change.object_id, None if change.value is None else object_to_plain(change.value)]
    if isinstance(change, SetLock):
        return ["lock", change.frame, change.is_locked]
    return ["mask", change.frame, change.object_id, None if change.value is None else change.value.to_plain()]


def _change_from_plain(item: Sequence[Any], hw: tuple[int, int]) -> Change:
    kind, *rest = item
    if kind == "object":
        object_id, value = rest
        red, green, blue = (0, 0, 0) if value is None else value["color"]
        called = value and LabelledObject(name=value["name"], color=(red, green, blue), label=value["label"])
        return SetObject(int(object_id), called)
    if kind == "lock":
        frame, is_locked = rest
        return SetLock(int(frame), bool(is_locked))
    if kind == "mask":
        frame, object_id, value = rest
        return SetMask(int(frame), int(object_id), value and ObjectMask.from_plain(value, hw))
    raise ValueError(f"{kind!r} is no change")


def _put(where: dict[int, Any], key: int, value: Any) -> None:
    if value is None:
        where.pop(key, None)
    else:
        where[key] = value

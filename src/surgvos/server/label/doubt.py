"""Which frames a person should look at: pure rules over what is said of an object in neighbouring frames."""

from __future__ import annotations

from surgvos.core.results import Phase
from surgvos.server.label.labels import Labels, ObjectMask

MIN_CONFIDENCE = 0.6
MAX_AREA_RATIO = 1.6


def doubt_of(mask: ObjectMask, before: ObjectMask | None) -> str | None:
    """Say why a tracked mask should be looked at, or None.

    Args:
        mask: Of one object in a frame. What a person made is not doubted.
        before: Of the same object in the neighbouring frame that it was tracked from, if known.
    """
    if mask.origin.is_by_hand:
        return None
    if mask.phase is Phase.LOST:
        return "lost"
    if before is not None and (mask.phase is Phase.ABSENT) != (before.phase is Phase.ABSENT):
        return "leaves" if mask.phase is Phase.ABSENT else "returns"
    if mask.phase is Phase.ABSENT:
        return None
    if mask.confidence < MIN_CONFIDENCE:
        return "not certain"
    if before is not None and not before.origin.is_by_hand and _leaps(mask.area_px, before.area_px):
        return "changes its size"
    return None


def next_doubt(labels: Labels, frame: int, direction: int) -> tuple[int, int, str] | None:
    """The nearest doubtful frame behind (-1) or ahead (1) of a frame: frame, object id, and why.

    Of a run of doubtful frames of one object the first one counts, seen from the left; locked frames never do.
    """
    for index in sorted(labels.masks, reverse=direction < 0):
        if (index - frame) * direction <= 0 or index in labels.locked:
            continue
        for object_id, mask in labels.masks[index].items():
            why = _doubt_in(labels, index, object_id, mask)
            if why is not None and _doubt_at(labels, index - 1, object_id) is None:
                return index, object_id, why
    return None


def _doubt_in(labels: Labels, frame: int, object_id: int, mask: ObjectMask) -> str | None:
    return doubt_of(mask, labels.masks.get(frame - 1, {}).get(object_id))


def _doubt_at(labels: Labels, frame: int, object_id: int) -> str | None:
    mask = labels.masks.get(frame, {}).get(object_id)
    return None if mask is None else _doubt_in(labels, frame, object_id, mask)


def _leaps(area_px: int, before_px: int) -> bool:
    low, high = sorted((area_px, before_px))
    return high > MAX_AREA_RATIO * max(low, 1) and high > 200

"""A second detector decides which of two names for one thing is meant, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from surgvos.core import Frame, LabelSpace
from surgvos.errors import InputError
from surgvos.overseer.detection import Detection
from surgvos.overseer.voting import VotingDetector

HW = (40, 40)
SPACE = LabelSpace.from_names(["cannula", "forceps", "knife"])
FRAMES = [Frame(index, f"{index:05d}", np.zeros((*HW, 3), np.uint8)) for index in range(2)]
PLACE, SAME, PART, AWAY = (0, 0, 20, 20), (0, 1, 20, 21), (0, 0, 10, 20), (25, 25, 40, 40)
Seen = Sequence[tuple[int, tuple[int, int, int, int]]]


class Fixed:
    """A detector that sees the same in every frame."""

    label_space = SPACE

    def __init__(self, seen: Seen) -> None:
        masks = np.zeros((len(seen), *HW), dtype=bool)
        for mask, (_, (top, left, bottom, right)) in zip(masks, seen, strict=True):
            mask[top:bottom, left:right] = True
        self.detection = Detection.from_masks(masks, [class_id for class_id, _ in seen])
        self.asked: list[int] = []

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        self.asked += [frame.index for frame in frames]
        return [self.detection for _ in frames]


def decided(seen: Seen, vote: Seen) -> tuple[int, ...]:
    first, second = VotingDetector(Fixed(seen), Fixed(vote)).detect(FRAMES)
    assert first.seen.ids == second.seen.ids
    return first.seen.ids


@pytest.mark.parametrize("kept", [1, 2])
def test_the_name_that_the_voter_gives_it_stays(kept: int) -> None:
    assert decided([(1, PLACE), (2, SAME), (3, AWAY)], [(kept, PLACE)]) == (kept, 3)
    assert decided([(2, PLACE), (1, SAME)], [(kept, PLACE)]) == (kept,)


def test_of_three_names_one_stays() -> None:
    assert decided([(1, PLACE), (2, PLACE), (3, PLACE)], [(3, PLACE)]) == (3,)


def test_a_voter_that_sees_neither_there_decides_nothing() -> None:
    assert decided([(1, PLACE), (2, SAME)], [(3, PLACE)]) == (1, 2)
    assert decided([(1, PLACE), (2, SAME)], [(2, AWAY)]) == (1, 2)
    assert decided([(1, PLACE), (2, SAME)], []) == (1, 2)


def test_pixels_of_both_speak() -> None:
    """A class that is larger by 20 pixels is outvoted by more than 20, not by fewer."""
    larger = (0, 0, 21, 20)
    assert decided([(1, larger), (2, PLACE)], [(2, (0, 0, 1, 10))]) == (1,)
    assert decided([(1, larger), (2, PLACE)], [(2, (0, 0, 2, 20))]) == (2,)


@pytest.mark.parametrize("seen", [[(1, PLACE), (2, AWAY)], [(1, PLACE), (2, PART)], [(1, PLACE)], []])
def test_where_there_is_no_doubt_the_voter_is_not_asked(seen: Seen) -> None:
    voter = Fixed([(2, PLACE)])
    detector = Fixed(seen)
    assert VotingDetector(detector, voter).detect(FRAMES) == [detector.detection] * 2
    assert voter.asked == []


def test_a_voter_of_other_classes_is_refused() -> None:
    voter = Fixed([])
    voter.label_space = LabelSpace.from_names(["a", "b"])
    with pytest.raises(InputError, match="expected a voter for the 3 classes of the detector"):
        VotingDetector(Fixed([]), voter)

"""Two names for one thing: a second detector votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import Detector

OVERLAP = 0.70
"""Share of both masks from which two classes are two names of one thing."""

CLOSE = 0.95
"""Share of the larger mask's pixels from which two names are about as likely."""


class VotingDetector:
    """A detector whose doubts a second one settles: which of two classes is it that lies in one place?

    Where two classes share most of both masks and are about as large, each has its own pixels and those that the
    voter gives it in the larger one's place; the class with fewer is left out. Where the voter sees neither there,
    both stay, and the rules decide.

    Args:
        detector: Whose detections are taken.
        voter: Asked about the same frames; of the same label space, such as a nnU-Net.

    Raises:
        InputError: The two have other classes.

    Reference: the program published with SASVi (arXiv 2502.09653), whose nnU-Net votes so among names that compete
    over the frames ahead; it is not in the paper, and as published it cannot be run.

    Departs: it votes in each frame, before the rules look at several, and so for any rules
    (``tests/overseer/test_voting.py``).
    """

    def __init__(self, detector: Detector, voter: Detector) -> None:
        if detector.label_space.ids != voter.label_space.ids:
            raise InputError(
                f"expected a voter for the {len(detector.label_space)} classes of the detector, got one for others; "
                "try one that was trained on the same label space"
            )
        self.detector, self.voter = detector, voter

    @property
    def label_space(self) -> LabelSpace:
        return self.detector.label_space

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        detections = self.detector.detect(frames)
        doubtful = [frame for frame, found in zip(frames, detections, strict=True) if _doubles(found)]
        votes = iter(self.voter.detect(doubtful) if doubtful else [])
        return [_settled(found, next(votes)) if _doubles(found) else found for found in detections]


def _doubles(detection: Detection) -> list[tuple[int, int]]:
    """Pairs of classes that are two names of one thing and about as large, the larger one first."""
    seen = detection.seen
    pairs = [sorted(pair, key=lambda i: (-seen.area_px(i), i)) for pair in combinations(seen.ids, 2)]
    return [
        (large, small)
        for large, small in pairs
        if seen.overlap_px(large, small) >= OVERLAP * seen.area_px(large)
        and seen.area_px(small) >= CLOSE * seen.area_px(large)
    ]


def _settled(detection: Detection, vote: Detection) -> Detection:
    """The detection without those classes of its doubles for which fewer pixels speak."""
    outvoted: set[int] = set()
    for large, small in _doubles(detection):
        if large in outvoted or small in outvoted:
            continue
        place = detection.mask(large)
        votes = {i: int(np.count_nonzero(vote.mask(i) & place)) for i in (large, small)}
        if any(votes.values()):
            outvoted.add(min((small, large), key=lambda i: votes[i] + detection.seen.area_px(i)))
    keep = ~np.isin(detection.class_ids, list(outvoted))
    return replace(
        detection,
        members=detection.members[:, keep],
        class_ids=detection.class_ids[keep],
        scores=detection.scores[keep],
    )

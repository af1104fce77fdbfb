"""Annotated frames and the baselines that SASVi is compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from overseer.scenarios import detection_of, of, run_rules
from overseer.test_oversee import HW, FakeDetector, Film, always, oversee
from surgvos.core import Frame
from surgvos.io.masks import write_label_map
from surgvos.overseer.annotations import AnnotatedDetector
from surgvos.overseer.corrections import AnyOverseer
from surgvos.overseer.first_frame import FirstFrame
from surgvos.overseer.oversee import OverseenSession
from surgvos.overseer.sasvi import Sasvi
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel


@pytest.mark.parametrize(
    ("overseer", "expected"),
    [
        (FirstFrame(), "0 m{0,6}; 15 m{0,7}"),
        (Sasvi(), "0 +0 +6; 15 -6 again 0 +7; 16 +6; 40 -7"),
        (Sasvi.published(), "0 m{0,6}; 15 m{0,7}; 16 m{0} p{6}; 40 m{0,6}"),
    ],
    ids=["first frame", "default", "published"],
)
def test_annotations_are_taken_as_they_are(overseer: AnyOverseer, expected: str) -> None:
    """In frame 15 a person says 0 and 7, where the detector goes on to say 0 and 6."""
    detections = [detection_of(of(0, 6)) for _ in range(60)]
    detections[15] = replace(detection_of(of(0, 7)), annotated=True)
    assert str(run_rules(overseer, detections)) == expected


def test_the_first_frame_is_all_that_the_baseline_looks_at() -> None:
    detections = [detection_of(of(0, 6) if f < 5 else of(0, 7)) for f in range(60)]
    assert str(run_rules(FirstFrame(), detections)) == "0 m{0,6}"


def test_annotations_are_read_where_there_are_some(tmp_path: Path) -> None:
    film = Film(30, always(0, 3))
    inner = FakeDetector(film, missed=lambda index, class_id: class_id == 3)
    truth = np.zeros(HW, dtype=np.uint8)
    for class_id, mask in film.truths[12].items():
        truth[mask] = {0: 1, 3: 3}[class_id]
    write_label_map(tmp_path / "00012.png", truth)
    detector = AnnotatedDetector(inner, tmp_path)
    assert detector.label_space == inner.label_space
    detections = detector.detect([film[i] for i in range(11, 14)])
    assert [d.annotated for d in detections] == [False, True, False]
    assert [d.seen.ids for d in detections] == [(0,), (1, 3), (0,)]
    assert inner.batches == [[11, 13]]
    assert detections[1].above(0.9).annotated


def test_annotated_classes_reach_the_tracker() -> None:
    class Annotated(FakeDetector):
        def _detect(self, frame: Frame):  # type: ignore[no-untyped-def]
            found = super()._detect(frame)
            return replace(found, annotated=frame.index == 12)

    film = Film(30, always(0, 3))
    blind = Annotated(film, missed=lambda index, class_id: class_id == 3 and index != 12)
    session = OverseenSession(Session(ColorModel()), blind, FirstFrame())  # type: ignore[arg-type]
    assert [3 in result.masks for result in session.follow(film)] == [index >= 12 for index in range(30)]
    assert oversee(blind).overseer == Sasvi()

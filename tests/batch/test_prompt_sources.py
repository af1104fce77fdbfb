"""Where prompts come from, frame and object in their order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from surgvos.batch.prompt_sources import GivenPrompts, NamedObjects
from surgvos.core.frame import Frame
from surgvos.core.prompts import TextPrompt
from surgvos.data.phrases import Phrase
from surgvos.errors import InputError
from surgvos.io.video import open_video

NUM_FRAMES = 3


class Stream:
    def __iter__(self) -> Iterator[Frame]:
        return iter(())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for index in range(NUM_FRAMES):
        cv2.imwrite(str(tmp_path / f"{index + 7:05d}.png"), np.zeros((8, 8, 3), np.uint8))
    return tmp_path


def test_frames_from_the_end_are_counted_once_the_video_is_known(images: Path) -> None:
    phrase = TextPrompt("suction")
    given = GivenPrompts(((-1, 2, phrase), (0, 5, phrase), (0, 1, phrase)))
    assert given.placed(open_video(images)) == [(0, 1, phrase), (0, 5, phrase), (NUM_FRAMES - 1, 2, phrase)]
    assert given.placed(Stream()) == [(0, 1, phrase), (0, 2, phrase), (0, 5, phrase)]


def test_phrases_start_where_their_frame_is_and_objects_can_be_chosen(images: Path) -> None:
    phrases = (Phrase(phrase="grasper", object=4, start="00009"), Phrase(phrase="nothing", object=None))
    video = open_video(images)
    assert NamedObjects(images, phrases).placed(video) == [
        (0, 1001, TextPrompt("nothing")),
        (2, 4, TextPrompt("grasper")),
    ]
    assert NamedObjects(images, phrases, frozenset({4})).placed(video) == [(2, 4, TextPrompt("grasper"))]
    with pytest.raises(InputError, match="expected phrases for objects"):
        NamedObjects(images, phrases, frozenset({5})).placed(video)
    with pytest.raises(InputError, match="expected a frame '00001'"):
        NamedObjects(images, (Phrase(phrase="a", object=1, start="00001"),)).placed(video)

"""What a tracker of streams remembers, where frames are missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from live.scripted import picture, red_mask
from surgvos.core import PointPrompt, TextPrompt
from surgvos.errors import InputError
from surgvos.live.tracker import MAX_PHRASES, StreamTracker
from surgvos.memory import POLICIES
from surgvos.models.interface import ImageFeatures
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel, PhraseModel


def tracker_of(model: Any = None, memory: str = "recent") -> StreamTracker:
    model = model or ColorModel()
    return StreamTracker(lambda: Session(model, memory))


@pytest.mark.parametrize("memory", sorted(POLICIES))
def test_drops_leave_no_gaps_in_memory(memory: str) -> None:
    tracker, indices = tracker_of(memory=memory), range(0, 27, 3)
    tracker.prompt_next(picture(0), 1, PointPrompt((1, 5)))
    results = [tracker.step(picture(index)) for index in indices]
    without_drops = tracker_of(memory=memory)
    without_drops.prompt_next(picture(0), 1, PointPrompt((1, 5)))
    for number, index in enumerate(indices):
        attended = without_drops.step(replace(picture(index), index=number)).objects[1].attended_frames
        assert results[number].frame_index == index
        assert results[number].objects[1].attended_frames == tuple(3 * i for i in attended)
        np.testing.assert_array_equal(results[number].masks[1], red_mask(index))


def test_a_picture_of_the_past_is_one_more_moment() -> None:
    tracker = tracker_of()
    for index in range(8):
        tracker.step(picture(index))
    tracker.prompt_past(picture(3), 1, PointPrompt((8, 6)))
    tracker.prompt_past(picture(5), 2, PointPrompt((12, 6)))
    result = tracker.step(picture(8))
    assert result.objects[1].attended_frames == (3,)
    assert result.objects[2].attended_frames == (5,)
    np.testing.assert_array_equal(result.masks[1], red_mask(8))


def test_clicks_in_one_picture_add_up_and_those_in_two_do_not() -> None:
    seen: list[int] = []

    class Counting(ColorModel):
        def decode(self, features: ImageFeatures, conditioned: Tensor, prompts: Any, *, multimask: bool) -> Any:
            seen.append(0 if prompts is None else prompts.num_points)
            return super().decode(features, conditioned, prompts, multimask=multimask)

    tracker = tracker_of(Counting())
    tracker.prompt_past(picture(0), 1, PointPrompt((1, 5)))
    tracker.step(picture(1))
    tracker.prompt_past(picture(0), 1, PointPrompt((3, 7)))
    assert seen[-1] == 2
    tracker.prompt_past(picture(1), 1, PointPrompt((3, 7)))
    assert seen[-1] == 1


def test_phrases_of_one_object_are_bounded() -> None:
    tracker = tracker_of(PhraseModel({"red": (220, 20, 20)}))
    for _ in range(MAX_PHRASES):
        tracker.prompt_next(picture(0), 1, TextPrompt("red"))
    with pytest.raises(InputError, match="phrases of one object"):
        tracker.prompt_next(picture(0), 1, TextPrompt("red"))
    tracker.prompt_next(picture(0), 1, PointPrompt((1, 5)))


@pytest.mark.parametrize("memory", sorted(POLICIES))
def test_what_is_kept_does_not_grow(memory: str) -> None:
    model = PhraseModel({"red": (220, 20, 20)})
    tracker = tracker_of(model, memory)
    tracker.prompt_next(picture(0), 1, PointPrompt((1, 5)))
    tracker.prompt_next(picture(0), 2, TextPrompt("red"))
    sizes = []
    for index in range(100):
        if index % 5 == 2:
            tracker.prompt_past(picture(index % 20), 1, PointPrompt((2 * (index % 20) + 2, 6)))
        tracker.step(picture(index % 20))
        sizes.append((tracker.nbytes, len(tracker._numbers), len(tracker._shown)))
    assert max(sizes[-20:]) <= max(sizes[50:80])
    assert tracker.names == {2: "red"}

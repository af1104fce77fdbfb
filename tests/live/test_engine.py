"""What a live run promises, told with a source and a model that wait for the test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import surgvos
from helpers import moving_square_frames
from live.scripted import HW, Recorded, ScriptedSource, picture, red_mask, until
from surgvos.core import Frame, MaskPrompt, Phase, PointPrompt, TextPrompt
from surgvos.errors import InputError, SurgvosError
from surgvos.live import grabber, recall
from surgvos.live.engine import LiveEngine
from surgvos.live.grabber import SourceState
from surgvos.live.segmenting import MAX_WAITING
from surgvos.live.tracker import MAX_OBJECTS
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel, PhraseModel, numbered

SHOWN = [(0, 1, PointPrompt((1, 5)))]


@pytest.fixture(autouse=True)
def _quickly_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grabber, "_FIRST_PAUSE_S", 0.01)


# --- what is answered ----------------------------------------------------------------------------------------------


def test_without_drops_the_answers_are_those_of_a_file() -> None:
    prompts = [(0, 1, PointPrompt((1, 5))), (5, 1, PointPrompt((12, 6))), (3, 7, MaskPrompt(red_mask(0)))]
    session = Session(ColorModel())
    for prompt in prompts:
        session.add_prompt(*prompt)
    offline = list(session.propagate([picture(index) for index in range(20)]))
    with Recorded(prompts) as run:
        run.send(*range(20))
    assert [answer.result.frame_index for answer in run.answers] == list(range(20))
    for answer, expected in zip(run.answers, offline, strict=True):
        assert answer.result.objects == expected.objects
        assert answer.result.frame_name == expected.frame_name
        for object_id, mask in expected.masks.items():
            np.testing.assert_array_equal(answer.result.masks[object_id], mask)
            np.testing.assert_array_equal(answer.result.logits[object_id], expected.logits[object_id])


def test_without_drops_the_network_in_the_box_answers_as_in_a_file() -> None:
    images, masks = moving_square_frames(8)
    frames = [Frame(index, f"{index:05d}", image) for index, image in enumerate(images)]
    model = surgvos.load_model("surgvos-nano", device="cpu")
    session = Session(model)
    session.add_prompt(0, 1, MaskPrompt(masks[0]))
    offline = list(session.propagate(frames))
    source, answers = ScriptedSource(frames[0].hw), []
    engine = LiveEngine(source, lambda: Session(model), [(0, 1, MaskPrompt(masks[0]))])
    engine.on_answer.append(answers.append)
    with engine:
        for frame in frames:
            source.send(frame)
            until(lambda frame=frame: answers and answers[-1].result.frame_index == frame.index)
        source.send(None)
    assert engine.num_dropped == 0
    for answer, expected in zip(answers, offline, strict=True):
        assert expected.masks[1].any()
        np.testing.assert_array_equal(answer.result.masks[1], expected.masks[1])


def test_phrases_find_what_they_find_in_a_file() -> None:
    frames = [Frame(i, f"{i:05d}", numbered(picture(i).image.copy(), i)) for i in range(12)]
    model = PhraseModel({"red": (220, 20, 20), "green": (20, 220, 20)})
    session = Session(model)
    session.add_prompt(0, 1, TextPrompt("red"))
    offline = list(session.propagate(iter(frames)))
    source, answers = ScriptedSource(), []
    engine = LiveEngine(source, lambda: Session(model), [(0, 1, TextPrompt("red"))])
    engine.on_answer.append(answers.append)
    with engine:
        for frame in frames:
            source.send(frame)
            until(lambda frame=frame: answers and answers[-1].result.frame_index == frame.index)
        source.send(None)
    assert [a.result.objects for a in answers] == [r.objects for r in offline]
    assert [a.result.masks[1].sum() for a in answers] == [r.masks[1].sum() for r in offline]
    assert answers[-1].names == {1: "red"}
    assert answers[-1].result.objects[1].phase == Phase.TRACKING


# --- the newest frame wins -----------------------------------------------------------------------------------------


def test_the_newest_frame_wins_and_what_is_passed_over_is_counted() -> None:
    with Recorded(SHOWN) as run:
        run.send(0)
        run.model.may_go.clear()
        run.send_shown(1)
        assert run.model.is_waiting.wait(5)
        run.send_shown(2, 3, 4, 5)
        run.model.may_go.set()
        until(lambda: len(run.answers) == 3)
    assert [answer.result.frame_index for answer in run.answers] == [0, 1, 5]
    assert (run.engine.grabber.num_received, run.engine.num_dropped) == (6, 3)


def test_the_picture_goes_on_while_the_model_hangs() -> None:
    with Recorded(SHOWN) as run:
        run.send(0)
        run.model.may_go.clear()
        run.send_shown(*range(1, 12))
        assert len(run.answers) == 1
        assert run.engine.num_skipped == 0
        shown = run.pictures[-1]
        assert shown.answer is run.answers[0]
        assert shown.mask_age_s == pytest.approx(shown.at_s - run.answers[0].arrived.at_s)


# --- prompts while it runs -----------------------------------------------------------------------------------------


def test_a_click_goes_to_the_picture_that_was_seen() -> None:
    with Recorded() as run:
        run.send(*range(11))
        # In frame 3 the click is on the square; in frame 10 the square is elsewhere.
        applied = run.engine.prompt(4, PointPrompt((8, 6)), frame_index=3).result(5)
        assert applied == 3
        run.send(11, 12)
    answered = run.answers[-1].result
    np.testing.assert_array_equal(answered.masks[4], red_mask(12))
    assert answered.objects[4].attended_frames == (3, 11)


def test_a_click_on_a_picture_that_was_dropped_is_used_all_the_same() -> None:
    with Recorded(SHOWN) as run:
        run.send(0)
        run.model.may_go.clear()
        run.send_shown(1)
        assert run.model.is_waiting.wait(5)
        run.send_shown(2, 3)
        asked = run.engine.prompt(2, PointPrompt((6, 6)), frame_index=2)
        run.model.may_go.set()
        assert asked.result(5) == 2
        run.send(4)
    np.testing.assert_array_equal(run.answers[-1].result.masks[2] | run.answers[-1].result.masks[1], red_mask(4))


def test_a_click_on_a_picture_of_long_ago_goes_to_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "RECALL_S", 0.0)
    with Recorded() as run:
        run.send(*range(11))
        assert run.engine.prompt(4, PointPrompt((22, 6)), frame_index=3).result(5) == 10
        run.send(11)
    np.testing.assert_array_equal(run.answers[-1].result.masks[4], red_mask(11))


def test_a_picture_can_be_held_for_as_long_as_it_is_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "RECALL_S", 0.0)
    with Recorded() as run:
        run.send(0, 1, 2, 3)
        run.engine.hold(3)
        run.engine.hold(99)  # there is no such picture
        run.send(*range(4, 11))
        assert run.engine.prompt(4, PointPrompt((8, 6)), frame_index=3).result(5) == 3
        for index in range(11, 11 + 16):
            run.send(index)
            run.engine.hold(index)
        assert run.engine.prompt(4, PointPrompt((54, 6)), frame_index=3).result(5) == 26


def test_an_object_can_be_forgotten() -> None:
    with Recorded(SHOWN) as run:
        run.send(0)
        run.engine.remove(1).result(5)
        run.send(1)
        assert run.answers[-1].result.masks == {}
        with pytest.raises(InputError, match="one of the objects"):
            run.engine.remove(1).result(5)


@pytest.mark.parametrize(
    ("object_id", "prompt", "said"),
    [
        (1, PointPrompt((1000, 5)), "inside the 60x24 image"),
        (1, MaskPrompt(np.ones((3, 3), dtype=bool)), "mask of 60x24"),
        (0, PointPrompt((1, 5)), "object id in 1..65535"),
        (1, TextPrompt("red"), "cannot read"),
    ],
)
def test_a_prompt_that_cannot_be_used_costs_nothing_but_itself(object_id: int, prompt: Any, said: str) -> None:
    with Recorded(SHOWN) as run:
        run.send(0)
        refused = run.engine.prompt(object_id, prompt)
        run.send(1, 2)
        with pytest.raises(InputError, match=said):
            refused.result(5)
    np.testing.assert_array_equal(run.answers[-1].result.masks[1], red_mask(2))


def test_objects_and_waiting_prompts_are_bounded() -> None:
    with Recorded() as run:
        run.send(0)
        asked = [run.engine.prompt(number, PointPrompt((1, 5))) for number in range(1, MAX_OBJECTS + 2)]
        run.send(1)
        with pytest.raises(InputError, match=f"at most {MAX_OBJECTS} objects"):
            asked[-1].result(5)
        run.model.may_go.clear()
        run.source.send(picture(2))
        assert run.model.is_waiting.wait(5)
        for _ in range(MAX_WAITING):
            run.engine.remove(1)
        with pytest.raises(InputError, match="prompts to wait"):
            run.engine.remove(1)


def test_phrases_that_wait_for_a_frame_are_bounded() -> None:
    with Recorded() as run:
        run.send(0)
        asked = []
        for _ in range(MAX_WAITING + 1):
            asked.append(run.engine.prompt(1, TextPrompt("red")))
            until(run.engine.segmenting._asked.empty)
        with pytest.raises(InputError, match="phrases to wait"):
            asked[-1].result(5)


def test_a_prompt_before_the_first_picture_is_refused() -> None:
    with Recorded() as run, pytest.raises(InputError, match="none yet"):
        run.engine.prompt(1, PointPrompt((1, 5))).result(5)


def test_planned_prompts_outside_the_picture_are_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match="inside the 60x24 image"):
        Recorded([(0, 1, PointPrompt((61, 5)))], source=ScriptedSource(HW))


def test_a_planned_prompt_of_a_dropped_frame_goes_to_the_next_one() -> None:
    with Recorded([*SHOWN, (2, 2, MaskPrompt(red_mask(3)))]) as run:
        run.send(0)
        run.model.may_go.clear()
        run.send_shown(1)
        assert run.model.is_waiting.wait(5)
        run.send_shown(2, 3)
        run.model.may_go.set()
        until(lambda: len(run.answers) == 3)
    assert run.answers[-1].result.frame_index == 3
    assert run.answers[-1].result.objects[2].prompted


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_lost_source_is_connected_again_and_objects_are_followed_on() -> None:
    with Recorded(SHOWN, source=ScriptedSource(ends=False)) as run:
        run.send(0, 1)
        run.source.send(InputError("unplugged"), InputError("still unplugged"), OSError("odd"), None)
        until(lambda: run.source.num_connects >= 5)
        run.source.send(picture(0))
        until(lambda: len(run.answers) == 3)
        assert run.engine.grabber.state == SourceState.RUNNING
        run.engine._stopped.set()
    back = run.answers[-1]
    assert back.result.frame_index == 2
    assert back.arrived.frame.name == "00002"
    np.testing.assert_array_equal(back.result.masks[1], red_mask(0))
    assert run.engine.grabber.num_losses == 1
    assert "unplugged" in run.events[0]
    assert run.events[-1].startswith("scripted is back")


def test_while_the_source_is_lost_the_last_picture_says_how_old_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grabber, "_FIRST_PAUSE_S", 5.0)
    with Recorded(SHOWN, source=ScriptedSource(ends=False)) as run:
        run.send(0, 1)
        run.source.send(None)
        until(lambda: (run.pictures[-1].stamp or "").startswith("no picture for"))
        stamped = run.pictures[-1]
        assert stamped.arrived.frame.index == 1
        assert not np.array_equal(stamped.image, run.pictures[0].image)
        assert run.engine.showing.rate.num == 2


def test_frames_of_another_size_are_another_video() -> None:
    with Recorded(SHOWN) as run:
        run.send(0)
        run.source.send(picture(1, (30, 50)))
        until(lambda: len(run.answers) == 2)
        assert run.answers[-1].result.masks == {}
        assert run.engine.prompt(1, PointPrompt((3, 5)), frame_index=1).result(5) == 1
        run.source.send(picture(2, (30, 50)))
        until(lambda: len(run.answers) == 3)
    assert run.answers[-1].result.masks[1].any()
    assert run.engine.segmenting.failure is None


def test_where_the_model_fails_the_picture_goes_on_and_it_is_told() -> None:
    class Broken(ColorModel):
        def encode_memory(self, *args: Any, **kwargs: Any) -> Any:
            if self.num_encoded > 4:
                raise RuntimeError("out of memory")
            return super().encode_memory(*args, **kwargs)

    model = Broken()
    source, pictures, events = ScriptedSource(), [], []
    engine = LiveEngine(source, lambda: Session(model), SHOWN, events.append)
    engine.on_picture.append(pictures.append)
    with engine:
        for index in range(12):
            source.send(picture(index))
            until(lambda index=index: pictures and pictures[-1].arrived.frame.index == index)
        until(lambda: engine.segmenting.failure is not None)
        with pytest.raises(SurgvosError, match="out of memory"):
            engine.prompt(1, PointPrompt((1, 5)))
        source.send(None)
        assert engine.wait(5)
    assert [event for event in events if "out of memory" in event]


@pytest.mark.parametrize("hw", [HW, None])
def test_the_model_is_warm_before_it_answers(hw: tuple[int, int] | None) -> None:
    with Recorded(SHOWN, source=ScriptedSource(hw)) as run:
        if hw is not None:
            until(lambda: run.engine.segmenting.is_warm.is_set())
            assert run.engine.grabber.num_received == 0
            assert run.model.num_encoded == 3
        run.send(0)
        assert run.model.num_encoded == 4
        assert run.answers[0].result.objects[1].prompted


def test_the_end_is_reached_when_the_last_frame_is_answered() -> None:
    with Recorded(SHOWN) as run:
        run.send(0)
        run.model.may_go.clear()
        run.source.send(picture(1), None)
        assert run.model.is_waiting.wait(5)
        assert not run.engine.wait(0.1)
        run.model.may_go.set()
        assert run.engine.wait(5)
    assert [answer.result.frame_index for answer in run.answers] == [0, 1]

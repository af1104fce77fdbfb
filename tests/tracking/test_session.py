"""What a session promises, told with a model that has no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from surgvos.core import BoxPrompt, Frame, MaskPrompt, Phase, PointPrompt, TextPrompt
from surgvos.errors import ConfigError, InputError
from surgvos.models.interface import ImageFeatures, MaskPrediction
from surgvos.tracking.answering import SessionOptions
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel

HW = (24, 40)
RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)


def picture(index: int, num_frames: int = 12) -> Frame:
    """A red square that walks right, and a green bar that shows up in the middle third only."""
    image = np.full((*HW, 3), 90, dtype=np.uint8)
    image[4:10, 2 + index : 8 + index] = RED
    if num_frames // 3 <= index < 2 * num_frames // 3:
        image[16:20, 10:30] = GREEN
    return Frame(index=index, name=f"{index:05d}", image=image, time_s=index / 25)


class Movie:
    """A video whose frames can be read in any order."""

    def __init__(self, num_frames: int = 12) -> None:
        self.frames = [picture(index, num_frames) for index in range(num_frames)]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)


def red_mask(index: int) -> np.ndarray:
    return (picture(index).image == RED).all(axis=2)


def green_mask() -> np.ndarray:
    return (picture(5).image == GREEN).all(axis=2)


@pytest.fixture
def session() -> Session:
    return Session(ColorModel())


def test_a_mask_is_followed_forward(session: Session) -> None:
    session.add_prompt(0, 3, MaskPrompt(red_mask(0)))
    results = list(session.propagate(Movie()))
    assert [r.frame_index for r in results] == list(range(12))
    for result in results:
        np.testing.assert_array_equal(result.masks[3], red_mask(result.frame_index))
    assert results[0].objects[3].prompted
    assert results[0].objects[3].attended_frames == ()
    assert results[4].objects[3].attended_frames == (0, 1, 2, 3)
    assert results[11].objects[3].attended_frames == (0, 5, 6, 7, 8, 9, 10)


def test_absent_is_an_answer(session: Session) -> None:
    session.add_prompt(5, 1, MaskPrompt(green_mask()))
    phases = [r.objects[1].phase for r in session.propagate(Movie())]
    assert phases == [Phase.TRACKING] * 3 + [Phase.ABSENT] * 4


def test_backward_and_both_cover_the_video(session: Session) -> None:
    session.add_prompt(6, 1, MaskPrompt(red_mask(6)))
    movie = Movie()
    assert [r.frame_index for r in session.propagate(movie, direction="backward")] == [6, 5, 4, 3, 2, 1, 0]
    both = {r.frame_index: r for r in session.propagate(movie, direction="both")}
    assert list(both) == [6, 7, 8, 9, 10, 11, 5, 4, 3, 2, 1, 0]
    for index, result in both.items():
        np.testing.assert_array_equal(result.masks[1], red_mask(index))


def test_one_frame_video() -> None:
    for direction in ("forward", "backward", "both"):
        session = Session(ColorModel())
        session.add_prompt(0, 1, MaskPrompt(red_mask(0)))
        assert [r.frame_index for r in session.propagate(Movie(1), direction=direction)] == [0]


def test_stop_is_the_first_frame_not_processed(session: Session) -> None:
    session.add_prompt(2, 1, MaskPrompt(red_mask(2)))
    assert [r.frame_index for r in session.propagate(Movie(), stop=5)] == [2, 3, 4]
    assert [r.frame_index for r in session.propagate(Movie(), start=8, stop=5, direction="backward")] == [8, 7, 6]


def test_a_stream_gives_the_same_as_a_file() -> None:
    prompts = [(0, 1, MaskPrompt(red_mask(0))), (4, 2, PointPrompt((15, 17))), (6, 1, PointPrompt((10, 6)))]
    from_file, from_stream = Session(ColorModel()), Session(ColorModel())
    for prompt in prompts:
        from_file.add_prompt(*prompt)
    expected = list(from_file.propagate(Movie()))
    for frame, wanted in zip(Movie(), expected, strict=True):
        for prompt in prompts:
            if prompt[0] == frame.index:
                from_stream.add_prompt(*prompt)
        result = from_stream.step(frame)
        assert result.objects == wanted.objects
        assert result.masks.keys() == wanted.masks.keys()
        for object_id, mask in result.masks.items():
            np.testing.assert_array_equal(mask, wanted.masks[object_id])


def test_an_object_may_join_and_leave_at_any_time(session: Session) -> None:
    session.add_prompt(0, 1, MaskPrompt(red_mask(0)))
    movie = Movie()
    seen = []
    for frame in movie:
        if frame.index == 5:
            session.add_prompt(5, 2, MaskPrompt(green_mask()))
        if frame.index == 7:
            session.remove(1)
        seen.append(tuple(session.step(frame).masks))
    assert seen == [(1,)] * 5 + [(1, 2)] * 2 + [(2,)] * 5


def test_each_frame_is_encoded_once_for_all_objects_and_prompts() -> None:
    model = ColorModel()
    session = Session(model)
    session.add_prompt(0, 1, MaskPrompt(red_mask(0)))
    session.add_prompt(5, 2, MaskPrompt(green_mask()))
    session.add_prompt(5, 1, PointPrompt((9, 6)))
    list(session.propagate(Movie()))
    assert model.num_encoded == 12


def test_a_correction_sticks_when_its_frame_is_passed_again(session: Session) -> None:
    session.add_prompt(0, 1, MaskPrompt(red_mask(0)))
    movie = Movie()
    list(session.propagate(movie))
    session.add_prompt(5, 1, PointPrompt((15, 17)))
    corrected = session.preview(movie[5])
    np.testing.assert_array_equal(corrected.masks[1], green_mask())
    for run in (session.propagate(movie, start=3), session.propagate(movie, start=8, direction="backward")):
        again = {r.frame_index: r for r in run}
        np.testing.assert_array_equal(again[5].masks[1], green_mask())
        assert again[5].objects[1].prompted


def test_a_correction_is_lost_as_published() -> None:
    session = Session(ColorModel(), options=SessionOptions(as_published=True))
    session.add_prompt(0, 1, MaskPrompt(red_mask(0)))
    movie = Movie()
    list(session.propagate(movie))
    session.add_prompt(5, 1, PointPrompt((15, 17)))
    np.testing.assert_array_equal(session.preview(movie[5]).masks[1], green_mask())
    again = {r.frame_index: r for r in session.propagate(movie, start=5)}
    np.testing.assert_array_equal(again[5].masks[1], red_mask(5))


def test_clicks_of_a_frame_add_up_and_start_from_the_mask_before(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ColorModel()
    seen = []
    decode = model.decode

    def spy(features, conditioned, prompts, *, multimask):  # type: ignore[no-untyped-def]
        seen.append(prompts)
        return decode(features, conditioned, prompts, multimask=multimask)

    monkeypatch.setattr(model, "decode", spy)
    session = Session(model)
    session.add_prompt(0, 1, PointPrompt((4, 6)))
    session.preview(picture(0))
    session.add_prompt(0, 1, PointPrompt((30, 20), 0))
    session.preview(picture(0))
    assert seen[0].num_points == 1
    assert seen[0].previous_logits is None
    assert seen[1].labels.tolist() == [[1, 0]]
    assert seen[1].previous_logits is not None
    session.add_prompt(0, 1, BoxPrompt((2, 4, 8, 10)))
    session.preview(picture(0))
    assert seen[2].labels.tolist() == [[2, 3, 1, 0]]


def test_points_are_scaled_to_the_models_input() -> None:
    from surgvos.tracking.objects import FramePrompts

    prompts = FramePrompts().plus(PointPrompt((20, 12), 0)).plus(BoxPrompt((0, 0, 40, 24)))
    batch = prompts.to_batch((24, 40), (96, 80), ColorModel().anchor.device)
    assert batch.points_xy.tolist() == [[[0, 0], [80, 96], [40, 48]]]
    assert batch.labels.tolist() == [[2, 3, 0]]


def test_overlap_goes_to_the_highest_logit_unless_allowed() -> None:
    half = red_mask(0).copy()
    half[:, 5:] = False
    for options, overlap in ((SessionOptions(), 0), (SessionOptions(non_overlap=False), half.sum())):
        session = Session(ColorModel(), options=options)
        session.add_prompt(0, 1, MaskPrompt(red_mask(0)))
        session.add_prompt(0, 2, MaskPrompt(half))
        result = session.step(picture(0))
        assert (result.masks[1] & result.masks[2]).sum() == overlap
        assert (result.masks[1] | result.masks[2]).sum() == red_mask(0).sum()


def test_memory_does_not_grow_with_the_video(session: Session) -> None:
    session.add_prompt(0, 1, MaskPrompt(red_mask(0)))
    sizes = []
    for index in range(400):
        session.step(Frame(index=index, name=str(index), image=picture(index % 12).image))
        sizes.append(session.nbytes)
    assert sizes[40] > 0
    assert set(sizes[40:]) == {sizes[40]}


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (MaskPrompt(np.ones((5, 5))), "expected a mask of 40x24 pixels like the video, got 5x5"),
        (PointPrompt((41, 3)), r"expected points inside the 40x24 image, got \(41, 3\)"),
        (BoxPrompt((0, 0, 10, 90)), "expected a box inside the 40x24 image"),
    ],
)
def test_a_prompt_that_does_not_fit_the_image_is_refused(session: Session, prompt: object, message: str) -> None:
    session.add_prompt(0, 1, prompt)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        session.step(picture(0))


def test_misuse_is_told_in_one_sentence(session: Session) -> None:
    with pytest.raises(InputError, match="at least one prompt"):
        list(session.propagate(Movie()))
    with pytest.raises(InputError, match=r"object id in 1\.\.65535, got 0"):
        session.add_prompt(0, 0, PointPrompt((1, 1)))
    with pytest.raises(InputError, match="frame index >= 0, got -1"):
        session.add_prompt(-1, 1, PointPrompt((1, 1)))
    with pytest.raises(
        InputError, match=r"got a phrase .'the grasper'., which this model cannot read; try a model that can"
    ):
        session.add_prompt(0, 1, TextPrompt("the grasper"))
    assert session.object_ids == ()
    session.add_prompt(99, 1, PointPrompt((1, 1)))
    with pytest.raises(InputError, match=r"frames 0\.\.11, got one on frame 99"):
        list(session.propagate(Movie()))
    with pytest.raises(InputError, match=r"frames 0\.\.11, got one on frame 99"):
        list(session.propagate(iter(Movie()), start=0))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="forward, backward or both, got 'up'"):
        list(session.propagate(Movie(), direction="up"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"one of the objects \[1\], got 7"):
        session.remove(7)


def test_frames_of_another_size_are_refused(session: Session) -> None:
    session.add_prompt(0, 1, MaskPrompt(red_mask(0)))
    session.step(picture(0))
    with pytest.raises(InputError, match="expected frames of 40x24 pixels, got 8x8 at frame 1"):
        session.step(Frame(index=1, name="1", image=np.zeros((8, 8, 3), dtype=np.uint8)))


def test_a_stream_cannot_run_backward(session: Session) -> None:
    session.add_prompt(3, 1, MaskPrompt(red_mask(3)))
    with pytest.raises(InputError, match="got a stream"):
        list(session.propagate(iter(Movie()), direction="backward"))  # type: ignore[arg-type]


def test_a_frame_that_was_prepared_is_seen_once_and_answered_alike() -> None:
    model, frame = ColorModel(), picture(0)
    prepared, unprepared = Session(model), Session(ColorModel())
    prepared.prepare(frame)
    assert model.num_encoded == 1
    for session in (prepared, unprepared):
        session.add_prompt(0, 1, PointPrompt((1, 5)))
    np.testing.assert_array_equal(prepared.preview(frame).masks[1], unprepared.preview(frame).masks[1])
    assert model.num_encoded == 1
    with pytest.raises(InputError, match="new session"):
        prepared.prepare(Frame(1, "00001", np.zeros((5, 5, 3), np.uint8)))


# --- outlines --------------------------------------------------------------------------------------------------------


class RefiningColorModel(ColorModel):
    """Takes the leftmost column off whatever it follows."""

    def refine(self, features: ImageFeatures, followed: MaskPrediction) -> MaskPrediction:
        return replace(followed, logits=followed.logits.minimum(followed.logits.roll(1, dims=3)))


@pytest.mark.parametrize("refine", [True, False])
def test_a_model_may_refine_what_is_followed_and_only_that(*, refine: bool) -> None:
    session = Session(RefiningColorModel(), options=SessionOptions(refine=refine))
    session.add_prompt(0, 3, MaskPrompt(red_mask(0)))
    results = list(session.propagate(Movie()))
    np.testing.assert_array_equal(results[0].masks[3], red_mask(0))
    for result in results[1:]:
        red = red_mask(result.frame_index)
        np.testing.assert_array_equal(result.masks[3], red & np.roll(red, 1, axis=1) if refine else red)

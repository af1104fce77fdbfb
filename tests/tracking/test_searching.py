"""Say what is wanted, and it is found, confirmed and followed: told with a model that has no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgvos.core import Frame, FrameResult, MaskPrompt, Phase, PointPrompt, TextPrompt
from surgvos.errors import ConfigError, InputError
from surgvos.memory import Diverse
from surgvos.models.interface import TextFeatures
from surgvos.referring.start import CredibleStart, Immediate
from surgvos.tracking.searching import SearchOptions
from surgvos.tracking.session import Session
from tracking.fake_model import PhraseModel, numbered

HW = (24, 40)
RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)
THE_RED, A_SQUARE, THE_GREEN, THE_BLUE = "the red one", "a square", "the green bar", "something blue"
COLORS = {THE_RED: RED, A_SQUARE: RED, THE_GREEN: GREEN, THE_BLUE: BLUE}

S, C, T, A, L = Phase.SEARCHING, Phase.CONFIRMING, Phase.TRACKING, Phase.ABSENT, Phase.LOST


def picture(index: int, green: Sequence[range] = ()) -> Frame:
    """A red square that walks right and comes back, and a green bar that is there some of the time."""
    image = np.full((*HW, 3), 90, dtype=np.uint8)
    left = 2 + index % 30
    image[4:10, left : left + 6] = RED
    if any(index in frames for frames in green):
        image[16:20, 10:30] = GREEN
    return Frame(index=index, name=f"{index:05d}", image=numbered(image, index), time_s=index / 25)


class Movie:
    """A video whose frames can be read in any order."""

    def __init__(self, num_frames: int = 12, green: Sequence[range] = ()) -> None:
        self.num_frames, self.green = num_frames, green

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Frame:
        return picture(index, self.green)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(self.num_frames))


def red_mask(index: int) -> np.ndarray:
    return (picture(index).image == RED).all(axis=2)


def green_mask() -> np.ndarray:
    return (picture(0, [range(1)]).image == GREEN).all(axis=2)


@pytest.fixture
def model() -> PhraseModel:
    return PhraseModel(COLORS)


def searching(
    model: PhraseModel, *phrases: str, options: SearchOptions | None = None, memory: str = "recent"
) -> Session:
    """A session that looks for one object per phrase from frame 0 on."""
    session = Session(model, memory, search=options)
    for object_id, phrase in enumerate(phrases, start=1):
        session.add_prompt(0, object_id, TextPrompt(phrase))
    return session


def phases(results: Sequence[FrameResult], object_id: int = 1) -> list[Phase]:
    return [result.objects[object_id].phase for result in results]


def shown(results: Sequence[FrameResult], object_id: int = 1) -> list[int]:
    return [result.frame_index for result in results if result.masks[object_id].any()]


# --- found, confirmed, followed --------------------------------------------------------------------------------------


def test_as_published_every_mask_is_shown_and_following_begins_behind_the_window(model: PhraseModel) -> None:
    model.scores[THE_RED, 2] = (0.99, 0.95)
    session = searching(model, THE_RED, options=SearchOptions.published())
    results = list(session.propagate(Movie()))
    assert [result.frame_index for result in results] == list(range(12))
    assert phases(results) == [C] * 4 + [T] * 8
    for result in results:
        np.testing.assert_array_equal(result.masks[1], red_mask(result.frame_index))
    # The best of the window is the one prompted frame; the frames behind it in the window are not remembered.
    assert [result.objects[1].attended_frames for result in results[3:8]] == [(), (), (2,), (2, 5), (2, 5, 6)]
    assert list(session.objects[1].bank.prompted) == [2]
    assert model.num_encoded == 12
    assert model.num_encoded_texts == 1


def test_the_model_sees_the_frames_looked_at_before(model: PhraseModel) -> None:
    model.scores |= {(THE_RED, index): (0.5, 0.5) for index in range(12)}
    list(searching(model, THE_RED).propagate(Movie(5)))
    assert model.looks == [(i, list(range(i - 1, max(i - 3, -1), -1)), [THE_RED]) for i in range(5)]


def test_while_it_is_followed_the_phrase_is_kept_in_mind(model: PhraseModel) -> None:
    session = searching(model, THE_RED, THE_GREEN)
    session.add_prompt(0, 3, MaskPrompt(np.roll(red_mask(0), 12, axis=0)))
    for frame in Movie(7, [range(7)]):
        session.step(frame)
    # Object 3 was shown; the other two are followed from frame 5 on, in one call.
    assert model.spoken == [None] * 5 + [[THE_RED, THE_GREEN], None] * 2


def test_what_is_not_certain_is_not_shown_until_the_video_is_over(model: PhraseModel) -> None:
    model.scores |= {(THE_RED, 3): (0.5, 0.9), (THE_RED, 6): (0.99, 0.95)}
    results = list(searching(model, THE_RED).propagate(Movie()))
    # Forward to the end, and back over the frames that passed before it was certain.
    assert [r.frame_index for r in results] == [*range(12), *range(7, -1, -1)]
    assert phases(results) == [C, C, C, S, C, C, C, C] + [T] * 12
    assert shown(results[:12]) == [8, 9, 10, 11]
    for result in results[8:]:
        np.testing.assert_array_equal(result.masks[1], red_mask(result.frame_index))
    # The anchor itself is answered as it was seen.
    assert {r.frame_index: r.objects[1].prompted for r in results[12:]}[6]


def test_a_stream_gives_the_same_as_a_file_but_cannot_go_back(model: PhraseModel) -> None:
    from_file = list(searching(model, THE_RED, THE_GREEN).propagate(Movie(20, [range(8, 20)])))
    session = searching(PhraseModel(COLORS), THE_RED, THE_GREEN)
    from_stream = list(session.propagate(iter(Movie(20, [range(8, 20)]))))  # type: ignore[arg-type]
    assert len(from_stream) == 20 < len(from_file)
    for ours, theirs in zip(from_stream, from_file, strict=False):
        assert ours.objects == theirs.objects
        for object_id, mask in ours.masks.items():
            np.testing.assert_array_equal(mask, theirs.masks[object_id])


def test_what_is_not_in_the_video_has_no_mask_anywhere(model: PhraseModel) -> None:
    session = searching(model, THE_BLUE, THE_RED)
    results = list(session.propagate(Movie()))
    assert phases(results[:12]) == [S] * 12
    assert shown(results[:12]) == []
    assert all(list(r.masks) == [2] for r in results[12:])
    assert [i for i, tracked in session.objects.items() if tracked.was_never_found] == [1]
    search = session.objects[2].search
    assert search is not None
    assert search.found_at == 4


def test_a_start_may_be_immediate(model: PhraseModel) -> None:
    model.scores |= {(THE_RED, 0): (0.9, 0.9), (THE_RED, 1): (0.95, 0.7)}
    results = list(searching(model, THE_RED, options=SearchOptions(start=Immediate())).propagate(Movie(6)))
    assert phases(results) == [S, S, T, T, T, T, T, T]
    assert [r.frame_index for r in results[6:]] == [1, 0]


@pytest.mark.parametrize(
    ("credible", "start", "is_found"),
    [
        ((0.9, 0.7), None, False),
        ((0.5, 0.55), None, True),  # what the model says of itself
        ((0.5, 0.55), CredibleStart(), False),  # what is asked for
    ],
)
def test_a_model_says_when_it_is_to_be_believed(
    model: PhraseModel,
    monkeypatch: pytest.MonkeyPatch,
    credible: tuple[float, float],
    start: CredibleStart | None,
    is_found: bool,
) -> None:
    monkeypatch.setattr(model, "credible", credible)
    model.scores |= {(THE_RED, i): (0.7, 0.6) for i in range(12)}
    results = list(searching(model, THE_RED, options=SearchOptions(start=start)).propagate(Movie()))
    assert any(phase == T for phase in phases(results)) == is_found


def test_a_mask_that_jumps_about_is_not_confirmed_where_that_is_asked(model: PhraseModel) -> None:
    class Jumping(Movie):
        def __getitem__(self, index: int) -> Frame:
            image = np.full((*HW, 3), 90, dtype=np.uint8)
            left = 2 if index % 2 or index > 6 else 20
            image[4:10, left : left + 6] = RED
            return Frame(index, f"{index:05d}", numbered(image, index))

    options = SearchOptions(start=CredibleStart(min_overlap=0.5))
    results = list(searching(model, THE_RED, options=options).propagate(Jumping(14)))
    assert phases(results[:14]) == [C] * 9 + [T] * 5


# --- lost, and found again -------------------------------------------------------------------------------------------


def test_what_is_lost_is_looked_for_again(model: PhraseModel) -> None:
    green = [range(10), range(25, 40)]
    model.blind = range(25, 30)
    session = searching(model, THE_GREEN, options=SearchOptions(lost_after=5))
    results = list(session.propagate(Movie(40, green)))
    assert phases(results[:40]) == [C] * 4 + [T] * 6 + [A] * 4 + [L] + [S] * 10 + [C] * 4 + [T] * 11
    assert shown(results[:40]) == [*range(4, 10), *range(29, 40)]
    assert [r.frame_index for r in results[40:]] == [3, 2, 1, 0]
    # What was known before is not forgotten: what is found joins it.
    assert list(session.objects[1].bank.prompted) == [4, 29]
    assert results[30].objects[1].attended_frames == (4, 29)
    # Looking again begins without the frames of the first search.
    assert [looked[:2] for looked in model.looks[4:8]] == [(4, [3, 2]), (15, []), (16, [15]), (17, [16, 15])]


def test_what_is_lost_may_be_seen_again_before_its_phrase_finds_it(model: PhraseModel) -> None:
    session = searching(model, THE_GREEN, options=SearchOptions(lost_after=5))
    results = list(session.propagate(Movie(40, [range(10), range(25, 40)])))
    assert phases(results[:40]) == [C] * 4 + [T] * 6 + [A] * 4 + [L] + [S] * 10 + [T] * 15
    assert shown(results[:40]) == [*range(4, 10), *range(25, 40)]
    assert list(session.objects[1].bank.prompted) == [4]
    assert [looked[0] for looked in model.looks] == [*range(5), *range(15, 25)]


def test_what_is_seen_again_and_gone_again_is_lost_again(model: PhraseModel) -> None:
    session = searching(model, THE_GREEN, options=SearchOptions(lost_after=5))
    results = list(session.propagate(Movie(30, [range(10), range(20, 22)])))
    assert phases(results[:30]) == [C] * 4 + [T] * 6 + [A] * 4 + [L] + [S] * 5 + [T] * 2 + [A] * 4 + [L] + [S] * 3


def test_as_published_nothing_is_ever_lost(model: PhraseModel) -> None:
    session = searching(model, THE_GREEN, options=SearchOptions.published())
    results = list(session.propagate(Movie(60, [range(10), range(50, 60)])))
    assert phases(results) == [C] * 4 + [T] * 6 + [A] * 40 + [T] * 10


def test_a_low_predicted_iou_is_a_loss_where_that_is_asked(model: PhraseModel) -> None:
    # The model that follows is always certain of its mask (1.0), so that no threshold below it is missed.
    model.scores |= {(THE_RED, i): (0.99, 0.75) for i in range(30)}
    sure = list(searching(model, THE_RED, options=SearchOptions(lost_after=2, lost_iou=1.0)).propagate(Movie(9)))
    assert L not in phases(sure)


def test_one_good_frame_saves_it(model: PhraseModel) -> None:
    green = [range(10), range(14, 15), range(19, 20)]
    session = searching(model, THE_GREEN, options=SearchOptions(lost_after=5))
    assert L not in phases(list(session.propagate(Movie(24, green))))


def test_what_was_shown_and_not_called_anything_is_never_lost(model: PhraseModel) -> None:
    session = Session(model, search=SearchOptions(lost_after=2))
    session.add_prompt(0, 1, MaskPrompt(green_mask()))
    assert phases(list(session.propagate(Movie(9, [range(4)])))) == [T] * 4 + [A] * 5


# --- several objects, several phrases ------------------------------------------------------------------------------


def test_all_objects_are_looked_for_in_one_call_and_frames_are_encoded_once(model: PhraseModel) -> None:
    session = searching(model, THE_RED, THE_GREEN)
    list(session.propagate(Movie(6, [range(6)])))
    assert model.looks == [(i, list(range(i - 1, max(i - 3, -1), -1)), [THE_RED, THE_GREEN]) for i in range(5)]


def test_an_object_that_joins_later_is_not_shown_what_passed_before(model: PhraseModel) -> None:
    model.scores |= {(phrase, i): (0.1, 0.1) for phrase in COLORS for i in range(9)}
    session = searching(model, THE_RED)
    session.add_prompt(4, 2, TextPrompt(THE_GREEN))
    list(session.propagate(Movie(8)))
    assert model.looks[4:] == [
        (4, [3, 2], [THE_RED]),
        (4, [], [THE_GREEN]),
        (5, [4, 3], [THE_RED]),
        (5, [4], [THE_GREEN]),
        (6, [5, 4], [THE_RED, THE_GREEN]),
        (7, [6, 5], [THE_RED, THE_GREEN]),
    ]


def test_a_phrase_may_be_given_while_a_stream_runs(model: PhraseModel) -> None:
    session = searching(model, THE_RED)
    seen = []
    for frame in Movie(14, [range(14)]):
        if frame.index == 7:
            session.add_prompt(7, 2, TextPrompt(THE_GREEN))
        seen.append(session.step(frame))
    assert phases(seen) == [C] * 4 + [T] * 10
    assert phases(seen[7:], 2) == [C] * 4 + [T] * 3


def test_phrases_of_one_object_compete_in_every_frame(model: PhraseModel) -> None:
    session = searching(model, THE_RED, options=SearchOptions.published())
    session.add_prompt(0, 1, TextPrompt(A_SQUARE))
    session.add_prompt(0, 1, TextPrompt(THE_BLUE))
    model.scores |= {(THE_RED, i): (0.95, 0.8) for i in range(9)} | {(A_SQUARE, i): (0.99, 0.75) for i in range(9)}
    model.scores[A_SQUARE, 2] = (0.99, 0.85)
    results = list(session.propagate(Movie(6)))
    # 0.95 * 0.8 beats 0.99 * 0.75, but for frame 2.
    assert [r.objects[1].predicted_iou for r in results[:5]] == pytest.approx([0.8, 0.8, 0.85, 0.8, 0.8])
    assert list(session.objects[1].bank.prompted) == [2]
    # It is followed under the name by which it was found.
    assert model.spoken == [[A_SQUARE]]
    assert model.looks[0] == (0, [], [THE_RED, A_SQUARE, THE_BLUE])


def test_contradictory_phrases_end_with_one_of_the_things_they_say(model: PhraseModel) -> None:
    session = searching(model, THE_RED)
    session.add_prompt(0, 1, TextPrompt(THE_GREEN))
    model.scores |= {(THE_GREEN, i): (0.99, 0.95) for i in range(3, 20)}
    results = list(session.propagate(Movie(20, [range(20)])))
    for result in results[4:20]:
        np.testing.assert_array_equal(result.masks[1], green_mask())


def test_a_mask_belongs_to_one_object(model: PhraseModel) -> None:
    model.scores |= {(A_SQUARE, i): (0.99, 0.95) for i in range(6)}
    session = searching(model, THE_RED, A_SQUARE)
    results = list(session.propagate(iter(Movie(9))))  # type: ignore[arg-type]
    # The better one has it, first while both are looked for, then because it is followed.
    assert phases(results, 2) == [C] * 4 + [T] * 5
    assert phases(results, 1) == [S] * 9
    assert shown(results, 1) == []
    shared = searching(PhraseModel(COLORS), THE_RED, A_SQUARE, options=SearchOptions(exclusive_iou=None))
    results = list(shared.propagate(iter(Movie(9))))  # type: ignore[arg-type]
    assert phases(results, 1) == phases(results, 2) == [C] * 4 + [T] * 5


def test_two_objects_that_are_called_the_same_do_not_keep_each_other_from_being_found(model: PhraseModel) -> None:
    # One is better in every even frame, the other in every odd one.
    model.scores |= {
        (phrase, i): (0.99, 0.8 + 0.1 * ((i + j) % 2)) for j, phrase in enumerate(COLORS) for i in range(9)
    }
    session = searching(model, THE_RED, A_SQUARE)
    results = list(session.propagate(iter(Movie(9))))  # type: ignore[arg-type]
    assert phases(results, 1) == [S] * 9
    assert phases(results, 2) == [C] * 4 + [T] * 5


# --- phrases and prompts that show -------------------------------------------------------------------------------


def test_a_click_ends_the_search_and_what_passed_is_filled_in(model: PhraseModel) -> None:
    model.scores |= {(THE_RED, i): (0.5, 0.5) for i in range(20)}
    session = searching(model, THE_RED)
    session.add_prompt(6, 1, PointPrompt((10, 6)))
    results = list(session.propagate(Movie()))
    assert phases(results) == [S] * 6 + [T] * 12
    assert [r.frame_index for r in results[12:]] == [5, 4, 3, 2, 1, 0]
    for result in results[6:]:
        np.testing.assert_array_equal(result.masks[1], red_mask(result.frame_index))
    assert model.spoken[0] == [THE_RED]
    assert session.objects[1].search.found_at == 6  # type: ignore[union-attr]


def test_a_click_and_a_phrase_in_one_frame_follow_at_once(model: PhraseModel) -> None:
    session = searching(model, THE_RED)
    session.add_prompt(0, 1, PointPrompt((4, 6)))
    results = list(session.propagate(Movie(4)))
    assert phases(results) == [T] * 4
    assert model.looks == []
    assert model.spoken == [[THE_RED]] * 4


def test_a_phrase_for_what_is_followed_is_looked_for_once_it_is_lost(model: PhraseModel) -> None:
    model.blind = range(12, 17)
    session = Session(model, search=SearchOptions(lost_after=3))
    session.add_prompt(0, 1, MaskPrompt(green_mask()))
    session.add_prompt(2, 1, TextPrompt(THE_GREEN))
    results = list(session.propagate(Movie(20, [range(5), range(12, 20)])))
    assert phases(results) == [T] * 5 + [A, A, L] + [S] * 4 + [C] * 4 + [T] * 4


def test_a_correction_of_what_was_found_sticks(model: PhraseModel) -> None:
    session = searching(model, THE_RED, options=SearchOptions.published())
    session.add_prompt(7, 1, MaskPrompt(green_mask()))
    results = list(session.propagate(Movie(10, [range(10)])))
    np.testing.assert_array_equal(results[7].masks[1], green_mask())
    assert list(session.objects[1].bank.prompted) == [4, 7]


def test_a_preview_shows_what_a_phrase_would_find_and_begins_nothing(model: PhraseModel) -> None:
    session = searching(model, THE_RED)
    result = session.preview(picture(0))
    np.testing.assert_array_equal(result.masks[1], red_mask(0))
    assert phases([result]) == [S]
    assert session.objects[1].search is None
    assert phases(list(session.propagate(Movie(6)))[:6]) == [C] * 4 + [T] * 2
    assert model.looks[:3] == [(0, [], [THE_RED]), (0, [], [THE_RED]), (1, [0], [THE_RED])]


def test_removal_while_searching_leaves_the_others_alone(model: PhraseModel) -> None:
    alone = [r.objects[1] for r in searching(PhraseModel(COLORS), THE_RED).propagate(iter(Movie()))]  # type: ignore[arg-type]
    session = searching(model, THE_RED, THE_GREEN)
    seen = []
    for frame in Movie():
        if frame.index == 2:
            session.remove(2)
        seen.append(session.step(frame))
    assert [tuple(r.masks) for r in seen] == [(1, 2)] * 2 + [(1,)] * 10
    assert [r.objects[1] for r in seen] == alone
    session.remove(1)
    assert session.nbytes == Session(model).nbytes + sum(session._answering.features.storages().values()) + sum(
        storage.nbytes()
        for _, features in session._searcher.referrer.previous  # type: ignore[union-attr]
        for storage in [features.levels[0].untyped_storage()]
        if storage.data_ptr() not in session._answering.features.storages()
    )


# --- directions ------------------------------------------------------------------------------------------------------


def test_time_may_run_backward(model: PhraseModel) -> None:
    session = Session(model)
    session.add_prompt(11, 1, TextPrompt(THE_RED))
    model.scores[THE_RED, 9] = (0.99, 0.95)
    results = list(session.propagate(Movie(), direction="backward"))
    assert [r.frame_index for r in results] == [*range(11, -1, -1), 8, 9, 10, 11]
    assert phases(results[:12]) == [C] * 4 + [T] * 8
    assert results[5].objects[1].attended_frames == (9,)
    for result in results[4:]:
        np.testing.assert_array_equal(result.masks[1], red_mask(result.frame_index))


def test_both_directions_go_on_looking_and_answer_all_frames(model: PhraseModel) -> None:
    session = Session(model)
    session.add_prompt(12, 1, TextPrompt(THE_GREEN))
    session.add_prompt(8, 2, TextPrompt(THE_RED))
    results = list(session.propagate(Movie(16, [range(7)]), direction="both"))
    forward, backward, rest = results[:8], results[8:20], results[20:]
    assert [r.frame_index for r in forward] == list(range(8, 16))
    # The red square is found at 12 and answered before it; the green bar is found only now.
    assert [r.frame_index for r in backward] == list(range(11, -1, -1))
    assert phases(backward) == [S] * 5 + [C] * 4 + [T] * 3
    assert phases(backward, 2) == [T] * 12
    # What passed until it was found is filled in, up to where it was asked for.
    assert [r.frame_index for r in rest] == list(range(3, 12))
    assert all(list(r.masks) == [1] for r in rest)
    assert shown(rest) == [3, 4, 5, 6]


def test_both_directions_answer_late_objects_before_their_first_prompt(model: PhraseModel) -> None:
    session = Session(model)
    session.add_prompt(3, 1, MaskPrompt(red_mask(3)))
    session.add_prompt(8, 2, MaskPrompt(green_mask()))
    results = list(session.propagate(Movie(12, [range(12)]), direction="both"))
    assert [(r.frame_index, list(r.masks)) for r in results] == [
        *((i, [1]) for i in range(3, 8)),
        *((i, [1, 2]) for i in range(8, 12)),
        *((i, [2]) for i in range(7, 2, -1)),
        *((i, [1, 2]) for i in range(2, -1, -1)),
    ]
    for result in results[-8:]:
        np.testing.assert_array_equal(result.masks[2], green_mask())


def test_a_second_run_of_a_session_fills_nothing_in_again(model: PhraseModel) -> None:
    session = searching(model, THE_RED)
    first = list(session.propagate(Movie()))
    second = list(session.propagate(Movie()))
    assert len(first) == 16
    assert [r.frame_index for r in second] == list(range(12))
    assert shown(second) == list(range(12))


# --- state ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 3, 5, 9, 13, 21, 27])
def test_a_saved_search_goes_on_as_if_nothing_had_happened(tmp_path: Path, stop: int) -> None:
    movie = Movie(40, [range(12), range(20, 40)])

    def fresh() -> Session:
        session = Session(PhraseModel(COLORS), search=SearchOptions(lost_after=4))
        session.add_prompt(0, 1, TextPrompt(THE_RED))
        session.add_prompt(2, 2, TextPrompt(THE_GREEN))
        session.add_prompt(2, 2, TextPrompt(THE_BLUE))
        session.add_prompt(30, 3, TextPrompt(THE_BLUE))
        return session

    whole = fresh()
    expected = [whole.step(frame) for frame in movie]
    first, second = fresh(), Session(PhraseModel(COLORS), search=SearchOptions(lost_after=4))
    for index in range(stop):
        first.step(movie[index])
    first.save(tmp_path / "state.safetensors", {"at": stop})
    assert second.restore(tmp_path / "state.safetensors") == {"at": stop}
    for index in range(stop, 40):
        ours = second.step(movie[index])
        assert ours.objects == expected[index].objects
        for object_id, mask in ours.masks.items():
            np.testing.assert_array_equal(mask, expected[index].masks[object_id])
    assert second.model.looks == whole.model.looks[-len(second.model.looks) :]
    for object_id, tracked in second.objects.items():
        assert tracked.search is not None
        assert tracked.search.found_at == whole.objects[object_id].search.found_at  # type: ignore[union-attr]


def test_memory_does_not_grow_while_things_come_and_go() -> None:
    model = PhraseModel(COLORS)
    session = Session(model, Diverse(), search=SearchOptions(lost_after=4))
    session.add_prompt(0, 1, TextPrompt(THE_GREEN))
    session.add_prompt(0, 2, TextPrompt(THE_BLUE))
    # There for 1 frame and away for 1, there for 2, ... up to 12.
    is_there = [there for length in range(1, 13) for there in [True] * length + [False] * length]
    images = [np.full((8, 8, 3), 90, dtype=np.uint8) for _ in is_there]
    for index, image in enumerate(images):
        image[4:6, 2:6] = GREEN if is_there[index] else 90
        numbered(image, index)
    sizes, seen = [], set()
    for index in range(1200):
        result = session.step(Frame(index=index, name=str(index), image=images[index % len(images)]))
        seen |= {(object_id, known.phase) for object_id, known in result.objects.items()}
        sizes.append(session.nbytes)
    assert seen == {(1, phase) for phase in (S, C, T, A, L)} | {(2, S)}
    assert max(sizes[-400:]) <= max(sizes[400:800])


scores = st.tuples(st.sampled_from((0.3, 0.95, 0.99)), st.sampled_from((0.6, 0.8, 0.9)))


@settings(max_examples=40)
@given(
    st.lists(scores | st.just((0.99, 0.9)), min_size=1, max_size=25),
    st.sampled_from((1, 3)),
    st.sampled_from((1, -1)),
    st.booleans(),
)
def test_whatever_the_scores_are_phases_follow_each_other(
    scripted: list[tuple[float, float]], window: int, direction: int, show: bool
) -> None:
    """What is certain is followed, what is not is hidden if asked, and every frame is answered."""
    num_frames = len(scripted)
    model = PhraseModel(COLORS)
    frames = list(range(num_frames))[::direction]
    model.scores |= {(THE_RED, index): score for index, score in zip(frames, scripted, strict=True)}
    options = SearchOptions(start=CredibleStart(window=window), show_unconfirmed=show)
    session = Session(model, search=options)
    session.add_prompt(frames[0], 1, TextPrompt(THE_RED))
    results = list(session.propagate(Movie(num_frames), direction="forward" if direction == 1 else "backward"))
    first, rest = results[:num_frames], results[num_frames:]
    credible = [presence > 0.9 and iou > 0.7 for presence, iou in scripted]
    trigger = next((i for i in range(window - 1, num_frames) if all(credible[i + 1 - window : i + 1])), num_frames)
    assert [r.frame_index for r in first] == frames
    assert phases(first) == [C if credible[i] else S for i in range(min(trigger, num_frames))] + [T] * (
        num_frames - trigger
    )
    assert set(shown(first)) == set(frames if show else frames[trigger:])
    is_found = trigger < num_frames
    assert [r.frame_index for r in rest] == (frames[:trigger][::-1] if is_found else [])
    assert session.objects[1].was_never_found == (not is_found)
    if is_found:
        scores_of_window = scripted[trigger + 1 - window : trigger + 1]
        best = max(range(window), key=lambda i: (scores_of_window[i][1], i))
        assert list(session.objects[1].bank.prompted) == [frames[trigger + 1 - window + best]]
    for result in (*first[trigger:], *rest):
        np.testing.assert_array_equal(result.masks[1], red_mask(result.frame_index))


# --- misuse --------------------------------------------------------------------------------------------------------


def test_misuse_is_told_in_one_sentence(model: PhraseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(model)
    with pytest.raises(InputError, match="expected a phrase, got an empty text"):
        session.add_prompt(0, 1, TextPrompt("  "))

    def too_long(phrases: Sequence[str]) -> TextFeatures:
        raise InputError("expected at most 77 words")

    monkeypatch.setattr(model, "encode_text", too_long)
    with pytest.raises(InputError, match="at most 77 words"):
        session.add_prompt(0, 1, TextPrompt(THE_RED))
    assert session.object_ids == ()
    monkeypatch.undo()
    session.add_prompt(99, 1, TextPrompt(THE_RED))
    with pytest.raises(InputError, match=r"frames 0\.\.11, got one on frame 99"):
        list(session.propagate(Movie()))
    with pytest.raises(InputError, match=r"frames 0\.\.11, got one on frame 99"):
        list(session.propagate(iter(Movie()), start=0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lost_after": 0}, "lost_after >= 1 or None, got 0"),
        ({"lost_presence": 2}, r"lost_presence in 0\.\.1, got 2"),
        ({"lost_iou": -1}, r"lost_iou in 0\.\.1, got -1"),
        ({"exclusive_iou": 1.5}, r"exclusive_iou in 0\.\.1, got 1\.5"),
    ],
)
def test_options_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchOptions(**settings)  # type: ignore[arg-type]

"""The default rules in the same situations, and in those that they were mended for."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.scenarios import (
    HOME,
    LAST_FRAME_ONLY,
    SCENARIOS,
    Scenario,
    detection_of,
    detections_of,
    mask_of,
    of,
    result_of,
    run_rules,
)
from surgvos.config.load import from_plain
from surgvos.core.prompts import MaskPrompt
from surgvos.errors import ConfigError
from surgvos.overseer.corrections import Add, Drop, Reprompt
from surgvos.overseer.detection import Detection
from surgvos.overseer.sasvi import FollowedClass, Sasvi, SasviState

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "overseer.md"
ALL = (*SCENARIOS, LAST_FRAME_ONLY)
EXPECTED = {
    "constant": "0 +0 +6",
    "7 from 10 on": "0 +0 +6; 10 +7",
    "7 from 30 on": "0 +0 +6; 30 +7",
    "7 in 10 to 12 only": "0 +0 +6",
    "7 in 10 to 13 only": "0 +0 +6; 10 +7; 14 -7",
    "6 missing in 10 only": "0 +0 +6",
    "6 missing in 24 only": "0 +0 +6",
    "6 gone from 10 on": "0 +0 +6; 10 -6",
    "6 missing in every sixth frame": "0 +0 +6",
    "nothing until 5, then 0": "5 +0",
    "9 from 10 on, a smaller double of 6": "0 +0 +6",
    "9 from 10 on, a larger double of 6": "0 +0 +6",
    "9 from 10 on, inside 6": "0 +0 +6; 10 +9; 11 again 6",
    "9 from 10 on, of 12 pixels": "0 +0 +6; 10 +9",
    "7 from 10 on, 6 from 11 on": "0 +0; 10 +7; 11 +6",
    "6 and 7 from 10 on": "0 +0; 10 +6 +7",
    "7 in the last two frames": "0 +0 +6; 38 +7",
    "7 in the last frame only": "0 +0 +6; 39 +7",
}


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_classes_come_and_go_one_by_one(scenario: Scenario) -> None:
    assert str(run_rules(Sasvi(), detections_of(scenario))) == EXPECTED[scenario.name]


def test_the_table_of_differences_says_what_the_rules_do() -> None:
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \| `(.+?)` \| (.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.M)
    assert [row[:3] for row in rows] == [(s.name, s.published, EXPECTED[s.name]) for s in ALL]
    assert all(len(why) > 10 for *_, why in rows)


# --- coming and going ------------------------------------------------------------------------------------------------


def test_what_left_is_not_answered_any_longer() -> None:
    gone = next(s for s in SCENARIOS if s.name == "6 gone from 10 on")
    answered = run_rules(Sasvi(), detections_of(gone)).answered
    assert [i for i, classes in enumerate(answered) if 6 in classes] == list(range(10))


@pytest.mark.parametrize("gap", [1, 5, 9])
def test_gaps_are_bridged(gap: int) -> None:
    detections = [detection_of(of(0) if 20 <= f < 20 + gap else of(0, 6)) for f in range(60)]
    trace = run_rules(Sasvi(), detections)
    assert str(trace) == "0 +0 +6"
    assert set(trace.answered) == {(0, 6)}


def test_a_long_gap_ends_a_class_and_its_return_begins_it_again() -> None:
    detections = [detection_of(of(0) if 20 <= f < 30 else of(0, 6)) for f in range(60)]
    assert str(run_rules(Sasvi(), detections)) == "0 +0 +6; 20 -6; 30 +6"


def test_one_miss_in_five_does_not_keep_a_class_out() -> None:
    detections = [detection_of(of(0, 7) if f >= 10 and f != 12 else of(0)) for f in range(40)]
    assert str(run_rules(Sasvi(), detections)) == "0 +0; 10 +7"


def test_without_looking_ahead_the_same_is_decided_later() -> None:
    """A stream answered at once: a class enters at its fourth sighting and leaves after ten misses."""
    detections = [detection_of(of(0, 7) if 10 <= f < 30 else of(0)) for f in range(60)]
    assert str(run_rules(Sasvi(look_ahead=1), detections)) == "0 +0; 13 +7; 39 -7"
    assert str(run_rules(Sasvi(look_ahead=3), detections)) == "0 +0; 11 +7; 37 -7"


def test_weak_detections_do_not_count() -> None:
    detections = [detection_of(of(0, 7), {7: 0.3}) for _ in range(20)]
    assert str(run_rules(Sasvi(), detections)) == "0 +0"
    assert str(run_rules(Sasvi(min_scores={7: 0.2}), detections)) == "0 +0 +7"


def pieces(scores: Sequence[float]) -> Detection:
    """Class 6 in as many pieces as there are scores, one beside the other."""
    masks = [mask_of((30, 10 * n, 40, 10 * n + 8)) for n in range(len(scores))]
    return Detection.from_masks(np.array(masks), [6] * len(scores), scores)


@pytest.mark.parametrize(
    ("scores", "rules", "is_shown_again"),
    [
        ((0.95, 0.6), Sasvi(), False),
        ((0.95, 0.75), Sasvi(), True),
        ((0.6, 0.56), Sasvi(), True),
        ((0.95, 0.6), Sasvi(unsure_below=0.0), True),
        ((0.95, 0.6), Sasvi(unsure_below=0.5, min_scores={6: 0.2}), True),
    ],
)
def test_what_the_tracker_let_go_and_the_detector_is_unsure_of_does_not_come_back(
    scores: tuple[float, ...], rules: Sasvi, is_shown_again: bool
) -> None:
    window = [pieces(scores)] * 10
    (added,), state = rules.review(result_of(0, {}), window, None)
    assert isinstance(added, Add)
    assert isinstance(added.prompt, MaskPrompt)
    assert np.array_equal(added.prompt.mask, pieces(scores).mask(6))
    tracked = pieces(scores[:1]).mask(6)
    shown_again = []
    for index in range(1, 20):
        corrections, state = rules.review(result_of(index, {6: tracked}), window, state)
        shown_again += corrections
    assert bool(shown_again) == is_shown_again


def test_what_the_tracker_has_counts_however_unsure_the_detector_is() -> None:
    window, state = [pieces((0.95, 0.6))] * 10, SasviState((FollowedClass(6),))
    slipped = np.roll(pieces((0.95, 0.6)).mask(6), 4, axis=1)
    shown = []
    for index in range(10):
        corrections, state = Sasvi().review(result_of(index, {6: slipped}), window, state)
        shown += [c.prompt.mask for c in corrections if isinstance(c, Reprompt) and isinstance(c.prompt, MaskPrompt)]
    assert shown
    assert all(np.array_equal(mask, window[0].mask(6)) for mask in shown)


@pytest.mark.parametrize("score", [0.3, 0.6, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("unsure_below", [0.5, 1.0])
def test_the_surest_instance_counts_however_scores_are_rounded(score: float, unsure_below: float) -> None:
    rules = Sasvi(min_score=score, unsure_below=unsure_below)
    assert str(run_rules(rules, [pieces((score,))] * 20)) == "0 +6"
    assert str(run_rules(Sasvi(min_score=0.3, unsure_below=unsure_below), [pieces((score,))] * 20)) == "0 +6"


def test_a_class_is_seen_also_where_the_detector_is_unsure_of_it() -> None:
    """It stays, and enters where it is sure."""
    sure, unsure = pieces((0.95,)), pieces((0.6,))
    detections = [unsure] * 3 + [sure] * 10 + [unsure] * 40
    assert str(run_rules(Sasvi(), detections)) == "3 +6"


# --- two names of one thing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("score", "expected"), [(0.6, "0 +0 +6"), (0.71, "0 +0 +6"), (0.75, "0 +0 +6; 10 -6 +9")])
def test_the_surer_name_wins_if_it_is_clearly_surer(score: float, expected: str) -> None:
    double = {**of(0, 6), 9: (30, 0, 39, 40)}
    detections = [detection_of(double if f >= 10 else of(0, 6), {6: 0.6, 9: score}) for f in range(50)]
    assert str(run_rules(Sasvi(), detections)) == expected


def test_of_two_new_names_only_the_surer_is_followed() -> None:
    double = {6: HOME[6], 9: (30, 0, 39, 40)}
    assert str(run_rules(Sasvi(), [detection_of(double, {6: 0.8, 9: 0.85})] * 30)) == "0 +9"


def test_a_detector_that_changes_its_mind_renames_what_is_followed() -> None:
    detections = [detection_of({9: HOME[6]} if f >= 10 else {6: HOME[6]}) for f in range(40)]
    assert str(run_rules(Sasvi(), detections)) == "0 +6; 10 -6 +9"


def test_what_lies_on_top_is_cut_out_of_what_lies_below() -> None:
    detections = [detection_of({6: HOME[6], 9: (32, 5, 38, 25)})] * 20
    corrections, _ = Sasvi().review(result_of(0, {}), detections[:10], None)
    shown = {c.class_id: c.prompt.mask for c in corrections if isinstance(c, Add) and isinstance(c.prompt, MaskPrompt)}
    assert np.array_equal(shown[9], mask_of((32, 5, 38, 25)))
    assert np.array_equal(shown[6], mask_of(HOME[6]) & ~shown[9])


# --- drift -----------------------------------------------------------------------------------------------------------


def moved(box: tuple[int, int, int, int], columns: int) -> tuple[int, int, int, int]:
    top, left, bottom, right = box
    return top, left + columns, bottom, right + columns


@pytest.mark.parametrize(("columns", "expected"), [(30, "40 again 6"), (8, "41 again 6"), (2, "51 again 6"), (1, "")])
def test_the_further_a_tracker_drifts_the_sooner_its_class_is_shown_again(columns: int, expected: str) -> None:
    """The tracker of this test never moves; the class, 40 columns wide, jumps at 40."""
    detections = [detection_of({0: HOME[0], 6: moved(HOME[6], columns * (f >= 40))}) for f in range(80)]
    assert str(run_rules(Sasvi(), detections)) == "; ".join(filter(None, ("0 +0 +6", expected)))


@pytest.mark.parametrize(("rules", "shown_at"), [(Sasvi(), 44), (Sasvi(min_scores={6: 0.2}), 41)])
def test_a_detector_that_is_less_sure_is_believed_later(rules: Sasvi, shown_at: int) -> None:
    """With a score of 1 it would be in frame 40."""
    detections = [detection_of({6: moved(HOME[6], 30 * (f >= 40))}, {6: 0.6}) for f in range(80)]
    assert str(run_rules(rules, detections)) == f"0 +6; {shown_at} again 6"


def test_what_the_detector_sees_for_a_moment_changes_nothing() -> None:
    """Every tenth frame the class is seen elsewhere, and the next frame denies it."""
    detections = [detection_of({6: moved(HOME[6], 30 * (f % 10 == 9))}) for f in range(80)]
    assert str(run_rules(Sasvi(), detections)) == "0 +6"


def test_a_class_is_shown_again_only_where_it_is_seen() -> None:
    """It would be shown in frame 11, where the detector misses it."""
    homes = [{0: HOME[0], 6: moved(HOME[6], 8 * (f >= 10))} for f in range(40)]
    assert str(run_rules(Sasvi(), [detection_of(home) for home in homes])) == "0 +0 +6; 11 again 6"
    del homes[11][6]
    assert str(run_rules(Sasvi(), [detection_of(home) for home in homes])) == "0 +0 +6; 12 again 6"


@pytest.mark.parametrize(("num_wrong", "expected"), [(2, ""), (3, ""), (30, "; 20 again 6")])
def test_what_the_detector_gets_wrong_for_some_frames_changes_nothing(num_wrong: int, expected: str) -> None:
    """It sees the class elsewhere for a while. By the next frame alone it would be believed."""
    detections = [detection_of({6: moved(HOME[6], 30 * (20 <= f < 20 + num_wrong))}) for f in range(50)]
    assert str(run_rules(Sasvi(), detections)) == f"0 +6{expected}"
    assert "20 again 6" in str(run_rules(Sasvi(look_ahead=2, enter_frames=2, enter_hits=2), detections))


@pytest.mark.parametrize(("is_shaken", "expected"), [(True, "0 +6"), (False, "0 +6; 22 again 6")])
def test_a_detector_that_shakes_is_not_believed(is_shaken: bool, expected: str) -> None:
    """From frame 20 on it is six columns beside the tracker: now left and now right, or always on the same side."""
    offsets = [(6 if f % 2 and is_shaken else -6) * (f >= 20) for f in range(50)]
    box = moved(HOME[6], 20)
    detections = [detection_of({6: moved(box, offset)}) for offset in offsets]
    assert str(run_rules(Sasvi(), detections)) == expected


def test_a_tracker_that_keeps_up_with_what_is_fast_is_left_alone() -> None:
    boxes = [moved(HOME[6], 5 * f) for f in range(12)]
    state = SasviState((FollowedClass(6),))
    for f in range(11):
        window = [detection_of({6: box}) for box in boxes[f : f + 2]]
        corrections, state = Sasvi(look_ahead=2).review(result_of(f, {6: mask_of(boxes[f])}), window, state)
        assert not corrections


@pytest.mark.parametrize(
    ("size_px", "columns", "is_apart"), [(600, 28, False), (600, 36, True), (40, 2, False), (40, 3, True)]
)
def test_what_is_foretold_in_large_frames_is_judged_by_samples(size_px: int, columns: int, is_apart: bool) -> None:
    """The IoU of the two is 0.9 where a mask is moved by 5.3 % of its size, which is a gain of 0.1 for the detector."""
    seen = np.zeros((1080, 1920), dtype=bool)
    seen[100 : 100 + size_px, 100 : 100 + size_px] = True
    state = SasviState((FollowedClass(6, drift=0.45),))
    window = [Detection.from_masks(seen[None], [6])] * 2
    corrections, _ = Sasvi(look_ahead=2).review(result_of(50, {6: np.roll(seen, columns, axis=1)}), window, state)
    assert [type(c) for c in corrections] == [Reprompt] * is_apart


@pytest.mark.parametrize("shift", [0, 3])
def test_without_a_next_frame_large_masks_are_judged_by_samples(shift: int) -> None:
    """A 600 x 600 mask moved so that the IoU lies just above or below the limit."""
    truth = np.zeros((1080, 1920), dtype=bool)
    truth[100:700, 100:700] = True
    for columns, is_apart in ((195 + shift, False), (206 + shift, True)):  # IoU 0.5 at 200
        tracked = np.roll(truth, columns, axis=1)
        state = SasviState((FollowedClass(6, drift=0.495),))
        window = [Detection.from_masks(truth[None], [6])]
        corrections, _ = Sasvi(look_ahead=1).review(result_of(50, {6: tracked}), window, state)
        assert [type(c) for c in corrections] == [Reprompt] * is_apart


# --- purity ----------------------------------------------------------------------------------------------------------

SIGHTINGS = st.lists(st.sets(st.sampled_from([0, 6, 7, 9])), min_size=1, max_size=40)


@given(SIGHTINGS, st.integers(1, 12))
def test_rules_follow_exactly_what_they_say_and_forget(sightings: list[set[int]], look_ahead: int) -> None:
    detections = [detection_of(of(*sorted(seen))) for seen in sightings]
    rules = Sasvi(look_ahead=look_ahead)
    state: SasviState | None = None
    followed: set[int] = set()
    for index, seen in enumerate(sightings):
        window, result = (
            detections[index : index + look_ahead],
            result_of(index, {i: mask_of(HOME[i]) for i in followed}),
        )
        before = copy.deepcopy(state)
        corrections, after = rules.review(result, window, state)
        assert state == before
        again = rules.review(result, window, from_plain(SasviState, asdict(state)) if state else None)
        assert again[1] == after
        for correction in corrections:
            if isinstance(correction, Drop):
                followed.remove(correction.class_id)
                assert correction.class_id not in seen
            else:
                assert isinstance(correction, Add)
                assert correction.class_id in seen - followed
                followed.add(correction.class_id)
        assert followed == {tracked.class_id for tracked in after.followed}
        assert len(after.history) <= 9
        state = after


@pytest.mark.parametrize(
    "change",
    [
        {"look_ahead": 0},
        {"enter_hits": 6},
        {"leave_frames": 0},
        {"annotated_frames": 0},
        {"usual_gain": -0.1},
        {"unsure_below": 1.1},
        {"num_foretold": 0},
        {"max_drift": 0.0},
        {"min_score": 1.1},
        {"min_scores": {3: -1.0}},
        {"overlap": 0.0},
        {"switch_ratio": 0.9},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Sasvi(**change)  # type: ignore[arg-type]

"""The published rules decide as the published program was seen to decide."""

from __future__ import annotations

import numpy as np
import pytest

from overseer.scenarios import (
    HOME,
    HW,
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
from surgvos.core.prompts import MaskPrompt, PointPrompt
from surgvos.errors import ConfigError
from surgvos.overseer.corrections import Restart
from surgvos.overseer.published import PublishedSasvi, PublishedState
from surgvos.overseer.sasvi import Sasvi

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.mark.parametrize("scenario", [*SCENARIOS, LAST_FRAME_ONLY], ids=lambda scenario: scenario.name)
def test_segments_and_prompts_are_those_of_the_published_program(scenario: Scenario) -> None:
    assert str(run_rules(Sasvi.published(), detections_of(scenario))) == scenario.published


def test_there_are_seventeen_situations() -> None:
    assert len(SCENARIOS) == 17


@pytest.mark.parametrize(
    ("name", "class_id", "frames"),
    [("7 in 10 to 13 only", 7, range(10, 34)), ("6 gone from 10 on", 6, range(25))],
)
def test_what_has_left_is_answered_until_the_segment_ends(name: str, class_id: int, frames: range) -> None:
    answered = run_rules(Sasvi.published(), detections_of(BY_NAME[name])).answered
    assert [i for i, classes in enumerate(answered) if class_id in classes] == list(frames)


def restart_at_10(rules: PublishedSasvi, name: str, tracked: dict[int, np.ndarray]) -> tuple[Restart, PublishedState]:
    detections = detections_of(BY_NAME[name])
    (correction,), state = rules.review(result_of(10, tracked), detections[10:20], PublishedState((0, 6), 15))
    assert isinstance(correction, Restart)
    return correction, state


def test_new_classes_get_points_inside_and_others_lose_their_pixels() -> None:
    correction, state = restart_at_10(Sasvi.published(), "7 from 10 on", {})
    prompt = correction.prompts[7]
    assert isinstance(prompt, PointPrompt)
    assert prompt.points_xy.shape == (20, 2)
    assert (prompt.labels == 1).all()
    columns, rows = prompt.points_xy.astype(int).T
    assert mask_of(HOME[7])[rows, columns].all()
    assert len({tuple(point) for point in prompt.points_xy}) == 20
    assert state.skip_once
    assert state.accepted == (0, 6, 7)

    nested = [detection_of({0: HOME[0], 6: HOME[6], 7: (36, 0, 60, 40)}) for _ in range(10)]
    (correction,), _ = Sasvi.published().review(result_of(10, {}), nested, PublishedState((0, 6), 15))
    kept = correction.prompts[6]
    assert isinstance(kept, MaskPrompt)
    assert np.array_equal(kept.mask, mask_of((30, 0, 36, 40)))


def test_the_tracker_fills_what_the_detector_left_empty() -> None:
    tracked = {6: mask_of((30, 0, 48, 40)), 9: mask_of((80, 0, 90, 10))}
    correction, _ = restart_at_10(PublishedSasvi(fill_size_px=HW[0]), "7 from 10 on", tracked)
    filled = correction.prompts[6]
    assert isinstance(filled, MaskPrompt)
    assert np.array_equal(filled.mask, mask_of((30, 0, 48, 40)))
    assert 9 not in correction.prompts

    correction, _ = restart_at_10(PublishedSasvi(fill_size_px=12), "7 from 10 on", tracked)
    coarse = correction.prompts[6]
    assert isinstance(coarse, MaskPrompt)
    assert np.array_equal(coarse.mask, mask_of((30, 0, 48, 40)))  # 96 / 12: edges at multiples of 8


def test_a_winner_among_doubles_is_the_larger_over_all_frames_ahead() -> None:
    small, large = (30, 0, 40, 38), (30, 0, 40, 40)
    detections = [detection_of({0: HOME[0], 6: large})] * 10
    # At first 9 is a little smaller than 6, later 6 is not seen at all.
    detections += [detection_of({0: HOME[0], 6: large, 9: small})] * 4 + [detection_of({0: HOME[0], 9: small})] * 20
    assert run_rules(Sasvi.published(), detections).steps[1] == "10 m{0} p{9}"


def test_empty_videos_start_without_prompts() -> None:
    corrections, state = Sasvi.published().review(result_of(0, {}), [detection_of(of())] * 3, None)
    assert [dict(c.prompts) for c in corrections if isinstance(c, Restart)] == [{}]
    assert state.accepted == ()


@pytest.mark.parametrize(
    "change", [{"persistence": 10}, {"segment_frames": 1}, {"num_points": 0}, {"overlap": 0.0}, {"overlap": 1.5}]
)
def test_impossible_settings_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        PublishedSasvi(**change)  # type: ignore[arg-type]

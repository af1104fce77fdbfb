"""When a search ends: traces by hand, and the published queue written out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgvos.config.load import from_plain, to_plain
from surgvos.errors import ConfigError
from surgvos.referring.start import CredibleStart, Immediate, Sighting, StartPolicy


def starts(policy: StartPolicy, sightings: list[Sighting]) -> tuple[int, list[int]] | None:
    """(trigger frame, anchor frames) of the first start, or None."""
    run: tuple[Sighting, ...] = ()
    for sighting in sightings:
        run = policy.extend(run, sighting)
        assert len(run) <= getattr(policy, "window", 1)
        anchors = policy.anchors(run)
        if anchors:
            return sighting.frame_index, [anchor.frame_index for anchor in anchors]
    return None


def scripted(*scores: tuple[float, float], first: int = 0, step: int = 1) -> list[Sighting]:
    return [Sighting(first + step * i, presence, iou) for i, (presence, iou) in enumerate(scores)]


GOOD = (0.95, 0.8)


@pytest.mark.parametrize("step", [1, -1])
def test_a_window_of_credible_frames_is_a_start_from_the_best_of_them(step: int) -> None:
    scores = [GOOD, (0.95, 0.85), (0.97, 0.9), GOOD, GOOD, (0.99, 0.99)]
    assert starts(CredibleStart(), scripted(*scores, first=50, step=step)) == (50 + 4 * step, [50 + 2 * step])


@pytest.mark.parametrize("bad", [(0.9, 0.8), (0.95, 0.7), (0.2, 0.1)])
def test_one_frame_that_is_not_credible_breaks_the_window(bad: tuple[float, float]) -> None:
    assert starts(CredibleStart(), scripted(GOOD, GOOD, GOOD, GOOD, bad, GOOD, GOOD, GOOD, GOOD)) is None
    found = starts(CredibleStart(), scripted(GOOD, GOOD, bad, (0.91, 0.9), GOOD, GOOD, GOOD, GOOD))
    assert found == (7, [3])


@pytest.mark.parametrize("step", [1, -1])
def test_of_equals_the_newest_is_followed_from(step: int) -> None:
    scores = [GOOD, (0.95, 0.9), GOOD, (0.95, 0.9), GOOD]
    assert starts(CredibleStart(), scripted(*scores, first=9, step=step)) == (9 + 4 * step, [9 + 3 * step])
    assert starts(CredibleStart(), scripted(*[GOOD] * 5, first=9, step=step)) == (9 + 4 * step, [9 + 4 * step])


def test_several_anchors_are_the_best_in_the_order_seen() -> None:
    scores = [(0.95, 0.9), GOOD, (0.95, 0.99), GOOD, GOOD]
    assert starts(CredibleStart(num_anchors=2), scripted(*scores)) == (4, [0, 2])
    # Of the three equals, the newest.
    assert starts(CredibleStart(num_anchors=3), scripted(*scores)) == (4, [0, 2, 4])


def test_frames_that_are_no_neighbours_are_no_window() -> None:
    policy = CredibleStart(window=3)
    for frames in ([0, 1, 3, 4], [0, 2, 4, 6], [5, 6, 5, 6], [5, 4, 5, 4], [3, 3, 3]):
        assert starts(policy, [Sighting(i, *GOOD) for i in frames]) is None
    assert starts(policy, [Sighting(i, *GOOD) for i in (0, 1, 0, -1, -2)]) == (-2, [-2])


def test_masks_that_jump_about_are_no_start_where_that_is_asked() -> None:
    # The first overlap is with a frame outside the window.
    overlaps = [0.0, 0.9, 0.1, 0.8, 0.9, 0.9, 0.9]
    sightings = [replace(s, overlap=o) for s, o in zip(scripted(*[GOOD] * 7), overlaps, strict=True)]
    assert starts(CredibleStart(), sightings) == (4, [4])
    assert starts(CredibleStart(min_overlap=0.675), sightings) == (4, [4])
    assert starts(CredibleStart(min_overlap=0.7), sightings) == (6, [6])
    assert starts(CredibleStart(window=1, min_overlap=1.0), sightings) == (0, [0])


def test_immediate_starts_at_the_first_credible_frame() -> None:
    assert starts(Immediate(), scripted((0.9, 0.9), (0.95, 0.7), (0.91, 0.71), GOOD)) == (2, [2])
    assert starts(Immediate(), scripted((0.9, 0.9), (0.1, 0.7))) is None
    assert starts(Immediate(min_presence=0.0, min_iou=0.0), scripted((0.0, 0.9), (0.1, 0.1))) == (1, [1])


def published_start(sightings: list[Sighting], window: int) -> tuple[int, list[int]] | None:
    """The published queue: newest first, capped, shortened by low presence, untouched by a low IoU."""
    queue: list[Sighting] = []
    for sighting in sightings:
        if sighting.presence > 0.9 and sighting.iou > 0.7:
            queue = [sighting, *queue][:window]
        elif sighting.presence <= 0.9:
            queue = queue[:-1]
        frames = [s.frame_index for s in queue]
        if len(queue) == window and frames == list(range(frames[0], frames[0] - window, -1)):
            return sighting.frame_index, [max(queue, key=lambda s: s.iou).frame_index]
    return None


scores = st.tuples(st.sampled_from((0.2, 0.9, 0.91, 0.99)), st.sampled_from((0.3, 0.7, 0.71, 0.8, 0.8, 0.9)))


@given(st.lists(scores | st.just(GOOD), max_size=40), st.integers(1, 6))
def test_starts_are_the_published_ones(scripted_scores: list[tuple[float, float]], window: int) -> None:
    sightings = scripted(*scripted_scores)
    assert starts(CredibleStart(window=window), sightings) == published_start(sightings, window)


@given(st.lists(scores | st.just(GOOD), max_size=40), st.integers(1, 6), st.integers(1, 6))
def test_time_may_run_either_way(scripted_scores: list[tuple[float, float]], window: int, num_anchors: int) -> None:
    policy = CredibleStart(window=window, num_anchors=min(window, num_anchors))
    forward = starts(policy, scripted(*scripted_scores, first=0))
    backward = starts(policy, scripted(*scripted_scores, first=0, step=-1))
    mirrored = None if backward is None else (-backward[0], [-frame for frame in backward[1]])
    assert forward == mirrored


@pytest.mark.parametrize("policy", [CredibleStart(window=3), Immediate(min_iou=0.5)])
def test_settings_survive_json_and_do_not_change(policy: StartPolicy) -> None:
    assert from_plain(type(policy), to_plain(policy)) == policy
    with pytest.raises(AttributeError):
        policy.min_iou = 0.1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_presence": 1.5}, r"min_presence in 0\.\.1, got 1\.5"),
        ({"min_iou": -1}, r"min_iou in 0\.\.1, got -1"),
        ({"min_overlap": 2}, r"min_overlap in 0\.\.1, got 2"),
        ({"window": 0}, "num_anchors <= window, got 1 and 0"),
        ({"num_anchors": 6}, "num_anchors <= window, got 6 and 5"),
        ({"num_anchors": 0}, "1 <= num_anchors <= window, got 0 and 5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CredibleStart(**settings)  # type: ignore[arg-type]
    if settings.keys() <= {"min_presence", "min_iou"}:
        with pytest.raises(ConfigError, match=message):
            Immediate(**settings)

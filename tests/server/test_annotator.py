"""What a person asks for becomes an edit: clicks, strokes, tracking to the next lock, and what none of them touches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from label_miniatures import HW, NUM_FRAMES, SPACE, SquareDetector, center, open_annotator, square
from surgvos.core.results import Phase
from surgvos.errors import InputError
from surgvos.server.label.annotator import Annotator
from surgvos.server.label.commands import (
    Absent,
    Lock,
    NameObject,
    Phrase,
    RemoveObject,
    Stroke,
    Suggest,
    Track,
)
from surgvos.server.label.labels import Origin
from surgvos.server.pointing import Box, Click

LAST = NUM_FRAMES - 1


@pytest.fixture
def annotator(tmp_path: Path) -> Iterator[Annotator]:
    """With a red and a green object, not yet seen anywhere."""
    made = open_annotator(tmp_path)
    made.name_object(NameObject(name="red"))
    made.name_object(NameObject(name="green"))
    yield made
    made.project.close()


def click(annotator: Annotator, frame: int, object_id: int, name: str, *, is_on: bool = True) -> None:
    annotator.click(Click(frame=frame, object=object_id, is_on=is_on, **center(frame, name)))


def track(annotator: Annotator, frame: int, **more: Any) -> int:
    return len(list(annotator.track(Track(frame=frame, **more))))


def mask(annotator: Annotator, frame: int, object_id: int) -> np.ndarray:
    return annotator.project.labels.masks[frame][object_id].mask


def frames_of(annotator: Annotator, object_id: int) -> list[int]:
    return sorted(frame for frame, masks in annotator.project.labels.masks.items() if object_id in masks)


# --- one frame -----------------------------------------------------------------------------------------------------


def test_a_click_makes_a_mask(annotator: Annotator) -> None:
    click(annotator, 3, 1, "red")
    np.testing.assert_array_equal(mask(annotator, 3, 1), square(3, "red"))
    made = annotator.project.labels.masks[3][1]
    assert made.origin is Origin.CLICK
    assert made.points == ((*center(3, "red").values(), 1),)


def test_a_look_makes_no_edit_and_changes_no_answer(annotator: Annotator) -> None:
    annotator.look(3)
    assert annotator.project.labels.masks == {}
    assert [step.edit for step in annotator.project.steps] == ["add object"] * 2
    click(annotator, 3, 1, "red")
    annotator.look(5)  # and back: the mask that is shown is gone on from
    annotator.look(3)
    click(annotator, 3, 1, "green")
    np.testing.assert_array_equal(mask(annotator, 3, 1), square(3, "red") | square(3, "green"))


def test_clicks_add_up_and_go_on_after_an_undo(annotator: Annotator) -> None:
    click(annotator, 0, 1, "red")
    click(annotator, 0, 1, "green")
    both = square(0, "red") | square(0, "green")
    np.testing.assert_array_equal(mask(annotator, 0, 1), both)
    click(annotator, 0, 1, "green", is_on=False)
    np.testing.assert_array_equal(mask(annotator, 0, 1), square(0, "red"))
    annotator.project.undo()
    annotator.project.undo()
    # The model has heard three clicks; the page shows what one of them made.
    click(annotator, 0, 1, "green")
    np.testing.assert_array_equal(mask(annotator, 0, 1), both)
    assert len(annotator.project.labels.masks[0][1].points) == 2


def test_a_click_corrects_what_was_painted(annotator: Annotator) -> None:
    annotator.stroke(Stroke(frame=0, object=1, points_xy=((50.0, 5.0),), radius_px=2))
    painted = mask(annotator, 0, 1)
    click(annotator, 0, 1, "red")
    np.testing.assert_array_equal(mask(annotator, 0, 1), painted | square(0, "red"))


def test_a_box_begins_anew(annotator: Annotator) -> None:
    click(annotator, 0, 1, "green")
    annotator.box(Box(frame=0, object=1, box_xyxy=(4.0, 6.0, 16.0, 18.0)))
    np.testing.assert_array_equal(mask(annotator, 0, 1), square(0, "red"))
    assert annotator.project.labels.masks[0][1].box_xyxy == (4.0, 6.0, 16.0, 18.0)


@pytest.mark.parametrize("points", [((20.0, 20.0),), ((5.0, 20.0), (30.0, 20.0), (30.0, 40.0))])
def test_the_brush_paints_and_the_eraser_takes_away(annotator: Annotator, points: Any) -> None:
    annotator.stroke(Stroke(frame=0, object=1, points_xy=points, radius_px=3))
    painted = mask(annotator, 0, 1)
    assert all(painted[int(y), int(x)] for x, y in points)
    ys, xs = np.nonzero(painted)
    away = np.min([np.hypot(xs - x, ys - y) for x, y in points], axis=0)
    assert len(points) > 1 or away.max() <= 4
    annotator.stroke(Stroke(frame=0, object=1, points_xy=points, radius_px=5, erases=True))
    assert not mask(annotator, 0, 1).any()
    assert annotator.project.labels.masks[0][1].phase is Phase.ABSENT


def test_a_stroke_that_changes_nothing_is_no_edit(annotator: Annotator) -> None:
    steps = len(annotator.project.steps)
    assert annotator.stroke(Stroke(frame=0, object=1, points_xy=((5.0, 5.0),), radius_px=3, erases=True)) == []
    assert len(annotator.project.steps) == steps


def test_a_pixel_has_one_owner(annotator: Annotator) -> None:
    click(annotator, 0, 1, "red")
    x, y = center(0, "red").values()
    annotator.stroke(Stroke(frame=0, object=2, points_xy=((x, y),), radius_px=2))
    painted = mask(annotator, 0, 2)
    assert painted.any()
    np.testing.assert_array_equal(mask(annotator, 0, 1), square(0, "red") & ~painted)
    annotator.project.undo()
    np.testing.assert_array_equal(mask(annotator, 0, 1), square(0, "red"))


def test_the_model_takes_pixels_of_another_object_only_where_it_is_clicked(annotator: Annotator) -> None:
    click(annotator, 0, 1, "red")
    annotator.box(Box(frame=0, object=2, box_xyxy=(0.0, 0.0, 64.0, 48.0)))
    np.testing.assert_array_equal(mask(annotator, 0, 1), square(0, "red"))
    np.testing.assert_array_equal(mask(annotator, 0, 2), ~square(0, "red"))
    click(annotator, 0, 2, "red")
    assert mask(annotator, 0, 2).all()
    assert not mask(annotator, 0, 1).any()


def test_absent_is_said_and_not_guessed(annotator: Annotator) -> None:
    annotator.absent(Absent(frame=4, object=1))
    said = annotator.project.labels.masks[4][1]
    assert said.phase is Phase.ABSENT
    assert said.origin is Origin.ABSENT
    assert not said.mask.any()


def test_what_cannot_be_done_is_refused(annotator: Annotator) -> None:
    click(annotator, 1, 1, "red")
    annotator.lock(Lock(frame=1, is_locked=True))
    before = len(annotator.project.steps)
    refused = [
        (lambda: click(annotator, 1, 1, "red"), "locked"),
        (lambda: annotator.absent(Absent(frame=1, object=1)), "locked"),
        (lambda: annotator.stroke(Stroke(frame=1, object=1, points_xy=((1.0, 1.0),), radius_px=3)), "locked"),
        (lambda: annotator.absent(Absent(frame=NUM_FRAMES, object=1)), "expected a frame in"),
        (lambda: annotator.absent(Absent(frame=-1, object=1)), "expected a frame in"),
        (lambda: annotator.absent(Absent(frame=0, object=9)), "expected one of the objects"),
        (lambda: click(annotator, 0, 1, "red", is_on=False), "first click"),
        (lambda: annotator.remove_object(RemoveObject(object=1)), "locked"),
        (lambda: annotator.name_object(NameObject(label="spoon")), "label space"),
        (lambda: annotator.suggest(Suggest(frame=0)), "--overseer"),
        (lambda: track(annotator, 0), "expected an object in this frame"),
    ]
    for ask, message in refused:
        with pytest.raises(InputError, match=message):
            ask()
    assert len(annotator.project.steps) == before


# --- objects -------------------------------------------------------------------------------------------------------


def test_a_label_gives_a_name_and_a_colour(annotator: Annotator) -> None:
    annotator.name_object(NameObject(label="hook"))
    made = annotator.project.labels.objects[3]
    assert (made.name, made.label, made.color) == ("hook", "hook", SPACE[2].color)
    annotator.name_object(NameObject(object=3, name="the left one", label="hook", color=(1, 2, 3)))
    assert annotator.project.labels.objects[3].name == "the left one"
    assert annotator.project.labels.objects[3].color == (1, 2, 3)


def test_two_of_a_class_are_told_apart(annotator: Annotator) -> None:
    for _ in range(3):
        annotator.name_object(NameObject(label="hook"))
    annotator.remove_object(RemoveObject(object=4))
    annotator.name_object(NameObject(label="hook"))
    hooks = {i: value for i, value in annotator.project.labels.objects.items() if value.label == "hook"}
    assert {i: value.name for i, value in hooks.items()} == {3: "hook", 5: "hook 3", 6: "hook 4"}
    assert hooks[3].color == SPACE[2].color
    assert len({value.color for value in hooks.values()}) == 3


def test_a_removed_object_takes_its_masks_along_and_its_id_is_not_given_again(annotator: Annotator) -> None:
    click(annotator, 0, 2, "green")
    annotator.remove_object(RemoveObject(object=2))
    assert annotator.project.labels.masks == {}
    annotator.name_object(NameObject(name="third"))
    assert sorted(annotator.project.labels.objects) == [1, 3]
    annotator.project.undo()
    annotator.project.undo()
    np.testing.assert_array_equal(mask(annotator, 0, 2), square(0, "green"))


# --- tracking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_tracking_follows_all_that_the_frame_shows(annotator: Annotator, direction: Any) -> None:
    click(annotator, 5, 1, "red")
    click(annotator, 5, 2, "green")
    track(annotator, 5, direction=direction)
    expected = range(5, NUM_FRAMES) if direction == "forward" else range(6)
    assert frames_of(annotator, 1) == frames_of(annotator, 2) == list(expected)
    for frame in expected:
        np.testing.assert_array_equal(mask(annotator, frame, 1), square(frame, "red"))
        np.testing.assert_array_equal(mask(annotator, frame, 2), square(frame, "green"))
    assert annotator.project.labels.masks[5][1].origin is Origin.CLICK
    annotator.project.undo()
    assert frames_of(annotator, 1) == [5]


def test_tracking_ends_at_the_next_locked_frame(annotator: Annotator) -> None:
    click(annotator, 0, 1, "red")
    track(annotator, 0)
    for frame in (4, 8):
        annotator.lock(Lock(frame=frame, is_locked=True))
    before = {frame: annotator.project.labels.masks[frame][1] for frame in range(NUM_FRAMES)}
    click(annotator, 5, 1, "green")
    track(annotator, 5, objects=(1,))
    changed = [f for f in range(NUM_FRAMES) if annotator.project.labels.masks[f][1] is not before[f]]
    assert changed == [5, 6, 7]
    for frame, direction, lock in ((7, "forward", 8), (5, "backward", 4)):
        with pytest.raises(InputError, match=f"frame {lock}, which is locked"):
            track(annotator, frame, direction=direction)


def test_what_a_person_made_on_the_way_stays_and_is_followed_from_there(annotator: Annotator) -> None:
    click(annotator, 0, 1, "red")
    click(annotator, 6, 1, "green")
    track(annotator, 0)
    np.testing.assert_array_equal(mask(annotator, 5, 1), square(5, "red"))
    np.testing.assert_array_equal(mask(annotator, 6, 1), square(6, "green"))
    assert annotator.project.labels.masks[6][1].origin is Origin.CLICK
    np.testing.assert_array_equal(mask(annotator, 7, 1), square(7, "green"))


def test_objects_that_are_not_followed_keep_their_pixels(annotator: Annotator) -> None:
    click(annotator, 0, 1, "red")
    click(annotator, 0, 2, "green")
    x, y = center(1, "red").values()
    annotator.stroke(Stroke(frame=1, object=2, points_xy=((x, y),), radius_px=2))
    painted = mask(annotator, 1, 2)
    track(annotator, 0, objects=(1,))
    np.testing.assert_array_equal(mask(annotator, 1, 2), painted)
    np.testing.assert_array_equal(mask(annotator, 1, 1), square(1, "red") & ~painted)
    assert frames_of(annotator, 2) == [0, 1]


def test_tracking_that_is_stopped_keeps_what_it_has_and_is_taken_back_as_one(annotator: Annotator) -> None:
    click(annotator, 0, 1, "red")
    run = annotator.track(Track(frame=0))
    next(run), next(run)
    run.close()  # type: ignore[attr-defined]
    assert frames_of(annotator, 1) == [0, 1, 2]
    annotator.project.undo()
    assert frames_of(annotator, 1) == [0]


# --- the overseer --------------------------------------------------------------------------------------------------


def test_suggestions_become_objects_of_their_class_and_leave_the_rest_alone(tmp_path: Path) -> None:
    annotator = open_annotator(tmp_path, detector=SquareDetector())
    assert annotator.abilities == ("suggest",)
    annotator.name_object(NameObject(label="grasper"))
    annotator.stroke(Stroke(frame=0, object=1, points_xy=((50.0, 35.0),), radius_px=2))
    painted = mask(annotator, 0, 1)
    annotator.suggest(Suggest(frame=0))
    np.testing.assert_array_equal(mask(annotator, 0, 1), painted)
    np.testing.assert_array_equal(mask(annotator, 0, 2), square(0, "green") & ~painted)
    assert annotator.project.labels.objects[2].label == "hook"
    annotator.suggest(Suggest(frame=1))
    assert sorted(annotator.project.labels.masks[1]) == [1, 2]
    assert annotator.project.labels.masks[1][2].confidence == pytest.approx(0.7)
    with pytest.raises(InputError, match="something new"):
        annotator.suggest(Suggest(frame=1))
    annotator.project.close()


def test_masks_are_of_the_size_of_the_video(annotator: Annotator) -> None:
    annotator.stroke(Stroke(frame=0, object=1, points_xy=((-50.0, 20.0), (9999.0, 20.0)), radius_px=1))
    assert mask(annotator, 0, 1).shape == HW
    assert mask(annotator, 0, 1)[20].all()


def test_a_phrase_is_looked_for_in_one_frame(annotator: Annotator) -> None:
    annotator.phrase(Phrase(frame=2, object=1, text="green"))
    np.testing.assert_array_equal(mask(annotator, 2, 1), square(2, "green"))
    assert annotator.project.labels.masks[2][1].origin is Origin.PHRASE
    with pytest.raises(InputError, match="got nothing"):
        annotator.phrase(Phrase(frame=2, object=2, text="purple"))
    assert frames_of(annotator, 2) == []

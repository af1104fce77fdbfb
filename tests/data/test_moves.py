"""What moves and what stands still is told from the scene, whatever the camera does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgvos.data.batches import BatchShape
from surgvos.data.synthetic import SceneConfig, generate_clip
from surgvos.data.synthetic.actors import Path, SpriteActor
from surgvos.data.synthetic.canvas import Canvas, Sprite
from surgvos.data.synthetic.motion import Deformation
from surgvos.data.synthetic.moves import find_moves
from surgvos.data.synthetic.phrases import motion_phrases, motion_phrases_for_none
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig

QUIET = SceneConfig(
    image_hw=(96, 128), num_frames=2, surgical_share=1.0, recognisable=0.75, rest=0.5, num_instruments=(2, 3),
    camera_motion=0.0, camera_jerk=0.0, deformation=0.0, occluder=0.0, strand=0.0, insertion=0.0,
    reentry=0.0, late_entry=0.0, exit=0.0,
)  # fmt: skip


def disc(object_id: int, step_px: float, turn: float = 0.0, sway_px: float = 0.0) -> SpriteActor:
    """A disc of 20 pixels that goes right, turns, or is swayed, in the second of two frames."""
    rgba = np.zeros((21, 21, 4), np.uint8)
    y, x = np.mgrid[-10:11, -10:11]
    rgba[x * x + y * y < 81, 3] = 255
    place = np.array([[40.0 * object_id, 50.0], [40.0 * object_id + step_px, 50.0]])
    path = Path(place, np.array([0.0, turn]), np.ones(2))
    modes = np.ones((1, 24, 24, 2), np.float32)
    sway = Deformation(modes, np.array([[0.0], [sway_px]], np.float32)) if sway_px else None
    return SpriteActor(object_id, "disc", "shape", Sprite(rgba, (10.0, 10.0)), path, sway)


def moves_of(actors: list[SpriteActor], cameras: np.ndarray, rows: int = 192) -> dict[int, tuple[bool | None, ...]]:
    instances = []
    for t, camera in enumerate(cameras):
        canvas = Canvas.on(np.zeros((rows, 200, 3), np.uint8))
        for actor in actors:
            actor.draw(canvas, camera, t)
        instances.append(canvas.instances)
    return find_moves(actors, np.stack(instances), cameras)


@pytest.mark.parametrize("shift", [0.0, 6.0])
def test_a_camera_that_moves_moves_nothing(shift: float) -> None:
    cameras = np.array([[[1, 0, 0], [0, 1, 0]], [[1, 0, shift], [0, 1, -shift]]], float)
    found = moves_of([disc(1, 3.0), disc(2, 0.2), disc(3, 1.0)], cameras)
    assert found == {1: (None, True), 2: (None, False), 3: (None, None)}
    # A turn moves the rim alone: not enough to say that it moves, too much to say that it does not.
    assert moves_of([disc(1, 0.0, turn=0.15), disc(2, 0.0, sway_px=3.0)], cameras) == {1: (None, None), 2: (None, True)}


def test_what_counts_as_motion_grows_with_the_image() -> None:
    still = np.repeat(np.eye(3)[None, :2], 2, axis=0)
    assert moves_of([disc(1, 2.0)], still, rows=384) == {1: (None, None)}


def test_what_does_not_show_in_both_frames_is_not_judged() -> None:
    still = np.repeat(np.eye(3)[None, :2], 2, axis=0)
    assert moves_of([disc(1, 300.0)], still) == {1: (None, None)}


def test_one_frame_tells_no_motion_and_a_tool_at_rest_does_not_move() -> None:
    single = generate_clip(3, SceneConfig(image_hw=(64, 80), num_frames=1, surgical_share=1.0))
    assert {item.moves for item in single.objects} == {(None,)}
    config = SceneConfig(image_hw=(96, 128), num_frames=3, surgical_share=1.0, rest=1.0, strand=0.0)
    tools = [item for seed in range(8) for item in generate_clip(seed, config).objects if item.kind == "instrument"]
    assert {moved for item in tools for moved in item.moves} <= {None, False}
    assert sum(item.moves[2] is False for item in tools) > 5


@given(st.lists(st.tuples(st.sampled_from(["grasper", "hook"]), st.sampled_from([True, False, None])), max_size=5))
def test_a_phrase_by_motion_holds_for_one_object_or_for_none(things: list[tuple[str, bool | None]]) -> None:
    names = {i: (noun, "instrument") for i, (noun, _) in enumerate(things)}
    moves = {i: moved for i, (_, moved) in enumerate(things)}
    said = [phrase for i in names for phrase in motion_phrases(i, names, moves)]
    assert len(said) == len(set(said))
    assert not set(said) & set(motion_phrases_for_none(names, moves))
    for i in names:
        for phrase in motion_phrases(i, names, moves):
            assert holds(phrase, names, moves) == [i]
    for phrase in motion_phrases_for_none(names, moves):
        assert holds(phrase, names, moves) == []


def holds(phrase: str, names: Mapping[int, tuple[str, ...]], moves: Mapping[int, bool | None]) -> list[int]:
    """For what a phrase may hold, read anew from its words."""
    moving = any(word in phrase for word in ("moving", "moves", "motion"))
    return [i for i in names if any(noun in phrase for noun in names[i]) and moves[i] in (moving, None)]


def test_what_is_said_to_move_changes_place_in_the_pixels() -> None:
    """Also in batches, where clips run backwards and half of them are mirrored."""
    config = SyntheticPhrasesConfig(scene=QUIET, motion_share=1.0, num_absent=0, pool_size=20, reuse=1)
    source = config.open(BatchShape(num_frames=2, image_hw=(96, 128), batch_size=4), seed=1)
    kept: dict[bool, list[float]] = {True: [], False: []}
    for index in range(8):
        batch = source[index]
        before, now = batch.masks.flatten(2)
        shares = (before & now).sum(dim=1) / (before | now).sum(dim=1)
        for phrase, share in zip(batch.phrases, shares.tolist(), strict=True):
            moves = any(word in phrase for word in ("moving", "moves", "motion"))
            if moves or any(word in phrase for word in ("still", "not move", "at rest")):
                kept[moves].append(share)
    assert min(len(kept[True]), len(kept[False])) > 8
    # What stands still loses what passes in front of it; of what moves, much stays where a long tool glides along.
    assert np.median(kept[False]) > 0.97
    assert np.mean(kept[True]) < np.mean(kept[False]) - 0.1


def test_phrases_hold_in_the_last_frame_where_motion_is_told() -> None:
    scene = SceneConfig(surgical_share=1.0, late_entry=0.45, exit=0.45, insertion=0.05, reentry=0.0)
    config = SyntheticPhrasesConfig(scene=scene, motion_share=0.5, num_absent=0, pool_size=10, reuse=1)
    batch = config.open(BatchShape(num_frames=2, image_hw=(64, 80), batch_size=12), seed=0)[0]
    assert batch.visible[1].all()
    assert not batch.visible[0].all()


def test_motion_is_asked_of_nothing_in_single_images() -> None:
    config = SyntheticPhrasesConfig(scene=QUIET, motion_share=1.0, pool_size=4)
    batch = config.open(BatchShape(num_frames=1, image_hw=(64, 80), batch_size=4), seed=0)[0]
    assert not any(word in phrase for phrase in batch.phrases for word in ("mov", "motion", "still", "rest"))


def test_what_moves_nowhere_is_asked_for_in_vain() -> None:
    names = {1: ("liver",), 2: ("hook", "instrument"), 3: ("grasper", "instrument")}
    vain = motion_phrases_for_none(names, {1: False, 2: False, 3: None})
    assert {"the moving liver", "the hook that moves"} <= set(vain)
    assert not any("grasper" in phrase or "instrument" in phrase or "still" in phrase for phrase in vain)

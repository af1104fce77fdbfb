"""Two graspers stay two: instances of one class keep their ids, and files say both class and instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.films import HW, FakeDetector, Film, always
from surgvos.core import Frame, LabelSpace
from surgvos.core.instances import class_of, free_instance, instance_names, instance_palette, merge_instances
from surgvos.core.labels import Label
from surgvos.errors import ConfigError
from surgvos.io.masks import read_label_map
from surgvos.io.results import read_frame_log
from surgvos.overseer.corrections import AnyOverseer
from surgvos.overseer.detection import Detection
from surgvos.overseer.first_frame import FirstFrame
from surgvos.overseer.instances import ConnectedInstances, tell_apart
from surgvos.overseer.oversee import OverseenSession
from surgvos.overseer.sasvi import Sasvi
from surgvos.tracking.run import RunSettings, segment_video
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel

GRASPER = 2
SPACE = LabelSpace.from_names(["hook", "grasper", "c", "d", "e"])
Box = tuple[int, int, int, int]


def boxes(*places: Box) -> np.ndarray:
    """Masks of boxes (top, left, bottom, right); bool ``(n, h, w)``."""
    masks = np.zeros((len(places), *HW), dtype=bool)
    for mask, (top, left, bottom, right) in zip(masks, places, strict=True):
        mask[top:bottom, left:right] = True
    return masks


def test_two_of_a_class_have_shades_of_its_colour() -> None:
    palette = instance_palette(SPACE)
    assert tuple(palette[100 * GRASPER + 1]) == SPACE[GRASPER].color
    assert len({tuple(palette[100 * GRASPER + number]) for number in range(1, 6)}) == 5


def graspers(*places: Box, scores: Sequence[float] | None = None) -> Detection:
    return Detection.from_masks(boxes(*places), [GRASPER] * len(places), scores)


LEFT, RIGHT, MIDDLE = (10, 0, 20, 16), (10, 40, 20, 60), (10, 20, 20, 36)


def places_of(detection: Detection) -> dict[int, tuple[int, int]]:
    """Instance id -> columns of its mask."""
    columns = {i: np.flatnonzero(detection.mask(i).any(axis=0)) for i in detection.seen.ids}
    return {i: (int(found[0]), int(found[-1]) + 1) for i, found in columns.items()}


def test_an_instance_keeps_the_id_of_the_mask_that_it_covers() -> None:
    tracked = dict(zip((201, 202), boxes(LEFT, RIGHT), strict=True))
    for order in ((LEFT, RIGHT), (RIGHT, LEFT)):
        (told,) = tell_apart([graspers(*order)], tracked)
        assert places_of(told) == {201: (0, 16), 202: (40, 60)}
    (told,) = tell_apart([graspers(RIGHT)], tracked)
    assert told.seen.ids == (202,)
    (told,) = tell_apart([graspers(LEFT, MIDDLE, RIGHT)], tracked)
    assert places_of(told) == {201: (0, 16), 202: (40, 60), 203: (20, 36)}


def test_ids_go_on_through_the_frames_seen_ahead() -> None:
    """Each moves by more than half of its width per frame, past the place where the other was, and one is missed."""
    window = [graspers((0, 5 * f, 8, 5 * f + 8), (20, 50 - 5 * f, 28, 58 - 5 * f)) for f in range(10)]
    window[4] = graspers((20, 30, 28, 38))
    told = tell_apart(window, {})
    first, second = places_of(told[0])
    for f, detection in enumerate(told):
        expected = {first: (5 * f, 5 * f + 8), second: (50 - 5 * f, 58 - 5 * f)}
        assert places_of(detection) == (expected if f != 4 else {second: (30, 38)})


def test_the_last_one_left_over_on_either_side_is_the_same_one() -> None:
    (told,) = tell_apart([graspers(RIGHT)], {207: boxes(LEFT)[0], 101: boxes(RIGHT)[0]})
    assert told.seen.ids == (207,)
    (told,) = tell_apart([graspers(LEFT, MIDDLE)], dict(zip((201, 202), boxes(LEFT, RIGHT), strict=True)))
    assert places_of(told) == {201: (0, 16), 202: (20, 36)}


def test_what_is_elsewhere_is_another_one() -> None:
    tracked = dict(zip((201, 202), boxes(LEFT, RIGHT), strict=True))
    (told,) = tell_apart([graspers(MIDDLE)], tracked)
    assert told.seen.ids == (203,)


def test_one_thing_seen_twice_is_one() -> None:
    tip = (10, 2, 20, 12)
    (told,) = tell_apart([graspers(tip, LEFT, RIGHT, scores=[0.6, 0.9, 0.8])], {})
    assert places_of(told) == {201: (0, 16), 202: (40, 60)}
    assert told.seen.score(201) == pytest.approx(0.9)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40), st.sampled_from([1, 2])), max_size=6))
def test_no_pixel_is_lost_and_none_changes_its_class(found: list[tuple[int, int, int]]) -> None:
    masks = boxes(*((top, left, top + 10, left + 10) for top, left, _ in found))
    detection = Detection.from_masks(masks, [class_id for *_, class_id in found])
    (told,) = tell_apart([detection], {})
    by_class = merge_instances({i: told.mask(i) for i in told.seen.ids})
    assert by_class.keys() == set(detection.seen.ids)
    for class_id, mask in by_class.items():
        np.testing.assert_array_equal(mask, detection.mask(class_id))


def test_where_no_id_is_left_an_instance_is_left_out() -> None:
    taken = {200 + number: boxes(LEFT)[0] for number in range(1, 100)}
    assert free_instance(GRASPER, taken) is None
    (told,) = tell_apart([graspers(RIGHT)], taken)
    assert told.seen.ids == ()


# --- over a video ------------------------------------------------------------------------------------------------


class Graspers(FakeDetector):
    """Sees the blocks of class 3 and 5 as two graspers, in an order that changes."""

    label_space = SPACE

    def _detect(self, frame: Frame) -> Detection:
        detection = super()._detect(frame)
        order = np.arange(len(detection.class_ids))[:: (-1) ** frame.index]
        class_ids = np.array([{0: 1, 3: GRASPER, 5: GRASPER}[int(i)] for i in detection.class_ids], dtype=np.int64)
        return replace(
            detection,
            members=detection.members[:, order],
            class_ids=class_ids[order],
            scores=detection.scores[order],
        )


def overseen(film: Film, overseer: AnyOverseer, missed: Callable[[int, int], bool] | None = None) -> OverseenSession:
    detector = Graspers(film, missed or (lambda index, class_id: False))
    return OverseenSession(Session(ColorModel()), detector, overseer, instances=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("overseer", [Sasvi(), Sasvi.published(), FirstFrame()], ids=["sasvi", "published", "first"])
def test_two_of_a_class_are_followed_as_two(overseer: AnyOverseer) -> None:
    film = Film(60, always(0, 3, 5))
    names: dict[int, int] = {}
    for result in overseen(film, overseer).follow(film):
        assert set(result.masks) == {101, 201, 202}
        assert result.objects.keys() == result.masks.keys()
        truth = film.truths[result.frame_index]
        np.testing.assert_array_equal(result.masks[101], truth[0])
        names = names or {i: shown for i in (201, 202) for shown in (3, 5) if (result.masks[i] & truth[shown]).any()}
        assert set(names.values()) == {3, 5}
        for instance_id, shown in names.items():
            np.testing.assert_array_equal(result.masks[instance_id], truth[shown])


def test_one_leaves_and_the_other_stays_and_misses_are_bridged() -> None:
    film = Film(60, lambda index: (3, 5) if index < 25 else (5,))
    results = list(overseen(film, Sasvi(), missed=lambda index, i: i == 5 and index % 6 == 2).follow(film))
    staying = next(i for i, mask in results[0].masks.items() if (mask & film.truths[0][5]).any())
    for result in results:
        truth = film.truths[result.frame_index]
        np.testing.assert_array_equal(result.masks[staying], truth[5])
        assert len(result.masks) == len(truth)


def test_with_one_instance_per_class_nothing_changes() -> None:
    film = Film(70, lambda index: (0, 3) if 12 <= index < 45 else (0, 5))
    for overseer in (Sasvi(), Sasvi.published()):
        plain = OverseenSession(Session(ColorModel()), Graspers(film), overseer)  # type: ignore[arg-type]
        for one, other in zip(plain.follow(film), overseen(film, overseer).follow(film), strict=True):
            merged = merge_instances(other.masks)
            shown = {i for i, mask in one.masks.items() if mask.any()}
            assert {i for i, mask in merged.items() if mask.any()} == shown
            assert all(np.array_equal(one.masks[i], merged[i]) for i in shown)


def test_files_hold_classes_and_instances_and_survive_a_stop(tmp_path: Path) -> None:
    def run(out: Path, *, resume: bool = False, stop_at: int | None = None) -> None:
        def told(done: int, total: int | None) -> None:
            if done == stop_at:
                raise KeyboardInterrupt

        film = Film(30, lambda index: (0, 3, 5) if index >= 8 else (0, 3))
        segment_video(
            overseen(film, Sasvi()),
            film,  # type: ignore[arg-type]
            out,
            RunSettings(overlay=True),
            {},
            label_space=SPACE,
            instances=True,
            resume=resume,
            progress=told,
        )

    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_at=17)
    run(tmp_path / "stopped", resume=True)
    records = list(read_frame_log(tmp_path / "whole/frames.jsonl"))
    for index, record in enumerate(records):
        classes, instances = (
            read_label_map(tmp_path / f"whole/{what}/{index:05d}.png") for what in ("masks", "instances")
        )
        present = {101, 201, 202} if index >= 8 else {101, 201}
        assert set(np.unique(instances).tolist()) - {0} == present == set(record.objects)
        np.testing.assert_array_equal(classes, [[class_of(int(i)) for i in row] for row in instances])
        for what in ("masks", "instances"):
            again = read_label_map(tmp_path / f"stopped/{what}/{index:05d}.png")
            np.testing.assert_array_equal(again, read_label_map(tmp_path / f"whole/{what}/{index:05d}.png"))
    assert (tmp_path / "whole/overlay.mp4").stat().st_size > 0


def test_instances_have_names() -> None:
    names = instance_names(SPACE)
    assert (names[201], names[202], names[599]) == ("grasper 1", "grasper 2", "e 99")
    assert free_instance(0, ()) == 1  # an instance of class 0 is not background


def test_what_cannot_be_told_apart_is_refused() -> None:
    film = Film(3, always(0))
    with pytest.raises(ConfigError, match="expected rules without min_scores"):
        overseen(film, Sasvi(min_scores={2: 0.7}))
    detector = Graspers(film)
    detector.label_space = LabelSpace((Label(700, "a", (0, 0, 0)),))
    with pytest.raises(ConfigError, match="expected class ids up to 654 to tell instances apart, got 700"):
        OverseenSession(Session(ColorModel()), detector, instances=True)  # type: ignore[arg-type]


# --- detectors of one mask per class -----------------------------------------------------------------------------


class LabelMaps:
    """A detector that answers one label map."""

    label_space = SPACE

    def __init__(self, label_map: np.ndarray) -> None:
        self.label_map = label_map

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        return [Detection.from_label_map(self.label_map) for _ in frames]


def test_connected_parts_are_instances_and_crumbs_stay_with_the_largest() -> None:
    label_map = np.zeros(HW, np.uint8)
    label_map[4:14, 4:24] = GRASPER
    label_map[30:40, 4:16] = GRASPER
    label_map[20:22, 50:52] = GRASPER
    label_map[30:40, 16:30] = 1  # touches a grasper, and is of another class
    frame = Frame(0, "00000", np.zeros((*HW, 3), np.uint8))
    (parts,) = ConnectedInstances(LabelMaps(label_map)).detect([frame])
    assert sorted(parts.class_ids.tolist()) == [1, GRASPER, GRASPER]
    (told,) = tell_apart([parts], {})
    assert told.mask(201).sum() == 204
    assert told.mask(202).sum() == 120
    assert told.mask(101).sum() == 140
    marked = replace(Detection.from_label_map(np.zeros(HW, np.uint8)), annotated=True)
    assert ConnectedInstances(LabelMaps(label_map))._taken_apart(marked).annotated

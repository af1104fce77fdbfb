"""Frames outside the body: told by their colours, left out steadily, and everything begins anew behind them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from overseer.films import HW, FakeDetector, Film, always, assert_equal
from surgvos.core import Frame
from surgvos.errors import ConfigError
from surgvos.io.results import FrameLog, read_frame_log
from surgvos.overseer.alone import DetectorAlone
from surgvos.overseer.corrections import AnyOverseer
from surgvos.overseer.first_frame import FirstFrame
from surgvos.overseer.out_of_body import BodyColors, OutOfBodyDetector
from surgvos.overseer.oversee import OverseenSession
from surgvos.overseer.sasvi import Sasvi
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel

RED, PINK, FAT = (150, 50, 45), (205, 140, 135), (200, 170, 80)
STEEL, DRAPE, SHEET, WALL = (150, 155, 160), (40, 100, 160), (70, 150, 130), (225, 225, 220)


def scene(colors: list[tuple[int, int, int]], seed: int = 0, value: float = 1.0) -> np.ndarray:
    """Blobs of some colours, in about equal parts, with noise; uint8 ``(90, 120, 3)``."""
    rng = np.random.default_rng(seed)
    fields = [cv2.GaussianBlur(rng.normal(size=(90, 120)), (0, 0), 12) for _ in colors]
    image = np.array(colors, dtype=np.float64)[np.argmax(fields, axis=0)] + rng.normal(0, 6, (90, 120, 3))
    return np.clip(image * value, 0, 255).astype(np.uint8)


INSIDE = {
    "tissue": scene([RED, PINK, FAT]),
    "dark tissue": scene([RED, PINK], value=0.5),
    "two instruments": scene([RED, STEEL, STEEL, PINK]),
    "under smoke": (0.35 * scene([RED, PINK, FAT]) + 0.65 * 190).astype(np.uint8),
    "behind a small round opening": np.where(np.hypot(*np.mgrid[-45:45, -60:60])[..., None] < 15, scene([RED]), 0),
}
OUTSIDE = {
    "nothing": np.zeros((90, 120, 3), np.uint8),
    "no signal": np.full((90, 120, 3), (0, 0, 255), np.uint8),
    "white balance": np.full((90, 120, 3), 245, np.uint8),
    "drapes": scene([DRAPE, SHEET, DRAPE]),
    "a theatre": scene([WALL, STEEL, SHEET]),
    "a theatre with a hand": scene([WALL, STEEL, SHEET, DRAPE, PINK, STEEL]),
    "a grey picture": np.repeat(scene([RED, PINK, STEEL]).mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
}


@pytest.mark.parametrize("name", INSIDE)
def test_tissue_is_inside(name: str) -> None:
    assert not BodyColors().look_outside(INSIDE[name].astype(np.uint8))


@pytest.mark.parametrize("name", OUTSIDE)
def test_rooms_drapes_and_blank_pictures_are_outside(name: str) -> None:
    assert BodyColors().look_outside(OUTSIDE[name])


def test_how_warm_a_picture_is_does_not_depend_on_its_size_or_brightness() -> None:
    half = np.zeros((64, 96, 3), np.uint8)
    half[:, :48], half[:, 48:] = RED, DRAPE
    assert BodyColors().warm_share(half) == pytest.approx(0.5)
    large = cv2.resize(half, (960, 640), interpolation=cv2.INTER_NEAREST)
    assert BodyColors().warm_share(large) == pytest.approx(0.5, abs=0.02)
    assert BodyColors().warm_share(half // 2 + 10) == pytest.approx(0.5)


class Outing(Film):
    """A film whose tissue is warm inside the body and a drape outside of it."""

    def __init__(self, num_frames: int, outside: set[int]) -> None:
        super().__init__(num_frames, always(0, 5))
        self.outside = outside

    def __getitem__(self, index: int) -> Frame:
        frame = super().__getitem__(index)
        if index in self.outside:
            image = np.full((*HW, 3), DRAPE, np.uint8)
        else:
            image = frame.image.copy()
            image[(image == 120).all(axis=2)] = RED
        return Frame(index, frame.name, image)


def skipping(film: Film, overseer: AnyOverseer | None = None) -> tuple[OverseenSession, FakeDetector]:
    detector = FakeDetector(film)
    return OverseenSession(Session(ColorModel()), OutOfBodyDetector(detector), overseer), detector  # type: ignore[arg-type]


@pytest.mark.parametrize("overseer", [Sasvi(), Sasvi.published(), FirstFrame()], ids=["sasvi", "published", "first"])
def test_a_stretch_outside_is_left_out_and_what_follows_begins_anew(overseer: AnyOverseer) -> None:
    outside = set(range(20, 45))
    film = Outing(70, outside)
    overseen, detector = skipping(film, overseer)
    results = list(overseen.follow(film))
    assert {result.frame_index for result in results if result.out_of_body} == outside
    for result in results:
        if result.out_of_body:
            assert not result.masks
            assert not result.objects
        else:
            assert_equal(result, film.truths[result.frame_index])
    assert all(result.objects[0].prompted for result in (results[0], results[45]))
    # Neither is asked about what is left out.
    assert not outside & {index for batch in detector.batches for index in batch}
    assert overseen.session.model.num_encoded == 45


def test_single_frames_that_look_outside_are_followed_and_single_ones_that_do_not_are_left_out() -> None:
    glare, glimpse = {8, 9, 50}, {31}
    film = Outing(60, glare | set(range(25, 42)) - glimpse)
    results = list(skipping(film)[0].follow(film))
    assert {result.frame_index for result in results if result.out_of_body} == set(range(25, 42))
    assert all(0 in results[index].objects for index in glare)


def test_an_annotated_frame_is_inside(tmp_path: Path) -> None:
    from surgvos.io.masks import write_label_map
    from surgvos.overseer.annotations import AnnotatedDetector

    film = Outing(30, set(range(30)))
    write_label_map(tmp_path / "00012.png", np.pad(np.full((10, 10), 3, np.uint8), ((4, 34), (4, 50))))
    detector = AnnotatedDetector(OutOfBodyDetector(FakeDetector(film)), tmp_path)
    results = list(OverseenSession(Session(ColorModel()), detector).follow(film))  # type: ignore[arg-type]
    assert [result.frame_index for result in results if not result.out_of_body] == [12]
    assert results[12].masks[3].sum() == 100


def test_a_run_stopped_outside_goes_on_outside(tmp_path: Path) -> None:
    film = Outing(60, set(range(20, 45)) - {38})
    whole = list(skipping(film)[0].follow(film))
    first = skipping(film)[0]
    for result in first.follow(film):
        if result.frame_index == 36:
            first.save(tmp_path / "state.safetensors")
            break
    second = skipping(film)[0]
    second.restore(tmp_path / "state.safetensors")
    rest = list(second.follow(film, first.plan(film).behind(36)))
    assert [result.out_of_body for result in rest] == [result.out_of_body for result in whole[37:]]
    assert rest[1].out_of_body  # frame 38 looks inside, between frames that do not


def test_the_detector_alone_judges_each_frame_for_itself() -> None:
    film = Outing(12, {3, 4})
    results = list(DetectorAlone(OutOfBodyDetector(FakeDetector(film))).follow(film))  # type: ignore[arg-type]
    assert [result.frame_index for result in results if result.out_of_body] == [3, 4]
    assert all(set(result.masks) == (set() if result.out_of_body else {0, 5}) for result in results)


def test_the_log_says_which_frames_were_left_out(tmp_path: Path) -> None:
    film = Outing(30, set(range(10, 30)))
    with FrameLog(tmp_path / "frames.jsonl") as log:
        for result in skipping(film)[0].follow(film):
            log.write(result)
    assert [record.out_of_body for record in read_frame_log(tmp_path / "frames.jsonl")] == [False] * 10 + [True] * 20


@pytest.mark.parametrize("wrong", [{"warm_excess": 0}, {"min_warm": 1.5}, {"min_lit": -0.1}])
def test_settings_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected warm_excess in 1"):
        BodyColors(**wrong)  # type: ignore[arg-type]

"""A detector at the side of a tracker: from frames to masks by class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from overseer.films import HW, FakeDetector, Film, always, assert_equal
from surgvos.core import Frame, FrameResult, MaskPrompt
from surgvos.errors import ConfigError, InputError
from surgvos.io.masks import read_label_map
from surgvos.overseer.corrections import AnyOverseer, Correction, Reprompt
from surgvos.overseer.detection import Detection
from surgvos.overseer.oversee import OverseenSession
from surgvos.overseer.sasvi import Sasvi, SasviState
from surgvos.tracking.run import RunSettings, segment_video
from surgvos.tracking.session import Session
from tracking.fake_model import ColorModel


def oversee(detector: FakeDetector, overseer: AnyOverseer | None = None, **options: int) -> OverseenSession:
    return OverseenSession(Session(ColorModel()), detector, overseer, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "overseer", [Sasvi(), Sasvi(look_ahead=1), Sasvi.published()], ids=["ahead", "now", "published"]
)
def test_every_class_is_answered_by_its_id(overseer: AnyOverseer) -> None:
    film = Film(60, always(0, 3, 5))
    results = list(oversee(FakeDetector(film), overseer).follow(film))
    assert [result.frame_index for result in results] == list(range(60))
    for result, truth in zip(results, film.truths, strict=True):
        assert_equal(result, truth)
        assert result.objects.keys() == result.logits.keys() == result.masks.keys()


@pytest.mark.parametrize("num_frames", [1, 3])
@pytest.mark.parametrize("overseer", [Sasvi(), Sasvi.published()], ids=["default", "published"])
def test_a_video_shorter_than_the_look_ahead_is_answered(overseer: AnyOverseer, num_frames: int) -> None:
    film = Film(num_frames, always(0, 3))
    for result, truth in zip(oversee(FakeDetector(film), overseer).follow(film), film.truths, strict=True):
        assert_equal(result, truth)


def test_classes_are_answered_while_they_are_there_and_misses_are_bridged() -> None:
    film = Film(70, lambda index: (0, 3) if 12 <= index < 45 else (0,))
    detector = FakeDetector(film, missed=lambda index, i: index % 7 == 3 or (i == 0 and 25 <= index < 30))
    results = list(oversee(detector).follow(film))
    assert [3 in result.masks for result in results] == [12 <= index < 45 for index in range(70)]
    for result in results:
        assert_equal(result, film.truths[result.frame_index])


class ShowsAgain(Sasvi):
    """Class 3 is shown again in frame 10, whatever the tracker says."""

    def review(
        self, result: FrameResult, window: Sequence[Detection], state: SasviState | None
    ) -> tuple[tuple[Correction, ...], SasviState]:
        corrections, state = super().review(result, window, state)
        if result.frame_index == 10:
            corrections = (*corrections, Reprompt(3, MaskPrompt(window[0].mask(3))))
        return corrections, state


def test_what_is_shown_again_is_forgotten_and_nothing_else() -> None:
    film = Film(14, always(0, 3))
    session = oversee(FakeDetector(film), ShowsAgain())
    for result in session.follow(film):
        assert_equal(result, film.truths[result.frame_index])
    assert {i: min(tracked.bank.prompted) for i, tracked in session.objects.items()} == {0: 0, 3: 10}


def test_every_frame_is_read_once_detected_once_and_encoded_once() -> None:
    film = Film(47, lambda index: (0, 3) if index % 20 < 10 else (0, 5))
    detector = FakeDetector(film)
    overseen = oversee(detector)
    list(overseen.follow(film))
    assert film.num_read == [1] * 47
    assert [index for batch in detector.batches for index in batch] == list(range(47))
    assert max(map(len, detector.batches)) == 10
    assert overseen.session.model.num_encoded == 47


@pytest.mark.parametrize("memory", ["recent", "pruned", "diverse"])
def test_corrections_suit_every_memory(memory: str) -> None:
    """A frame with a correction is passed twice; no memory minds."""
    film = Film(80, lambda index: (0, 3) if index // 25 % 2 else (0, 5))
    for overseer in (Sasvi(), Sasvi.published()):
        overseen = OverseenSession(Session(ColorModel(), memory), FakeDetector(film), overseer)  # type: ignore[arg-type]
        for result in overseen.follow(film):
            if isinstance(overseer, Sasvi):
                assert_equal(result, film.truths[result.frame_index])
            assert np.array_equal(result.masks[0], film.truths[result.frame_index][0])
            assert overseen.nbytes < 2_000_000


def test_streams_are_answered_with_a_delay_and_alike() -> None:
    film = Film(40, lambda index: (0, 3) if index >= 15 else (0,))
    offline = list(oversee(FakeDetector(film)).follow(film))
    live = oversee(FakeDetector(film))
    answered = []
    for frame in film:
        results = live.push(frame)
        assert [result.frame_index for result in results] == ([frame.index - 9] if frame.index >= 9 else [])
        answered += results
    answered += live.finish()
    assert len(answered) == 40
    for one, other in zip(offline, answered, strict=True):
        assert one.masks.keys() == other.masks.keys()
        assert all(np.array_equal(one.masks[i], other.masks[i]) for i in one.masks)
    stream = iter(film)
    streamed = list(oversee(FakeDetector(film)).follow(OnlyFrames(stream)))
    assert [sorted(result.masks) for result in streamed] == [sorted(result.masks) for result in offline]


class OnlyFrames:
    def __init__(self, frames: Iterator[Frame]) -> None:
        self.frames = frames

    def __iter__(self) -> Iterator[Frame]:
        return self.frames


def test_without_look_ahead_each_frame_is_answered_at_once() -> None:
    film = Film(20, always(0))
    overseen = oversee(FakeDetector(film), Sasvi(look_ahead=1))
    assert [len(overseen.push(frame)) for frame in film] == [1] * 20
    assert overseen.finish() == []


@pytest.mark.parametrize("batch_size", [1, 4, 25])
def test_what_is_held_is_bounded(batch_size: int) -> None:
    film = Film(200, lambda index: (0, 3) if index // 30 % 2 else (0, 5))
    overseen = oversee(FakeDetector(film), batch_size=batch_size)
    sizes = []
    for num_pushed, frame in enumerate(film, start=1):
        for result in overseen.push(frame):
            assert num_pushed - result.frame_index <= overseen.num_held_frames
        sizes.append(overseen.nbytes)
    assert max(sizes[100:]) <= max(sizes[:100])


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    film = Film(60, lambda index: (0, 3) if 12 <= index < 45 else (0, 5))
    whole = list(oversee(FakeDetector(film)).follow(film))
    first = oversee(FakeDetector(film))
    for result in first.follow(film):
        if result.frame_index == 30:
            first.save(tmp_path / "state.safetensors", {"note": 7})
            break
    second = oversee(FakeDetector(film))
    assert second.restore(tmp_path / "state.safetensors") == {"note": 7}
    rest = list(second.follow(film, first.plan(film).behind(30)))
    for one, other in zip(whole[31:], rest, strict=True):
        assert one.frame_index == other.frame_index
        assert one.masks.keys() == other.masks.keys()
        assert all(np.array_equal(one.masks[i], other.masks[i]) for i in one.masks)


def test_parts_of_a_video_can_be_overseen() -> None:
    film = Film(40, always(0, 5))
    overseen = oversee(FakeDetector(film))
    run = overseen.plan(film, start=10, stop=30)
    assert [result.frame_index for result in overseen.follow(film, run)] == list(range(10, 30))
    assert film.num_read == [0] * 10 + [1] * 20 + [0] * 10


def test_a_whole_run_writes_masks_by_class_and_survives_a_stop(tmp_path: Path) -> None:
    """An overseen session stands where a session stands; a class 0 wants a label space that has another background."""

    def run(out: Path, *, resume: bool = False, stop_at: int | None = None) -> None:
        film = Film(40, lambda index: (3, 5) if index >= 15 else (3,))
        overseen = oversee(FakeDetector(film), batch_size=1)

        def told(done: int, total: int | None) -> None:
            assert total == 40
            if done == stop_at:
                raise KeyboardInterrupt

        segment_video(overseen, film, out, RunSettings(), {"rules": "sasvi"}, resume=resume, progress=told)  # type: ignore[arg-type]

    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_at=22)
    run(tmp_path / "stopped", resume=True)
    whole = sorted((tmp_path / "whole" / "masks").iterdir())
    assert [path.name for path in whole] == [f"{index:05d}.png" for index in range(40)]
    assert set(np.unique(read_label_map(whole[20]))) == {0, 3, 5}
    for path in whole:
        assert np.array_equal(read_label_map(path), read_label_map(tmp_path / "stopped" / "masks" / path.name))


def test_an_empty_scene_is_answered_with_nothing() -> None:
    film = Film(12, always())
    for overseer in (Sasvi(), Sasvi.published()):
        assert [result.masks for result in oversee(FakeDetector(film), overseer).follow(film)] == [{}] * 12


def test_what_cannot_be_overseen_is_refused(tmp_path: Path) -> None:
    film = Film(5, always(0))
    with pytest.raises(ConfigError, match="expected direction forward with an overseer, got 'both'"):
        oversee(FakeDetector(film)).plan(film, direction="both")
    with pytest.raises(InputError, match=r"expected a start in 0\.\.4, got 5"):
        oversee(FakeDetector(film)).plan(film, start=5)
    with pytest.raises(ConfigError, match="batch_size of 1 or more"):
        oversee(FakeDetector(film), batch_size=0)
    session = Session(ColorModel())
    session.add_prompt(0, 1, MaskPrompt(np.ones(HW, dtype=bool)))
    session.save(tmp_path / "state.safetensors")
    with pytest.raises(InputError, match="expected a session without prompts"):
        OverseenSession(session, FakeDetector(film))
    with pytest.raises(InputError, match="expected the state of a run with an overseer"):
        oversee(FakeDetector(film)).restore(tmp_path / "state.safetensors")


def test_detections_of_another_size_are_refused() -> None:
    class Blurred(FakeDetector):
        def _detect(self, frame: Frame) -> Detection:
            return Detection.from_label_map(np.zeros((10, 10), dtype=np.uint8))

    film = Film(3, always(0))
    with pytest.raises(InputError, match="expected detections of 64x48 pixels like frame 0, got 10x10"):
        list(oversee(Blurred(film)).follow(film))

"""Frames, labels, errors, and the examples in the documentation."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

from surgvos import core, errors, evaluation, memory
from surgvos.core import Frame, FrameStream, Label, LabelSpace, Phase, VideoSource, object_palette

MODULES = [
    f"{package.__name__}.{found.name}"
    for package in (core, evaluation, memory)
    for found in pkgutil.iter_modules(package.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert found.failed == 0


def test_examples_are_found() -> None:
    assert doctest.testmod(importlib.import_module("surgvos.core.masks")).attempted >= 4


def test_every_error_has_one_root_and_says_what_kind_it_is() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(kind, errors.SurgvosError) for kind in kinds)
    assert all(kind.__doc__ for kind in kinds)
    # What ordinary callers catch, catches them too.
    for kind, ordinary in [
        (errors.InputError, ValueError),
        (errors.ConfigError, ValueError),
        (errors.CheckpointError, ValueError),
        (errors.MissingExtraError, ImportError),
        (errors.TrainingError, RuntimeError),
    ]:
        assert issubclass(kind, ordinary)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3), dtype=np.float32), np.zeros((4, 4), dtype=np.uint8), np.zeros((4, 4, 4), dtype=np.uint8)],
)
def test_frames_are_bytes_in_three_colours(image: np.ndarray) -> None:
    with pytest.raises(errors.InputError, match=r"frame 7: expected an RGB image .*, got .*; try"):
        Frame(7, "7", image)


def test_frames_know_their_size() -> None:
    assert Frame(0, "0", np.zeros((4, 6, 3), dtype=np.uint8)).hw == (4, 6)


def test_lists_of_frames_are_sources_and_generators_are_streams() -> None:
    frames = [Frame(0, "0", np.zeros((1, 1, 3), dtype=np.uint8))]
    assert isinstance(frames, VideoSource)
    assert isinstance(iter(frames), FrameStream)
    assert not isinstance(iter(frames), VideoSource)


def test_phases_are_words() -> None:
    assert Phase("absent") is Phase.ABSENT
    assert f"{Phase.TRACKING}" == "tracking"


def test_palettes_are_stable_and_tell_objects_apart() -> None:
    palette = object_palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert palette[0].tolist() == [0, 0, 0]
    assert np.array_equal(palette[:9], object_palette(9)), "an object's colour depends on how many there are"
    first = palette[1:13].astype(int)
    distances = np.abs(first[:, None] - first).sum(axis=2) + 1000 * np.eye(12, dtype=int)
    assert distances.min() > 60


def test_label_spaces_find_labels_by_id() -> None:
    space = LabelSpace.from_names(["grasper", "scissors"], ignore=255)
    assert len(space) == 2
    assert space[2].name == "scissors"
    assert space[1].color == tuple(object_palette()[1])
    with pytest.raises(errors.InputError, match=r"expected a label id in \[1, 2\], got 3"):
        space[3]


@pytest.mark.parametrize(
    ("labels", "ignore", "message"),
    [
        ([(1, "a"), (1, "b")], None, "distinct"),
        ([(1, "a"), (2, "a")], None, "distinct"),
        ([(0, "a")], None, "background and ignore ids outside"),
        ([(255, "a")], 255, "background and ignore ids outside"),
    ],
)
def test_label_spaces_refuse_ambiguity(labels: list[tuple[int, str]], ignore: int | None, message: str) -> None:
    with pytest.raises(errors.InputError, match=message):
        LabelSpace(tuple(Label(i, name, (0, 0, 0)) for i, name in labels), ignore=ignore)

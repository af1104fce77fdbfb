"""Prompts validate themselves and say what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from surgvos.core import BoxPrompt, MaskPrompt, PointPrompt, Prompt, TextPrompt, check_prompt_fits
from surgvos.errors import InputError


def test_one_point_needs_no_brackets_and_one_label_serves_all() -> None:
    prompt = PointPrompt((3, 4))
    assert prompt.points_xy.tolist() == [[3.0, 4.0]]
    assert prompt.labels.tolist() == [1]
    assert PointPrompt([(1, 2), (3, 4)], 0).labels.tolist() == [0, 0]


@pytest.mark.parametrize("points", [[], [1, 2, 3], [[[1, 2]]], [(np.nan, 0)], [(np.inf, 0)]])
def test_points_are_finite_pairs(points) -> None:
    with pytest.raises(InputError, match=r"expected points as finite \(x, y\) pairs, got an array of shape"):
        PointPrompt(points)


@pytest.mark.parametrize("labels", [2, [1], [1, 0, 1], [0, -1]])
def test_labels_are_0_or_1_and_one_per_point(labels) -> None:
    with pytest.raises(InputError, match=r"expected one label per point, 1 .* or 0 .* for 2 points"):
        PointPrompt([(1, 2), (3, 4)], labels)


@pytest.mark.parametrize("box", [(4, 0, 4, 9), (0, 9, 4, 2), (0, 0, 1), (0, 0, np.nan, 1), [[0, 0, 1, 1]]])
def test_boxes_have_an_inside(box) -> None:
    with pytest.raises(InputError, match="expected a box x0, y0, x1, y1 with x0 < x1 and y0 < y1"):
        BoxPrompt(box)


def test_mirrored_masks_are_masks() -> None:
    import torch

    mirrored = np.array([[True, False], [True, True]])[:, ::-1]
    assert torch.from_numpy(MaskPrompt(mirrored).mask).tolist() == [[False, True], [True, True]]


def test_masks_of_numbers_are_taken_as_above_zero() -> None:
    assert MaskPrompt(np.array([[0, 255], [1, 0]], dtype=np.uint8)).mask.tolist() == [[False, True], [True, False]]


def test_masks_are_planes() -> None:
    with pytest.raises(InputError, match=r"expected a mask of shape \(h, w\), got \(2, 2, 3\); try mask\[..., 0\] > 0"):
        MaskPrompt(np.zeros((2, 2, 3)))
    with pytest.raises(InputError, match=r"got \(0, 4\)"):
        MaskPrompt(np.zeros((0, 4)))


@pytest.mark.parametrize("phrase", ["", "  \n"])
def test_phrases_say_something(phrase: str) -> None:
    with pytest.raises(InputError, match="expected a phrase, got an empty text"):
        TextPrompt(phrase)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (MaskPrompt(np.ones((10, 20))), "expected a mask of 30x20 pixels like the video, got 20x10; try"),
        (PointPrompt([(5, 5), (31, 5)]), r"expected points inside the 30x20 image, got \(31, 5\)"),
        (PointPrompt((5, -0.5)), r"expected points inside the 30x20 image, got \(5, -0.5\)"),
        (BoxPrompt((5, 5, 31, 10)), r"expected a box inside the 30x20 image, got \(5, 5, 31, 10\)"),
    ],
)
def test_prompts_outside_the_image_are_refused(prompt: Prompt, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_prompt_fits(prompt, (20, 30))


@pytest.mark.parametrize(
    "prompt",
    [
        MaskPrompt(np.ones((20, 30))),
        PointPrompt([(0, 0), (30, 20)]),
        BoxPrompt((0, 0, 30, 20)),
        TextPrompt("the needle driver on the left"),
    ],
)
def test_prompts_on_the_image_fit(prompt: Prompt) -> None:
    check_prompt_fits(prompt, (20, 30))

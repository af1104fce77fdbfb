"""Prompts: from the user's pixels to the model's and back, and the order in which they are given."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from surgvos.core import BoxPrompt, MaskPrompt, PointPrompt, check_prompt_fits, mask_to_box_xyxy
from surgvos.tracking.objects import FramePrompts, resize_mask

CPU = torch.device("cpu")

video_sizes = st.tuples(st.integers(2, 2000), st.integers(2, 2000))
input_sizes = st.tuples(st.integers(1, 32), st.integers(1, 32)).map(lambda hw: (32 * hw[0], 32 * hw[1]))
fractions = st.floats(0, 1, width=32)
clicks = st.lists(st.tuples(fractions, fractions, st.integers(0, 1)), min_size=1, max_size=6)


def on_image(shares: list[tuple[float, float, int]], video_hw: tuple[int, int]) -> PointPrompt:
    points = [(x * video_hw[1], y * video_hw[0]) for x, y, _ in shares]
    return PointPrompt(points, [label for *_, label in shares])


@given(video_sizes, input_sizes, clicks)
def test_points_keep_their_place(video_hw, input_hw, shares) -> None:
    prompt = on_image(shares, video_hw)
    check_prompt_fits(prompt, video_hw)
    batch = FramePrompts().plus(prompt).to_batch(video_hw, input_hw, CPU)
    back = batch.points_xy[0].numpy() * [video_hw[1] / input_hw[1], video_hw[0] / input_hw[0]]
    np.testing.assert_allclose(back, prompt.points_xy, rtol=1e-5, atol=1e-3)
    assert batch.labels.tolist() == [prompt.labels.tolist()]
    assert batch.mask is None
    assert batch.previous_logits is None


@given(video_sizes, input_sizes, clicks, st.booleans())
def test_a_box_comes_before_clicks_whichever_was_given_first(video_hw, input_hw, shares, box_first: bool) -> None:
    box = BoxPrompt([0, 0, video_hw[1], video_hw[0]])
    points = on_image(shares, video_hw)
    prompts = FramePrompts()
    for prompt in (box, points) if box_first else (points, box):
        prompts = prompts.plus(prompt)
    batch = prompts.to_batch(video_hw, input_hw, CPU)
    assert batch.num_points == 2 + len(shares)
    assert batch.labels[0, :2].tolist() == [2, 3]
    corners = batch.points_xy[0, :2].numpy()
    np.testing.assert_allclose(corners, [[0, 0], [input_hw[1], input_hw[0]]], rtol=1e-5)


@given(video_sizes, clicks, clicks)
def test_clicks_add_up_in_order(video_hw, first, second) -> None:
    together = FramePrompts().plus(on_image(first + second, video_hw))
    apart = FramePrompts().plus(on_image(first, video_hw)).plus(on_image(second, video_hw))
    assert np.array_equal(apart.points_xy, together.points_xy)
    assert np.array_equal(apart.labels, together.labels)


@given(arrays.arrays(bool, (4, 5)), clicks)
def test_masks_and_other_prompts_replace_each_other(mask: np.ndarray, shares) -> None:
    painted = FramePrompts().plus(on_image(shares, (4, 5))).plus(MaskPrompt(mask))
    assert len(painted.points_xy) == 0
    assert painted.mask is not None
    assert painted.plus(on_image(shares, (4, 5))).mask is None
    assert painted.plus(BoxPrompt([0, 0, 1, 1])).mask is None


@settings(max_examples=40)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    arrays.arrays(bool, (8, 8)),
)
def test_enlarged_masks_keep_their_middles(rows: int, columns: int, mask: np.ndarray) -> None:
    """A mask enlarged by an odd factor says the same at the centre of each of its pixels."""
    tall, wide = 2 * rows + 1, 2 * columns + 1
    resized = resize_mask(torch.from_numpy(mask)[None, None], (8 * tall, 8 * wide))[0, 0]
    assert set(resized.unique().tolist()) <= {0.0, 1.0}
    assert np.array_equal(resized[rows::tall, columns::wide].numpy().astype(bool), mask)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30), st.integers(1, 30))
def test_boxes_of_masks_are_boxes_of_prompts(x0: int, y0: int, width: int, height: int) -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[y0 : y0 + height, x0 : x0 + width] = True
    box = mask_to_box_xyxy(mask)
    prompt = BoxPrompt(box)
    check_prompt_fits(prompt, mask.shape)
    assert tuple(prompt.box_xyxy.astype(int)) == box

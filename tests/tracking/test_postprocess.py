"""From logits to masks."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from surgvos.tracking.postprocess import fill_holes, to_masks, to_video_size


def plane(*rows: str) -> torch.Tensor:
    return torch.tensor([[5.0 if c == "#" else -5.0 for c in row] for row in rows])


@given(st.integers(0, 2**31), st.integers(1, 5))
def test_a_pixel_belongs_to_the_first_of_the_highest(seed: int, num_objects: int) -> None:
    # Whole numbers, so that ties occur.
    logits = torch.randint(-3, 4, (num_objects, 7, 9), generator=torch.Generator().manual_seed(seed)).float()
    masks = to_masks(logits, non_overlap=True)
    slots = torch.arange(num_objects)[:, None, None]
    assert torch.equal(masks, (logits > 0) & (slots == logits.argmax(dim=0)))
    assert masks.sum(dim=0).max() <= 1
    assert torch.equal(to_masks(logits, non_overlap=False), logits > 0)


def test_small_holes_are_filled_and_large_ones_and_the_outside_are_not() -> None:
    logits = plane(
        ".........",
        ".#######.",
        ".#.##..#.",
        ".##.#..#.",
        ".#######.",
        ".........",
    )[None]
    filled = fill_holes(logits, 2)[0] > 0
    # The two cells that touch at a corner are one hole of two pixels; the other has four.
    assert filled[2, 2]
    assert filled[3, 3]
    assert not filled[2:4, 5:7].any()
    assert not filled[0].any()
    assert torch.equal(fill_holes(logits, 0), logits)
    assert (fill_holes(logits, 4)[0] > 0)[1:5, 1:8].all()


def test_logits_reach_the_videos_size() -> None:
    logits = torch.randn(3, 16, 20)
    assert to_video_size(logits, (16, 20)) is logits
    assert to_video_size(logits, (96, 128)).shape == (3, 96, 128)

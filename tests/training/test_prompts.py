"""Drawn prompts: where they lie, how often, and what they keep."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surgvos.errors import ConfigError
from surgvos.training.noise import MaskNoise, spoil
from surgvos.training.prompts import (
    PromptSettings,
    centre_correction,
    draw_correction,
    draw_plan,
    draw_prompts,
    error_centres,
    tight_boxes,
)

SEEDS = st.integers(0, 10_000)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random_masks(seed: int, num_objects: int = 4, hw: tuple[int, int] = (12, 17)) -> torch.Tensor:
    generator = _generator(seed)
    masks = torch.rand(num_objects, *hw, generator=generator) < 0.1
    masks[0] = False
    return masks


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_first_clicks_lie_on_the_object_and_background_clicks_say_absent(seed: int) -> None:
    masks = _random_masks(seed)
    clicks = draw_prompts("point", masks, PromptSettings(), _generator(seed))
    assert clicks.points_xy.shape == (4, 1, 2)
    visible = masks.flatten(1).any(dim=1)
    assert clicks.labels[:, 0].bool().tolist() == visible.tolist()
    for mask, point in zip(masks[visible], clicks.points_xy[visible, 0], strict=True):
        assert mask[int(point[1]), int(point[0])]


def test_first_clicks_are_uniform_over_the_object() -> None:
    mask = torch.zeros(1, 3, 4, dtype=torch.bool)
    pixels = [(0, 0), (3, 1), (1, 2), (3, 2)]
    for x, y in pixels:
        mask[0, y, x] = True
    clicks = draw_prompts("point", mask.expand(4000, -1, -1), PromptSettings(), _generator())
    counts = Counter((int(x), int(y)) for x, y in clicks.points_xy[:, 0].tolist())
    assert set(counts) == set(pixels)
    assert all(abs(count - 1000) < 150 for count in counts.values())


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_boxes_stay_within_their_jitter_and_the_image(seed: int) -> None:
    masks = _random_masks(seed, hw=(40, 300))
    chosen = PromptSettings(max_box_jitter_px=20.0)
    prompts = draw_prompts("box", masks, chosen, _generator(seed))
    tight, visible = tight_boxes(masks)
    assert prompts.labels.tolist() == [[2, 3] if v else [-1, -1] for v in visible.tolist()]
    size = (tight[:, 2:] - tight[:, :2]).repeat(1, 2)
    shift = (prompts.points_xy.flatten(1) - tight).abs()[visible]
    assert (shift <= (0.1 * size[visible]).clamp(max=20.0) + 1e-4).all()
    assert (prompts.points_xy >= 0).all()
    assert (prompts.points_xy <= torch.tensor([299.0, 39.0])).all()


def test_tight_boxes_are_first_and_last_pixels() -> None:
    masks = torch.zeros(2, 5, 6, dtype=torch.bool)
    masks[0, 1:4, 2:6] = True
    boxes, visible = tight_boxes(masks)
    assert boxes[0].tolist() == [2, 1, 5, 3]
    assert visible.tolist() == [True, False]


def test_masks_are_given_as_they_are() -> None:
    masks = _random_masks(3)
    prompts = draw_prompts("mask", masks, PromptSettings(), _generator())
    assert prompts.mask is not None
    assert torch.equal(prompts.mask[:, 0] > 0, masks)
    assert prompts.num_points == 0


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_corrections_click_on_errors_and_feed_the_logits_back(seed: int) -> None:
    masks = _random_masks(seed)
    generator = _generator(seed)
    logits = 100 * torch.randn(4, 1, 6, 9, generator=generator)
    predicted = torch.nn.functional.interpolate(logits, size=(12, 17), mode="bilinear")[:, 0] > 0
    first = draw_prompts("point", masks, PromptSettings(), generator)
    second = draw_correction(first, logits, masks, PromptSettings(true_click_probability=0.0), generator)
    assert second.num_points == 2
    assert torch.equal(second.points_xy[:, :1], first.points_xy)
    assert second.previous_logits is not None
    assert second.previous_logits.abs().max() <= 32
    for mask, guess, point, label in zip(
        masks, predicted, second.points_xy[:, 1].long(), second.labels[:, 1], strict=True
    ):
        x, y = point.tolist()
        assert mask[y, x] != guess[y, x]
        assert bool(label) == bool(mask[y, x])


def test_without_errors_a_correction_clicks_on_the_background() -> None:
    masks = _random_masks(5)
    logits = torch.where(masks, 5.0, -5.0)[:, None]
    first = draw_prompts("point", masks, PromptSettings(), _generator())
    second = draw_correction(first, logits, masks, PromptSettings(true_click_probability=0.0), _generator(1))
    assert second.labels[:, 1].tolist() == [0, 0, 0, 0]


def test_corrections_may_click_on_the_object_instead() -> None:
    masks = _random_masks(5)[1:]
    logits = torch.full((3, 1, 12, 17), 5.0)  # every error is on the background
    first = draw_prompts("box", masks, PromptSettings(), _generator())
    second = draw_correction(first, logits, masks, PromptSettings(true_click_probability=1.0), _generator(1))
    assert second.labels[:, 2].tolist() == [1, 1, 1]
    assert second.labels[:, :2].tolist() == [[2, 3]] * 3


def test_evaluation_clicks_at_the_centre_of_the_error() -> None:
    masks = torch.zeros(1, 9, 20, dtype=torch.bool)
    masks[0, 1:8, 2:9] = True
    masks[0, 3:6, 14:17] = True
    logits = torch.full((1, 1, 9, 20), -1.0)
    first = draw_prompts("box", masks, PromptSettings(), _generator())
    clicked = centre_correction(first, logits, masks)
    assert clicked.points_xy[0, 2].tolist() == [5, 4]
    assert clicked.labels[0, 2].item() == 1


def test_the_image_border_is_a_boundary_of_errors() -> None:
    region = torch.ones(1, 5, 9, dtype=torch.bool)
    x, y = error_centres(region)[0].tolist()
    assert y == 2
    assert 2 <= x <= 6


def test_plans_come_in_the_published_shares() -> None:
    generator = _generator()
    plans = [draw_plan(8, PromptSettings(), generator) for _ in range(2000)]
    kinds = Counter(plan.kind for plan in plans)
    assert abs(kinds["mask"] - 1000) < 120
    assert abs(kinds["point"] - 500) < 120
    assert abs(kinds["box"] - 500) < 120
    assert {plan.initial_frames for plan in plans} == {(0,)}
    assert {plan.corrected_frames for plan in plans if plan.kind == "mask"} == {()}
    assert {plan.corrected_frames for plan in plans if plan.kind != "mask"} == {(0,)}


@given(seed=SEEDS, num_frames=st.integers(1, 8), initial=st.integers(1, 3), corrected=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_plans_stay_within_the_clip(seed: int, num_frames: int, initial: int, corrected: int) -> None:
    chosen = PromptSettings(max_initial_frames=initial, max_corrected_frames=corrected)
    plan = draw_plan(num_frames, chosen, _generator(seed))
    assert plan.initial_frames[0] == 0
    assert len(plan.initial_frames) <= min(initial, num_frames)
    assert len(set(plan.initial_frames)) == len(plan.initial_frames)
    assert len(set(plan.corrected_frames)) == len(plan.corrected_frames) <= corrected
    assert set(plan.initial_frames) | set(plan.corrected_frames) <= set(range(num_frames))
    assert plan.kind != "mask" or (num_frames > 1 and not plan.corrected_frames)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected box_probability in 0\.\.1, got 1\.5"):
        PromptSettings(box_probability=1.5)
    with pytest.raises(ConfigError, match="max_initial_frames >= 1"):
        PromptSettings(max_initial_frames=0)


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_noise_leaves_masks_alone_or_spoils_them_surely(seed: int) -> None:
    logits = torch.where(_random_masks(seed, hw=(24, 30)), 1.0, -1.0)[:, None]
    never = MaskNoise(island_probability=0, hole_probability=0, cut_probability=0, contour_probability=0)
    assert torch.equal(spoil(logits, never, _generator(seed)), logits)
    always = MaskNoise(island_probability=1, hole_probability=1, cut_probability=0, contour_probability=0)
    spoilt = spoil(logits, always, _generator(seed))
    assert spoilt.shape == logits.shape
    changed = spoilt != logits
    assert changed.flatten(1).any(dim=1).all()
    assert (spoilt[changed].abs() >= 6).all()


def test_noise_cuts_an_instrument_in_two() -> None:
    mask = torch.zeros(64, 1, 20, 40, dtype=torch.bool)
    mask[:, :, 8:12, 4:36] = True
    logits = torch.where(mask, 4.0, -4.0)
    cut = MaskNoise(island_probability=0, hole_probability=0, cut_probability=1, contour_probability=0)
    kept = (spoil(logits, cut, _generator()) > 0).flatten(1).sum(dim=1) / mask[0].sum()
    assert 0.3 < kept.mean() < 0.7
    assert (kept < 1).float().mean() > 0.8

"""Losses against hand-computed values and another library."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from surgvos.models.interface import MaskPrediction
from surgvos.training.losses import LossSettings, dice_loss, focal_loss, frame_losses, mask_losses, true_iou


def _masks(*rows: str) -> torch.Tensor:
    return torch.tensor([[c == "#" for c in row] for row in rows])


def _prediction(logits: torch.Tensor, iou: torch.Tensor, presence: torch.Tensor) -> MaskPrediction:
    return MaskPrediction(logits, iou, presence)


@given(seed=st.integers(0, 1000), alpha=st.floats(0.05, 0.95), gamma=st.sampled_from([0.0, 1.0, 2.0, 3.0]))
@settings(max_examples=20, deadline=None)
def test_focal_loss_is_torchvisions(seed: int, alpha: float, gamma: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(2, 3, 5, 4, generator=generator)
    targets = (torch.rand(2, 1, 5, 4, generator=generator) < 0.4).float()
    chosen = LossSettings(focal=1, dice=0, focal_alpha=alpha, focal_gamma=gamma)
    expected = sigmoid_focal_loss(logits, targets.expand_as(logits), alpha, gamma).mean(dim=(2, 3))
    torch.testing.assert_close(mask_losses(logits, targets, chosen), expected, rtol=1e-5, atol=1e-6)


def test_dice_loss_adds_one_to_both_terms() -> None:
    probabilities = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]]])
    targets = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    # overlap 1.5; sizes 1.5 and 3
    assert dice_loss(probabilities, targets).item() == pytest.approx(1 - (2 * 1.5 + 1) / (4.5 + 1))


def test_focal_loss_of_an_undecided_pixel() -> None:
    half = torch.full((1, 1, 1, 1), 0.5)
    loss = focal_loss(half, -half.log(), torch.ones_like(half), LossSettings())
    assert loss.item() == pytest.approx(0.25 * 0.25 * math.log(2))


def test_true_iou_counts_thresholded_pixels_and_calls_two_empty_masks_zero() -> None:
    logits = torch.tensor([[[[1.0, 2.0, -1.0]], [[-1.0, -1.0, -1.0]]]])
    targets = torch.tensor([[[[1.0, 0.0, 1.0]]]])
    assert true_iou(logits, targets).tolist() == [[pytest.approx(1 / 3), 0.0]]
    assert true_iou(logits[:, 1:], torch.zeros_like(targets)).item() == 0.0


def test_true_iou_counts_a_covered_share_as_a_share_of_a_cell() -> None:
    targets = torch.tensor([[[[1.0, 0.5, 0.0, 0.0]]]])
    narrow, wide = torch.tensor([[[[1.0, -1.0, -1.0, -1.0]]]]), torch.tensor([[[[1.0, 1.0, -1.0, -1.0]]]])
    assert true_iou(narrow, targets).item() == pytest.approx(1 / 1.5)
    assert true_iou(wide, targets).item() == pytest.approx(1.5 / 2)


def test_mask_losses_reach_only_the_best_candidate_and_iou_losses_reach_all() -> None:
    masks = _masks("##..", "##..", "....", "....")[None]
    good, bad = torch.where(masks, 2.0, -2.0), torch.where(masks, -2.0, 2.0)
    logits = torch.stack((bad, good, bad), dim=1).requires_grad_()
    iou = torch.tensor([[0.5, 0.5, 0.25]], requires_grad=True)
    losses = frame_losses(_prediction(logits, iou, torch.tensor([1.0])), masks, LossSettings())
    losses.total(LossSettings()).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum(dim=(2, 3)).gt(0).tolist() == [[False, True, False]]
    assert iou.grad is not None
    torch.testing.assert_close(iou.grad, torch.tensor([[1 / 3, -1 / 3, 1 / 3]]))
    # The true IoUs are 0, 1, 0.
    assert losses.iou.item() == pytest.approx((0.5 + 0.5 + 0.25) / 3)


def test_an_absent_object_counts_only_in_presence() -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    presence = torch.tensor([3.0, 3.0], requires_grad=True)
    losses = frame_losses(_prediction(logits, torch.full((2, 1), 0.7), presence), masks, LossSettings())
    losses.total(LossSettings()).backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert logits.grad[1].abs().sum() == 0
    wrong, right = math.log1p(math.exp(3.0)), math.log1p(math.exp(-3.0))
    assert losses.presence.item() == pytest.approx(wrong + right)


def test_an_absent_object_can_be_asked_for_an_empty_mask() -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    logits = torch.zeros(2, 1, 4, 4)
    presence = torch.zeros(2)
    without, asked = (
        frame_losses(_prediction(logits, torch.zeros(2, 1), presence), masks, LossSettings(absent=weight)).mask
        for weight in (0.0, 3.0)
    )
    assert (asked - without).item() == pytest.approx(3 * math.log(2))


def test_total_weighs_the_parts() -> None:
    masks = _masks("#.", "..")[None]
    logits = torch.tensor([[[[1.0, -1.0], [-1.0, 2.0]]]])
    chosen = LossSettings(focal=2, dice=3, bce=5, iou=7, presence=11)
    prediction = _prediction(logits, torch.tensor([[0.25]]), torch.tensor([0.0]))
    losses = frame_losses(prediction, masks, chosen)
    targets = masks[:, None].float()
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    expected = (
        2 * sigmoid_focal_loss(logits, targets).mean()
        + 3 * dice_loss(logits.sigmoid(), targets).squeeze()
        + 5 * cross_entropy
        + 7 * abs(0.5 - 0.25)
        + 11 * math.log(2)
    )
    assert losses.total(chosen).item() == pytest.approx(expected.item(), rel=1e-5)


def test_resolution_is_the_inputs_or_the_logits_own() -> None:
    masks = _masks("#.......", "........", "....####", "....####")[None]
    logits = torch.tensor([[[[0.0, -20.0, -20.0, -20.0], [-20.0, -20.0, 20.0, 20.0]]]])
    prediction = _prediction(logits, torch.zeros(1, 1), torch.zeros(1))
    own = LossSettings(focal=0, dice=0, bce=1, iou=0, presence=0, at_logits_resolution=True)
    # One of the four pixels of the undecided cell is covered: log 2 whatever its share; the rest is right.
    assert frame_losses(prediction, masks, own).mask.item() == pytest.approx(math.log(2) / 8, rel=1e-5)
    full = LossSettings(focal=0, dice=0, bce=1, iou=0, presence=0)
    upsampled = torch.nn.functional.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(upsampled, masks[:, None].float())
    assert frame_losses(prediction, masks, full).mask.item() == pytest.approx(expected.item(), rel=1e-5)


def test_masks_of_absent_objects_are_asked_to_be_empty_only_where_wanted() -> None:
    logits = torch.full((2, 1, 4, 4), 3.0)
    prediction = MaskPrediction(logits, torch.zeros(2, 1), torch.zeros(2))
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    as_published = frame_losses(prediction, masks, LossSettings())
    asked = frame_losses(prediction, masks, LossSettings(absent=2.0))
    expected = 2.0 * math.log1p(math.exp(3.0))
    assert float(asked.mask - as_published.mask) == pytest.approx(expected, rel=1e-5)

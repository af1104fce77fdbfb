"""Losses of detectors: what they are held to, and that weights and boxes mean what they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from surgvos.data.frames import UNLABELLED, FrameBatch
from surgvos.errors import ConfigError
from surgvos.overseer import detr, mask_rcnn
from surgvos.overseer.query_masks import detection_of_queries
from surgvos.training.detection import DetectionSettings, mean_dice
from surgvos.training.detector_losses import MIN_SCORE, _of_queries, answer_detr, answer_mask2former, frame_targets
from surgvos.training.networks import build_model
from training.detector_miniatures import COLORS, DETR, MASK2FORMER, MASK_RCNN, NUM_LABELS, SIDE, few_proposals


def labels(*rectangles: tuple[int, int, int, int, int], side: int = SIDE) -> Tensor:
    """Label map with rectangles ``(label, left, top, right, bottom)``."""
    drawn = torch.zeros((side, side), dtype=torch.uint8)
    for label, left, top, right, bottom in rectangles:
        drawn[top:bottom, left:right] = label
    return drawn


def batch_of(*label_maps: Tensor, weights: tuple[float, ...] = (1.0, 1.0, 1.0)) -> FrameBatch:
    stacked = torch.stack(label_maps)
    images = torch.full((len(label_maps), 3, *stacked.shape[1:]), 20, dtype=torch.uint8)
    for label, color in COLORS.items():
        where = (stacked == label)[:, None].expand_as(images)
        images = torch.where(where, torch.tensor(color, dtype=torch.uint8)[None, :, None, None], images)
    return FrameBatch(images, stacked, torch.tensor(weights))


TWO = batch_of(labels((1, 4, 8, 28, 30), (3, 30, 34, 60, 60)), labels((2, 10, 10, 50, 40)))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mask R-CNN at 64 pixels instead of 299, and with fewer proposals."""
    monkeypatch.setattr(mask_rcnn, "INPUT_PX", SIDE)
    monkeypatch.setattr(mask_rcnn, "build_mask_rcnn", few_proposals)


# --- targets ---------------------------------------------------------------------------------------------------------


def test_each_class_is_one_instance_in_its_box() -> None:
    drawn = labels((2, 3, 5, 10, 20), (2, 40, 5, 41, 6), (1, 0, 63, 64, 64))
    drawn[30:] = torch.where(drawn[30:] == 0, torch.tensor(UNLABELLED, dtype=torch.uint8), drawn[30:])
    targets = frame_targets(drawn, num_classes=3)
    assert targets.labels.tolist() == [1, 2]
    assert targets.boxes.tolist() == [[0, 63, 64, 64], [3, 5, 41, 20]]
    assert torch.equal(targets.masks, torch.stack((drawn == 1, drawn == 2)))
    nothing = frame_targets(torch.zeros((8, 8), dtype=torch.uint8), num_classes=3)
    assert (nothing.masks.shape, nothing.boxes.shape) == ((0, 8, 8), (0, 4))


# --- Mask R-CNN ------------------------------------------------------------------------------------------------------


def mask_rcnn_parts(network: nn.Module, batch: FrameBatch, *, as_published: bool) -> dict[str, float]:
    torch.manual_seed(1)
    losses = DetectionSettings(as_published=as_published).module(network).train()(batch, None)
    return {name: float(value) / losses.num_items for name, value in losses.parts.items()}


def test_unweighted_losses_are_those_of_torchvision(small: None) -> None:
    torch.manual_seed(0)
    network: Any = mask_rcnn.build_mask_rcnn(MASK_RCNN).train()
    ours = mask_rcnn_parts(network, TWO, as_published=True)
    targets = [
        {"boxes": t.boxes, "labels": t.labels, "masks": t.masks.byte()}
        for t in (frame_targets(one, num_classes=3) for one in TWO.labels)
    ]
    torch.manual_seed(1)
    theirs = network(list(TWO.images.float() / 255), targets)
    assert {f"loss_{name}": value for name, value in ours.items()} == pytest.approx(
        {name: value.item() for name, value in theirs.items()}, rel=1e-5
    )
    assert mask_rcnn_parts(network, TWO, as_published=False) == pytest.approx(ours, rel=1e-5)


def test_class_weights_change_the_loss_of_classes_alone(small: None) -> None:
    """Published, they have no effect at all."""
    torch.manual_seed(0)
    network = mask_rcnn.build_mask_rcnn(MASK_RCNN)
    weighted = replace(TWO, class_weights=torch.tensor([1.0, 2.0, 30.0]))
    plain = mask_rcnn_parts(network, TWO, as_published=False)
    meant, published = (mask_rcnn_parts(network, weighted, as_published=flag) for flag in (False, True))
    assert published == pytest.approx(plain, rel=1e-5)
    assert meant.pop("classifier") != pytest.approx(plain.pop("classifier"), rel=1e-2)
    assert meant == pytest.approx(plain, rel=1e-5)


def test_nothing_learns_from_validation(small: None) -> None:
    """Published, norms do: their running means take in the frames that are scored."""
    network = mask_rcnn.build_mask_rcnn(replace(MASK_RCNN, frozen_norms=False))
    module = DetectionSettings().module(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        losses = module.eval()(TWO, None)
    assert losses.total.isfinite()
    assert "mean_dice" in losses.scores
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part.training for part in network.modules())
    module.train()(TWO, None)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert "backbone.body.bn1.running_mean" in changed


# --- DETR and Mask2Former --------------------------------------------------------------------------------------------


class RecordingDetr:
    """What DETR is given, and five losses."""

    config = SimpleNamespace(
        bbox_loss_coefficient=5, giou_loss_coefficient=2, mask_loss_coefficient=1, dice_loss_coefficient=1
    )

    def __call__(self, pixel_values: Tensor, labels: list[dict[str, Tensor]]) -> Any:
        self.pixels, self.labels = pixel_values, labels
        names = ("ce", "bbox", "giou", "mask", "dice")
        losses = {f"loss_{name}": torch.tensor(2.0**place) for place, name in enumerate(names)}
        return SimpleNamespace(loss_dict=losses, logits=torch.zeros(2, 1, 5), pred_masks=torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize(
    ("corner_boxes", "expected"),
    [(False, [[16, 19, 24, 22], [45, 47, 30, 26]]), (True, [[4, 8, 28, 30], [30, 34, 60, 60]])],
    ids=["as meant", "as published"],
)
def test_detr_learns_boxes_in_the_chosen_format(corner_boxes: bool, expected: list[list[float]]) -> None:
    network, targets = RecordingDetr(), [frame_targets(one, num_classes=3) for one in TWO.labels]
    parts, _ = answer_detr(network, TWO.images, targets, corner_boxes=corner_boxes)
    first = network.labels[0]
    assert (first["boxes"] * SIDE).tolist() == expected
    assert first["class_labels"].tolist() == [1, 3]
    assert first["masks"].sum(dim=(1, 2)).tolist() == [24 * 22, 30 * 26]
    assert network.pixels.shape == (2, 3, 800, 800)
    assert {name: value.item() for name, value in parts.items()} == {
        "ce": 1, "bbox": 10, "giou": 8, "mask": 8, "dice": 16,
    }  # fmt: skip


def test_detr_sees_in_training_what_it_sees_in_use() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    network = RecordingDetr()
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    answer_detr(network, pixels.repeat(2, 1, 1, 1), [frame_targets(labels(side=200), 3)] * 2, corner_boxes=False)
    in_use = detr.normalize_images(detr.squeeze(image)[None])
    # One grey value of 256: Pillow rounds after each of two passes.
    assert (network.pixels[:1] - in_use).abs().max() < 1.01 / 255 / 0.224


def test_mask2former_is_held_to_the_truth_in_every_layer() -> None:
    torch.manual_seed(0)
    network = build_model(MASK2FORMER)
    calls = []

    def criterion(masks: Tensor, classes: Tensor, true_masks: list[Tensor], true_labels: list[Tensor]) -> Any:
        calls.append((masks.shape, classes.shape, [one.tolist() for one in true_labels]))
        return {
            "loss_cross_entropy": torch.tensor(1.0),
            "loss_mask": torch.tensor(10.0),
            "loss_dice": torch.tensor(3.0),
        }

    targets = [frame_targets(one, num_classes=3) for one in TWO.labels]
    parts, _ = answer_mask2former(network, TWO.images, targets, criterion)  # type: ignore[arg-type]
    num_layers = MASK2FORMER.num_decoder_layers + 1
    assert len(calls) == num_layers
    assert calls[0] == ((2, 6, 16, 16), (2, 6, NUM_LABELS + 1), [[1, 3], [2]])
    expected = {"cross_entropy": 2 * 1 * num_layers, "mask": 5 * 10 * num_layers, "dice": 5 * 3 * num_layers}
    assert {name: value.item() for name, value in parts.items()} == expected


def test_what_is_scored_is_what_the_overseer_would_see() -> None:
    generator = torch.Generator().manual_seed(0)
    class_logits = torch.randn(2, 6, NUM_LABELS + 1, generator=generator) * 3
    mask_logits = torch.randn(2, 6, 16, 16, generator=generator)
    found = _of_queries(class_logits, mask_logits, (SIDE, SIDE))
    assert found.any()
    for one, classes, masks in zip(found, class_logits, mask_logits, strict=True):
        seen = detection_of_queries(classes, masks, (None, 1, 2, 3), (SIDE, SIDE), min_score=MIN_SCORE)
        assert np.array_equal(one.numpy(), np.stack([seen.mask(label) for label in (1, 2, 3)]))


# --- scores and refusals ---------------------------------------------------------------------------------------------


def test_dice_is_the_mean_over_classes_of_all_pixels() -> None:
    found = torch.stack([TWO.labels == label for label in (1, 2, 3)], dim=1)
    assert mean_dice(found, TWO.labels).item() == 1
    shifted = found.clone()
    shifted[:, 1] = found[:, 1].roll(20, dims=2)  # half of its 40 columns
    assert mean_dice(shifted, TWO.labels).item() == pytest.approx((1 + 0.5 + 1) / 3)
    invented = found[:1].clone()
    invented[0, 1, :4] = True
    assert mean_dice(invented, TWO.labels[:1]).item() == pytest.approx(2 / 3)
    assert mean_dice(torch.zeros_like(found), labels()[None].repeat(2, 1, 1)).isnan()


@pytest.mark.parametrize("build", [lambda: mask_rcnn.build_mask_rcnn(MASK_RCNN), lambda: build_model(DETR)])
def test_a_head_for_other_classes_is_refused(build: Callable[[], nn.Module], small: None) -> None:
    four = replace(TWO, class_weights=torch.ones(4))
    with pytest.raises(ConfigError, match="expected a model of 5 labels for 4 classes, got one of 4"):
        DetectionSettings().module(build()).train()(four, None)

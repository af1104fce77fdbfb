"""Learning the class of every pixel: losses by hand, and what unlabelled pixels do not change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from surgvos.data.batches import BatchShape
from surgvos.data.frames import UNLABELLED, FrameBatch, collate_frames
from surgvos.data.synthetic_classes import SYNTHETIC_CLASSES, SyntheticClassesConfig
from surgvos.errors import ConfigError
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoModel
from surgvos.models.nano.segmenter import NanoSegmenterConfig
from surgvos.overseer.load import load_detector
from surgvos.overseer.nano import NanoDetector
from surgvos.training.config import Stage, TrainConfig
from surgvos.training.detection import DetectionSettings
from surgvos.training.segmenting import SegmentingSettings, class_dice_loss, class_iou, class_shares
from surgvos.training.trainer import train
from training.tiny import TINY_NANO

HW = (8, 12)


def batch_of(labels: np.ndarray, weights: tuple[float, ...] = (1.0, 1.0)) -> FrameBatch:
    return collate_frames([np.zeros((*label.shape, 3), np.uint8) for label in labels], list(labels), weights)


def labels_with(*, label: int, left: int, right: int) -> np.ndarray:
    labels = np.zeros((1, *HW), np.uint8)
    labels[:, :, left:right] = label
    return labels


class Saying(nn.Module):
    """Says the given logits, whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1, -1, -1)


def certain_of(labels: np.ndarray) -> Tensor:
    return 20 * torch.nn.functional.one_hot(torch.from_numpy(labels).long(), 3).permute(0, 3, 1, 2).float()


def test_the_truth_costs_nothing_and_scores_one() -> None:
    labels = labels_with(label=2, left=0, right=6)
    losses = SegmentingSettings().module(Saying(certain_of(labels)))(batch_of(labels), None)
    assert losses.total.item() < 1e-4
    assert losses.scores["class_iou"].item() == 1.0
    assert losses.num_items == 1


def test_shares_of_coarse_cells() -> None:
    shares = class_shares(batch_of(labels_with(label=1, left=0, right=3)), (4, 6))
    assert shares.shape == (1, 3, 4, 6)
    assert shares[0, 1, 0].tolist() == [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert torch.equal(shares.sum(dim=1), torch.ones(1, 4, 6))


def test_losses_are_those_by_hand() -> None:
    torch.manual_seed(0)
    labels = np.random.default_rng(0).integers(0, 3, (2, *HW)).astype(np.uint8)
    logits = torch.randn(2, 3, *HW)
    settings = SegmentingSettings(cross_entropy=2.0, dice=0.5)
    found = settings.module(Saying(logits))(batch_of(labels, (0.5, 1.5)), None)
    truth = torch.from_numpy(labels).long()
    by_hand = nn.functional.cross_entropy(logits, truth, weight=torch.tensor([1.0, 0.5, 1.5]))
    assert found.parts["cross_entropy"].item() == pytest.approx(2 * 2.0 * by_hand.item(), rel=1e-5)
    soft = logits.softmax(dim=1)
    dice = [1 - (2 * soft[:, k][truth == k].sum() + 1) / (soft[:, k].sum() + (truth == k).sum() + 1) for k in range(3)]
    assert found.parts["dice"].item() == pytest.approx(2 * 0.5 * float(torch.stack(dice).mean()), rel=1e-5)
    assert found.total.item() == pytest.approx(sum(part.item() for part in found.parts.values()), rel=1e-6)


def test_unlabelled_pixels_say_nothing() -> None:
    labels = labels_with(label=1, left=0, right=5)
    labels[:, :, 9:] = UNLABELLED
    module = SegmentingSettings().module(Saying(torch.randn(1, 3, *HW)))
    module(batch_of(labels), None).total.backward()
    gradient = module.model.logits.grad
    assert not gradient[..., 9:].any()
    assert gradient[..., :9].all()


def tiny_segmenting_run(init_from: str) -> TrainConfig:
    return TrainConfig(
        model=NanoSegmenterConfig(widths=TINY_NANO.widths, depths=TINY_NANO.depths, context_width=16),
        data=SyntheticClassesConfig(pool_size=3),
        stages=(Stage(steps=2, batch=BatchShape(image_hw=(64, 64), batch_size=2)),),
        task=SegmentingSettings(),
        init_from=init_from,
        freeze=("image_encoder",),
        num_workers=0,
        log_every=1,
    )


def test_a_run_starts_from_a_tracker_and_ends_in_a_detector(tmp_path: Path) -> None:
    tracker = NanoModel(TINY_NANO)
    save_model(tmp_path / "tracker.safetensors", tracker)
    result = train(tiny_segmenting_run(str(tmp_path / "tracker.safetensors")), tmp_path / "run", device="cpu")
    assert result.weights is not None
    detector = load_detector(result.weights, SYNTHETIC_CLASSES, device="cpu")
    assert isinstance(detector, NanoDetector)
    own = detector.network.state_dict()
    kept = {name: value for name, value in tracker.state_dict().items() if name.startswith("image_encoder.")}
    assert kept
    assert all(torch.equal(own[name], value) for name, value in kept.items())
    last = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert last["loss"] == pytest.approx(last["cross_entropy"] + last["dice"])
    assert 0 <= last["class_iou"] <= 1


def test_a_segmenter_learns_nothing_else() -> None:
    run = tiny_segmenting_run("surgvos-nano")
    with pytest.raises(ConfigError, match="expected segmenting as the task of a nano segmenter"):
        replace(run, task=DetectionSettings())


def test_classes_that_are_not_there_are_not_scored() -> None:
    nothing = class_shares(batch_of(np.zeros((1, *HW), np.uint8)), HW)
    assert class_iou(certain_of(np.ones((1, *HW), np.uint8)), nothing).isnan()
    assert class_dice_loss(nothing, nothing).item() == pytest.approx(0.0, abs=1e-4)
    half = class_shares(batch_of(labels_with(label=1, left=0, right=6)), HW)
    assert class_iou(certain_of(labels_with(label=1, left=0, right=12)), half).item() == pytest.approx(0.5)

"""Learning which class every pixel is of, in single frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.data.frames import FrameBatch
from surgvos.tracking.features import normalize_images
from surgvos.training.task import BatchLosses


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentingSettings:
    """How frames with a class for every pixel are learnt from.

    Attributes:
        cross_entropy: Weight of the cross-entropy, the mean over pixels.
        dice: Weight of one minus the soft Dice coefficient of each class over a batch, the mean over what the batch
            shows; what has few pixels counts as much in it as what has many.
    """

    cross_entropy: float = 1.0
    dice: float = 1.0

    def module(self, model: nn.Module) -> SegmentingModule:
        """See `Task`."""
        return SegmentingModule(model, self)


class SegmentingModule(nn.Module):
    """What is run on each batch, as a module, so that wrappers of modules enclose all of it.

    Args:
        model: Images ``(N, 3, H, W)`` -> logits ``(N, 1 + num_classes, h, w)``, background first.
        settings: What is asked of the logits.
    """

    def __init__(self, model: nn.Module, settings: SegmentingSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, batch: FrameBatch, generator: torch.Generator | None) -> BatchLosses:
        """Label a batch of frames, and add up the losses; nothing is drawn."""
        logits = self.model(normalize_images(batch.images)).float()
        targets = class_shares(batch, (logits.shape[-2], logits.shape[-1]))
        weights = torch.cat((batch.class_weights.new_ones(1), batch.class_weights))
        parts = {
            "cross_entropy": self.settings.cross_entropy * cross_entropy_loss(logits, targets, weights),
            "dice": self.settings.dice * class_dice_loss(logits.softmax(dim=1), targets),
        }
        # The trainer wants a sum over frames.
        parts = {name: value * batch.num_frames for name, value in parts.items()}
        return BatchLosses(
            total=torch.stack(list(parts.values())).sum(),
            parts={name: value.detach() for name, value in parts.items()},
            num_items=batch.num_frames,
            scores={"class_iou": class_iou(logits.detach(), targets)},
        )


def class_shares(batch: FrameBatch, grid_hw: tuple[int, int]) -> Tensor:
    """The share of every cell of a grid that background and each class cover, ``(N, 1 + num_classes, h, w)``.

    Unlabelled pixels are of no share.
    """
    ids = torch.arange(1 + batch.num_classes, device=batch.labels.device)[:, None, None]
    return F.interpolate((batch.labels[:, None] == ids).float(), size=grid_hw, mode="area")


def cross_entropy_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy against shares ``(N, K, h, w)``, each of ``K`` with a weight; the mean over what is labelled."""
    weighted = targets * weights[:, None, None]
    return -(weighted * logits.log_softmax(dim=1)).sum() / weighted.sum().clamp(min=1)


def class_dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft Dice coefficient over a batch ``(N, K, h, w)``; the mean over what the targets show."""
    labelled = targets.sum(dim=1, keepdim=True)
    overlap = (probabilities * targets).sum(dim=(0, 2, 3))
    size = (probabilities * labelled).sum(dim=(0, 2, 3)) + targets.sum(dim=(0, 2, 3))
    shown = targets.sum(dim=(0, 2, 3)) > 0
    return (1 - (2 * overlap + 1) / (size + 1))[shown].mean()


def class_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of classes over a batch ``(N, K, h, w)``, the mean over those that the targets show; nan without any: ``()``.

    A cell counts as what covers most of it.
    """
    num_labels = logits.shape[1]
    labelled = targets.sum(dim=1) > 0
    pairs = (targets.argmax(dim=1) * num_labels + logits.argmax(dim=1))[labelled]
    counts = torch.bincount(pairs, minlength=num_labels**2).view(num_labels, num_labels).float()
    common, union = counts.diagonal(), counts.sum(dim=0) + counts.sum(dim=1) - counts.diagonal()
    shown = counts.sum(dim=1)[1:] > 0
    return (common[1:] / union[1:].clamp(min=1))[shown].mean()

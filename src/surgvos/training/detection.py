"""Learning to detect classes in single frames, for the overseer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from surgvos.data.frames import FrameBatch
from surgvos.errors import ConfigError
from surgvos.overseer.mask2former import Mask2FormerNetwork
from surgvos.training.detector_losses import (
    Answer,
    FrameTargets,
    answer_detr,
    answer_mask2former,
    answer_mask_rcnn,
    frame_targets,
    mask2former_criterion,
)
from surgvos.training.task import BatchLosses


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionSettings:
    """How frames with classes are learned from: each class that a frame shows is one instance.

    Attributes:
        as_published: As SASVi's scripts do it and not as they mean it: a Mask R-CNN's classes all count alike, and a
            DETR learns the corners of boxes where its loss means centres and sizes.

    Reference: SASVi (arXiv 2502.09653).

    Departs: validation never changes what is learned, as it does in the published script for CholecSeg8k, where norms
    learn from it (``tests/training/test_detection.py``).
    """

    as_published: bool = False

    def module(self, model: nn.Module) -> DetectionModule:
        """See `Task`."""
        return DetectionModule(model, self)


class DetectionModule(nn.Module):
    """A detector and its losses."""

    def __init__(self, model: nn.Module, settings: DetectionSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.criterion = mask2former_criterion(model) if isinstance(model, Mask2FormerNetwork) else None

    def forward(self, batch: FrameBatch, generator: torch.Generator | None) -> BatchLosses:
        """Losses of a batch, means over its frames; in evaluation also a score."""
        targets = [frame_targets(labels, batch.num_classes) for labels in batch.labels]
        parts, detect = self._answer(batch, targets)
        scores = {} if self.training else {"mean_dice": mean_dice(detect(), batch.labels)}
        # The loop divides by the number of frames.
        sums = {name: value * batch.num_frames for name, value in parts.items()}
        total = torch.stack(list(sums.values())).sum()
        return BatchLosses(total, {name: value.detach() for name, value in sums.items()}, batch.num_frames, scores)

    def _answer(self, batch: FrameBatch, targets: Sequence[FrameTargets]) -> Answer:
        from torchvision.models.detection import MaskRCNN

        model: Any = self.model
        as_published = self.settings.as_published
        if isinstance(model, MaskRCNN):
            _check_num_labels(model.roi_heads.box_predictor.cls_score.out_features, batch)
            weights = None if as_published else batch.class_weights
            return answer_mask_rcnn(model, batch.images, targets, weights)
        if self.criterion is not None:
            _check_num_labels(model.model.config.num_labels, batch)
            return answer_mask2former(model, batch.images, targets, self.criterion)
        _check_num_labels(model.config.num_labels, batch)
        return answer_detr(model, batch.images, targets, corner_boxes=as_published)


def mean_dice(found: Tensor, labels: Tensor) -> Tensor:
    """Mean over classes of the Dice of all pixels of a batch; nan where no class shows, in truth or as found.

    Args:
        found: bool ``(N, K, H, W)``.
        labels: ``(N, H, W)``; see `FrameBatch`.
    """
    true = labels[:, None] == torch.arange(1, found.shape[1] + 1, device=labels.device)[:, None, None]
    overlap = (found & true).sum(dim=(0, 2, 3))
    size = found.sum(dim=(0, 2, 3)) + true.sum(dim=(0, 2, 3))
    return (2 * overlap / size)[size > 0].mean()


def _check_num_labels(num_labels: int, batch: FrameBatch) -> None:
    # Label 0 is background or unused, as where detectors are used; see `classes_of_labels`.
    if num_labels != batch.num_classes + 1:
        raise ConfigError(
            f"expected a model of {batch.num_classes + 1} labels for {batch.num_classes} classes, got one of "
            f"{num_labels}; try model.num_labels={batch.num_classes + 1}"
        )

"""What is asked of a prediction: the mask, how good it is, and whether the object is there.

Letters: ``B`` objects, ``K`` candidate masks, ``H W`` the model's input size, ``h w`` the logits' own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from surgvos.models.interface import MaskPrediction


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """Weights and details of the losses of a frame.

    Reference: Ravi et al., SAM 2 (arXiv 2408.00714), appendix D.2.2; focal loss: Lin et al., ICCV 2017.

    Attributes:
        focal: Weight of the focal loss, the mean over pixels.
        dice: Weight of the dice loss.
        bce: Weight of plain binary cross-entropy, the mean over pixels.
        iou: Weight of the error of the predicted IoU.
        presence: Weight of the binary cross-entropy of presence.
        absent: Weight of plain cross-entropy towards an empty mask where the object is not visible. 0 asks nothing
            of the mask there, as SAM 2 does, whose masks are cleared by presence alone.
        focal_alpha: Weight of object pixels in the focal loss; background pixels have one minus it.
        focal_gamma: How strongly the focal loss passes over easy pixels.
        at_logits_resolution: Compare at the logits' resolution, with the share of each cell that the object
            covers, instead of at the input's resolution.
    """

    focal: float = 20.0
    dice: float = 1.0
    bce: float = 0.0
    iou: float = 1.0
    presence: float = 1.0
    absent: float = 0.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    at_logits_resolution: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class FrameLosses:
    """Losses of one answer, each summed over the objects, before weights.

    Attributes:
        mask: ``()`` weighted focal, dice and cross-entropy losses of the best candidates, together.
        iou: ``()``.
        presence: ``()``.
    """

    mask: Tensor
    iou: Tensor
    presence: Tensor

    def total(self, settings: LossSettings) -> Tensor:
        """The weighted sum."""
        return self.mask + settings.iou * self.iou + settings.presence * self.presence


def frame_losses(prediction: MaskPrediction, masks: Tensor, settings: LossSettings) -> FrameLosses:
    """Compare all candidates of ``B`` objects with the truth.

    The mask losses reach only the candidate with the lowest one; the predicted IoU of every candidate is held to
    its own IoU. Objects that are not visible count only in the presence loss.

    Args:
        prediction: All candidates.
        masks: bool ``(B, H, W)`` true masks.
        settings: Weights.
    """
    visible = masks.flatten(1).any(dim=1).float()
    logits, targets = _at_one_resolution(prediction.logits.float(), masks, settings)
    # ``(B, K)`` each.
    mask_loss = mask_losses(logits, targets, settings).min(dim=1).values * visible
    if settings.absent:
        emptiness = F.softplus(logits).mean(dim=(1, 2, 3))
        mask_loss = mask_loss + settings.absent * emptiness * (1 - visible)
    iou_loss = (prediction.iou.float() - true_iou(logits.detach(), targets)).abs().mean(dim=1)
    presence = F.binary_cross_entropy_with_logits(prediction.presence_logits.float(), visible, reduction="sum")
    return FrameLosses(mask_loss.sum(), (iou_loss * visible).sum(), presence)


def mask_losses(logits: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Weighted focal, dice and cross-entropy losses of logits ``(B, K, h, w)`` against ``(B, 1, h, w)``: ``(B, K)``."""
    probabilities = logits.sigmoid()
    cross_entropy = F.softplus(logits) - logits * targets
    loss = settings.focal * focal_loss(probabilities, cross_entropy, targets, settings)
    if settings.dice:
        loss = loss + settings.dice * dice_loss(probabilities, targets)
    if settings.bce:
        loss = loss + settings.bce * cross_entropy.mean(dim=(2, 3))
    return loss


def focal_loss(probabilities: Tensor, cross_entropy: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """Focal loss, the mean over pixels: ``(B, K)``."""
    # 1 - p_t and alpha_t, linear in a target between 0 and 1.
    missing = probabilities + targets * (1 - 2 * probabilities)
    alpha = 1 - settings.focal_alpha + targets * (2 * settings.focal_alpha - 1)
    return (alpha * missing**settings.focal_gamma * cross_entropy).mean(dim=(2, 3))


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft Dice coefficient, with 1 added to both of its terms: ``(B, K)``."""
    overlap = (probabilities * targets).sum(dim=(2, 3))
    size = probabilities.sum(dim=(2, 3)) + targets.sum(dim=(2, 3))
    return 1 - (2 * overlap + 1) / (size + 1)


def true_iou(logits: Tensor, targets: Tensor) -> Tensor:
    """IoU of the thresholded masks, 0 where both are empty: ``(B, K)``.

    A target between 0 and 1 is the share of a cell that the object covers, and counts as that much of a cell:
    thresholding it as well would leave half-covered cells, of which outlines are full, to chance.
    """
    predicted = (logits > 0).float()
    intersection = (predicted * targets).sum(dim=(2, 3))
    union = predicted.sum(dim=(2, 3)) + targets.sum(dim=(2, 3)) - intersection
    return intersection / union.clamp(min=1e-6)


def _at_one_resolution(logits: Tensor, masks: Tensor, settings: LossSettings) -> tuple[Tensor, Tensor]:
    targets = masks[:, None].float()
    if logits.shape[-2:] == targets.shape[-2:]:
        return logits, targets
    if settings.at_logits_resolution:
        return logits, F.interpolate(targets, size=logits.shape[-2:], mode="area")
    return F.interpolate(logits, size=targets.shape[-2:], mode="bilinear", align_corners=False), targets

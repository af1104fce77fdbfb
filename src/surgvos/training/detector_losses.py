"""What detectors answer to frames in training, beside the truth: losses by name, and where each class is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.io.extras import import_extra
from surgvos.overseer import detr
from surgvos.overseer.detector import DetectorOptions
from surgvos.overseer.mask2former import Mask2FormerNetwork
from surgvos.tracking.features import normalize_images

MIN_SCORE = DetectorOptions().min_score
"""Least score of the instances that count where it is scored how well a detector does."""

Parts = dict[str, Tensor]
Answer = tuple[Parts, Callable[[], Tensor]]
"""Weighted losses by name, means over the batch; if anyone asks, where classes are found, bool ``(N, K, H, W)``."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameTargets:
    """The true instances of a frame: one for each class that it shows.

    Attributes:
        labels: int64 ``(n,)``: which class, counted from 1.
        masks: bool ``(n, H, W)``.
        boxes: ``(n, 4)``: left, top, right and bottom edges of the masks, in pixels.
    """

    labels: Tensor
    masks: Tensor
    boxes: Tensor


def frame_targets(labels: Tensor, num_classes: int) -> FrameTargets:
    """The instances of a frame, given the label ``(H, W)`` of each pixel."""
    counts = torch.bincount(labels.flatten().long(), minlength=num_classes + 1)
    shown = counts[1 : num_classes + 1].nonzero()[:, 0] + 1
    masks = labels[None] == shown[:, None, None]
    return FrameTargets(shown, masks, _edges(masks))


def _edges(masks: Tensor) -> Tensor:
    """Boxes of masks ``(n, H, W)``, none of them empty."""
    boxes = []
    for has in (masks.any(dim=1), masks.any(dim=2)):  # columns, rows
        has = has.int()
        boxes.append((has.argmax(dim=1), has.shape[1] - has.flip(1).argmax(dim=1)))
    (left, right), (top, bottom) = boxes
    return torch.stack((left, top, right, bottom), dim=1).float()


def answer_mask_rcnn(
    network: Any, images: Tensor, targets: Sequence[FrameTargets], class_weights: Tensor | None
) -> Answer:
    """Losses of a Mask R-CNN: torchvision's five, of which that of classes may be weighted.

    Args:
        network: Of torchvision.
        images: uint8 ``(N, 3, H, W)``.
        targets: One for each image.
        class_weights: ``(K,)`` how much each class counts where boxes are told apart, background 1; None: all alike.

    Reference: He et al., Mask R-CNN (ICCV 2017).
    """
    pixels = list(images.float() / 255)
    wanted = [{"boxes": t.boxes, "labels": t.labels, "masks": t.masks.to(torch.uint8)} for t in targets]
    # Only in training does it say its losses. The norms below stay as they are: they learn where that is wanted.
    with _said_to_be_in_training(network, network.rpn, network.roi_heads), _watched(network.roi_heads) as boxes:
        losses = network(pixels, wanted)
    if class_weights is not None:
        weights = torch.cat((class_weights.new_ones(1), class_weights))
        losses["loss_classifier"] = F.cross_entropy(boxes["class_logits"], boxes["labels"], weight=weights)

    def detect() -> Tensor:
        num_classes = network.roi_heads.box_predictor.cls_score.out_features - 1
        return torch.stack(
            [
                _of_classes(found["labels"], found["scores"], found["masks"][:, 0] > 0.5, num_classes)
                for found in network(pixels)
            ]
        )

    return {name.removeprefix("loss_"): value for name, value in losses.items()}, detect


def answer_detr(network: Any, images: Tensor, targets: Sequence[FrameTargets], *, corner_boxes: bool) -> Answer:
    """Losses of a DETR with a mask head: transformers' five, each query matched with one instance or none.

    Args:
        network: Of transformers.
        images: uint8 ``(N, 3, H, W)``.
        targets: One for each image.
        corner_boxes: Boxes are learned as left, top, right and bottom, and not as centre and size.

    Raises:
        MissingExtraError: SciPy is missing, by which queries are matched.

    Reference: Carion et al., DETR (ECCV 2020).
    """
    _demand_scipy()
    size = (detr.INPUT_PX, detr.INPUT_PX)
    large = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False).round().to(torch.uint8)
    height, width = images.shape[-2:]
    unit = images.new_tensor((width, height, width, height), dtype=torch.float32)
    wanted = [
        {
            "class_labels": target.labels,
            "boxes": (target.boxes if corner_boxes else _centre_and_size(target.boxes)) / unit,
            "masks": target.masks.float(),
        }
        for target in targets
    ]
    answer = network(pixel_values=normalize_images(large).contiguous(), labels=wanted)
    own = network.config
    weights = {
        "ce": 1.0,
        "bbox": own.bbox_loss_coefficient,
        "giou": own.giou_loss_coefficient,
        "mask": own.mask_loss_coefficient,
        "dice": own.dice_loss_coefficient,
    }
    parts = {name: weight * answer.loss_dict[f"loss_{name}"] for name, weight in weights.items()}
    return parts, lambda: _of_queries(answer.logits, answer.pred_masks, (height, width))


def answer_mask2former(
    network: Mask2FormerNetwork, images: Tensor, targets: Sequence[FrameTargets], criterion: nn.Module
) -> Answer:
    """Losses of a Mask2Former: transformers' three, summed over the layers of its decoder.

    Args:
        network: The network.
        images: uint8 ``(N, 3, H, W)``.
        targets: One for each image.
        criterion: Of `mask2former_criterion`.

    Reference: Cheng et al., Mask2Former (CVPR 2022).
    """
    own = network.model.config
    height, width = images.shape[-2:]
    weights = {"cross_entropy": own.class_weight, "mask": own.mask_weight, "dice": own.dice_weight}
    masks, labels = [target.masks.float() for target in targets], [target.labels for target in targets]
    answers = network.answers(images.float() / 255)
    layers = [criterion(mask_logits, class_logits, masks, labels) for class_logits, mask_logits in answers]
    parts = {
        name: weight * torch.stack([layer[f"loss_{name}"] for layer in layers]).sum()
        for name, weight in weights.items()
    }
    return parts, lambda: _of_queries(*answers[-1], (height, width))


def mask2former_criterion(network: Mask2FormerNetwork) -> nn.Module:
    """What one layer's answer of a Mask2Former is held to; nothing of it is learned.

    Raises:
        MissingExtraError: SciPy is missing, by which queries are matched.
    """
    _demand_scipy()
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    criterion: nn.Module = Mask2FormerLoss(network.model.config, {})
    return criterion.to(next(network.parameters()).device)


def _demand_scipy() -> None:
    import_extra("scipy.optimize", "overseer-training")


@contextmanager
def _said_to_be_in_training(*modules: nn.Module) -> Iterator[None]:
    """Some modules take themselves to be in training; what they are made of stays as it is."""
    before = [module.training for module in modules]
    for module in modules:
        module.training = True
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            module.training = training


@contextmanager
def _watched(heads: Any) -> Iterator[dict[str, Tensor]]:
    """The ``class_logits`` and true ``labels`` of the boxes that heads of torchvision look at in a training call."""
    seen: dict[str, Tensor] = {}
    choose = heads.select_training_samples

    def remember_labels(*proposals_and_targets: Any) -> Any:
        chosen = choose(*proposals_and_targets)
        seen["labels"] = torch.cat(chosen[2])
        return chosen

    def remember_logits(module: nn.Module, inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
        seen["class_logits"] = outputs[0]

    heads.select_training_samples = remember_labels
    hook = heads.box_predictor.register_forward_hook(remember_logits)
    try:
        yield seen
    finally:
        hook.remove()
        del heads.select_training_samples


def _centre_and_size(boxes: Tensor) -> Tensor:
    first, last = boxes[:, :2], boxes[:, 2:]
    return torch.cat(((first + last) / 2, last - first), dim=1)


def _of_queries(class_logits: Tensor, mask_logits: Tensor, image_hw: tuple[int, int]) -> Tensor:
    scores, labels = class_logits.float().softmax(dim=-1).max(dim=-1)
    masks = F.interpolate(mask_logits.float(), size=image_hw, mode="bilinear", align_corners=False) > 0
    num_classes = class_logits.shape[-1] - 2
    return torch.stack([_of_classes(*one, num_classes) for one in zip(labels, scores, masks, strict=True)])


def _of_classes(labels: Tensor, scores: Tensor, masks: Tensor, num_classes: int) -> Tensor:
    """Where any instance of each class is, bool ``(K, H, W)``, of instances ``(n,)`` with masks ``(n, H, W)``."""
    classes = torch.arange(1, num_classes + 1, device=labels.device)
    chosen = (labels == classes[:, None]) & (scores >= MIN_SCORE)
    return torch.einsum("kn,nhw->khw", chosen.float(), masks.float()) > 0

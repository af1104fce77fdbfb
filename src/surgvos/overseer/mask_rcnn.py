"""Mask R-CNN (torchvision) as a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from surgvos.core.frame import Frame
from surgvos.errors import CheckpointError
from surgvos.overseer.detection import Detection
from surgvos.overseer.network_detector import NetworkDetector
from surgvos.overseer.network_weights import State, count_parts, rows_of, shape_of
from surgvos.overseer.query_masks import enlarge_nearest

KIND = "Mask R-CNN"
INPUT_PX = 299
_PASTED_AT_ONCE = 8
_CLASS_ROWS = "roi_heads.box_predictor.cls_score.weight"
Backbone = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet50_v2"]

_BACKBONES: dict[tuple[bool, tuple[int, ...]], Backbone] = {
    (False, (2, 2, 2, 2)): "resnet18",
    (False, (3, 4, 6, 3)): "resnet34",
    (True, (3, 4, 6, 3)): "resnet50",
    (True, (3, 4, 23, 3)): "resnet101",
}
"""By whether blocks have three convolutions, and how many blocks the stages have."""

_BOX_PX = 7
"""Side of what is seen of a box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRcnnConfig:
    """Size of a Mask R-CNN of torchvision. Only the first two and ``mask_hidden`` count for ``resnet50_v2``.

    Attributes:
        num_labels: Labels of its head; 0 is background.
        backbone: What is below the feature pyramid, or torchvision's second version on a ResNet-50.
        frozen_norms: Whether the norms of the backbone are constants; otherwise they learn from each batch.
        box_width: Channels of the box head.
        mask_widths: Channels of the convolutions of the mask head.
        mask_hidden: Channels before the masks.
    """

    num_labels: int
    backbone: Backbone = "resnet18"
    frozen_norms: bool = True
    box_width: int = 1024
    mask_widths: tuple[int, ...] = (256, 256, 256, 256)
    mask_hidden: int = 256


def is_mask_rcnn(state: State) -> bool:
    """Whether weights are a Mask R-CNN's."""
    return _CLASS_ROWS in state and "rpn.head.cls_logits.weight" in state


class MaskRcnnDetector(NetworkDetector):
    """Find instances in frames squeezed to 299 x 299.

    Args:
        state: Weights of torchvision's Mask R-CNN: on a plain ResNet with feature pyramid, or its second version.
        label_space: Of its classes; label 0 of the network is background.
        options, device, dtype: As for every `NetworkDetector`.

    Reference: SASVi (arXiv 2502.09653); its networks take 299 x 299 pixels, whatever the shape of the frame.
    """

    kind = KIND

    def _build(self, state: State) -> tuple[nn.Module, int]:
        config = infer_mask_rcnn_config(state)
        return build_mask_rcnn(config), config.num_labels

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        inputs = [squeeze(frame.image).to(self.device) for frame in frames]
        with self._autocast():
            images, _ = self.network.transform(inputs)
            features = self.network.backbone(images.tensors)
            proposals, _ = self.network.rpn(images, features)
            found, _ = self.network.roi_heads(features, proposals, images.image_sizes)
        return [self._detection(one, frame.hw) for one, frame in zip(found, frames, strict=True)]

    def _detection(self, found: dict[str, Tensor], image_hw: tuple[int, int]) -> Detection:
        keep = found["scores"].float() >= self.options.min_score
        found = {
            name: value[keep].float() if value.is_floating_point() else value[keep] for name, value in found.items()
        }
        masks = np.zeros((len(found["scores"]), *image_hw), dtype=bool)
        for start in range(0, len(masks), _PASTED_AT_ONCE):
            part = {name: value[start : start + _PASTED_AT_ONCE] for name, value in found.items()}
            masks[start : start + _PASTED_AT_ONCE] = self._masks(part, image_hw).cpu().numpy()
        class_ids = [self.classes[label] for label in found["labels"].tolist()]
        return Detection.from_masks(masks, [i for i in class_ids if i is not None], found["scores"].tolist())

    def _masks(self, found: dict[str, Tensor], image_hw: tuple[int, int]) -> Tensor:
        """Paste the masks of boxes into the frame; bool ``(n, h, w)``."""
        own_hw = (INPUT_PX, INPUT_PX)
        size = own_hw if self.options.as_published else image_hw
        (pasted,) = self.network.transform.postprocess([found], [own_hw], [size])
        masks = pasted["masks"][:, 0] > 0.5
        if not self.options.as_published:
            return masks
        return torch.stack([enlarge_nearest(mask, image_hw) for mask in masks])


def squeeze(image: np.ndarray) -> Tensor:
    """RGB uint8 ``(h, w, 3)`` -> float32 ``(3, 299, 299)`` in [0, 1], antialiased, whatever the shape."""
    from torchvision.transforms.functional import resize

    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
    return resize(pixels, [INPUT_PX, INPUT_PX], antialias=True)


def infer_mask_rcnn_config(state: State) -> MaskRcnnConfig:
    """Read the size of the network that weights belong to off their names and shapes.

    Raises:
        CheckpointError: No network has such weights.
    """
    backbone = _backbone_name(state)
    is_second = "rpn.head.conv.1.0.weight" in state and backbone == "resnet50"
    return MaskRcnnConfig(
        num_labels=rows_of(state, _CLASS_ROWS, KIND),
        backbone="resnet50_v2" if is_second else backbone,
        frozen_norms="backbone.body.bn1.num_batches_tracked" not in state,
        box_width=shape_of(state, _CLASS_ROWS, KIND)[1],
        mask_widths=tuple(rows_of(state, f"roi_heads.mask_head.{i}.0.weight", KIND) for i in range(4)),
        mask_hidden=shape_of(state, "roi_heads.mask_predictor.conv5_mask.weight", KIND)[1],
    )


def build_mask_rcnn(config: MaskRcnnConfig) -> nn.Module:
    """Build the network with random weights."""
    from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn_v2
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
    from torchvision.ops.misc import FrozenBatchNorm2d

    num_labels, size = config.num_labels, {"min_size": INPUT_PX, "max_size": INPUT_PX}
    if config.backbone == "resnet50_v2":
        network = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=num_labels, **size)
    else:
        norm = FrozenBatchNorm2d if config.frozen_norms else nn.BatchNorm2d
        backbone = resnet_fpn_backbone(backbone_name=config.backbone, weights=None, norm_layer=norm)
        network = MaskRCNN(backbone, num_classes=num_labels, **size)
        network.roi_heads.box_head = TwoMLPHead(backbone.out_channels * _BOX_PX**2, config.box_width)
        network.roi_heads.box_predictor = FastRCNNPredictor(config.box_width, num_labels)
        network.roi_heads.mask_head = MaskRCNNHeads(backbone.out_channels, config.mask_widths, dilation=1)
    network.roi_heads.mask_predictor = MaskRCNNPredictor(config.mask_widths[-1], config.mask_hidden, num_labels)
    return network


def _backbone_name(state: State) -> Backbone:
    has_three = "backbone.body.layer1.0.conv3.weight" in state
    num_blocks = tuple(count_parts(state, rf"^backbone\.body\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4))
    name = _BACKBONES.get((has_three, num_blocks))
    if name is None:
        raise CheckpointError(
            f"expected a {KIND} on one of {', '.join(_BACKBONES.values())}, got one with {num_blocks} blocks "
            "per stage; try a checkpoint as published"
        )
    return name

"""Networks of third parties with weights made from their names, as tests need them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reference.weights import reference_weight
from surgvos.core import Frame

DATA = Path(__file__).parent / "data"


def state_of(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights made from names and shapes; tables of positions in windows are left to the network."""
    return {
        key: torch.from_numpy(reference_weight(key, shape))
        if not key.endswith("relative_position_index")
        else torch.zeros(shape, dtype=torch.int64)
        for key, shape in shapes.items()
    }


def recorded_shapes(name: str) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = json.loads((DATA / name).read_text(encoding="utf-8"))
    return shapes


def published_detr(num_labels: int = 18, num_queries: int = 100) -> dict[str, list[int]]:
    shapes = recorded_shapes("keys_sasvi_detr.json")
    shapes["detr.class_labels_classifier.weight"][0] = num_labels + 1
    shapes["detr.class_labels_classifier.bias"][0] = num_labels + 1
    shapes["detr.model.query_position_embeddings.weight"][0] = num_queries
    return shapes


def published_mask2former(num_labels: int = 18) -> dict[str, list[int]]:
    shapes = recorded_shapes("keys_sasvi_mask2former.json")
    for key in ("class_predictor.weight", "class_predictor.bias", "criterion.empty_weight"):
        shapes[key][0] = num_labels + 1
    return shapes


def random_state(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights for large networks, sooner made than those of `state_of`."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        leaf = key.rpartition(".")[2]
        if leaf in ("relative_position_index", "num_batches_tracked"):
            state[key] = torch.zeros(shape, dtype=torch.int64)
        elif len(shape) > 1:
            state[key] = torch.randn(shape, generator=generator) / float(np.prod(shape[1:])) ** 0.5
        else:
            state[key] = torch.full(shape, float(leaf in ("weight", "running_var")))
    return state


def published_mask_rcnn(num_labels: int, *, is_larger: bool) -> dict[str, list[int]]:
    """Shapes of the network as the published program builds it: ResNet-18 with 32 channels before its masks, or
    ResNet-50 v2 with 64.
    """
    from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn_v2
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
    from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor

    network: Any
    with torch.device("meta"):
        if is_larger:
            network = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
        else:
            network = MaskRCNN(resnet_fpn_backbone(backbone_name="resnet18", weights=None), num_classes=91)
        network.roi_heads.box_predictor = FastRCNNPredictor(1024, num_labels)
        network.roi_heads.mask_predictor = MaskRCNNPredictor(256, 64 if is_larger else 32, num_labels)
    return {key: list(value.shape) for key, value in network.state_dict().items()}


def frames(num_frames: int = 2, hw: tuple[int, int] = (54, 96), seed: int = 0) -> list[Frame]:
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (num_frames, hw[0] // 9, hw[1] // 8, 3), dtype=np.uint8)
    images = blocks.repeat(9, axis=1).repeat(8, axis=2)
    return [Frame(i, f"{i:05d}", np.ascontiguousarray(image)) for i, image in enumerate(images)]

"""Mask R-CNN as a detector gives what torchvision gives by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.transforms.functional import resize

from overseer.networks import frames, published_mask_rcnn, random_state
from surgvos.core.label_tables import LABEL_SPACES
from surgvos.errors import CheckpointError
from surgvos.overseer.detector import DetectorOptions
from surgvos.overseer.mask_rcnn import MaskRcnnDetector, build_mask_rcnn, infer_mask_rcnn_config

NETWORKS = {"resnet18": ("cadis-2", 18, False), "resnet50-v2": ("cholecseg8k", 13, True)}
"""Label space, labels and size of networks as published."""

PUBLISHED, FOUND_BELOW = DetectorOptions.published(), DetectorOptions(min_score=0.0)


@pytest.fixture(scope="module", params=NETWORKS)
def detector(request: pytest.FixtureRequest) -> MaskRcnnDetector:
    name, num_labels, is_larger = NETWORKS[request.param]
    state = random_state(published_mask_rcnn(num_labels, is_larger=is_larger))
    made = MaskRcnnDetector(state, LABEL_SPACES[name])
    loaded = made.network.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    # Fewer proposals and instances, for time's sake.
    made.network.rpn._post_nms_top_n["testing"] = 30
    made.network.roi_heads.detections_per_img = 8
    return made


def class_of(detector: MaskRcnnDetector, label: int) -> int:
    return label - 1 if detector.label_space.name == "cadis-2" else label


def inputs_of(images: list[Any]) -> list[torch.Tensor]:
    pixels = [torch.from_numpy(frame.image).permute(2, 0, 1).float() / 255 for frame in images]
    return [resize(image, [299, 299], antialias=True) for image in pixels]


@torch.inference_mode()
def test_classes_are_those_of_the_published_program(
    detector: MaskRcnnDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "options", PUBLISHED)
    images = frames(2)
    by_hand = detector.network(inputs_of(images))
    assert all(len(found["scores"]) > 3 for found in by_hand)
    rows, columns = (np.floor((np.arange(n) + 0.5) * 299 / n).astype(int) for n in images[0].hw)
    for found, detection in zip(by_hand, detector.detect(images), strict=True):
        unions: dict[int, np.ndarray] = {}
        for label, mask in zip(found["labels"].tolist(), found["masks"][:, 0].numpy() > 0.5, strict=True):
            union = unions.setdefault(class_of(detector, label), np.zeros(images[0].hw, dtype=bool))
            union |= mask[np.ix_(rows, columns)]
        unions = {i: union for i, union in unions.items() if union.any()}
        assert detection.seen.ids == tuple(sorted(unions))
        assert all(np.array_equal(detection.mask(i), union) for i, union in unions.items())
        assert np.array_equal(detection.scores, found["scores"].numpy())


@torch.inference_mode()
def test_masks_are_pasted_at_the_size_of_the_frame(detector: MaskRcnnDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "options", FOUND_BELOW)
    network, images = detector.network, frames(1)
    (detection,) = detector.detect(images)
    height, width = images[0].hw
    transformed, _ = network.transform(inputs_of(images))
    features = network.backbone(transformed.tensors)
    proposals, _ = network.rpn(transformed, features)
    (found,), _ = network.roi_heads(features, proposals, transformed.image_sizes)
    boxes = found["boxes"] * torch.tensor([width, height, width, height]) / 299
    masks = paste_masks_in_image(found["masks"], boxes, (height, width))[:, 0].numpy() > 0.5
    assert masks.any()
    class_ids = np.array([class_of(detector, label) for label in found["labels"].tolist()])
    for i in set(class_ids.tolist()):
        assert np.array_equal(detection.mask(i), masks[class_ids == i].any(axis=0))

    limit = float(np.median(detection.scores))
    monkeypatch.setattr(detector, "options", DetectorOptions(min_score=limit))
    (surer,) = detector.detect(images)
    assert 0 < len(surer.scores) < len(detection.scores)
    assert np.array_equal(surer.scores, detection.scores[detection.scores >= limit])


@pytest.mark.parametrize(
    ("num_labels", "is_larger", "num_tensors", "num_parameters"),
    [(18, False, 142, 30.75e6), (14, False, 142, 30.7e6), (13, True, 432, 45.74e6)],
)
def test_published_sizes(num_labels: int, is_larger: bool, num_tensors: int, num_parameters: float) -> None:
    shapes = published_mask_rcnn(num_labels, is_larger=is_larger)
    assert len(shapes) == num_tensors
    assert sum(float(np.prod(shape)) for shape in shapes.values()) == pytest.approx(num_parameters, rel=0.003)
    with torch.device("meta"):
        network = build_mask_rcnn(infer_mask_rcnn_config({key: torch.empty(shape) for key, shape in shapes.items()}))
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == shapes


def test_slimmer_heads_are_understood() -> None:
    """As in the published recipe for CaDIS, which is not what made the published weights."""
    shapes = published_mask_rcnn(15, is_larger=False)
    for key, shape in shapes.items():
        if "box_head" in key or "box_predictor" in key:
            shapes[key] = [64 if length == 1024 else length for length in shape]
    shapes["roi_heads.mask_head.3.0.weight"][0] = shapes["roi_heads.mask_head.3.0.bias"][0] = 64
    shapes["roi_heads.mask_predictor.conv5_mask.weight"][:2] = [64, 16]
    shapes["roi_heads.mask_predictor.conv5_mask.bias"] = [16]
    shapes["roi_heads.mask_predictor.mask_fcn_logits.weight"][1] = 16
    with torch.device("meta"):
        network = build_mask_rcnn(infer_mask_rcnn_config({key: torch.empty(shape) for key, shape in shapes.items()}))
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == shapes


def test_what_is_not_this_network_is_refused_in_one_sentence() -> None:
    state = {key: torch.zeros(shape) for key, shape in published_mask_rcnn(18, is_larger=False).items()}
    with pytest.raises(CheckpointError, match="a head of 13 labels for the 12 classes of cholecseg8k, got one of 18"):
        MaskRcnnDetector(state, LABEL_SPACES["cholecseg8k"])
    space = LABEL_SPACES["cadis-2"]
    name, bias = "backbone.fpn.layer_blocks.3.0.bias", "rpn.head.cls_logits.bias"
    damaged = {
        **{key: value for key, value in state.items() if key != name},
        "more": torch.zeros(1),
        bias: torch.zeros(7),
    }
    message = rf"1 missing \(first: {name}\) and 1 unexpected \(first: more\) and 1 of another shape \(first: {bias}\)"
    with pytest.raises(CheckpointError, match=message):
        MaskRcnnDetector(damaged, space)
    shallow = {key: value for key, value in state.items() if ".layer2." not in key}
    with pytest.raises(CheckpointError, match=r"on one of resnet18, resnet34, .* \(2, 0, 2, 2\) blocks per stage"):
        MaskRcnnDetector(shallow, space)

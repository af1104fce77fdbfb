"""Networks of detectors: built from a configuration, begun from published weights, written for the overseer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from surgvos.errors import CheckpointError
from surgvos.models.checkpoints import read_state_dict, write_atomically
from surgvos.models.nano.segmenter import NanoSegmenter, NanoSegmenterConfig
from surgvos.models.registry import find_weights
from surgvos.overseer import detr, mask2former, mask_rcnn, nano
from surgvos.overseer.detr import DetrConfig
from surgvos.overseer.mask2former import Mask2FormerConfig
from surgvos.overseer.mask_rcnn import MaskRcnnConfig
from surgvos.overseer.network_weights import describe_names

DetectorConfig = MaskRcnnConfig | DetrConfig | Mask2FormerConfig | NanoSegmenterConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A kind of network.

    Attributes:
        name: Of it, for messages.
        build: Makes it of its configuration.
        rename: Turns the names of any version into the published ones.
        head: Matches names of what depends on the classes, or on how many instances there may be: where a file has
            it in another shape, or not, it starts at random.
        optional: Matches names of what may be missing, or left over: it changes no answer.
    """

    name: str
    build: Callable[[Any], nn.Module]
    head: str
    rename: Callable[[str], str] = str
    optional: str = r"num_batches_tracked$"


_KINDS: dict[type, _Kind] = {
    MaskRcnnConfig: _Kind(
        name=mask_rcnn.KIND,
        build=mask_rcnn.build_mask_rcnn,
        head=r"^roi_heads\.(box_predictor|mask_predictor)\.",
    ),
    DetrConfig: _Kind(
        name=detr.KIND,
        build=detr.build_detr,
        head=r"^detr\.(class_labels_classifier|model\.query_position_embeddings)\.",
        rename=detr.rename,
    ),
    Mask2FormerConfig: _Kind(
        name=mask2former.KIND,
        build=mask2former.build_mask2former,
        head=r"^class_predictor\.|^model\.transformer_module\.queries_(embedder|features)\.",
        rename=mask2former.rename,
        optional=mask2former.OPTIONAL,
    ),
    # What a tracker has besides the trunk that the two share is left over.
    NanoSegmenterConfig: _Kind(
        name=nano.KIND,
        build=NanoSegmenter,
        head=r"^class_head\.",
        optional=r"^(?!image_encoder\.|class_head\.)",
    ),
}


def build_detector(config: DetectorConfig) -> nn.Module:
    """A detector's network with random weights."""
    return _KINDS[type(config)].build(config)


def begin_from(network: nn.Module, config: DetectorConfig, path: str | Path) -> None:
    """Take over weights into a network, all but heads of another shape.

    Args:
        network: Where to.
        config: What it was built from.
        path: Weights of the same kind of network, such as those that were trained on COCO, under the names of any
            version; or, for a Mask R-CNN, of a ResNet that was trained on ImageNet; or, for a nano segmenter, of a
            tracker on the same trunk.

    Raises:
        CheckpointError: The file cannot be read, or is of another network.
    """
    kind = _KINDS[type(config)]
    given = {kind.rename(key): value for key, value in read_state_dict(find_weights(path)).items()}
    own = {kind.rename(key): key for key in network.state_dict()}
    may_lack, may_be_left = f"{kind.head}|{kind.optional}", kind.optional
    if _is_classifier(given) and isinstance(config, MaskRcnnConfig):
        given = {f"backbone.body.{key}": value for key, value in given.items()}
        may_lack, may_be_left = rf"^(?!backbone\.body\.)|{may_lack}", rf"^backbone\.body\.fc\.|{may_be_left}"
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    fits = {key for key in own if key in given and given[key].shape == shapes[own[key]]}
    lacking = [key for key in own if key not in fits and not re.search(may_lack, key)]
    left = [key for key in given if key not in own and not re.search(may_be_left, key)]
    if differences := describe_names({"missing or of another shape": lacking, "unexpected": left}):
        raise CheckpointError(
            f"expected the weights of a {kind.name} of the configured size in init_from, got {path} with {differences}"
        )
    network.load_state_dict({own[key]: given[key] for key in fits}, strict=False)


def save_detector(path: Path, config: DetectorConfig, state: dict[str, Tensor]) -> None:
    """Write a network's weights, under the published names, so that `load_detector` reads them."""
    from safetensors.torch import save

    kind = _KINDS[type(config)]
    metadata = {"format": "pt", "network": kind.name, "config": json.dumps(asdict(config))}
    tensors = {kind.rename(key): value.detach().cpu().contiguous().clone() for key, value in state.items()}
    write_atomically(path, save(tensors, metadata))


def _is_classifier(state: dict[str, Tensor]) -> bool:
    return "conv1.weight" in state and "fc.weight" in state

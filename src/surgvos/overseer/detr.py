"""DETR with a mask head (transformers) as a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from surgvos.core.frame import Frame
from surgvos.errors import CheckpointError
from surgvos.overseer.detection import Detection
from surgvos.overseer.network_detector import NetworkDetector
from surgvos.overseer.network_weights import State, count_parts, renamer, rows_of, shape_of
from surgvos.overseer.query_masks import detection_of_queries
from surgvos.tracking.features import normalize_images

KIND = "DETR"
SMALL_PX, INPUT_PX = 200, 800
AT_ONCE = 2
"""Frames in one call: the mask head holds a gigabyte for each with 100 queries."""

_CLASS_ROWS = "detr.class_labels_classifier.weight"
_QUERIES = "detr.model.query_position_embeddings.weight"
_BACKBONE = "detr.model.backbone.conv_encoder.model."

rename = renamer(
    [
        (r"^detr\.model\.backbone\.model\.", _BACKBONE),
        (r"embedder\.embedder\.convolution", "conv1"),
        (r"embedder\.embedder\.normalization", "bn1"),
        *((rf"encoder\.stages\.{i}\.layers\.(\d+)", rf"layer{i + 1}.\1") for i in range(4)),
        (r"shortcut\.convolution", "downsample.0"),
        (r"shortcut\.normalization", "downsample.1"),
        *((rf"\.layer\.{i}\.convolution", f".conv{i + 1}") for i in range(3)),
        *((rf"\.layer\.{i}\.normalization", f".bn{i + 1}") for i in range(3)),
        (r"_attn\.o_proj", "_attn.out_proj"),
        (r"\.mlp\.fc", ".fc"),
        *((rf"^mask_head\.conv{i}\.conv", f"mask_head.lay{i}") for i in (1, 2)),
        *((rf"^mask_head\.conv{i}\.norm", f"mask_head.gn{i}") for i in (1, 2)),
        *((rf"^mask_head\.fpn_stages\.{i}\.refine\.conv", f"mask_head.lay{i + 3}") for i in range(3)),
        *((rf"^mask_head\.fpn_stages\.{i}\.refine\.norm", f"mask_head.gn{i + 3}") for i in range(3)),
        *((rf"^mask_head\.fpn_stages\.{i}\.fpn_adapter", f"mask_head.adapter{i + 1}") for i in range(3)),
        (r"^mask_head\.output_conv", "mask_head.out_lay"),
        (r"^bbox_attention\.([qk])_proj", r"bbox_attention.\1_linear"),
    ]
)
"""Names of transformers 5, or of its own ResNet -> those of transformers 4 with timm's ResNet, as published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetrConfig:
    """Size of a DETR with a mask head, on a ResNet; by default that of ``facebook/detr-resnet-50-panoptic``.

    Attributes:
        num_labels: Labels of its head, "no object" not counted.
        num_queries: Most instances of an image.
        width: Channels of the transformer.
        num_heads: Of its attention.
        num_encoder_layers: Layers of the encoder.
        num_decoder_layers: Layers of the decoder.
        encoder_ffn_dim: Inner channels of an encoder layer.
        decoder_ffn_dim: Inner channels of a decoder layer.
        stem_width: Channels before the first stage of the ResNet.
        stage_widths: Channels after each of its four stages.
        stage_depths: Blocks of each stage.
    """

    num_labels: int
    num_queries: int = 100
    width: int = 256
    num_heads: int = 8
    num_encoder_layers: int = 6
    num_decoder_layers: int = 6
    encoder_ffn_dim: int = 2048
    decoder_ffn_dim: int = 2048
    stem_width: int = 64
    stage_widths: tuple[int, ...] = (256, 512, 1024, 2048)
    stage_depths: tuple[int, ...] = (3, 4, 6, 3)


def is_detr(state: State) -> bool:
    """Whether weights are those of a DETR with a mask head."""
    return _CLASS_ROWS in state and _QUERIES in state


class DetrDetector(NetworkDetector):
    """Find instances in frames squeezed to 200 x 200 and shown at 800 x 800.

    Args:
        state: Weights of transformers' ``DetrForSegmentation`` on a ResNet, under the names of version 4 or 5.
        label_space: Of its classes.
        options, device, dtype: As for every `NetworkDetector`.

    Reference: SASVi (arXiv 2502.09653).
    """

    kind = KIND
    # With CholecSeg8k the published network has two labels before the classes, else one.
    spare = (1, 2)
    optional = r"num_batches_tracked$"

    def _build(self, state: State) -> tuple[nn.Module, int]:
        config = infer_detr_config(state)
        return build_detr(config), config.num_labels

    def _rename(self, key: str) -> str:
        return rename(key)

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        return [
            found for start in range(0, len(frames), AT_ONCE) for found in self._detect(frames[start : start + AT_ONCE])
        ]

    def _detect(self, frames: Sequence[Frame]) -> list[Detection]:
        pixels = torch.stack([squeeze(frame.image) for frame in frames]).to(self.device)
        with self._autocast():
            answer = self.network(pixel_values=normalize_images(pixels).contiguous())
        return [
            detection_of_queries(
                answer.logits[number],
                answer.pred_masks[number],
                self.classes,
                frame.hw,
                min_score=self.options.min_score,
                cut_before_enlarging_at=0.5 if self.options.as_published else None,
            )
            for number, frame in enumerate(frames)
        ]


def squeeze(image: np.ndarray) -> Tensor:
    """RGB uint8 ``(h, w, 3)`` -> uint8 ``(3, 800, 800)`` by way of 200 x 200, whatever the shape."""
    small = cv2.resize(image, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_LINEAR)
    large = Image.fromarray(small).resize((INPUT_PX, INPUT_PX), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(large)).permute(2, 0, 1)


def infer_detr_config(state: State) -> DetrConfig:
    """Read the size of the network that weights belong to off their names (of version 4) and shapes.

    Raises:
        CheckpointError: No network has such weights.
    """
    width = shape_of(state, _QUERIES, KIND)[1]
    num_heads = shape_of(state, "mask_head.lay1.weight", KIND)[1] - width
    if num_heads < 1 or width % num_heads:
        raise CheckpointError(f"expected the weights of a {KIND}, got some with {num_heads} attention heads")
    stages = range(1, 5)
    return DetrConfig(
        num_labels=rows_of(state, _CLASS_ROWS, KIND) - 1,
        num_queries=rows_of(state, _QUERIES, KIND),
        width=width,
        num_heads=num_heads,
        num_encoder_layers=count_parts(state, r"^detr\.model\.encoder\.layers\.(\d+)\."),
        num_decoder_layers=count_parts(state, r"^detr\.model\.decoder\.layers\.(\d+)\."),
        encoder_ffn_dim=rows_of(state, "detr.model.encoder.layers.0.fc1.weight", KIND),
        decoder_ffn_dim=rows_of(state, "detr.model.decoder.layers.0.fc1.weight", KIND),
        stem_width=rows_of(state, f"{_BACKBONE}conv1.weight", KIND),
        stage_widths=tuple(rows_of(state, f"{_BACKBONE}layer{i}.0.downsample.0.weight", KIND) for i in stages),
        stage_depths=tuple(count_parts(state, rf"conv_encoder\.model\.layer{i}\.(\d+)\.") for i in stages),
    )


def build_detr(config: DetrConfig) -> nn.Module:
    """Build the network with random weights."""
    import transformers

    backbone = transformers.ResNetConfig(
        embedding_size=config.stem_width,
        hidden_sizes=list(config.stage_widths),
        depths=list(config.stage_depths),
        layer_type="bottleneck",
        out_features=[f"stage{i}" for i in range(1, 5)],
    )
    own = transformers.DetrConfig(
        backbone_config=backbone,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        num_labels=config.num_labels,
        num_queries=config.num_queries,
        d_model=config.width,
        encoder_layers=config.num_encoder_layers,
        decoder_layers=config.num_decoder_layers,
        encoder_ffn_dim=config.encoder_ffn_dim,
        decoder_ffn_dim=config.decoder_ffn_dim,
        encoder_attention_heads=config.num_heads,
        decoder_attention_heads=config.num_heads,
    )
    return transformers.DetrForSegmentation(own)

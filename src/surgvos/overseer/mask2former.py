"""Mask2Former (transformers) as a detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from surgvos.core.frame import Frame
from surgvos.overseer.detection import Detection
from surgvos.overseer.network_detector import NetworkDetector
from surgvos.overseer.network_weights import State, count_parts, renamer, rows_of, shape_of
from surgvos.overseer.query_masks import detection_of_queries

KIND = "Mask2Former"
INPUT_PX = 299
_CLASS_ROWS = "class_predictor.weight"
_QUERIES = "model.transformer_module.queries_features.weight"
_SWIN = "model.pixel_level_module.encoder."

rename = renamer(
    [
        (r"\.encoder\.swin\.", ".encoder."),
        (r"\.attention\.relative_position_bias\.", ".attention.self."),
        *(
            (rf"(\.blocks\.\d+\.attention)\.{new}_proj", rf"\1.self.{old}")
            for new, old in (("q", "query"), ("k", "key"), ("v", "value"))
        ),
        (r"(\.blocks\.\d+\.attention)\.o_proj", r"\1.output.dense"),
        (r"(\.blocks\.\d+)\.mlp\.fc1", r"\1.intermediate.dense"),
        (r"(\.blocks\.\d+)\.mlp\.fc2", r"\1.output.dense"),
    ]
)
"""Names of transformers 5 -> those of transformers 4, as published."""

OPTIONAL = r"relative_position_index$|^model\.pixel_level_module\.encoder\.layernorm\.|^criterion\."
"""Computed from the size of windows; not used in a backbone; of the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask2FormerConfig:
    """Size of a Mask2Former on a Swin transformer; by default that of ``facebook/mask2former-swin-base-coco-instance``.

    Attributes:
        num_labels: Labels of its head, "no object" not counted.
        num_queries: Most instances of an image.
        width: Channels of the transformer.
        feature_width: Channels of the pixel decoder.
        mask_width: Channels in which queries and pixels meet.
        num_encoder_layers: Layers of the pixel decoder.
        num_decoder_layers: Layers of the decoder.
        encoder_ffn_dim: Inner channels of a layer of the pixel decoder.
        decoder_ffn_dim: Inner channels of a decoder layer.
        patch_size: Side of the patches of the Swin transformer, in pixels.
        embed_dim: Its channels in the first stage.
        stage_depths: Blocks of each stage.
        stage_heads: Heads of attention of each stage.
        window_size: Side of its windows, in patches.
    """

    num_labels: int
    num_queries: int = 100
    width: int = 256
    feature_width: int = 256
    mask_width: int = 256
    num_encoder_layers: int = 6
    num_decoder_layers: int = 9
    encoder_ffn_dim: int = 1024
    decoder_ffn_dim: int = 2048
    patch_size: int = 4
    embed_dim: int = 128
    stage_depths: tuple[int, ...] = (2, 2, 18, 2)
    stage_heads: tuple[int, ...] = (4, 8, 16, 32)
    window_size: int = 12


def is_mask2former(state: State) -> bool:
    """Whether weights are a Mask2Former's."""
    return _CLASS_ROWS in state and _QUERIES in state


class Mask2FormerDetector(NetworkDetector):
    """Find instances in frames squeezed to 299 x 299.

    Args:
        state: Weights of transformers' ``Mask2FormerForUniversalSegmentation`` on a Swin transformer, under the names
            of version 4 or 5.
        label_space: Of its classes.
        options, device, dtype: As for every `NetworkDetector`.

    Reference: SASVi (arXiv 2502.09653); colours go in as 0 to 1, without a mean or a deviation.
    """

    kind = KIND
    optional = OPTIONAL

    def _build(self, state: State) -> tuple[nn.Module, int]:
        config = infer_mask2former_config(state)
        return build_mask2former(config), config.num_labels

    def _rename(self, key: str) -> str:
        return rename(key)

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        pixels = torch.stack([squeeze(frame.image) for frame in frames]).to(self.device)
        with self._autocast():
            class_logits, mask_logits = self.network(pixels)
        return [
            detection_of_queries(
                class_logits[number], mask_logits[number], self.classes, frame.hw, min_score=self.options.min_score
            )
            for number, frame in enumerate(frames)
        ]


class Mask2FormerNetwork(nn.Module):
    """Mask2Former without its loss, which alone would need SciPy."""

    def __init__(self, config: Any) -> None:
        from transformers import Mask2FormerModel

        super().__init__()
        self.model = Mask2FormerModel(config)
        self.class_predictor = nn.Linear(config.hidden_dim, config.num_labels + 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits ``(B, num_queries, num_labels + 1)`` and mask logits ``(B, num_queries, h, w)``."""
        return self.answers(pixels)[-1]

    def answers(self, pixels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What each layer of the decoder would answer; see `forward`."""
        answer = self.model(pixel_values=pixels, output_hidden_states=True)
        states, masks = answer.transformer_decoder_intermediate_states, answer.masks_queries_logits
        return [(self.class_predictor(state.transpose(0, 1)), mask) for state, mask in zip(states, masks, strict=True)]


def squeeze(image: np.ndarray) -> Tensor:
    """RGB uint8 ``(h, w, 3)`` -> float32 ``(3, 299, 299)`` in [0, 1], whatever the shape."""
    small = cv2.resize(image, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(small).permute(2, 0, 1).float() / 255


def infer_mask2former_config(state: State) -> Mask2FormerConfig:
    """Read the size of the network that weights belong to off their names (of version 4) and shapes.

    Raises:
        CheckpointError: No network has such weights.
    """
    num_stages = count_parts(state, r"encoder\.encoder\.layers\.(\d+)\.blocks\.")
    tables = [
        shape_of(state, f"{_SWIN}encoder.layers.{i}.blocks.0.attention.self.relative_position_bias_table", KIND)
        for i in range(num_stages)
    ]
    first = shape_of(state, f"{_SWIN}embeddings.patch_embeddings.projection.weight", KIND)
    decoder = "model.pixel_level_module.decoder."
    layers = "model.transformer_module.decoder.layers."
    return Mask2FormerConfig(
        num_labels=rows_of(state, _CLASS_ROWS, KIND) - 1,
        num_queries=rows_of(state, _QUERIES, KIND),
        width=shape_of(state, _QUERIES, KIND)[1],
        feature_width=shape_of(state, f"{decoder}mask_projection.weight", KIND)[1],
        mask_width=rows_of(state, f"{decoder}mask_projection.weight", KIND),
        num_encoder_layers=count_parts(state, r"pixel_level_module\.decoder\.encoder\.layers\.(\d+)\."),
        num_decoder_layers=count_parts(state, r"^model\.transformer_module\.decoder\.layers\.(\d+)\."),
        encoder_ffn_dim=rows_of(state, f"{decoder}encoder.layers.0.fc1.weight", KIND),
        decoder_ffn_dim=rows_of(state, f"{layers}0.fc1.weight", KIND),
        patch_size=first[-1],
        embed_dim=first[0],
        stage_depths=tuple(
            count_parts(state, rf"encoder\.encoder\.layers\.{i}\.blocks\.(\d+)\.") for i in range(num_stages)
        ),
        stage_heads=tuple(heads for _, heads in tables),
        window_size=(math.isqrt(tables[0][0] if tables else 1) + 1) // 2,
    )


def build_mask2former(config: Mask2FormerConfig) -> Mask2FormerNetwork:
    """Build the network with random weights."""
    import transformers

    num_stages = len(config.stage_depths)
    backbone = transformers.SwinConfig(
        # Windows shrink where an image is smaller than they are; this size keeps them whole in every stage.
        image_size=config.patch_size * 2 ** (num_stages - 1) * config.window_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depths=list(config.stage_depths),
        num_heads=list(config.stage_heads),
        window_size=config.window_size,
        out_features=[f"stage{i + 1}" for i in range(num_stages)],
    )
    own = transformers.Mask2FormerConfig(
        backbone_config=backbone,
        num_labels=config.num_labels,
        num_queries=config.num_queries,
        hidden_dim=config.width,
        feature_size=config.feature_width,
        mask_feature_size=config.mask_width,
        encoder_layers=config.num_encoder_layers,
        encoder_feedforward_dim=config.encoder_ffn_dim,
        # One more than there are: transformers counts the prediction before the first layer.
        decoder_layers=1 + config.num_decoder_layers,
        dim_feedforward=config.decoder_ffn_dim,
    )
    return Mask2FormerNetwork(own)

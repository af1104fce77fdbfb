"""Mask2Former (transformers) as a detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import DetectorOptions, classes_of_labels
from surgvos.overseer.network_weights import State, count_parts, load_strictly, renamer, rows_of, shape_of
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

_OPTIONAL = r"relative_position_index$|^model\.pixel_level_module\.encoder\.layernorm\.|^criterion\."
"""Computed from the size of windows; not used in a backbone; of the loss."""


def is_mask2former(state: State) -> bool:
    """Whether weights are a Mask2Former's."""
    return _CLASS_ROWS in state and _QUERIES in state


class Mask2FormerDetector:
    """Find instances in frames squeezed to 299 x 299.

    Args:
        state: Weights of transformers' ``Mask2FormerForUniversalSegmentation`` on a Swin transformer, under the names
            of version 4 or 5.
        label_space: Of its classes.
        options: See `DetectorOptions`.
        device: Where it runs.
        dtype: Precision of products.

    Raises:
        CheckpointError: The weights are not of this network, or of another label space.

    Reference: SASVi (arXiv 2502.09653); colours go in as 0 to 1, without a mean or a deviation.
    """

    def __init__(
        self,
        state: State,
        label_space: LabelSpace,
        options: DetectorOptions | None = None,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        state = {rename(key): value for key, value in state.items()}
        self.label_space = label_space
        self.options = options or DetectorOptions()
        self.classes = classes_of_labels(rows_of(state, _CLASS_ROWS, KIND) - 1, label_space, spare=(1,))
        self.device = device or torch.device("cpu")
        self.dtype = dtype
        network = build_mask2former(state)
        load_strictly(network, state, KIND, rename=rename, optional=_OPTIONAL)
        self.network = network.eval().to(self.device)

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        pixels = torch.stack([squeeze(frame.image) for frame in frames]).to(self.device)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
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
        answer = self.model(pixel_values=pixels, output_hidden_states=True)
        last = answer.transformer_decoder_intermediate_states[-1]
        return self.class_predictor(last.transpose(0, 1)), answer.masks_queries_logits[-1]


def squeeze(image: np.ndarray) -> Tensor:
    """RGB uint8 ``(h, w, 3)`` -> float32 ``(3, 299, 299)`` in [0, 1], whatever the shape."""
    small = cv2.resize(image, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(small).permute(2, 0, 1).float() / 255


def build_mask2former(state: State) -> Mask2FormerNetwork:
    """Build the network that weights belong to, as told by their names (of version 4) and shapes."""
    from transformers import Mask2FormerConfig, SwinConfig

    num_stages = count_parts(state, r"encoder\.encoder\.layers\.(\d+)\.blocks\.")
    tables = [
        shape_of(state, f"{_SWIN}encoder.layers.{i}.blocks.0.attention.self.relative_position_bias_table", KIND)
        for i in range(num_stages)
    ]
    first = shape_of(state, f"{_SWIN}embeddings.patch_embeddings.projection.weight", KIND)
    window_size = (math.isqrt(tables[0][0] if tables else 1) + 1) // 2
    backbone = SwinConfig(
        # Windows shrink where an image is smaller than they are; this size keeps them whole in every stage.
        image_size=first[-1] * 2 ** (num_stages - 1) * window_size,
        patch_size=first[-1],
        embed_dim=first[0],
        depths=[count_parts(state, rf"encoder\.encoder\.layers\.{i}\.blocks\.(\d+)\.") for i in range(num_stages)],
        num_heads=[heads for _, heads in tables],
        window_size=window_size,
        out_features=[f"stage{i + 1}" for i in range(num_stages)],
    )
    decoder = "model.pixel_level_module.decoder."
    layers = "model.transformer_module.decoder.layers."
    config = Mask2FormerConfig(
        backbone_config=backbone,
        num_labels=rows_of(state, _CLASS_ROWS, KIND) - 1,
        num_queries=rows_of(state, _QUERIES, KIND),
        hidden_dim=shape_of(state, _QUERIES, KIND)[1],
        feature_size=shape_of(state, f"{decoder}mask_projection.weight", KIND)[1],
        mask_feature_size=rows_of(state, f"{decoder}mask_projection.weight", KIND),
        encoder_layers=count_parts(state, r"pixel_level_module\.decoder\.encoder\.layers\.(\d+)\."),
        encoder_feedforward_dim=rows_of(state, f"{decoder}encoder.layers.0.fc1.weight", KIND),
        # One more than there are: the configuration counts the prediction before the first layer.
        decoder_layers=1 + count_parts(state, r"^model\.transformer_module\.decoder\.layers\.(\d+)\."),
        dim_feedforward=rows_of(state, f"{layers}0.fc1.weight", KIND),
    )
    return Mask2FormerNetwork(config)

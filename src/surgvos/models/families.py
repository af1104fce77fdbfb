"""The kinds of model that weights can belong to, and how each is recognised.

A new kind is one class, one configuration and one line in `FAMILIES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor, nn

from surgvos.errors import CheckpointError
from surgvos.models.nano import NanoConfig, NanoModel, ReferringNano, ReferringNanoConfig
from surgvos.models.resurg import ResurgConfig, ResurgModel
from surgvos.models.sam2 import Sam2Config, Sam2Model, base_plus, large, small, tiny

State = Mapping[str, Tensor]

_SIGNS = {
    "spatial_perceiver.": "EdgeTAM",
    "cross_modal_fusion.": "ReSurgSAM2",
    "image_encoder.patch_embed.": "SAM 1",
    "vision_encoder.": "a Hugging Face conversion",
    "class_head.": "a nano segmenter, which is no tracker but an overseer",
}
"""Beginnings of keys that give a network away, whether or not it can be built here."""

_SAM2_SIZES = {(config.embed_dim, sum(config.stages)): config for config in (tiny(), small(), base_plus(), large())}
"""What no shape tells (heads, windows, global blocks), by width and number of blocks."""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of model.

    Attributes:
        config_class: Its configuration, a frozen dataclass with ``with_image_size``.
        model_class: Built from a configuration alone.
        matches: Whether weights without metadata are of this kind.
        infer_config: Read the configuration off the weights' names and shapes.
        left_out: Beginning of the names of weights that files may hold and that the model gets elsewhere.
    """

    config_class: type
    model_class: Callable[[Any], nn.Module]
    matches: Callable[[State], bool]
    infer_config: Callable[[State], Any]
    left_out: tuple[str, ...] = ()


def infer_sam2_config(state: State) -> Sam2Config:
    """Read the size and version of a published SAM 2 network off its weights' names and shapes.

    Raises:
        CheckpointError: The weights are of no published size, or not of SAM 2.
    """
    try:
        embed_dim = state["image_encoder.trunk.patch_embed.proj.weight"].shape[0]
        stages = _stages(state)
        if (embed_dim, sum(stages)) not in _SAM2_SIZES:
            raise CheckpointError(
                f"expected a published size of SAM 2, got width {embed_dim} with {sum(stages)} blocks, "
                "try weights saved by save_model, which hold their configuration"
            )
        num_slots, _, _, memory_dim = state["maskmem_tpos_enc"].shape
        background = state["image_encoder.trunk.pos_embed"].shape
        return replace(
            _SAM2_SIZES[embed_dim, sum(stages)],
            stages=stages,
            background_hw=(background[2], background[3]),
            hidden_dim=state["no_mem_embed"].shape[-1],
            memory_dim=memory_dim,
            num_memory_slots=num_slots,
            num_memory_attention_layers=_count(state, r"memory_attention\.layers\.(\d+)\.norm1\.weight"),
            memory_attention_ffn_dim=state["memory_attention.layers.0.linear1.weight"].shape[0],
            decoder_ffn_dim=state["sam_mask_decoder.transformer.layers.0.mlp.layers.0.weight"].shape[0],
            iou_head_dim=state["sam_mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
            pointer_time_encoding="obj_ptr_tpos_proj.weight" in state,
            absent_spatial_embedding="no_obj_embed_spatial" in state,
        )
    except KeyError as missing:
        raise CheckpointError(
            f"expected weights of SAM 2, got {describe(state)} without {missing}, try a SAM 2.0 or 2.1 checkpoint"
        ) from None


def infer_resurg_config(state: State) -> ResurgConfig:
    """Read the size of a published ReSurgSAM2 network off its weights' names and shapes.

    Raises:
        CheckpointError: The weights are of no published size, or of a network that is built otherwise.
    """
    base = infer_sam2_config(state)
    own = {field.name: getattr(base, field.name) for field in fields(base)}
    # What no shape tells is as published, not as in SAM 2.
    for name in ("image_size", "binarize_prompted_memory"):
        del own[name]
    mamba = "cross_modal_fusion.transformer.layers.0.mamba_layers.0"
    try:
        for needed in ("mamba.A_b_log", "mamba.A_s_log", "mlp.dwconv.dwconv.weight", "mlp.grn.gamma"):
            state[f"{mamba}.{needed}"]
        if "sam_prompt_encoder.language_fusion_mlp.layers.0.weight" not in state:
            raise KeyError("sam_prompt_encoder.language_fusion_mlp.layers.0.weight")
        return ResurgConfig(
            **own,
            text_dim=state["token_projection.layers.0.weight"].shape[1],
            projection_dim=state["token_projection.layers.0.weight"].shape[0],
            fusion_ffn_dim=state["cross_modal_fusion.transformer.layers.0.mlp.layers.0.weight"].shape[0],
            num_fused_frames=state["cross_modal_fusion.temporal_pos_embed"].shape[1],
        )
    except KeyError as missing:
        raise CheckpointError(
            f"expected weights of ReSurgSAM2 as released, got those of another stage or variant, without {missing}, "
            "try sam2.1_hiera_s_ref17.pth or sam2.1_hiera_s_ref18.pth"
        ) from None


def describe(state: State) -> str:
    """Say in a few words what network weights look like."""
    for beginning, name in _SIGNS.items():
        if any(key.startswith(beginning) for key in state):
            return f"weights that look like {name}"
    for name, family in FAMILIES.items():
        if family.matches(state):
            return f"weights that look like {name}"
    return "weights of an unknown network"


def find_family(state: State, name: str | None) -> Family:
    """Find the kind of model that weights belong to.

    Args:
        state: The weights.
        name: The kind that is written in the file, if any.

    Raises:
        CheckpointError: No kind matches.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    for family in FAMILIES.values():
        if name is None and family.matches(state):
            return family
    raise CheckpointError(
        f"expected weights of one of {', '.join(FAMILIES)}, got {name or describe(state)}, "
        "try a SAM 2.0 or 2.1 checkpoint or weights saved by save_model"
    )


def family_name(model: nn.Module) -> str:
    """Name of the kind that a model is of."""
    return next(name for name, family in FAMILIES.items() if type(model) is family.model_class)


def _stages(state: State) -> tuple[int, ...]:
    """Blocks per stage: a stage begins where a block widens."""
    num_blocks = _count(state, r"image_encoder\.trunk\.blocks\.(\d+)\.norm1\.weight")
    starts = [0, *(i for i in range(num_blocks) if f"image_encoder.trunk.blocks.{i}.proj.weight" in state)]
    return tuple(stop - start for start, stop in zip(starts, [*starts[1:], num_blocks], strict=True))


def _count(state: State, pattern: str) -> int:
    return sum(re.fullmatch(pattern, key) is not None for key in state)


def _is_sam2(state: State) -> bool:
    return "image_encoder.trunk.pos_embed_window" in state and "maskmem_tpos_enc" in state


def _is_nano(state: State) -> bool:
    return any(key.startswith("matching.") for key in state) and "nothing_remembered" in state


def _is_referring_nano(state: State) -> bool:
    return _is_nano(state) and any(key.startswith("phrase_matcher.") for key in state)


def _is_resurg(state: State) -> bool:
    return any(key.startswith("cross_modal_fusion.") for key in state)


FAMILIES: dict[str, Family] = {
    "resurgsam2": Family(ResurgConfig, ResurgModel, _is_resurg, infer_resurg_config, left_out=("language_model.",)),
    "sam2": Family(Sam2Config, Sam2Model, _is_sam2, infer_sam2_config),
    "referring_nano": Family(
        ReferringNanoConfig, ReferringNano, _is_referring_nano, lambda state: ReferringNanoConfig()
    ),
    "nano": Family(NanoConfig, NanoModel, _is_nano, lambda state: NanoConfig()),
}
"""Every kind of model, by the name that weights files give it."""

"""SAM 2 as Hugging Face keeps it: the names and the configuration of ``transformers.Sam2VideoModel``, both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgvos.errors import CheckpointError
from surgvos.models.sam2 import Sam2Config, Sam2Model

CONFIG_FILE = "config.json"
"""Stands beside the weights, and says what no shape tells."""

_PLACES = "shared_image_embedding.positional_embedding"
_PLACES_AGAIN = "prompt_encoder.shared_embedding.positional_embedding"
_RENAMED = [
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", _PLACES),
    (r"^sam_prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^sam_prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^sam_prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^sam_mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^sam_mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.encoder\.12\.", ".final_conv."),
    (r"\.pix_feat_proj\.", ".feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.norm(\d?)\.", r".layer_norm\1."),
    (r"\.out_proj\.", ".o_proj."),
]
"""What our names (the published ones) become, applied in this order."""

_TWO_LAYERS = {"0": "proj_in", "1": "proj_out"}
_THREE_LAYERS = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
_POINT_KINDS = "sam_prompt_encoder.point_embeddings."
_POINT_TABLE = "prompt_encoder.point_embed.weight"
_STEPS_PER_DOWNSAMPLING = 3


def to_transformers_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename SAM 2's published weights to those of ``transformers.Sam2VideoModel``."""
    renamed = {_rename(name): value for name, value in state.items() if not name.startswith(_POINT_KINDS)}
    renamed[_POINT_TABLE] = torch.cat([state[f"{_POINT_KINDS}{kind}.weight"] for kind in range(4)])
    return renamed | {_PLACES_AGAIN: renamed[_PLACES]}


def has_hf_layout(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are named as in ``transformers.Sam2VideoModel``, or ``Sam2Model``, which is its image half."""
    return any(name.startswith("vision_encoder.backbone.") for name in state) and _POINT_TABLE in state


def from_hf_layout(state: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], Sam2Config]:
    """Give weights of ``transformers.Sam2VideoModel`` their published names, and read their configuration.

    Args:
        state: The weights.
        path: The file that they were read from; `CONFIG_FILE` is expected beside it.

    Raises:
        CheckpointError: There is no configuration, or the weights are not all of SAM 2's.
    """
    config = from_transformers_config(_read_config(path))
    with torch.device("meta"):
        expected = Sam2Model(config).state_dict()
    given = {_PLACES: state[_PLACES_AGAIN]} | dict(state) if _PLACES_AGAIN in state else dict(state)
    given.pop(_PLACES_AGAIN, None)
    for kind, row in enumerate(given.pop(_POINT_TABLE).split(1)):
        given[_point_name(kind)] = row
    names = {name: name if name.startswith(_POINT_KINDS) else _rename(name) for name in expected}
    missing = [name for name, theirs in names.items() if theirs not in given]
    if any(name.startswith("memory_") for name in missing):
        raise CheckpointError(
            f"expected the weights of transformers' Sam2VideoModel, got its image half without memory in {path}, "
            "try the folder that Sam2VideoModel.save_pretrained wrote"
        )
    unexpected = sorted(given.keys() - set(names.values()))
    if missing or unexpected:
        raise CheckpointError(
            f"expected the names of transformers' Sam2VideoModel in {path}, got {len(missing)} missing and "
            f"{len(unexpected)} unknown (such as {(unexpected + missing)[0]}), try the file in SAM 2's own layout"
        )
    return {name: given[theirs] for name, theirs in names.items()}, config


def _point_name(kind: int) -> str:
    return f"{_POINT_KINDS}{kind}.weight"


def _rename(name: str) -> str:
    name = re.sub(r"\.mlp\.layers\.(\d)\.", lambda m: f".mlp.{_TWO_LAYERS[m[1]]}.", name)
    name = re.sub(r"(_head|_mlps\.\d|obj_ptr_proj)\.layers\.(\d)\.", lambda m: f"{m[1]}.{_THREE_LAYERS[m[2]]}.", name)
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"\.mask_downsampler\.encoder\.(\d+)\.", _downsampling_layer, name)


def _downsampling_layer(match: re.Match[str]) -> str:
    layer, part = divmod(int(match[1]), _STEPS_PER_DOWNSAMPLING)
    return f".mask_downsampler.layers.{layer}.{('conv', 'layer_norm')[part]}."


def _read_config(path: Path) -> Any:
    """Read the configuration beside a weights file, with the library's own defaults."""
    from transformers import Sam2VideoConfig

    file = path.with_name(CONFIG_FILE)
    try:
        return Sam2VideoConfig.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = "none" if isinstance(error, FileNotFoundError) else str(error).partition("\n")[0]
        raise CheckpointError(
            f"expected {CONFIG_FILE} beside {path}, as weights in Hugging Face's layout need it, got {reason}, "
            "try the whole folder that save_pretrained wrote"
        ) from error


def from_transformers_config(config: Any) -> Sam2Config:
    """Read a ``transformers.Sam2VideoConfig``; the inverse of `to_transformers_config`.

    Raises:
        ConfigError: No network of ours has these sizes.
    """
    trunk, decoder = config.vision_config.backbone_config, config.mask_decoder_config
    return Sam2Config(
        image_size=config.image_size,
        embed_dim=trunk.hidden_size,
        num_heads=trunk.num_attention_heads,
        stages=tuple(trunk.blocks_per_stage),
        windows=tuple(trunk.window_size_per_stage),
        global_blocks=tuple(trunk.global_attention_blocks),
        background_hw=tuple(trunk.window_positional_embedding_background_size),
        hidden_dim=config.vision_config.fpn_hidden_size,
        memory_dim=config.memory_encoder_output_channels,
        num_memory_slots=config.num_maskmem,
        num_memory_attention_layers=config.memory_attention_num_layers,
        memory_attention_ffn_dim=config.memory_attention_feed_forward_hidden_size,
        decoder_ffn_dim=decoder.mlp_dim,
        iou_head_dim=decoder.iou_head_hidden_dim,
        pointer_time_encoding=config.enable_temporal_pos_encoding_for_object_pointers,
        absent_spatial_embedding=config.enable_occlusion_spatial_embedding,
        stability_fallback=decoder.dynamic_multimask_via_stability,
        stability_delta=decoder.dynamic_multimask_stability_delta,
        stability_threshold=decoder.dynamic_multimask_stability_thresh,
    )


def to_transformers_config(config: Sam2Config) -> Any:
    """Write a configuration as a ``transformers.Sam2VideoConfig``."""
    from transformers import Sam2VideoConfig
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
    from transformers.models.sam2_video.configuration_sam2_video import (
        Sam2VideoMaskDecoderConfig,
        Sam2VideoPromptEncoderConfig,
    )

    size, dim = config.image_size, config.hidden_dim
    trunk = Sam2HieraDetConfig(
        hidden_size=config.embed_dim,
        num_attention_heads=config.num_heads,
        image_size=[size, size],
        window_positional_embedding_background_size=list(config.background_hw),
        blocks_per_stage=list(config.stages),
        embed_dim_per_stage=list(config.stage_dims),
        num_attention_heads_per_stage=[config.num_heads * 2**stage for stage in range(4)],
        window_size_per_stage=list(config.windows),
        global_attention_blocks=list(config.global_blocks),
    )
    vision = Sam2VisionConfig(
        backbone_config=trunk,
        backbone_channel_list=list(reversed(config.stage_dims)),
        backbone_feature_sizes=[[size // stride, size // stride] for stride in (4, 8, 16)],
        fpn_hidden_size=dim,
    )
    decoder = Sam2VideoMaskDecoderConfig(
        hidden_size=dim,
        mlp_dim=config.decoder_ffn_dim,
        iou_head_hidden_dim=config.iou_head_dim,
        dynamic_multimask_via_stability=config.stability_fallback,
        dynamic_multimask_stability_delta=config.stability_delta,
        dynamic_multimask_stability_thresh=config.stability_threshold,
    )
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=dim, image_size=size),
        mask_decoder_config=decoder,
        image_size=size,
        num_maskmem=config.num_memory_slots,
        enable_occlusion_spatial_embedding=config.absent_spatial_embedding,
        enable_temporal_pos_encoding_for_object_pointers=config.pointer_time_encoding,
        memory_attention_hidden_size=dim,
        memory_attention_num_layers=config.num_memory_attention_layers,
        memory_attention_feed_forward_hidden_size=config.memory_attention_ffn_dim,
        memory_attention_rope_feat_sizes=[size // 16, size // 16],
        memory_encoder_hidden_size=dim,
        memory_encoder_output_channels=config.memory_dim,
        mask_downsampler_embed_dim=dim,
        memory_fuser_embed_dim=dim,
        memory_fuser_intermediate_dim=4 * dim,
    )

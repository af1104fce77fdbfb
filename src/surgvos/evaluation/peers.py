"""Hugging Face's SAM 2 video model with the weights of ours, to compare numbers and speed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surgvos.models.sam2 import Sam2Config, Sam2Model
from surgvos.tracking.features import normalize_images

_PLACES = "shared_image_embedding.positional_embedding"
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
    (
        r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_image_embedding.positional_embedding",
    ),
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
_STEPS_PER_DOWNSAMPLING = 3


def to_transformers_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename SAM 2's published weights to those of ``transformers.Sam2VideoModel``."""
    renamed = {_rename(name): value for name, value in state.items() if not name.startswith(_POINT_KINDS)}
    renamed["prompt_encoder.point_embed.weight"] = torch.cat([state[f"{_POINT_KINDS}{i}.weight"] for i in range(4)])
    return renamed | {"prompt_encoder.shared_embedding.positional_embedding": renamed[_PLACES]}


def _rename(name: str) -> str:
    name = re.sub(r"\.mlp\.layers\.(\d)\.", lambda m: f".mlp.{_TWO_LAYERS[m[1]]}.", name)
    name = re.sub(r"(_head|_mlps\.\d|obj_ptr_proj)\.layers\.(\d)\.", lambda m: f"{m[1]}.{_THREE_LAYERS[m[2]]}.", name)
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return re.sub(r"\.mask_downsampler\.encoder\.(\d+)\.", _downsampling_layer, name)


def _downsampling_layer(match: re.Match[str]) -> str:
    layer, part = divmod(int(match[1]), _STEPS_PER_DOWNSAMPLING)
    return f".mask_downsampler.layers.{layer}.{('conv', 'layer_norm')[part]}."


class TransformersPeer:
    """``transformers.Sam2VideoModel``, frame by frame as in a stream, with the weights of one of our models.

    It follows the published predictor, as we do (memories kept in bfloat16, 16 pointers timed over 15 frames), but
    for one thing: a mask that prompts is remembered at full resolution, where the published predictor remembers
    what is left of it at a quarter (``tests/oracle/test_transformers.py``).

    Args:
        model: Whose weights and sizes are taken, in float32.
        dtype: Of the peer's weights and activations.
    """

    def __init__(self, model: Sam2Model, dtype: torch.dtype = torch.float32) -> None:
        from transformers import Sam2VideoModel
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        self._device = model.no_mem_embed.device
        self._dtype = dtype
        peer = Sam2VideoModel(_transformers_config(model.config))
        weights = {name: value.float() for name, value in to_transformers_weights(model.state_dict()).items()}
        peer.load_state_dict(weights, strict=True)
        self._model = peer.to(self._device, dtype).eval()
        self._session = Sam2VideoInferenceSession(
            inference_device=self._device,
            inference_state_device=self._device,
            video_storage_device=self._device,
            dtype=dtype,
        )

    def add_mask(self, frame_index: int, object_id: int, mask: np.ndarray) -> None:
        """Prompt with a bool mask of the input's size."""
        slot = self._session.obj_id_to_idx(object_id)
        self._session.add_mask_inputs(slot, frame_index, torch.from_numpy(mask)[None, None].float())
        self._session.obj_with_new_inputs.append(object_id)

    def add_points(self, frame_index: int, object_id: int, points_xy: Any, labels: Any) -> None:
        """Prompt with points ``(P, 2)`` in pixels of the input and their labels ``(P,)``."""
        slot = self._session.obj_id_to_idx(object_id)
        points = torch.from_numpy(np.asarray(points_xy, dtype=np.float32))[None, None].to(self._dtype)
        marks = torch.from_numpy(np.asarray(labels, dtype=np.int32))[None, None]
        self._session.add_point_inputs(slot, frame_index, {"point_coords": points, "point_labels": marks})
        self._session.obj_with_new_inputs.append(object_id)

    def step(self, image: np.ndarray, frame_index: int) -> Tensor:
        """Take in the next frame, uint8 RGB of the input's size: float32 mask logits ``(B, h, w)``."""
        pixels = normalize_images(torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None])
        output = self._model(self._session, frame_idx=frame_index, frame=pixels.to(self._dtype))
        return output.pred_masks[:, 0].float()


def _transformers_config(config: Sam2Config) -> Any:
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

"""Hugging Face's SAM 2 video model with the weights of ours, to compare numbers and speed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from surgvos.models.hf_layout import to_transformers_config, to_transformers_weights
from surgvos.models.sam2 import Sam2Model
from surgvos.tracking.features import normalize_images


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
        peer = Sam2VideoModel(to_transformers_config(model.config))
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

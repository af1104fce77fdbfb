"""From mask logits at the model's resolution to masks at the video's."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FILLED_LOGIT = 0.1


def fill_holes(logits: Tensor, max_area_px: int) -> Tensor:
    """Fill background islands of up to ``max_area_px`` pixels (8-connected) with a small positive logit.

    Args:
        logits: ``(B, h, w)``; not written to.
        max_area_px: At the resolution of ``logits``; 0 leaves everything as it is.

    Reference: SAM 2's ``fill_hole_area``; here it runs everywhere, without a compiled extension.
    """
    if max_area_px <= 0:
        return logits
    background = (logits <= 0).to(torch.uint8).cpu().numpy()
    holes = np.stack([_small_components(plane, max_area_px) for plane in background])
    return torch.where(torch.from_numpy(holes).to(logits.device), FILLED_LOGIT, logits)


def _small_components(plane: np.ndarray, max_area_px: int) -> np.ndarray:
    _, components, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] <= max_area_px
    small[0] = False
    return small[components]


def to_masks(logits: Tensor, *, non_overlap: bool) -> Tensor:
    """Mask logits ``(B, h, w)`` -> bool masks ``(B, h, w)``: where a logit is above 0.

    Args:
        logits: At the size of the masks.
        non_overlap: Give each pixel to the object with the highest logit alone; to the first of equals.
    """
    if not non_overlap or len(logits) < 2:
        return torch.as_tensor(_comparable(logits) > 0)
    # Not argmax: over the first dimension it takes a hundred times as long on a CPU.
    highest = _comparable(logits.amax(dim=0))
    free = highest > 0
    masks = []
    for own in _comparable(logits):
        mask = (own == highest) & free
        free ^= mask
        masks.append(torch.as_tensor(mask))
    return torch.stack(masks)


def _comparable(logits: Tensor) -> Any:
    """The same numbers as an array where they are on a CPU: NumPy compares three times as fast as PyTorch there."""
    return logits.numpy() if logits.device.type == "cpu" else logits


def to_video_size(logits: Tensor, video_hw: tuple[int, int]) -> Tensor:
    """Mask logits ``(B, h, w)`` -> ``(B, *video_hw)``, bilinear, straight from the model's resolution."""
    if logits.shape[-2:] == video_hw:
        return logits
    return F.interpolate(logits[None], size=video_hw, mode="bilinear", align_corners=False)[0]

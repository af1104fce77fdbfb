"""Where pixels go from one frame to the next: two estimators, a warp, and which pixels can be followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import torch
from torch import nn

from surgvos.errors import CheckpointError, ConfigError
from surgvos.models.checkpoints import read_state_dict
from surgvos.models.devices import resolve_device

Flow: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two frames, uint8 ``(h, w, 3)`` RGB -> float32 ``(h, w, 2)``: by how many pixels ``x, y`` each pixel of the first
lies elsewhere in the second."""

_RAFT_STRIDE = 8
_RAFT_MIN_SIDE_PX = 128


def dis_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Estimate flow without a network, by dense inverse search; see `Flow`.

    Reference: Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016, as OpenCV has it, with its
        medium preset.
    """
    # The object keeps buffers, so that threads cannot share one.
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    return search.calc(grey[0], grey[1], np.zeros((*grey[0].shape, 2), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class RaftFlow:
    """Estimates flow with RAFT-small; see `Flow`.

    Attributes:
        network: As torchvision has it.
        num_updates: Refinements of the flow.
        max_side_px: Larger frames are reduced for the network, as its memory grows with the square of their area.

    Reference: Teed and Deng, RAFT, ECCV 2020.
    """

    network: nn.Module
    num_updates: int = 12
    max_side_px: int = 640
    _device: torch.device = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.num_updates < 1 or self.max_side_px < _RAFT_MIN_SIDE_PX:
            raise ConfigError(
                f"expected 1 update or more and a longest side of {_RAFT_MIN_SIDE_PX} pixels or more, got "
                f"{self.num_updates} and {self.max_side_px}"
            )
        object.__setattr__(self, "_device", next(self.network.parameters()).device)

    @torch.inference_mode()
    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        height, width = first.shape[:2]
        scale = min(1.0, self.max_side_px / max(height, width))
        size_wh = tuple(max(_RAFT_MIN_SIDE_PX, _nearest_multiple(side * scale)) for side in (width, height))
        images = [self._to_tensor(frame, size_wh) for frame in (first, second)]
        flow = self.network(*images, num_flow_updates=self.num_updates)[-1][0].permute(1, 2, 0).cpu().numpy()
        return resize_flow(flow, (height, width), rescale=True)

    def _to_tensor(self, frame: np.ndarray, size_wh: tuple[int, ...]) -> torch.Tensor:
        """Pixels in [-1, 1], float ``(1, 3, h, w)``."""
        resized = cv2.resize(np.ascontiguousarray(frame), size_wh, interpolation=cv2.INTER_LINEAR)
        pixels = torch.from_numpy(resized).to(self._device, torch.float32)
        return (pixels / 127.5 - 1).permute(2, 0, 1)[None]


def load_raft(weights: str | Path, *, device: str = "auto") -> RaftFlow:
    """Load RAFT-small.

    Args:
        weights: State dict of torchvision's ``raft_small`` (its ``C_T_V2`` weights are the published ones).
        device: Where to run it.

    Raises:
        CheckpointError: The file is missing, damaged, or of another network.
    """
    from torchvision.models.optical_flow import raft_small

    network = raft_small(weights=None)
    state = read_state_dict(weights)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"expected the weights of torchvision's raft_small, got others in {str(weights)!r}; try its state dict"
        ) from error
    return RaftFlow(network.eval().to(resolve_device(device)))


def resize_flow(flow: np.ndarray, image_hw: tuple[int, int], *, rescale: bool) -> np.ndarray:
    """Resize a flow bilinearly.

    Args:
        flow: float ``(h, w, 2)``.
        image_hw: The new size.
        rescale: Whether vectors grow with the image, as they must to point to the same places.
    """
    height, width = flow.shape[:2]
    if (height, width) == image_hw:
        return flow
    resized = cv2.resize(flow, image_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return resized * np.array([image_hw[1] / width, image_hw[0] / height], np.float32) if rescale else resized


@dataclass(frozen=True, slots=True, eq=False)
class Warped:
    """A label map taken along by a flow.

    Attributes:
        labels: ``(h, w)``, as the map it was made of.
        is_inside: bool ``(h, w)``: whether the label comes from inside the image.
    """

    labels: np.ndarray
    is_inside: np.ndarray


def warp(label_map: np.ndarray, flow: np.ndarray, *, truncate: bool = False) -> Warped:
    """Give each pixel x the label of pixel x + flow(x).

    Args:
        label_map: uint8 or uint16 ``(h, w)``.
        flow: float32 ``(h, w, 2)``, for each pixel of the result where its label is to be found.
        truncate: Cut coordinates to integers in place of rounding them. Coordinates outside are moved to the edge.

    Example:
        >>> flow = np.zeros((1, 3, 2), np.float32)
        >>> flow[..., 0] = 1
        >>> warp(np.uint8([[4, 5, 6]]), flow).labels.tolist()
        [[5, 6, 6]]
    """
    height, width = label_map.shape
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    is_inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
    half = 0.0 if truncate else 0.5
    places = np.empty((height, width, 2), np.int16)
    places[..., 0] = np.clip(x, 0, width - 1) + half  # what is stored is cut to integers
    places[..., 1] = np.clip(y, 0, height - 1) + half
    labels = cv2.remap(np.ascontiguousarray(label_map), places, np.zeros(0, np.uint16), cv2.INTER_NEAREST)
    return Warped(labels, is_inside)


def can_be_followed(flow: np.ndarray, reverse: np.ndarray) -> np.ndarray:
    """Tell which pixels return to where they came from; others are hidden in one of the two frames.

    Args:
        flow: float ``(h, w, 2)``, from a first frame to a second.
        reverse: The same, from the second to the first.

    Returns:
        bool ``(h, w)``, for pixels of the first frame.

    Reference: Sundaram et al., Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow,
        ECCV 2010, equation 5.
    """
    there = _sample(reverse, flow)
    miss = ((flow + there) ** 2).sum(axis=2)
    length = (flow**2).sum(axis=2) + (there**2).sum(axis=2)
    return miss < 0.01 * length + 0.5


def _sample(field: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Read a field ``(h, w, 2)`` bilinearly at x + flow(x), or at the edge where that lies outside."""
    height, width = field.shape[:2]
    x = np.clip(np.arange(width) + flow[..., 0].astype(float), 0, width - 1)
    y = np.clip(np.arange(height)[:, None] + flow[..., 1].astype(float), 0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = field[top, left] * (1 - across) + field[top, right] * across
    lower = field[bottom, left] * (1 - across) + field[bottom, right] * across
    return upper * (1 - down) + lower * down


def _nearest_multiple(side: float) -> int:
    return round(side / _RAFT_STRIDE) * _RAFT_STRIDE

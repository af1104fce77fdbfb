"""Networks with random weights: for timing and tests, where nothing needs to be fetched."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from surgvos.errors import ConfigError
from surgvos.models.devices import resolve_device, resolve_dtype
from surgvos.models.interface import VideoModel
from surgvos.models.nano import NanoConfig, NanoModel
from surgvos.models.registry import place
from surgvos.models.resurg import ResurgConfig, ResurgModel, resurg_small
from surgvos.models.sam2 import Sam2Config, Sam2Model, base_plus, large, small, tiny

_SAM2_SIZES = {"tiny": tiny, "small": small, "base-plus": base_plus, "large": large}
_PRESENCE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"


def _sam2_config(version: str, size: str) -> Callable[[], Sam2Config]:
    is_newer = version == "sam2.1"
    return lambda: replace(_SAM2_SIZES[size](), pointer_time_encoding=is_newer, absent_spatial_embedding=is_newer)


ARCHITECTURES: dict[str, Callable[[], Sam2Config | NanoConfig]] = {
    **{f"{v}-hiera-{size}": _sam2_config(v, size) for v in ("sam2.1", "sam2") for size in _SAM2_SIZES},
    "resurgsam2": resurg_small,
    "surgvos-nano": NanoConfig,
}
"""Configurations by the name of the model that has them."""


def build_with_random_weights(
    name: str,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    image_size: int | None = None,
    seed: int = 0,
) -> VideoModel:
    """Build the network of a model without its weights: as fast as the real one, and good for nothing else.

    Args:
        name: One of `ARCHITECTURES`.
        device: As for `load_model`.
        dtype: As for `load_model`.
        image_size: As for `load_model`.
        seed: Of the weights.

    Raises:
        ConfigError: Unknown name, device or precision, or an unsuitable size.
    """
    if name not in ARCHITECTURES:
        nearest = difflib.get_close_matches(name, ARCHITECTURES, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"expected random weights of one of {', '.join(ARCHITECTURES)}, got {name!r}, try {nearest!r}"
        )
    config = ARCHITECTURES[name]()
    if image_size is not None:
        config = config.with_image_size(image_size)
    model = _build(config)
    fill_with_random_weights(model, seed)
    where = resolve_device(device)
    return place(model.eval(), where, resolve_dtype(dtype, where))


def _build(config: Sam2Config | NanoConfig) -> nn.Module:
    if isinstance(config, NanoConfig):
        return NanoModel(config)
    return ResurgModel(config) if isinstance(config, ResurgConfig) else Sam2Model(config)


def fill_with_random_weights(model: nn.Module, seed: int) -> None:
    """Draw weights that keep activations near their usual size; objects are always judged present."""
    generator = torch.Generator().manual_seed(seed)

    def draw(value: torch.Tensor) -> torch.Tensor:
        return torch.randn(value.shape, generator=generator)

    state: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        leaf = name.rpartition(".")[2]
        if leaf.startswith("A_") or not value.is_floating_point():
            state[name] = value
        elif leaf == "positional_encoding_gaussian_matrix":
            state[name] = draw(value)
        elif value.ndim > 1 and leaf == "weight":
            state[name] = draw(value) / value[0].numel() ** 0.5
        elif leaf == "weight":
            state[name] = 1 + 0.02 * draw(value)
        else:
            state[name] = 0.02 * draw(value) + 0.1 * (leaf == "gamma")
    if _PRESENCE_BIAS in state:
        state[_PRESENCE_BIAS] = torch.full_like(state[_PRESENCE_BIAS], 5.0)
    model.load_state_dict(state)

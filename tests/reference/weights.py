"""Synthetic weights of the recordings, and models that hold them.

The recordings' weights are a pure function of each parameter's published name and shape, so nothing is stored.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from surgvos.models.sam2 import Sam2Config, Sam2Model, base_plus, large, small, tiny

_PRESETS = {"t": tiny, "s": small, "b+": base_plus, "l": large}
_LOG_RATES = ("A_log", "A_b_log", "A_s_log")
_SKIPS = ("D", "D_b", "D_s")
_TIME_STEP_BIASES = ("dt_proj.bias", "dt_proj_b.bias", "dt_proj_s.bias")


def reference_folder() -> Path:
    """The folder of recordings: named by ``SURGVOS_REFERENCE``, else the one beside this file."""
    return Path(os.environ.get("SURGVOS_REFERENCE") or Path(__file__).parent / "data")


def reference_weight(key: str, shape: Iterable[int]) -> np.ndarray:
    """Generate the weight of that name and shape."""
    shape = tuple(shape)
    random = np.random.RandomState(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        return (1 + 0.1 * random.random_sample(shape)).astype(np.float32)
    normal = random.standard_normal(shape)
    scale, offset = 0.05, 0.0  # tables such as position embeddings
    if leaf == "running_mean":
        scale = 0.05
    elif leaf == "positional_encoding_gaussian_matrix":
        scale = 1.0
    elif leaf in _LOG_RATES:
        scale, offset = 0.02, np.log(np.arange(1, shape[-1] + 1))[None, :]
    elif leaf in _SKIPS:
        scale, offset = 0.02, 1.0
    elif key.endswith(_TIME_STEP_BIASES):
        scale, offset = 0.5, -4.0
    elif leaf == "gamma":
        scale, offset = 0.02, 0.1
    elif leaf == "beta":
        scale = 0.02
    elif len(shape) <= 1:
        scale, offset = 0.02, float(leaf == "weight")
    elif leaf == "weight":
        return (normal / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    return np.asarray(offset + scale * normal).astype(np.float32)


def reference_state(
    shapes: dict[str, tuple[int, ...]], overrides: dict[str, dict[str, Any]]
) -> dict[str, torch.Tensor]:
    """Generate all weights, with a recording's ``weight_overrides`` applied."""
    state = {key: reference_weight(key, shape) for key, shape in shapes.items()}
    for key, change in overrides.items():
        if "fill" in change:
            state[key] = np.full_like(state[key], change["fill"])
        if "mul" in change:
            state[key] = state[key] * np.float32(change["mul"])
        if "vec" in change:
            state[key] = np.asarray(change["vec"], dtype=np.float32).reshape(state[key].shape)
    return {key: torch.from_numpy(value) for key, value in state.items()}


def fill_with_reference_weights(model: torch.nn.Module, overrides: dict[str, dict[str, Any]]) -> None:
    """Give a model whose parameters have the published names the recordings' weights."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(reference_state(shapes, overrides), strict=True)


def build_reference_model(recording: dict[str, Any], **changes: Any) -> Sam2Model:
    """Build the SAM 2 network of a recording, in evaluation mode, with its synthetic weights.

    Args:
        recording: The description beside a recording.
        changes: Fields of `Sam2Config` to change.
    """
    model = Sam2Model(replace(reference_config(recording), **changes))
    own = model.state_dict().keys()
    overrides = {key: change for key, change in recording["weight_overrides"].items() if key in own}
    fill_with_reference_weights(model, overrides)
    return model.eval()


def reference_config(recording: dict[str, Any]) -> Sam2Config:
    """Read the configuration of a recording from its description."""
    name = re.split("[ ,]", recording["config"])[0].removesuffix(".yaml").removesuffix("_rvos")
    stated_size = re.search(r"image_size=(\d+)", recording["config"])
    is_first_version = not name.startswith("sam2.1")
    config = replace(
        _PRESETS[name.rpartition("hiera_")[2]](int(stated_size[1]) if stated_size else 1024),
        pointer_time_encoding=not is_first_version,
        absent_spatial_embedding=not is_first_version,
    )
    if "toy_overrides" not in recording:
        return config
    overrides = dict(line.removeprefix("++model.").split("=", 1) for line in recording["toy_overrides"])

    def value(key: str) -> Any:
        return json.loads(overrides[key])

    config = replace(
        config,
        image_size=value("image_size"),
        embed_dim=value("image_encoder.trunk.embed_dim"),
        stages=tuple(value("image_encoder.trunk.stages")),
        global_blocks=tuple(value("image_encoder.trunk.global_att_blocks")),
        hidden_dim=value("memory_attention.d_model"),
        memory_dim=value("memory_encoder.out_dim"),
        num_memory_attention_layers=value("memory_attention.num_layers"),
        memory_attention_ffn_dim=value("memory_attention.layer.dim_feedforward"),
    )
    # The forks ignored the overrides of the trunk's depth and kept tiny's: their lists of keys show it.
    if recording["impl"] != "sam2":
        config = replace(config, stages=tiny().stages, global_blocks=tiny().global_blocks)
    return config

"""Weights files: read safely, loaded strictly, written whole or not at all."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgvos.errors import CheckpointError, ConfigError
from surgvos.models.families import FAMILIES, Family, describe, family_name, find_family, infer_sam2_config
from surgvos.models.hf_layout import from_hf_layout, has_hf_layout

__all__ = ["cast_matmul_weights", "infer_sam2_config", "load_checkpoint", "read_state_dict", "save_model"]

_SAFETENSORS = ".safetensors"
_PICKLED = (".pt", ".pth")
_MATMUL_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read weights: ``.safetensors``, or ``.pt``/``.pth`` with the weights bare or under ``model``.

    No code that a file may hold is ever run.

    Raises:
        CheckpointError: The file is missing, empty, truncated, holds code, or holds something else than weights.
    """
    return _read(Path(path))[0]


def load_checkpoint(path: str | Path, *, image_size: int | None = None) -> nn.Module:
    """Build the model that a weights file belongs to, and load it strictly; float32, on the CPU, in evaluation mode.

    Args:
        path: The file.
        image_size: Input size instead of the configured one; see `load_model`.

    Raises:
        CheckpointError: The file cannot be read, or its weights do not fit.
        ConfigError: ``image_size`` does not suit the model.
    """
    path = Path(path)
    family, config, state = _recognise(path)
    if image_size is not None:
        config = config.with_image_size(image_size)
    with torch.device("meta"):
        model = family.model_class(config)
    _check_fits(model, state, path)
    model.load_state_dict({key: _as_float32(value) for key, value in state.items()}, strict=True, assign=True)
    return model.eval()


def _recognise(path: Path) -> tuple[Family, Any, Mapping[str, Tensor]]:
    """Say what kind of network a file holds, how large it is, and its weights by our names."""
    state, metadata = _read(path)
    if has_hf_layout(state):
        state, config = from_hf_layout(state, path)
        return FAMILIES["sam2"], config, state
    family = find_family(state, metadata.get("family"))
    state = {key: value for key, value in state.items() if not key.startswith(family.left_out)}
    if "config" in metadata:
        return family, _config_from_json(family.config_class, metadata["config"], path), state
    return family, family.infer_config(state), state


def save_model(path: str | Path, model: nn.Module) -> None:
    """Write a model's weights and configuration as ``.safetensors``; the file appears complete or not at all.

    Raises:
        ConfigError: The path has another ending.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != _SAFETENSORS:
        raise ConfigError(f"expected a path ending in {_SAFETENSORS}, got {path}, try {path.with_suffix(_SAFETENSORS)}")
    config = model.config
    assert is_dataclass(config)
    assert not isinstance(config, type)
    metadata = {"family": family_name(model), "config": json.dumps(asdict(config)), "format": "pt"}
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_atomically(path, save(state, metadata))


def cast_matmul_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights of linear layers and convolutions in ``dtype``, in place; norms and tables stay as they are.

    To be run under autocast of the same type, which then has nothing to convert: the results are the same, sooner.
    """
    for layer in model.modules():
        if isinstance(layer, _MATMUL_LAYERS):
            layer.to(dtype)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read weights and the metadata beside them."""
    if not path.is_file():
        raise CheckpointError(f"expected a weights file, got nothing at {path}, try the full path")
    if path.stat().st_size == 0:
        raise CheckpointError(f"expected a weights file, got the empty file {path}, try to download it again")
    if path.suffix == _SAFETENSORS:
        return _read_safetensors(path)
    if path.suffix in _PICKLED:
        return _read_named_tensors(path), {}
    raise CheckpointError(
        f"expected a weights file ending in {', '.join((_SAFETENSORS, *_PICKLED))}, got {path}, try another file"
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"expected a safetensors file, got {path}, which is damaged or of another kind ({error}), "
            "try to download it again"
        ) from error


def read_pickled(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """Read what PyTorch wrote, plain values and tensors, without running code that a file may hold.

    Args:
        path: The file.
        allowed: Further types that it may hold, as in `torch.serialization.safe_globals`.

    Raises:
        CheckpointError: The file is damaged, or holds code.
    """
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_pickled(path):
            raise _damaged(path, "no known beginning") from error
        raise CheckpointError(
            f"expected a file of weights only, got {path}, which holds code as well and was not run, "
            "try weights from the publisher, or convert them to safetensors where you trust them"
        ) from error
    except Exception as error:  # the reader raises what its parser happens to raise on damaged files
        raise _damaged(path, str(error).strip().partition("\n")[0] or type(error).__name__) from error


def _read_named_tensors(path: Path) -> dict[str, Tensor]:
    content = read_pickled(path)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not (isinstance(content, Mapping) and content) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise CheckpointError(
            f"expected named tensors, bare or under 'model', got something else in {path}, try a model's checkpoint"
        )
    return dict(content)


def _is_pickled(path: Path) -> bool:
    """Whether the file begins like a pickle, inside PyTorch's zip format or bare."""
    with path.open("rb") as file:
        return file.read(1) == pickle.PROTO or zipfile.is_zipfile(file)


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"expected a PyTorch weights file, got {path}, which is truncated or of another kind ({reason}), "
        "try to download it again"
    )


def _check_fits(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Demand the same names and shapes, and say in one sentence what differs."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    differences = [
        f"{len(keys)} {kind} (first: {keys[0]})"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if keys
    ]
    if differences:
        raise CheckpointError(
            f"expected the {len(expected)} weights of a {family_name(model)} model, got {describe(state)} in {path} "
            f"with {' and '.join(differences)}, try a checkpoint of this model"
        )


def _config_from_json(config_class: type, text: str, path: Path) -> Any:
    try:
        values = json.loads(text)
        return config_class(**{key: _as_tuple(value) for key, value in values.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"expected the configuration of a {config_class.__name__} in {path}, got {error}, "
            "try weights saved by this version"
        ) from error


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _as_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise

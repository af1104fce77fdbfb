"""Models by name.

Example:
    >>> from surgvos.models.registry import model_names
    >>> "sam2.1-hiera-tiny" in model_names()
    True
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import cast

import torch
from torch import nn

from surgvos.errors import CheckpointError, ConfigError
from surgvos.models.checkpoints import cast_matmul_weights, load_checkpoint
from surgvos.models.devices import resolve_device, resolve_dtype
from surgvos.models.interface import VideoModel
from surgvos.models.zoo import PUBLISHED, ZOO, published_image_size
from surgvos.models.zoo_entries import BoxEntry, ZooEntry

_ENDINGS = (".safetensors", ".pt", ".pth")
_OVERSEER = "-overseer"
"""Ending of the names of bundled weights that are a detector's, for `surgvos.overseer.load`."""

_BOX_FRAMES_PER_SECOND = {"surgvos-nano": 12.0}


def model_names() -> list[str]:
    """Names that `load_model` knows: those of the models in the box, then the published ones."""
    return [*sorted(name for name in bundled_weights() if not name.endswith(_OVERSEER)), *ZOO]


def entries() -> dict[str, ZooEntry]:
    """All that is known by name: what is in the box, published models, and what works with them."""
    sums = bundled_sha256()
    box = {
        name: BoxEntry(
            name=name,
            task="overseer" if name.endswith(_OVERSEER) else "follows what is shown",
            licence="Apache-2.0",
            file_name=path.name,
            sha256=sums.get(name),
            frames_per_second=_BOX_FRAMES_PER_SECOND.get(name),
            path=path,
        )
        for name, path in sorted(bundled_weights().items())
    }
    return box | PUBLISHED


def load_model(
    name: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    image_size: int | None = None,
) -> VideoModel:
    """Load a model for inference.

    Args:
        name: One of `model_names`, a weights file, or a folder that holds one.
        device: ``"auto"``, ``"cpu"`` or an accelerator's name.
        dtype: ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"fp16"``: precision of matrix products, which the returned
            model carries as ``compute_dtype``.
        image_size: Input size instead of the model's own, a multiple of 32. A model whose input keeps the video's
            proportions (``surgvos-nano``) takes the side of a square of as many pixels.

    Raises:
        ConfigError: Unknown name, device or precision, or an unsuitable size.
        CheckpointError: The weights cannot be read, fetched, or do not fit.
    """
    where = resolve_device(device)
    precision = resolve_dtype(dtype, where)
    return place(load_network(find_weights(name), image_size), where, precision)


def load_network(path: Path, image_size: int | None = None) -> nn.Module:
    """Load a weights file as `load_checkpoint` does, with the input size that its published name stands for.

    Args:
        path: The file.
        image_size: Input size instead of the model's own.
    """
    return load_checkpoint(path, image_size=image_size or published_image_size(path))


def place(model: nn.Module, device: torch.device, dtype: torch.dtype) -> VideoModel:
    """Bring a float32 model to a device, to compute there with a precision of matrix products; in place."""
    if dtype != torch.float32:
        cast_matmul_weights(model, dtype)
    model.compute_dtype = dtype  # type: ignore[assignment]
    memory_format = cast(VideoModel, model).memory_format
    return cast(VideoModel, model.to(device).to(memory_format=memory_format))


def find_weights(name: str | Path) -> Path:
    """Find, or fetch, the weights file that a name, a file or a folder means.

    Raises:
        ConfigError: No model has this name.
        CheckpointError: A folder holds no weights or several, or the file cannot be fetched.
    """
    path = Path(name)
    if path.is_dir():
        return _only_weights_in(path)
    if path.is_file() or path.suffix in _ENDINGS or len(path.parts) > 1:
        return path
    bundled = bundled_weights()
    if str(name) in bundled:
        return bundled[str(name)]
    if str(name) in ZOO:
        return ZOO[str(name)].fetch()
    raise unknown_model(str(name), model_names())


def unknown_model(name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that no model has: it says the nearest that one has."""
    (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return ConfigError(f"expected the name of a model or a weights file, got {name!r}, try {nearest!r}")


def _only_weights_in(folder: Path) -> Path:
    found = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(
            f"expected one weights file in {folder}, got {names}, try the path of the file that you mean"
        )
    return found[0]


def bundled_weights() -> dict[str, Path]:
    """Weights that are installed with the package, by name: those of models and of overseers."""
    return {path.stem: path for path in _bundle().glob("*.safetensors")}


def bundled_sha256() -> dict[str, str]:
    """What the bundled weights' SHA-256 must be, by name, as ``SHA256SUMS`` beside them says."""
    lines = (_bundle() / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {Path(line.split()[1]).stem: line.split()[0] for line in lines}


def _bundle() -> Path:
    return Path(str(files("surgvos.weights")))

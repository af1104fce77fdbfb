"""The image encoder by another engine, which gives the same features sooner; compared before it is relied upon.

The encoder is the part of every model that sees each frame whole, in shapes that stay the same from frame to frame:
what is built for them once serves a whole video. All else of a model stays with PyTorch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from surgvos.errors import ConfigError, MissingExtraError, SurgvosError
from surgvos.models.folders import cache_folder
from surgvos.models.interface import ImageFeatures, VideoModel

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}
"""Largest difference from PyTorch's own features, as a share of a level's largest feature, by precision."""

_Run = Callable[[Tensor], tuple[Tensor, ...]]


def use_backend(model: VideoModel, backend: str) -> VideoModel:
    """Let a loaded model encode images by another engine from now on; in place, for inference only.

    For each size of images an encoder is built when the first of them comes, and compared with PyTorch's.

    Args:
        model: Where, and with the precision with which, it is to compute.
        backend: One of `BACKENDS`.

    Raises:
        ConfigError: There is no such engine, or it cannot compute there or with that precision.
        MissingExtraError: It is not installed.
    """
    check_backend(backend)
    if backend == "onnx":
        _demand_onnx(model)
    if backend in _BUILDERS:
        model.encode_image = _ComparedEncoder(model, backend)  # type: ignore[method-assign]
    return model


def check_backend(backend: str) -> None:
    """Refuse a name that no engine has, and an engine that is not installed.

    Raises:
        ConfigError, MissingExtraError: It is so.
    """
    if backend not in BACKENDS:
        raise ConfigError(f"expected a backend, one of {', '.join(BACKENDS)}, got {backend!r}, try {BACKENDS[0]!r}")
    if backend == "onnx":
        _import_onnxruntime()


class _Encoder(nn.Module):
    """A model's image encoder as a network of its own, which gives plain tensors."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        # What the class does: the model's own attribute is what stands in for it.
        features = type(self.model).encode_image(self.model, images)
        return features.levels if features.memory_key is None else (*features.levels, features.memory_key)


class _ComparedEncoder:
    """Encode images of any size, by encoders that were built for one size each and agree with PyTorch's."""

    def __init__(self, model: VideoModel, backend: str) -> None:
        self._encoder = _Encoder(model).eval()
        self._backend = backend
        self._tolerance = TOLERANCES[model.compute_dtype]
        self._runs: dict[torch.Size, _Run] = {}
        self._num_levels = 0
        self._keeps_pixels = False

    def __call__(self, images: Tensor) -> ImageFeatures:
        if images.shape not in self._runs:
            self._runs[images.shape] = self._build(images)
        levels = self._runs[images.shape](images)
        key = levels[-1] if len(levels) > self._num_levels else None
        pixels = images if self._keeps_pixels else None
        return ImageFeatures(levels[: self._num_levels], key, pixels)

    def _build(self, images: Tensor) -> _Run:
        """Build an encoder for images of this size, and compare it on random ones."""
        generator = torch.Generator().manual_seed(0)
        sample = torch.randn(images.shape, generator=generator).to(images)
        model = self._encoder.model
        known = type(model).encode_image(model, sample)
        self._num_levels, self._keeps_pixels = len(known.levels), known.pixels is not None
        expected = self._encoder(sample)
        run = _BUILDERS[self._backend](self._encoder, sample)
        difference = max(_relative_difference(a, b) for a, b in zip(run(sample), expected, strict=True))
        if not difference <= self._tolerance:
            raise SurgvosError(
                f"expected PyTorch's features from backend {self._backend}, got others, by {difference:.2g} of "
                f"the largest, where {self._tolerance:g} is rounding; try backend torch"
            )
        return run


def _relative_difference(given: Tensor, expected: Tensor) -> float:
    return float((given.float() - expected.float()).abs().max() / expected.float().abs().max())


def _compile(encoder: _Encoder, sample: Tensor) -> _Run:
    compiled = torch.compile(encoder, dynamic=False)
    try:
        compiled(sample)
    except Exception as error:  # the compiler raises what its many parts happen to raise
        reason = str(error).strip().partition("\n")[0]
        raise SurgvosError(
            f"expected PyTorch to compile the image encoder, got {type(error).__name__}: {reason}, "
            "try to install a C++ compiler, or backend torch"
        ) from error
    return compiled


def _demand_onnx(model: VideoModel) -> None:
    """Refuse where ONNX Runtime is not used here."""
    device, dtype = next(model.parameters()).device, model.compute_dtype
    if device.type != "cpu" or dtype != torch.float32:
        got = str(dtype).removeprefix("torch.")
        raise ConfigError(f"expected fp32 on the CPU for backend onnx, got {got} on {device}, try backend compile")


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"expected the package {error.name!r} for backend onnx, got none; try pip install 'surgvos[onnx]'"
        ) from error
    return onnxruntime


def _run_by_onnx(encoder: _Encoder, sample: Tensor) -> _Run:
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    file = export_to_onnx(encoder, sample)
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(level) for level in session.run(None, {name: images.contiguous().numpy()}))

    return run


def export_to_onnx(encoder: nn.Module, sample: Tensor) -> Path:
    """Export an encoder for images of one size, or find the file of an earlier time in the user's cache."""
    size = "x".join(map(str, sample.shape))
    file = cache_folder() / "encoders" / f"{_identity(encoder)}-{size}.onnx"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{os.getpid()}.{file.name}")
        with torch.inference_mode(False), torch.no_grad():
            program = torch.onnx.export(encoder, (sample.clone(),), dynamo=True, verbose=False)
        assert program is not None
        program.save(part)
        os.replace(part, file)
    return file


def _identity(network: nn.Module) -> str:
    """A short name of weights and of the versions that make a graph of them."""
    digest = hashlib.sha256(f"surgvos {version('surgvos')} torch {torch.__version__}".encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:20]


_BUILDERS: dict[str, Callable[[_Encoder, Tensor], _Run]] = {"compile": _compile, "onnx": _run_by_onnx}

BACKENDS = ("torch", *_BUILDERS)
"""PyTorch as it is, PyTorch's compiler, and ONNX Runtime."""

"""Other engines for the image encoder: the same features, or an error that says so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oracle.test_transformers import toy_model
from surgvos.errors import ConfigError, MissingExtraError, SurgvosError
from surgvos.models import backends
from surgvos.models.backends import use_backend
from surgvos.models.interface import ImageFeatures
from surgvos.models.random_weights import build_with_random_weights


class OneLayer(nn.Module):
    """An image encoder of one convolution, with a key as the small models have it."""

    compute_dtype = torch.float32

    def __init__(self, *, has_key: bool = True) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)
        self.has_key = has_key

    def encode_image(self, images: Tensor) -> ImageFeatures:
        level = self.layer(images).relu()
        return ImageFeatures((level, level[..., ::2, ::2]), level.mean(dim=1, keepdim=True) if self.has_key else None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "surgvos" / "encoders"


def assert_same(given: ImageFeatures, expected: ImageFeatures) -> None:
    assert len(given.levels) == len(expected.levels)
    for level, other in zip(given.levels, expected.levels, strict=True):
        torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-4)
    assert (given.memory_key is None) == (expected.memory_key is None)
    if given.memory_key is not None:
        torch.testing.assert_close(given.memory_key, expected.memory_key, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("backend", "has_key", "widths"), [("compile", True, [8, 8]), ("onnx", True, [8, 16, 8]), ("onnx", False, [8, 8])]
)
def test_features_are_those_of_pytorch_at_every_size(backend: str, has_key: bool, widths: list[int]) -> None:
    model: Any = OneLayer(has_key=has_key).eval()
    images = [torch.rand(1, 3, 8, width) for width in widths]
    with torch.inference_mode():
        expected = [model.encode_image(image) for image in images]
        assert use_backend(model, backend) is model
        for image, features in zip(images, expected, strict=True):
            assert_same(model.encode_image(image), features)


@pytest.mark.parametrize("name", ["surgvos-nano", "toy"])
def test_real_encoders_can_be_exported(name: str) -> None:
    """The small model keeps a key and any size, SAM 2 its windows and tables."""
    model = toy_model() if name == "toy" else build_with_random_weights(name, device="cpu", dtype="fp32")
    images = torch.rand(1, 3, *model.input_hw((64, 64)) if name == "toy" else (64, 96))
    with torch.inference_mode():
        expected = model.encode_image(images)
        assert_same(use_backend(model, "onnx").encode_image(images), expected)


def test_an_export_is_made_once_for_weights_and_size(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(model: Any, width: int = 8) -> None:
        with torch.inference_mode():
            use_backend(model, "onnx").encode_image(torch.rand(1, 3, 8, width))

    model: Any = OneLayer().eval()
    encode(model)
    (file,) = cache.iterdir()
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("exported again"))
    same: Any = OneLayer().eval()
    same.load_state_dict(model.state_dict())
    encode(same)
    assert list(cache.iterdir()) == [file]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent.parent))
    encode(model, width=16)
    other: Any = OneLayer().eval()
    encode(other)
    assert len(list(cache.iterdir())) == 3


def test_other_features_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends._BUILDERS, "compile", lambda encoder, _: lambda x: tuple(1.01 * y for y in encoder(x)))
    model: Any = OneLayer().eval()
    with (
        torch.inference_mode(),
        pytest.raises(SurgvosError, match=r"from backend compile, got others, by 0\.01 of .*try backend torch"),
    ):
        use_backend(model, "compile").encode_image(torch.rand(1, 3, 8, 8))


def test_no_number_is_no_small_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends._BUILDERS, "compile", lambda encoder, _: lambda x: tuple(y / 0 for y in encoder(x)))
    model: Any = OneLayer().eval()
    with torch.inference_mode(), pytest.raises(SurgvosError, match="got others, by"):
        use_backend(model, "compile").encode_image(torch.rand(1, 3, 8, 8))


def test_a_compiler_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Tensor) -> None:
        raise RuntimeError("no C++ compiler was found\nand much more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    model: Any = OneLayer().eval()
    with (
        torch.inference_mode(),
        pytest.raises(SurgvosError, match=r"got RuntimeError: no C\+\+ compiler was found, try"),
    ):
        use_backend(model, "compile").encode_image(torch.rand(1, 3, 8, 8))


def test_pytorch_as_it_is_changes_nothing() -> None:
    model: Any = OneLayer()
    use_backend(model, "torch")
    assert "encode_image" not in vars(model)


def test_unknown_backend() -> None:
    model: Any = OneLayer()
    with pytest.raises(ConfigError, match="one of torch, compile, onnx, got 'tpu', try 'torch'"):
        use_backend(model, "tpu")


def test_onnx_runtime_is_for_float32_on_the_cpu() -> None:
    model = build_with_random_weights("surgvos-nano", device="cpu", dtype="bf16")
    with pytest.raises(ConfigError, match="expected fp32 on the CPU for backend onnx, got bfloat16 on cpu"):
        use_backend(model, "onnx")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model: Any = OneLayer()
    with pytest.raises(MissingExtraError, match=r"pip install 'surgvos\[onnx\]'"):
        use_backend(model, "onnx")

"""Weights files: what is read, what is refused, and with which words."""

from __future__ import annotations

import json
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reference.weights import reference_folder
from surgvos.errors import CheckpointError, ConfigError
from surgvos.models import checkpoints
from surgvos.models.checkpoints import (
    cast_matmul_weights,
    infer_sam2_config,
    load_checkpoint,
    read_state_dict,
    save_model,
)
from surgvos.models.sam2 import Sam2Config, Sam2Model, base_plus, large, small, tiny

TOY = Sam2Config(
    image_size=64,
    embed_dim=8,
    stages=(1, 1, 2, 1),
    global_blocks=(3,),
    hidden_dim=32,
    memory_dim=16,
    num_memory_attention_layers=1,
    memory_attention_ffn_dim=32,
    decoder_ffn_dim=32,
    iou_head_dim=32,
)


@pytest.fixture
def toy() -> Sam2Model:
    torch.manual_seed(0)
    return Sam2Model(TOY).eval()


def empty_state(config: Sam2Config) -> dict[str, torch.Tensor]:
    """Names and shapes of a network's weights, without numbers."""
    with torch.device("meta"):
        return dict(Sam2Model(config).state_dict())


@pytest.mark.parametrize("preset", [tiny, small, base_plus, large])
def test_config_is_inferred_from_shapes(preset) -> None:
    assert infer_sam2_config(empty_state(preset())) == preset()


def test_first_version_is_inferred() -> None:
    config = replace(small(), pointer_time_encoding=False, absent_spatial_embedding=False)
    assert infer_sam2_config(empty_state(config)) == config


def test_unpublished_size_is_refused() -> None:
    with pytest.raises(CheckpointError, match="got width 8 with 5 blocks, try weights saved by save_model"):
        infer_sam2_config(empty_state(TOY))


def test_foreign_weights_are_named() -> None:
    keys = json.loads((reference_folder() / "keys_resurgsam2_small_512.json").read_text())["keys"]
    state = {key: torch.empty(shape, device="meta") for key, shape in keys.items()}
    del state["maskmem_tpos_enc"]
    with pytest.raises(CheckpointError, match="look like ReSurgSAM2 without 'maskmem_tpos_enc'"):
        infer_sam2_config(state)


def test_saved_model_comes_back(tmp_path: Path, toy: Sam2Model) -> None:
    path = tmp_path / "new" / "toy.safetensors"
    save_model(path, toy)
    loaded = load_checkpoint(path)
    assert isinstance(loaded, Sam2Model)
    assert loaded.config == TOY
    assert not loaded.training
    for key, value in toy.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)
    assert os.listdir(path.parent) == ["toy.safetensors"]


def test_image_size_can_be_changed(tmp_path: Path, toy: Sam2Model) -> None:
    save_model(tmp_path / "toy.safetensors", toy)
    assert load_checkpoint(tmp_path / "toy.safetensors", image_size=96).config.image_size == 96
    with pytest.raises(ConfigError, match=r"multiple of 32, got 100, try 96"):
        load_checkpoint(tmp_path / "toy.safetensors", image_size=100)


def test_half_precision_weights_load_as_float32(tmp_path: Path, toy: Sam2Model) -> None:
    save_model(tmp_path / "toy.safetensors", toy.half())
    loaded = load_checkpoint(tmp_path / "toy.safetensors")
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, toy: Sam2Model, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "toy.safetensors"
    save_model(path, toy)
    before = path.read_bytes()

    def fail(source: str, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(path, toy)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["toy.safetensors"]


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "epoch": 3}])
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_pickled_weights_are_read_bare_or_under_model(tmp_path: Path, toy: Sam2Model, wrap, suffix: str) -> None:
    path = tmp_path / f"toy{suffix}"
    torch.save(wrap(toy.state_dict()), path)
    state = read_state_dict(path)
    assert state.keys() == toy.state_dict().keys()
    torch.testing.assert_close(state["no_obj_ptr"], toy.no_obj_ptr.detach())


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_code_is_never_run(tmp_path: Path, write) -> None:
    write({"weight": torch.zeros(1), "trap": Trap(tmp_path / "sprung")}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="holds code as well and was not run"):
        read_state_dict(tmp_path / "evil.pt")
    assert not (tmp_path / "sprung").exists()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"got nothing at .*absent\.pt"):
        read_state_dict(tmp_path / "absent.pt")


@pytest.mark.parametrize("name", ["empty.pt", "empty.safetensors"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=f"got the empty file .*{name}"):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_file(tmp_path: Path, toy: Sam2Model, suffix: str, share: float) -> None:
    path = tmp_path / f"toy{suffix}"
    torch.save(toy.state_dict(), path) if suffix == ".pt" else save_model(path, toy)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"(truncated|damaged) or of another kind"):
        read_state_dict(path)


@pytest.mark.parametrize("name", ["page.pt", "page.safetensors"])
def test_web_page_instead_of_weights(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    with pytest.raises(CheckpointError, match="of another kind"):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"model": {"weight": 1}}, torch.zeros(2)])
def test_other_contents_are_refused(tmp_path: Path, content) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="expected named tensors, bare or under 'model'"):
        read_state_dict(tmp_path / "other.pt")


def test_other_ending_is_refused(tmp_path: Path, toy: Sam2Model) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=re.escape("ending in .safetensors, .pt, .pth")):
        read_state_dict(tmp_path / "model.onnx")
    with pytest.raises(ConfigError, match=r"try .*toy\.safetensors"):
        save_model(tmp_path / "toy.pt", toy)


def test_wrong_keys_are_told_in_one_sentence(tmp_path: Path, toy: Sam2Model) -> None:
    metadata = {"family": "sam2", "config": json.dumps({"image_size": 64})}
    path = tmp_path / "wrong.safetensors"
    save_file(toy.state_dict(), path, metadata)
    with pytest.raises(CheckpointError, match=r"expected the 471 weights of a sam2 model") as raised:
        load_checkpoint(path)
    message = str(raised.value)
    assert re.search(r"missing \(first: image_encoder\.trunk\.blocks\.1\.", message) is None
    assert re.search(r"\d+ missing \(first: .*\d+ of another shape \(first: maskmem_tpos_enc\)", message)
    assert "\n" not in message


def test_unknown_setting_in_metadata_is_refused(tmp_path: Path, toy: Sam2Model) -> None:
    path = tmp_path / "future.safetensors"
    save_file(toy.state_dict(), path, {"family": "sam2", "config": json.dumps({"wings": 2})})
    with pytest.raises(CheckpointError, match=r"configuration of a Sam2Config in .*wings"):
        load_checkpoint(path)


def test_unknown_family_is_refused(tmp_path: Path, toy: Sam2Model) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="one of resurgsam2, sam2, referring_nano, nano, got weights of an"):
        load_checkpoint(path)
    save_file(toy.state_dict(), path, {"family": "sam9"})
    with pytest.raises(CheckpointError, match="got sam9"):
        load_checkpoint(path)


def test_only_matmul_weights_are_cast(toy: Sam2Model) -> None:
    cast_matmul_weights(toy, torch.bfloat16)
    state = toy.state_dict()
    assert state["image_encoder.trunk.blocks.0.attn.qkv.weight"].dtype == torch.bfloat16
    assert state["sam_mask_decoder.output_upscaling.0.weight"].dtype == torch.bfloat16
    for key in (
        "image_encoder.trunk.pos_embed",
        "image_encoder.trunk.blocks.0.norm1.weight",
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "sam_prompt_encoder.no_mask_embed.weight",
        "maskmem_tpos_enc",
        "memory_encoder.fuser.layers.0.norm.weight",
    ):
        assert state[key].dtype == torch.float32

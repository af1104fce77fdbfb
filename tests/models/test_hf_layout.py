"""SAM 2 in Hugging Face's layout: read from the folder that transformers writes, the same network as before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from oracle.test_transformers import TOY, toy_model
from surgvos.cli.main import app
from surgvos.errors import CheckpointError
from surgvos.models.checkpoints import load_checkpoint
from surgvos.models.hf_layout import from_transformers_config, to_transformers_config, to_transformers_weights
from surgvos.models.random_weights import ARCHITECTURES
from surgvos.models.registry import load_model
from surgvos.models.sam2 import Sam2Config, Sam2Model


def save_by_transformers(ours: Sam2Model, folder: Path) -> Path:
    """Write what Sam2VideoModel.save_pretrained writes of the same network."""
    from transformers import Sam2VideoModel

    theirs = Sam2VideoModel(to_transformers_config(ours.config))
    theirs.load_state_dict(to_transformers_weights(ours.state_dict()), strict=True)
    theirs.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_by_transformers(toy_model(), tmp_path / "saved")


@pytest.mark.parametrize("is_newer", [True, False], ids=["2.1", "2.0"])
def test_the_folder_that_transformers_writes_is_the_same_network(tmp_path: Path, is_newer: bool) -> None:
    ours = toy_model(pointer_time_encoding=is_newer, absent_spatial_embedding=is_newer)
    loaded = load_model(save_by_transformers(ours, tmp_path), device="cpu", dtype="fp32")
    assert isinstance(loaded, Sam2Model)
    assert loaded.config == ours.config
    expected = ours.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_what_transformers_sees_in_an_image_we_see(folder: Path) -> None:
    """The way back is not only the mirror image of the way there: their outputs, from the file, beside ours."""
    from transformers import Sam2VideoModel

    theirs = Sam2VideoModel.from_pretrained(folder).eval()
    loaded = load_model(folder, device="cpu", dtype="fp32")
    images = torch.randn(1, 3, TOY.image_size, TOY.image_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.get_image_features(images).fpn_hidden_states
        for level, other in zip(loaded.encode_image(images).levels, expected, strict=True):
            other = other.permute(1, 2, 0).reshape(level.shape) if other.ndim == 3 else other
            torch.testing.assert_close(level, other, rtol=1e-4, atol=1e-4)


def test_convert_writes_our_layout(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "ours.safetensors"
    result = CliRunner().invoke(app, ["models", "convert", str(folder), str(target)])
    assert result.exit_code == 0, result.output
    assert load_checkpoint(target).config == TOY


def test_without_its_configuration_it_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"expected config\.json beside .*, got none, try the whole folder"):
        load_model(folder)


def test_a_damaged_configuration_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"expected config\.json beside"):
        load_model(folder)


def test_the_image_half_is_no_video_model(tmp_path: Path) -> None:
    from transformers import Sam2Config as TheirConfig
    from transformers import Sam2Model as TheirModel

    whole = to_transformers_config(TOY)
    half = TheirConfig(
        vision_config=whole.vision_config,
        prompt_encoder_config=whole.prompt_encoder_config.to_dict(),
        mask_decoder_config=whole.mask_decoder_config.to_dict(),
    )
    TheirModel(half).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="its image half without memory"):
        load_model(tmp_path)


def test_names_of_another_network_are_said(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file(load_file(file) | {"adapter.weight": torch.zeros(1)}, file)
    with pytest.raises(CheckpointError, match=r"0 missing and 1 unknown \(such as adapter\.weight\)"):
        load_model(folder)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name.startswith("sam2")])
def test_configurations_survive_the_way_there_and_back(name: str, tmp_path: Path) -> None:
    from transformers import Sam2VideoConfig

    config = ARCHITECTURES[name]()
    assert isinstance(config, Sam2Config)
    config = replace(config, image_size=512, stability_fallback=False)
    to_transformers_config(config).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert from_transformers_config(Sam2VideoConfig.from_dict(written)) == config

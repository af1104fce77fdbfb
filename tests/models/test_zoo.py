"""Surgical-SAM-2's weights: fetched by hand, told apart by their names, at the size that no shape tells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from models.test_checkpoints import empty_state
from surgvos.cli.main import app
from surgvos.errors import CheckpointError
from surgvos.models.registry import load_model
from surgvos.models.sam2 import Sam2Config, Sam2Model, small, tiny
from surgvos.models.zoo import ZOO, HandEntry

NAMES = ("surgical-sam2.1-endo18", "surgical-sam2-endo18")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SURGVOS_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def entry(name: str) -> HandEntry:
    found = ZOO[name]
    assert isinstance(found, HandEntry)
    return found


def write_weights(path: Path, config: Sam2Config, *, bare: bool) -> Path:
    """A checkpoint of the real names and shapes; every tensor repeats one number, so that the file is small."""
    state = {
        name: torch.full((1,), 0.01 * (index % 7)).expand(value.shape)
        for index, (name, value) in enumerate(empty_state(config).items())
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state if bare else {"model": state}, path)
    return path


def models(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.mark.parametrize("bare", [True, False], ids=["bare", "under model"])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_fetched_by_hand_is_taken_in_and_found_by_name(
    tmp_path: Path, own_folder: Path, name: str, bare: bool
) -> None:
    file = write_weights(tmp_path / "downloads" / "renamed.pth", entry(name).config, bare=bare)
    result = models("get", name, "--from", file)
    assert result.exit_code == 0, result.output
    kept = own_folder / name / entry(name).file_name
    assert result.output == f"{kept}\n"
    assert kept.read_bytes() == file.read_bytes()
    assert models("get", name).output == f"{kept}\n"
    assert f"fetched, {kept.stat().st_size / 1e6:.1f} MB" in models("list").output
    model = load_model(name, device="cpu", dtype="fp32")
    assert isinstance(model, Sam2Model)
    assert model.input_hw((1024, 1280)) == (512, 512)
    assert model.config.pointer_time_encoding == ("sam2.1" in name)
    assert load_model(name, device="cpu", image_size=256).input_hw((1024, 1280)) == (256, 256)


@pytest.mark.parametrize("name", NAMES)
def test_without_the_file_one_sentence_says_where_it_is(name: str) -> None:
    result = models("get", name)
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert entry(name).address in result.output
    assert f"surgvos models get {name} --from {entry(name).file_name}" in result.output
    (line,) = [line for line in models("list").output.splitlines() if line.startswith(name)]
    assert "none stated" in line
    assert "by hand" in line
    with pytest.raises(CheckpointError, match="only a person can fetch them"):
        load_model(name)


def test_a_file_of_another_model_is_not_taken_in(tmp_path: Path, own_folder: Path) -> None:
    for config, got in ((small(), "SAM 2.1 with 16 blocks"), (tiny(), "SAM 2.1 with 12 blocks")):
        file = write_weights(tmp_path / "other.pth", config, bare=True)
        result = models("get", NAMES[1], "--from", file)
        assert result.exit_code == 2
        assert f"expected the weights of {NAMES[1]} (SAM 2.0 with 16 blocks)" in result.output
        assert f"got {got}; try" in result.output
    assert not own_folder.exists()


def test_what_is_no_weights_file_is_not_taken_in(tmp_path: Path, own_folder: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>Quota exceeded</html>")
    result = models("get", NAMES[0], "--from", tmp_path / "page.pth")
    assert result.exit_code == 2
    assert "page.pth" in result.output
    assert not own_folder.exists()


def test_only_models_fetched_by_hand_are_taken_in(tmp_path: Path) -> None:
    result = models("get", "sam2.1-hiera-small", "--from", tmp_path / "x.pt")
    assert result.exit_code == 2
    by_hand = [name for name, found in ZOO.items() if isinstance(found, HandEntry)]
    assert set(NAMES) < set(by_hand)
    assert f"({', '.join(by_hand)}), got 'sam2.1-hiera-small'" in result.output


def test_the_published_file_name_stands_for_its_input_size(tmp_path: Path) -> None:
    named = write_weights(tmp_path / entry(NAMES[0]).file_name, small(), bare=True)
    other = write_weights(tmp_path / "small.pth", small(), bare=True)
    shown = {path: models("info", path).output for path in (named, other)}
    assert "512x512" in shown[named]
    assert "1024x1024" in shown[other]


def test_convert_writes_the_input_size_that_no_shape_tells(tmp_path: Path) -> None:
    file = write_weights(tmp_path / "tiny.pth", tiny(), bare=True)
    target = tmp_path / "tiny.safetensors"
    result = models("convert", file, target, "--image-size", "512")
    assert result.exit_code == 0, result.output
    assert load_model(target, device="cpu").input_hw((1024, 1280)) == (512, 512)
    target.unlink()  # it is large

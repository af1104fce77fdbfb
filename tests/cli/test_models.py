"""``surgvos models``: tiny runs, nothing fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from surgvos.cli.main import app
from surgvos.models import registry
from surgvos.models.checkpoints import load_checkpoint
from surgvos.models.random_weights import build_with_random_weights


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "nano.pt"
    torch.save(build_with_random_weights("surgvos-nano", device="cpu", dtype="fp32").state_dict(), path)  # type: ignore[attr-defined]
    return path


def test_list_names_every_model_with_licence_and_place() -> None:
    head, *lines = run("list").output.splitlines()
    assert head.split() == ["name", "task", "size", "frames/s", "licence", "where"]
    assert [line.split()[0] for line in lines] == list(registry.entries())
    assert set(registry.model_names()) <= set(registry.entries())
    assert all("Apache-2.0" in line or "by hand" in line or "MIT" in line for line in lines)
    assert any(line.endswith("from facebook/sam2.1-hiera-tiny") for line in lines)


def test_list_says_what_was_fetched_before(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(checkpoint))
    (line,) = [line for line in run("list").output.splitlines() if line.startswith("sam2-hiera-tiny ")]
    assert f" {checkpoint.stat().st_size / 1e6:.1f} MB " in line
    assert line.endswith(" fetched")


def test_get_checks_what_the_hub_gave(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {}
    path = tmp_path / "sam2.1_hiera_tiny.pt"
    path.write_bytes(b"other weights")

    def fetch(**what: str) -> str:
        asked.update(what)
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    result = run("get", "sam2.1-hiera-tiny")
    assert result.exit_code == 1
    assert result.output.startswith(f"surgvos: {path}: expected SHA-256 7402e0d8")
    assert asked == {"repo_id": "facebook/sam2.1-hiera-tiny", "filename": "sam2.1_hiera_tiny.pt"}


def test_get_without_a_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: str) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    result = run("get", "sam2.1-hiera-tiny")
    assert result.exit_code == 2
    assert result.output.startswith("surgvos: expected to fetch sam2.1_hiera_tiny.pt")
    assert result.output.count("\n") == 1


def test_info_describes_a_checkpoint(checkpoint: Path) -> None:
    shown = dict(line.split(maxsplit=1) for line in run("info", checkpoint).output.splitlines() if " of " not in line)
    assert shown["kind"] == "nano"
    assert len(shown["sha256"]) == 64
    num_parameters = sum(p.numel() for p in load_checkpoint(checkpoint).parameters())
    assert shown["parameters"] == f"{num_parameters:,}"


def test_info_of_an_unknown_model_is_wrong_use() -> None:
    result = run("info", "sam9")
    assert result.exit_code == 2
    assert "expected the name of a model" in result.output


def test_convert_keeps_every_weight(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "nano.safetensors"
    assert run("convert", checkpoint, target).exit_code == 0
    before, after = load_checkpoint(checkpoint).state_dict(), load_checkpoint(target).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_convert_replaces_nothing(checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "nano.safetensors"
    target.write_text("mine")
    result = run("convert", checkpoint, target)
    assert result.exit_code == 2
    assert "expected a new file" in result.output
    assert target.read_text() == "mine"


def test_convert_needs_the_right_ending(checkpoint: Path, tmp_path: Path) -> None:
    result = run("convert", checkpoint, tmp_path / "nano.pt")
    assert result.exit_code == 2
    assert ".safetensors" in result.output


def test_bundled_weights_are_those_that_were_recorded() -> None:
    from surgvos.io.run_record import file_sha256

    found = {name: file_sha256(path) for name, path in registry.bundled_weights().items()}
    assert found == registry.bundled_sha256()

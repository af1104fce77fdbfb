"""``surgvos doctor``: what works is said, what is broken ends in code 1."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from surgvos.cli import doctor
from surgvos.cli.main import app


def run() -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor"])
    return result.exit_code, result.output


def test_a_sound_installation_is_fine() -> None:
    exit_code, said = run()
    assert exit_code == 0, said
    for subject in ("python", "torch", "device cpu", "threads", "reading h264", "writing overlays", "disk here"):
        assert f" {subject} " in said
    assert "broken" not in said


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "surgvos-nano.safetensors"
    path.write_bytes(b"no weights")
    monkeypatch.setattr("surgvos.models.registry.bundled_weights", lambda: {"surgvos-nano": path})
    return path


def test_other_weights_than_recorded_are_broken(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surgvos.models.registry.bundled_sha256", lambda: {"surgvos-nano": "0" * 64})
    exit_code, said = run()
    assert exit_code == 1
    assert "another SHA-256" in said
    assert said.splitlines()[-1].startswith("surgvos: expected a working installation, got trouble with model")


def test_weights_that_cannot_be_read_are_broken(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from surgvos.io.run_record import file_sha256

    monkeypatch.setattr("surgvos.models.registry.bundled_sha256", lambda: {"surgvos-nano": file_sha256(damaged)})
    exit_code, said = run()
    assert exit_code == 1
    assert "expected a safetensors file" in said


def test_missing_weights_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surgvos.models.registry.bundled_sha256", lambda: {"surgvos-lost": "0" * 64})
    monkeypatch.setattr("surgvos.models.registry.bundled_weights", dict)
    assert run()[0] == 1


def test_a_library_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: str) -> bool:
        raise ImportError("libavcodec.so is missing")

    monkeypatch.setattr(doctor, "_has_codec", fail)
    exit_code, said = run()
    assert exit_code == 1
    assert "codecs" in said
    assert "libavcodec.so is missing" in said
    assert " disk here " in said


def test_without_an_encoder_overlays_are_limited_or_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_has_codec", lambda name, mode: name != "libx264")
    assert run()[0] == 0
    monkeypatch.setattr(doctor, "_has_codec", lambda name, mode: mode == "r")
    assert run()[0] == 1

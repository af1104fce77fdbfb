"""``surgvos doctor``: what works is said, what is broken ends in code 1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from surgvos.cli import doctor
from surgvos.cli.main import app


def run() -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor"])
    return result.exit_code, result.output


def test_a_sound_installation_is_fine() -> None:
    exit_code, said = run()
    assert exit_code == 0, said
    subjects = ("python", "torch", "device cpu", "threads", "memory", "reading h264", "writing overlays", "disk here")
    for subject in (*subjects, "speed of surgvos-nano"):
        assert f" {subject} " in said
    assert "broken" not in said


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surgvos.evaluation.timing.NUM_WARM_UP_FRAMES", 1)
    monkeypatch.setattr(doctor, "_NUM_TIMED_FRAMES", 1)


def notes(check: Callable[[], Iterable[doctor._Finding]]) -> dict[str, str]:
    """What a check would have better, by subject."""
    return {found.subject: found.text for found in check() if found.verdict is doctor._Verdict.LIMITED}


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


def test_an_extra_that_lacks_a_package_says_how_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "torch>=2.6",
        'numpy>=1; extra == "here"',
        'no-such-package[all]>=3; extra == "lacking"',
        'numpy; extra == "lacking"',
        'no-such-tool; extra == "dev"',
        'surgvos[here]; extra == "test"',
    ]
    monkeypatch.setattr(doctor, "requires", lambda _: lines)
    assert [found.subject for found in doctor._extras()] == ["extra here", "extra lacking"]
    said = "without no-such-package; where needed: pip install 'surgvos[lacking]'"
    assert notes(doctor._extras) == {"extra lacking": said}


def test_a_gpu_that_pytorch_cannot_use_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surgvos.models.devices.resolve_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}" if name == "nvidia-smi" else None)
    monkeypatch.setattr("surgvos.models.devices.resolve_dtype", lambda *_: torch.float32)
    monkeypatch.delenv("CXX", raising=False)
    said = notes(doctor._devices)
    assert said.keys() == {"accelerator", "precision", "compiler"}
    assert "pytorch.org" in said["accelerator"]
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}" if name == "g++" else None)
    monkeypatch.setattr("surgvos.models.devices.resolve_dtype", lambda *_: torch.bfloat16)
    assert notes(doctor._devices) == {}


def test_one_thread_of_many_and_a_busy_machine_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr("psutil.getloadavg", lambda: (20.0, 1.0, 1.0))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert notes(doctor._threads) == {
        "threads": "1 of 8 processors; unset OMP_NUM_THREADS=1 to use more",
        "load": "20 processes want 8 processors: all will be slow until others are done",
    }
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr("psutil.getloadavg", lambda: (1.0, 1.0, 1.0))
    assert notes(doctor._threads) == {}


def test_little_memory_and_a_full_disk_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**9))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert notes(doctor._memory).keys() == {"memory"}
    assert notes(doctor._disk).keys() == {"disk here", "disk of the hub's cache", "disk of models"}
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**10))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**10))
    assert notes(doctor._memory) == notes(doctor._disk) == {}


def test_a_mirror_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGVOS_MIRROR", str(tmp_path))
    monkeypatch.setenv("SURGVOS_CLIP", str(tmp_path / "nowhere"))
    assert notes(doctor._folders) == {"SURGVOS_CLIP": f"no folder {tmp_path / 'nowhere'}: correct it, or unset it"}

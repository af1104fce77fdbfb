"""``surgvos doctor``: what works on this machine."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from surgvos.errors import SurgvosError

if TYPE_CHECKING:
    import torch

_FREE_BYTES_WANTED = 2 * 10**9


class _Verdict(StrEnum):
    FINE = "ok"
    LIMITED = "note"
    BROKEN = "broken"


_COLORS = {_Verdict.FINE: "green", _Verdict.LIMITED: "yellow", _Verdict.BROKEN: "red"}


@dataclass(frozen=True, slots=True)
class _Finding:
    subject: str
    text: str
    verdict: _Verdict = _Verdict.FINE


def doctor() -> None:
    """Say what works on this machine: versions, devices, codecs, bundled weights, disk.

    Exit code 1 where something that is needed is broken.

    \b
    Example:
      surgvos doctor
    """
    checks = {"versions": _versions, "devices": _devices, "codecs": _codecs, "weights": _weights, "disk": _disk}
    broken = []
    for subject, check in checks.items():
        for finding in _findings(subject, check):
            verdict = typer.style(f"{finding.verdict:<8}", fg=_COLORS[finding.verdict])
            typer.echo(f"{verdict}{finding.subject:<26}{finding.text}")
            if finding.verdict is _Verdict.BROKEN:
                broken.append(finding.subject)
    if broken:
        raise SurgvosError(f"expected a working installation, got trouble with {', '.join(broken)}; try reinstalling")


def _findings(subject: str, check: Callable[[], Iterable[_Finding]]) -> Iterator[_Finding]:
    try:
        yield from check()
    except Exception as error:  # whatever a broken library raises is what is looked for here
        yield _Finding(subject, f"{type(error).__name__}: {error}", _Verdict.BROKEN)


def _versions() -> Iterator[_Finding]:
    from surgvos.io.run_record import PACKAGES, package_versions

    found = package_versions()
    for name in ("python", *PACKAGES):
        if name in found:
            yield _Finding(name, found[name])
        else:
            yield _Finding(name, "not found under this name", _Verdict.LIMITED)


def _devices() -> Iterator[_Finding]:
    import torch

    from surgvos.models.devices import resolve_device, resolve_dtype

    for device in dict.fromkeys((torch.device("cpu"), resolve_device("auto"))):
        precision = str(resolve_dtype("auto", device)).removeprefix("torch.")
        yield _Finding(f"device {device}", f"{_device_name(device)}; auto computes in {precision}")
    text = f"{torch.get_num_threads()} of {os.cpu_count()} processors"
    yield _Finding("threads", text, _Verdict.FINE if torch.get_num_threads() > 1 else _Verdict.LIMITED)


def _device_name(device: torch.device) -> str:
    import torch

    if device.type == "cpu":
        return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    module = torch.get_device_module(device)
    return str(module.get_device_name(device)) if hasattr(module, "get_device_name") else device.type


def _codecs() -> Iterator[_Finding]:
    for name, purpose in {"h264": "mp4", "hevc": "mp4", "mpeg4": "avi", "vp9": "webm", "mjpeg": "avi"}.items():
        readable = _has_codec(name, "r")
        verdict = _Verdict.FINE if readable else _Verdict.BROKEN if name == "h264" else _Verdict.LIMITED
        yield _Finding(f"reading {name}", f"such as {purpose}", verdict)
    if _has_codec("libx264", "w"):
        yield _Finding("writing overlays", "H.264 by libx264")
    else:
        verdict = _Verdict.LIMITED if _has_codec("mpeg4", "w") else _Verdict.BROKEN
        yield _Finding("writing overlays", "MPEG-4, as there is no libx264", verdict)


def _has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    import av

    try:
        av.codec.Codec(name, mode)
    except ValueError:
        return False
    return True


def _weights() -> Iterator[_Finding]:
    from surgvos.io.run_record import file_sha256
    from surgvos.models.checkpoints import load_checkpoint
    from surgvos.models.registry import bundled_sha256, bundled_weights

    found, expected = bundled_weights(), bundled_sha256()
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            yield _Finding(f"model {name}", "its file is missing", _Verdict.BROKEN)
        elif file_sha256(found[name]) != expected.get(name):
            yield _Finding(f"model {name}", f"another SHA-256 than expected: {found[name]}", _Verdict.BROKEN)
        else:
            try:
                load_checkpoint(found[name])
            except SurgvosError as error:
                yield _Finding(f"model {name}", str(error), _Verdict.BROKEN)
            else:
                yield _Finding(f"model {name}", f"in the box, {found[name].stat().st_size / 1e6:.1f} MB")


def _disk() -> Iterator[_Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    for subject, folder in (("disk here", Path.cwd()), ("disk of fetched models", Path(HF_HUB_CACHE))):
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        verdict = _Verdict.FINE if free >= _FREE_BYTES_WANTED else _Verdict.LIMITED
        yield _Finding(subject, f"{free / 1e9:.1f} GB free", verdict)

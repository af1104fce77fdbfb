"""``surgvos doctor``: what works on this machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from surgvos.errors import SurgvosError

if TYPE_CHECKING:
    import torch

    from surgvos.models.zoo_entries import BoxEntry

_FREE_DISK_WANTED = 2 * 10**9
_FREE_MEMORY_WANTED = 2 * 10**9
_NUM_TIMED_FRAMES = 5
_COMPILERS = ("c++", "g++", "clang++", "cl")
_OF_DEVELOPERS = ("dev", "test", "docs")


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
    """Say what works on this machine, what will be slow and why, and what to do about it.

    Versions, extras, devices, memory, codecs, weights, disks, and the speed of the model in the box. Exit code 1 where
    something that is needed is broken; a note only says what could be better.

    \b
    Example:
      surgvos doctor
    """
    checks = {
        "versions": _versions,
        "extras": _extras,
        "devices": _devices,
        "threads": _threads,
        "memory": _memory,
        "codecs": _codecs,
        "weights": _weights,
        "folders": _folders,
        "disk": _disk,
        "speed": _speed,
    }
    broken = []
    for subject, check in checks.items():
        for finding in _findings(subject, check):
            verdict = typer.style(f"{finding.verdict:<8}", fg=_COLORS[finding.verdict])
            typer.echo(f"{verdict}{finding.subject:<28}{finding.text}")
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


def _extras() -> Iterator[_Finding]:
    """What each optional part needs, as the package itself declares it."""
    needs: dict[str, list[str]] = {}
    for line in requires("surgvos") or []:
        found = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", line)
        if found and found[1] != "surgvos" and found[2] not in _OF_DEVELOPERS:
            needs.setdefault(found[2], []).append(found[1])
    for extra, packages in sorted(needs.items()):
        missing = [name for name in packages if not _is_installed(name)]
        if missing:
            text = f"without {', '.join(missing)}; where needed: pip install 'surgvos[{extra}]'"
            yield _Finding(f"extra {extra}", text, _Verdict.LIMITED)
        else:
            yield _Finding(f"extra {extra}", "installed")


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _devices() -> Iterator[_Finding]:
    import torch

    from surgvos.models.devices import resolve_device, resolve_dtype

    best = resolve_device("auto")
    for device in dict.fromkeys((torch.device("cpu"), best)):
        precision = str(resolve_dtype("auto", device)).removeprefix("torch.")
        yield _Finding(f"device {device}", f"{_device_name(device)}; auto computes in {precision}")
    if best.type == "cpu" and shutil.which("nvidia-smi"):
        text = "an NVIDIA GPU seems to be there, but this PyTorch cannot use it; install the build for it: pytorch.org"
        yield _Finding("accelerator", text, _Verdict.LIMITED)
    if best.type == "cpu" and resolve_dtype("auto", best) == torch.float32:
        text = "this processor has no instructions for products of bfloat16, which halve the time of a frame elsewhere"
        yield _Finding("precision", text, _Verdict.LIMITED)
    if not any(map(shutil.which, _COMPILERS)) and not os.environ.get("CXX"):
        text = "no C++ compiler, which --backend compile needs on a CPU; install g++ or clang"
        yield _Finding("compiler", text, _Verdict.LIMITED)


def _threads() -> Iterator[_Finding]:
    import psutil
    import torch

    num_threads, num_processors = torch.get_num_threads(), os.cpu_count() or 1
    text, verdict = f"{num_threads} of {num_processors} processors", _Verdict.FINE
    if num_threads == 1 and num_processors > 1:
        set_to = os.environ.get("OMP_NUM_THREADS")
        text += f"; unset OMP_NUM_THREADS={set_to} to use more" if set_to else "; this process may use no more"
        verdict = _Verdict.LIMITED
    yield _Finding("threads", text, verdict)
    busy = psutil.getloadavg()[0]
    if busy > num_processors:
        text = f"{busy:.0f} processes want {num_processors} processors: all will be slow until others are done"
        yield _Finding("load", text, _Verdict.LIMITED)


def _memory() -> Iterator[_Finding]:
    import psutil

    free = psutil.virtual_memory().available
    text = f"{free / 1e9:.1f} GB free"
    if free >= _FREE_MEMORY_WANTED:
        yield _Finding("memory", text)
    else:
        text += "; SAM 2 takes up to 1.6 GB, the model in the box 0.9 GB; close other programs"
        yield _Finding("memory", text, _Verdict.LIMITED)


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
    from surgvos.models.registry import bundled_sha256, bundled_weights, entries
    from surgvos.models.zoo_entries import BoxEntry, Verdict

    for name in sorted(bundled_sha256().keys() - bundled_weights().keys()):
        yield _Finding(f"model {name}", "its file is missing; reinstall the package", _Verdict.BROKEN)
    fetched = []
    for name, entry in entries().items():
        if not isinstance(entry, BoxEntry):
            fetched += [name] if entry.found() is not None else []
        elif entry.verify(entry.path).verdict is not Verdict.SAME:
            text = f"another SHA-256 than expected: {entry.path}; reinstall the package"
            yield _Finding(f"model {name}", text, _Verdict.BROKEN)
        else:
            yield _try_to_read(entry)
    if fetched:
        yield _Finding("models fetched", f"{', '.join(fetched)}; surgvos models verify compares them")


def _try_to_read(entry: BoxEntry) -> _Finding:
    from surgvos.models.checkpoints import load_checkpoint, read_state_dict
    from surgvos.models.registry import model_names

    try:
        # An overseer is no model that follows; whether its file is whole is said by reading it.
        (load_checkpoint if entry.name in model_names() else read_state_dict)(entry.path)
    except SurgvosError as error:
        return _Finding(f"model {entry.name}", str(error), _Verdict.BROKEN)
    return _Finding(f"model {entry.name}", f"in the box, {entry.path.stat().st_size / 1e6:.1f} MB")


def _folders() -> Iterator[_Finding]:
    """What environment variables say of where weights are."""
    from surgvos.models.folders import MIRROR_VARIABLE, MODELS_VARIABLE
    from surgvos.models.text.clip import FOLDER_VARIABLE

    for variable in (MIRROR_VARIABLE, FOLDER_VARIABLE):
        if (folder := os.environ.get(variable)) and not Path(folder).is_dir():
            yield _Finding(variable, f"no folder {folder}: correct it, or unset it", _Verdict.LIMITED)
        elif folder:
            yield _Finding(variable, folder)
    if folder := os.environ.get(MODELS_VARIABLE):
        yield _Finding(MODELS_VARIABLE, folder)


def _disk() -> Iterator[_Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from surgvos.models.folders import models_folder

    places = {"disk here": Path.cwd(), "disk of the hub's cache": Path(HF_HUB_CACHE), "disk of models": models_folder()}
    for subject, folder in places.items():
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if free >= _FREE_DISK_WANTED:
            yield _Finding(subject, f"{free / 1e9:.1f} GB free")
        else:
            text = f"{free / 1e9:.1f} GB free in {folder}; models take up to 1 GB each, masks grow with the video"
            yield _Finding(subject, text, _Verdict.LIMITED)


def _speed() -> Iterator[_Finding]:
    """How fast the model in the box is here, and how much slower others are where there is no accelerator."""
    from surgvos.evaluation.timing import measure
    from surgvos.models.devices import resolve_device
    from surgvos.models.registry import load_model
    from surgvos.models.zoo import ZOO

    box = "surgvos-nano"
    timing = measure(load_model(box), num_objects=1, num_frames=_NUM_TIMED_FRAMES)
    yield _Finding(f"speed of {box}", f"{1 / timing.seconds_per_frame:.1f} frames/s with one object, files left out")
    tiny = ZOO["sam2.1-hiera-tiny"]
    if resolve_device("auto").type == "cpu":
        text = (
            f"without an accelerator {tiny.name} follows about {tiny.frames_per_second:g} frames/s with each thread; "
            "--size 512 takes a sixth of the time, surgvos-nano far less"
        )
        yield _Finding("speed of SAM 2", text, _Verdict.LIMITED)

"""What a run leaves behind beside its weights: numbers over time, and what it was made from."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from surgvos.config.load import to_plain
from surgvos.io.files import replacing
from surgvos.io.results import write_json_atomic

_PACKAGES = ("surgvos", "torch", "torchvision", "accelerate", "numpy")


class RunLog:
    """Numbers of a run, as lines of ``log.jsonl`` and as curves for TensorBoard."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """Go on after ``first_step`` steps; lines of later steps, which a resumed run repeats, are dropped."""
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"
        _drop_lines_after(self._path, first_step)
        self._curves = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the numbers of a step; what is not a number is written as null."""
        line = {"step": step, **{k: v if math.isfinite(v) else None for k, v in values.items()}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            if math.isfinite(value):
                self._curves.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is held back."""
        self._curves.close()


def write_run_file(path: Path, config: Any) -> None:
    """Write the resolved configuration and the versions of everything that matters."""
    content = {
        "config": to_plain(config),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        "num_threads": torch.get_num_threads(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, content)


def _drop_lines_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            continue  # the line that was being written when the run was killed
    with replacing(path) as part:
        part.write_text("".join(kept), encoding="utf-8")

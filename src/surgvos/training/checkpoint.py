"""Checkpoints of a run: written whole or not at all, the last few kept."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from surgvos.errors import CheckpointError
from surgvos.io.files import replacing

_NAME = re.compile(r"step_(\d+)\.pt")


class CheckpointFolder:
    """A folder of ``step_<number>.pt`` files."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after ``step`` steps, then delete all but the last few."""
        path = self.folder / f"step_{step:08d}.pt"
        with replacing(path) as part, part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            # On the disk before it takes its name: a power cut may come at any time.
            os.fsync(file.fileno())
        for old in self.paths()[: -self.keep]:
            old.unlink()
        return path

    def paths(self) -> list[Path]:
        """The checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def load_last(self) -> dict[str, Any]:
        """Read the last checkpoint onto the CPU.

        Raises:
            CheckpointError: There is none, or it cannot be read.
        """
        paths = self.paths()
        if not paths:
            raise CheckpointError(
                f"expected a checkpoint to resume from in {self.folder}, got none; try without resuming"
            )
        try:
            state: dict[str, Any] = torch.load(paths[-1], map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            raise CheckpointError(
                f"expected a checkpoint of a training run, got a damaged file {paths[-1]}; try deleting it, to "
                "resume from the one before"
            ) from None
        return state

"""Reading the recorded runs of the published implementations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reference.weights import reference_folder

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@dataclass(frozen=True)
class Recording:
    """One recorded run of a published implementation: arrays, and a description beside them."""

    json_path: Path

    @cached_property
    def description(self) -> dict[str, Any]:
        return json.loads(self.json_path.read_text())

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.json_path.with_suffix(".npz")) as stored:
            return {name: stored[name] for name in stored.files}

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])

    def sibling(self, part: str) -> Recording:
        """Another recording of the same model: ``image_encoder``, ``video_frames``, ..."""
        return Recording(self.json_path.with_name(f"{self.json_path.stem.partition('_')[0]}_{part}.json"))

    def __str__(self) -> str:
        return self.json_path.stem


def recordings(*patterns: str) -> list[Recording]:
    """Recordings whose file name, without its ending, matches one of the patterns."""
    paths = {path for pattern in patterns for path in reference_folder().glob(f"{pattern}.npz")}
    return [Recording(path.with_suffix(".json")) for path in sorted(paths)]


def normalised(images_u8: np.ndarray) -> torch.Tensor:
    """Make ``(N, 3, H, W)`` model input of ``(N, H, W, 3)`` bytes."""
    images = torch.from_numpy(images_u8).permute(0, 3, 1, 2).float() / 255
    return (images - _MEAN) / _STD

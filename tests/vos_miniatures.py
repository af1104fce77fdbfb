"""Prepared data sets in miniature: the layout of EndoVis 2018 as Surgical-SAM-2 has it, with squares that move."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from surgvos.data.prepared import ANNOTATIONS, FRAMES, PROMPTS
from surgvos.io.masks import write_label_map

HW = (48, 64)
NUM_FRAMES = 6

VALID: dict[str, dict[int, int]] = {"seq_2": {1: 0, 2: 0}, "seq_5": {1: 0, 4: 3}}
"""Video -> object id -> first frame that shows it."""


def write_endovis18(root: Path, videos: Mapping[str, Mapping[int, int]] = VALID, *, split: str = "valid") -> Path:
    """Write frames, label maps and first appearances; returns the folder of the split."""
    folder = root / split
    for number, (video, first_frames) in enumerate(videos.items()):
        rng = np.random.default_rng(number)
        background = rng.integers(20, 120, (*HW, 3), dtype=np.uint8)
        seen: set[int] = set()
        for index in range(NUM_FRAMES):
            name = f"{index:05d}.png"
            label_map = label_map_of(first_frames, index)
            frame = background.copy()
            for object_id in first_frames:
                frame[label_map == object_id] = (250, 60 * object_id % 256, 40)
            images = folder / FRAMES / video
            images.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(images / name), frame[..., ::-1])
            write_label_map(folder / ANNOTATIONS / video / name, label_map)
            visible = {object_id for object_id, first in first_frames.items() if first <= index}
            if visible - seen:
                write_label_map(folder / PROMPTS / video / name, label_map)
                seen |= visible
    return folder


def label_map_of(first_frames: Mapping[int, int], index: int) -> np.ndarray:
    """Squares side by side, two pixels farther to the right with every frame."""
    label_map = np.zeros(HW, dtype=np.uint8)
    for row, (object_id, first) in enumerate(first_frames.items()):
        if index >= first:
            label_map[6 + 20 * row : 20 + 20 * row, 4 + 2 * index : 20 + 2 * index] = object_id
    return label_map

"""A prepared data set of a few coloured frames, for nnU-Net."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from surgvos.core.labels import Label, LabelSpace
from surgvos.io.masks import write_label_map

SPACE = LabelSpace(
    (Label(0, "pupil", (0, 137, 255)), Label(4, "iris", (255, 0, 0)), Label(7, "hook", (90, 90, 90))),
    background=255,
    ignore=200,
    name="tiny",
)
"""A class 0, gaps between ids, and pixels that are not scored beside background."""

HW = (48, 60)


def write_prepared(root: Path, num_videos: int = 6) -> None:
    """Videos of two frames: the last one is held out; the second frame of each has no labels of ``parts``."""
    rng = np.random.default_rng(0)
    for number in range(1, num_videos + 1):
        split = root / ("valid" if number == num_videos else "train")
        for index in (0, 25):
            image = rng.integers(0, 90, (*HW, 3)).astype(np.uint8)
            labels = np.full(HW, 255, np.uint8)
            labels[4:20, 4 + number : 30] = 0
            labels[20:40, 10:40] = 4
            labels[30:44, 30 : 50 + index // 5] = 7
            labels[:, :2] = 200
            for class_id, color in ((0, (0, 0, 200)), (4, (200, 0, 0)), (7, (200, 200, 200))):
                image[labels == class_id] += np.array(color, dtype=np.uint8) // 2
            path = split / f"JPEGImages/v{number}/{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            write_label_map(split / f"Labels/classes/v{number}/{index:05d}.png", labels)

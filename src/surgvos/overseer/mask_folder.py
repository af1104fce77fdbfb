"""Semantic masks from a folder, of any origin, as a detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.io.masks import read_label_map
from surgvos.overseer.detection import Detection


class MaskFolderDetector:
    """Read what something else has detected: one label map per frame, ``<frame name>.png``.

    Args:
        folder: Of palette or label PNGs; a label map of another size than its frame is enlarged by the nearest pixel.
        label_space: Of the values in the files.
        raw: The values are those of the data set's own files (`LabelSpace.from_raw`), not ids of the label space.

    Raises:
        InputError: There is no such folder, or no PNG in it.
    """

    def __init__(self, folder: str | Path, label_space: LabelSpace, *, raw: bool = False) -> None:
        self.label_space = label_space
        self.folder = Path(folder)
        self.raw = raw
        if not any(self.folder.glob("*.png")):
            raise InputError(f"expected a folder of label maps (PNG), got {str(folder)!r}")

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        return [self._read(frame) for frame in frames]

    def has(self, frame: Frame) -> bool:
        """Whether there is a label map for a frame."""
        return self._path_of(frame).exists()

    def _path_of(self, frame: Frame) -> Path:
        return self.folder / f"{frame.name}.png"

    def _read(self, frame: Frame) -> Detection:
        path = self._path_of(frame)
        if not path.exists():
            raise InputError(
                f"expected a label map for every frame, got none for frame {frame.name!r} in {str(self.folder)!r}; "
                "try file names like the frames'"
            )
        values = read_label_map(path)
        label_map = self.label_space.from_raw(values) if self.raw else self.label_space.checked(values)
        if label_map.shape != frame.hw:
            size = (frame.hw[1], frame.hw[0])
            label_map = cv2.resize(label_map, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return Detection.from_label_map(label_map, self.label_space.nothing)

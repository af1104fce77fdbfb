"""How the masks of a run become files: label maps of objects, of classes, or a file per object."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from surgvos.core.instances import instance_names, instance_palette, merge_instances
from surgvos.core.labels import LabelSpace
from surgvos.core.masks import amend_label_map, masks_to_label_map
from surgvos.core.results import FrameResult
from surgvos.io.masks import MaskFolder, MaskWriter, read_label_map, read_mask_folder

MASKS, INSTANCES = "masks", "instances"


class MaskFiles:
    """Write masks of results; use it as a context manager while writing.

    Args:
        out: Folder of the run.
        label_space: What the ids of results mean where they are classes; None: they are objects.
        per_object: Write ``masks/<object>/<frame>.png``, so that objects may overlap.
        instances: Ids of results are instances of classes: ``masks/`` hold the classes, ``instances/`` the instances.

    Attributes:
        names: Id of a result -> what it is called, or None.
        palette: Colours by id of a result, uint8 ``(n, 3)``, or None for those of objects.
    """

    def __init__(self, out: Path, label_space: LabelSpace | None, *, per_object: bool, instances: bool) -> None:
        self.out, self.label_space, self.per_object = out, label_space, per_object
        self.has_instances = instances and label_space is not None
        self.names: dict[int, str] | None = None
        self.palette: np.ndarray | None = None
        if label_space is not None:
            self.names = {label.id: label.name for label in label_space.labels}
            self.palette = label_space.palette()
        if label_space is not None and instances:
            self.names, self.palette = instance_names(label_space), instance_palette(label_space)
        self._stack = ExitStack()

    def __enter__(self) -> MaskFiles:
        palette = None if self.label_space is None else self.label_space.palette()
        self._masks = self._stack.enter_context(MaskWriter(self.out / MASKS, palette=palette))
        if self.has_instances:
            self._instances = self._stack.enter_context(MaskWriter(self.out / INSTANCES))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, result: FrameResult, image_hw: tuple[int, int], *, amends: bool) -> None:
        """Queue the masks of a frame.

        Args:
            result: Of the frame.
            image_hw: Height and width of the video.
            amends: Whether an earlier pass may have written other objects of this frame, which stay.
        """
        if self.per_object:
            self._masks.write_per_object(result.frame_name, result.masks)
            return
        self._masks.write(result.frame_name, self._label_map(result, image_hw, amends=amends))
        if self.has_instances:
            self._instances.write(result.frame_name, masks_to_label_map(result.masks, image_hw))

    def flush(self) -> None:
        """Wait until everything queued so far is written."""
        self._masks.flush()
        if self.has_instances:
            self._instances.flush()

    def read(self) -> MaskFolder:
        """What is written, by ids of results."""
        if self.has_instances:
            return read_mask_folder(self.out / INSTANCES)
        return read_mask_folder(self.out / MASKS, (0,) if self.label_space is None else self.label_space.nothing)

    def _label_map(self, result: FrameResult, image_hw: tuple[int, int], *, amends: bool) -> np.ndarray:
        """All objects of a frame in one map, with those that an earlier pass wrote."""
        if self.label_space is not None:
            masks = merge_instances(result.masks) if self.has_instances else result.masks
            return self.label_space.paint(masks, image_hw)
        path = self.out / MASKS / f"{result.frame_name}.png"
        if not amends or not path.exists():
            return masks_to_label_map(result.masks, image_hw)
        return amend_label_map(read_label_map(path), result.masks)

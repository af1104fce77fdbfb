"""Single frames with the class of every pixel, many frames to a batch: what detectors are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.models.devices import upload

UNLABELLED = 255
"""Label of pixels that say nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Frames of one size, and the label of each pixel.

    Attributes:
        images: uint8 ``(N, 3, H, W)`` RGB, channels last in memory.
        labels: uint8 ``(N, H, W)``: 0 where nothing is, ``k`` for the ``k``-th class of a label space in the order
            of ids, `UNLABELLED` where pixels say nothing.
        class_weights: float ``(K,)``: how much each class counts, 1 on average; the rarer, the more.
    """

    images: Tensor
    labels: Tensor
    class_weights: Tensor

    @property
    def num_frames(self) -> int:
        return self.images.shape[0]

    @property
    def num_classes(self) -> int:
        return self.class_weights.shape[0]

    def to(self, device: torch.device | str) -> FrameBatch:
        """The same batch on a device."""
        return FrameBatch(*(upload(x, device) for x in (self.images, self.labels, self.class_weights)))

    def pin_memory(self) -> FrameBatch:
        """The same batch in page-locked memory, from where it is copied sooner; data loaders call it."""
        return FrameBatch(self.images.pin_memory(), self.labels.pin_memory(), self.class_weights.pin_memory())


def collate_frames(
    images: Sequence[np.ndarray], labels: Sequence[np.ndarray], class_weights: Sequence[float]
) -> FrameBatch:
    """Stack frames of one size.

    Args:
        images: uint8 ``(H, W, 3)`` RGB each.
        labels: uint8 ``(H, W)`` each; see `FrameBatch`.
        class_weights: One for each class.
    """
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return FrameBatch(pixels, torch.from_numpy(np.stack(labels)), torch.tensor(class_weights, dtype=torch.float32))


def labels_of(label_map: np.ndarray, label_space: LabelSpace) -> np.ndarray:
    """Labels, as in `FrameBatch`, of the pixels of a label map with ids of a label space.

    Pixels that are not scored say nothing, also where a label space has one id for them and the background.

    Args:
        label_map: ``(h, w)`` of any integers.
        label_space: Of the ids.

    Returns:
        uint8 ``(h, w)``.

    Raises:
        InputError: The label map holds other values, or the label space has 255 classes or more.
    """
    if len(label_space) >= UNLABELLED:
        raise InputError(f"expected a label space of fewer than {UNLABELLED} classes, got {len(label_space)}")
    ids = label_space.checked(label_map)
    table = np.zeros(max(*label_space.ids, *label_space.nothing) + 1, dtype=np.uint8)
    table[list(label_space.ids)] = np.arange(1, len(label_space) + 1)
    if label_space.ignore is not None:
        table[label_space.ignore] = UNLABELLED
    return table[ids]

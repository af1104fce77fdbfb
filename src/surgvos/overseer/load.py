"""Detectors from what a user has: a name, a weights file, or a folder of masks."""

from __future__ import annotations

from pathlib import Path

import torch

from surgvos.core.label_tables import LABEL_SPACES
from surgvos.core.labels import LabelSpace
from surgvos.errors import CheckpointError, InputError
from surgvos.io.label_spaces import find_label_space
from surgvos.models.checkpoints import read_state_dict
from surgvos.models.devices import resolve_device
from surgvos.models.families import describe
from surgvos.models.registry import bundled_weights
from surgvos.overseer.detector import Detector, DetectorOptions
from surgvos.overseer.detr import DetrDetector, is_detr
from surgvos.overseer.mask2former import Mask2FormerDetector, is_mask2former
from surgvos.overseer.mask_folder import MaskFolderDetector
from surgvos.overseer.mask_rcnn import MaskRcnnDetector, is_mask_rcnn
from surgvos.overseer.nano import NanoDetector, is_nano_segmenter
from surgvos.overseer.nnunet import NnunetDetector, is_nnunet_folder

DETECTORS = (
    ("Mask R-CNN", is_mask_rcnn, MaskRcnnDetector),
    ("DETR", is_detr, DetrDetector),
    ("Mask2Former", is_mask2former, Mask2FormerDetector),
    ("nano segmenter", is_nano_segmenter, NanoDetector),
)
"""Kinds of network, how each is recognised, and what makes a detector of it."""

BUNDLED_DETECTORS = {"surgvos-nano": "surgvos-nano-overseer"}
"""Detectors in the box: the name of each, which is also that of its label space, and of its weights."""


def load_detector(
    path: str | Path,
    label_space: LabelSpace | str | Path | None = None,
    options: DetectorOptions | None = None,
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.float32,
) -> Detector:
    """Load a detector; its kind and size are read off the names and shapes of its weights.

    Args:
        path: ``surgvos-nano``, which is in the box; weights of a Mask R-CNN, DETR or Mask2Former (``.pth``, ``.pt``,
            ``.safetensors``), or a folder of label maps, one per frame, whose values are ids of the label space.
        label_space: What it was trained on: a name such as ``cadis-2``, a YAML file, or the label space itself. Only
            a detector in the box has one of its own.
        options: See `DetectorOptions`; of no effect on a folder.
        device: As for `surgvos.load_model`.
        dtype: Precision of a network's products.

    Raises:
        CheckpointError: The file is damaged, of another network, or of another label space.
        InputError, ConfigError: There is no such label space, file, folder or device.
    """
    if label_space is None:
        label_space = own_label_space(path)
    space = label_space if isinstance(label_space, LabelSpace) else find_label_space(label_space)
    path = bundled_weights()[BUNDLED_DETECTORS[str(path)]] if str(path) in BUNDLED_DETECTORS else Path(path)
    if is_nnunet_folder(path):
        return NnunetDetector(path, space, options, device=resolve_device(device))
    if path.is_dir():
        return MaskFolderDetector(path, space)
    if not path.exists():
        raise InputError(
            f"expected {', '.join(BUNDLED_DETECTORS)}, the weights of a detector or a folder of masks, got nothing at "
            f"{str(path)!r}"
        )
    state = read_state_dict(path)
    for _, is_this, detector in DETECTORS:
        if is_this(state):
            try:
                return detector(state, space, options, device=resolve_device(device), dtype=dtype)
            except CheckpointError as error:
                raise CheckpointError(f"{path.name}: {error}") from None
    raise CheckpointError(
        f"expected the weights of a {', '.join(name for name, _, _ in DETECTORS)}, got {describe(state)} in {path}; "
        "try --model for a tracker"
    )


def own_label_space(path: str | Path) -> LabelSpace:
    """The label space that a detector in the box has of its own.

    Raises:
        InputError: It is none of those.
    """
    if str(path) not in BUNDLED_DETECTORS:
        raise InputError(
            f"expected a label space for {str(path)!r}, which says what its classes mean, got none; try --label-space "
            "cadis-2, or a YAML file"
        )
    return LABEL_SPACES[str(path)]

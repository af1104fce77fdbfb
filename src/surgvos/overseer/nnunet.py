"""nnU-Net v2 as a detector: a folder that it trained into, and its numbers for classes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.errors import CheckpointError, InputError
from surgvos.io.extras import import_extra
from surgvos.models.checkpoints import read_pickled
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import DetectorOptions, classes_of_labels

DATASET, PLANS = "dataset.json", "plans.json"
BACKGROUND, IGNORE = "background", "ignore"
IMAGE_HW = "image_hw"
"""Entry of our own in ``dataset.json``: height and width to which images were brought."""

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
_TRUSTED_MODULES = ("torch.nn.", "dynamic_network_architectures.")
_SPACING = (999.0, 1.0, 1.0)
"""Of pictures, as nnU-Net's reader of PNG says it: depth is no direction."""


def is_nnunet_folder(folder: str | Path) -> bool:
    """Whether nnU-Net trained into a folder, such as ``nnUNetTrainer__nnUNetPlans__2d``."""
    folder = Path(folder)
    return (folder / DATASET).is_file() and (folder / PLANS).is_file() and bool(_checkpoints(folder))


def nnunet_labels(space: LabelSpace) -> dict[str, int]:
    """Names and numbers of classes for nnU-Net: background is 0, classes follow in the order of their ids.

    What is not scored is its "ignore", the highest number, unless it is background as well.
    """
    numbers = {BACKGROUND: 0, **{space[i].name: number for number, i in enumerate(space.ids, start=1)}}
    if len(numbers) != len(space) + 1 or IGNORE in numbers:
        raise InputError(f"expected classes of other names than {BACKGROUND!r} and {IGNORE!r} for nnU-Net, got one")
    if space.ignore is not None and space.ignore != space.background:
        numbers[IGNORE] = len(numbers)
    return numbers


def ids_of_numbers(labels: Mapping[str, Any], space: LabelSpace) -> dict[int, int]:
    """What nnU-Net's numbers mean: by name where all names are those of the label space, otherwise by order.

    Args:
        labels: As in a ``dataset.json``.
        space: Of the classes.

    Returns:
        Number -> id of the label space; background and "ignore" as well.

    Raises:
        InputError: These are regions, not labels.
        CheckpointError: They are as many as another label space has.
    """
    if not all(isinstance(number, int) for number in labels.values()):
        raise InputError("expected labels of nnU-Net that are numbers, got regions; try a network trained on labels")
    found = {int(number): name for name, number in labels.items() if name.lower() not in (BACKGROUND, IGNORE)}
    by_name = {label.name: label.id for label in space.labels}
    if all(name in by_name for name in found.values()):
        ids = {number: by_name[name] for number, name in found.items()}
    else:
        classes = classes_of_labels(len(found) + 1, space, spare=(1,))
        ids = {number: i for number, i in zip(sorted(found), classes[1:], strict=True) if i is not None}
    nothing = space.background if space.ignore is None else space.ignore
    return ids | {0: space.background} | {int(labels[name]): nothing for name in labels if name.lower() == IGNORE}


def to_size(image: np.ndarray, image_hw: tuple[int, int] | None) -> np.ndarray:
    """An RGB image at the size that a network is trained on, whatever its shape; None: its own."""
    if image_hw is None or image.shape[:2] == image_hw:
        return image
    return cv2.resize(image, image_hw[::-1], interpolation=cv2.INTER_AREA)


class NnunetDetector:
    """Label frames with a two-dimensional nnU-Net; of several folds, the mean counts.

    nnU-Net takes images as they are, and a network that was trained on small ones sees large ones as something else.
    So ``dataset.json`` says to which size images were brought (``"image_hw": [128, 128]``), if to any, and frames are
    brought to it as well.

    Args:
        folder: That it trained into, with ``dataset.json``, ``plans.json`` and ``fold_*/checkpoint_final.pth``.
        label_space: Of its classes; see `ids_of_numbers`.
        options: See `DetectorOptions`. A class's score is its mean probability where it has been chosen.
        device: Where it runs.
        mirrors: Let it look at mirrored frames as well, as ``nnUNetv2_predict`` does: four times the work.

    Raises:
        CheckpointError: The files are damaged, or of a network that does not suit pictures.
        InputError: It was trained on another label space.
        MissingExtraError: nnU-Net is not installed.

    Reference: Isensee et al., "nnU-Net", Nature Methods 2021; SASVi (arXiv 2502.09653), its baseline.

    Departs: checkpoints are read as data, and plans may name networks of nnU-Net alone; masks are enlarged smoothly
    (``tests/oracle/test_nnunet.py``).
    """

    def __init__(
        self,
        folder: str | Path,
        label_space: LabelSpace,
        options: DetectorOptions | None = None,
        *,
        device: torch.device | None = None,
        mirrors: bool = True,
    ) -> None:
        self.label_space, self.options = label_space, options or DetectorOptions()
        dataset, plans = (_read_json(Path(folder) / name) for name in (DATASET, PLANS))
        self.ids = ids_of_numbers(dataset.get("labels", {}), label_space)
        checkpoints = [_read_checkpoint(path) for path in _checkpoints(Path(folder))]
        self._predictor = _predictor(dataset, plans, checkpoints, device or torch.device("cpu"), mirrors)
        size = dataset.get(IMAGE_HW)
        self.image_hw: tuple[int, int] | None = None if size is None else (int(size[0]), int(size[1]))

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        found = ((self._probabilities(frame.image), frame.hw) for frame in frames)
        return [label_pixels(probabilities, self.ids, image_hw, self.options) for probabilities, image_hw in found]

    def _probabilities(self, image: np.ndarray) -> np.ndarray:
        """float32 ``(num_labels, h, w)``, at the size that the network sees."""
        pixels = to_size(image, self.image_hw).transpose(2, 0, 1)[:, None].astype(np.float32)
        with contextlib.redirect_stdout(io.StringIO()):
            _, probabilities = self._predictor.predict_single_npy_array(
                pixels, {"spacing": _SPACING}, save_or_return_probabilities=True
            )
        return np.asarray(probabilities, dtype=np.float32)[:, 0]


def label_pixels(
    probabilities: np.ndarray, ids: Mapping[int, int], image_hw: tuple[int, int], options: DetectorOptions
) -> Detection:
    """Give each pixel to the class of the highest probability.

    Args:
        probabilities: float32 ``(num_labels, h, w)`` at any size, background first.
        ids: Number -> class id.
        image_hw: Size of the frame.
        options: See `DetectorOptions`.

    Returns:
        One instance per class; its score is the mean probability of its pixels.
    """
    enlarge = cv2.INTER_NEAREST_EXACT if options.as_published else cv2.INTER_LINEAR
    best = np.full(image_hw, -1.0, dtype=np.float32)
    winner = np.zeros(image_hw, dtype=np.uint8)
    for number, plane in enumerate(probabilities):
        own = cv2.resize(np.ascontiguousarray(plane), image_hw[::-1], interpolation=enlarge)
        winner[own > best] = number
        np.maximum(best, own, out=best)
    masks = {number: winner == number for number in np.flatnonzero(np.bincount(winner.ravel())).tolist() if number}
    scores = {number: min(float(best[mask].mean()), 1.0) for number, mask in masks.items()}
    kept = [number for number, score in scores.items() if score >= options.min_score]
    return Detection.from_masks(
        np.array([masks[number] for number in kept], dtype=bool).reshape(-1, *image_hw),
        [ids[number] for number in kept],
        [scores[number] for number in kept],
    )


def _predictor(
    dataset: dict[str, Any],
    plans: dict[str, Any],
    checkpoints: Sequence[Mapping[str, Any]],
    device: torch.device,
    mirrors: bool,
) -> Any:
    """nnU-Net's predictor, with a network built of its plans."""
    inference = import_extra("nnunetv2.inference.predict_from_raw_data", "nnunet")
    handlers = import_extra("nnunetv2.utilities.plans_handling.plans_handler", "nnunet")
    networks = import_extra("nnunetv2.utilities.get_network_from_plans", "nnunet")
    plans_manager = handlers.PlansManager(plans)
    configuration = plans_manager.get_configuration(checkpoints[0]["init_args"]["configuration"])
    if len(configuration.patch_size) != 2 or configuration.previous_stage_name is not None:
        raise CheckpointError("expected a nnU-Net of configuration 2d, got another; try training '2d'")
    imports = configuration.network_arch_init_kwargs_req_import
    named = (configuration.network_arch_init_kwargs[name] for name in imports)
    _check_trusted(configuration.network_arch_class_name, *(name for name in named if name is not None))
    network = networks.get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        imports,
        len(dataset["channel_names"]),
        plans_manager.get_label_manager(dataset).num_segmentation_heads,
        deep_supervision=False,
    )
    parameters = [checkpoint["network_weights"] for checkpoint in checkpoints]
    for state in parameters:
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"expected weights of the network in {PLANS}, got others: {error}") from error
    with contextlib.redirect_stdout(io.StringIO()):
        predictor = inference.nnUNetPredictor(use_mirroring=mirrors, device=device, allow_tqdm=False)
        axes = checkpoints[0]["inference_allowed_mirroring_axes"]
        trainer = checkpoints[0]["trainer_name"]
        predictor.manual_initialization(
            network.to(device).eval(), plans_manager, configuration, parameters, dataset, trainer, axes
        )
    return predictor


def _check_trusted(*names: str) -> None:
    """Refuse plans that name anything but parts of networks: nnU-Net would import and call it."""
    for name in names:
        if not name.startswith(_TRUSTED_MODULES):
            raise CheckpointError(f"expected {PLANS} to name parts of networks, got {name!r}, which was not run")


def _checkpoints(folder: Path) -> list[Path]:
    """The best known checkpoint of each fold; of all data where there are no folds."""
    folds = sorted(folder.glob("fold_[0-9]*")) or [folder / "fold_all"]
    found = [[fold / name for name in CHECKPOINTS if (fold / name).is_file()] for fold in folds]
    return [paths[0] for paths in found if paths]


def _read_checkpoint(path: Path) -> Mapping[str, Any]:
    # Beside the weights there is a log, whose numbers are NumPy's: plain values, no code.
    scalar = np.float64(0).__reduce__()[0]
    allowed = [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype]
    allowed += [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    content = read_pickled(path, allowed=allowed)
    wanted = ("network_weights", "init_args", "trainer_name", "inference_allowed_mirroring_axes")
    missing = [name for name in wanted if not isinstance(content, Mapping) or name not in content]
    if missing:
        raise CheckpointError(f"expected a checkpoint of nnU-Net v2, got {path} without {missing[0]}")
    return content


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"expected a {path.name} of nnU-Net, got {str(path)!r} ({error})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"expected a {path.name} of nnU-Net, got something else in {str(path)!r}")
    return content

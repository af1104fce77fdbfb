"""Count the pixels of each class in a predicted and a true label map, and add frames up."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import cv2
import numpy as np

from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError

_MAX_PIXELS_PER_COUNT = 1 << 24  # a histogram counts in float32, which is exact up to here
_NUM_IDS = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class PixelCounts:
    """Pixels of each class, int ``(num_classes,)`` in the order of the label space, ignored pixels left out.

    Attributes:
        common: Predicted and true.
        predicted: Predicted.
        true: True.
    """

    common: np.ndarray
    predicted: np.ndarray
    true: np.ndarray


def numbered_classes(num_classes: int, *, ignore: int | None = None) -> LabelSpace:
    """Make a label space of the ids 1 to ``num_classes``, named by their numbers."""
    return LabelSpace.from_names([str(i) for i in range(1, num_classes + 1)], ignore=ignore)


def count_pixels(prediction: np.ndarray, truth: np.ndarray, classes: LabelSpace) -> PixelCounts:
    """Count the pixels of each class, in one pass over the image however many classes there are.

    Args:
        prediction: Label map ``(h, w)``, uint8 or uint16.
        truth: The same; pixels that it marks as ``classes.ignore`` do not count on either side.
        classes: The known ids; a predicted ``classes.ignore`` counts as background.

    Raises:
        InputError: The sizes differ, or an id is in no label space.

    Example:
        >>> counts = count_pixels(np.uint8([[1, 2]]), np.uint8([[1, 1]]), LabelSpace.from_names(["a", "b"]))
        >>> counts.common.tolist(), counts.predicted.tolist(), counts.true.tolist()
        ([1, 0], [1, 1], [2, 0])
    """
    if prediction.shape != truth.shape:
        predicted_size, true_size = (f"{m.shape[1]}x{m.shape[0]}" for m in (prediction, truth))
        raise InputError(
            f"expected label maps of one size, got a prediction of {predicted_size} and a truth of {true_size} "
            "pixels; try resizing the prediction with nearest-neighbour"
        )
    num_classes = len(classes)
    lookup = _lookup(classes)
    table = joint_histogram(replace_ids(prediction, lookup), replace_ids(truth, lookup), num_classes + 3)
    for name, label_map, num_unknown in (
        ("prediction", prediction, table[-1].sum()),
        ("ground truth", truth, table[:, -1].sum()),
    ):
        if num_unknown:
            raise _unknown_id(name, label_map, classes)
    table = table[:, : num_classes + 1]  # without the pixels that the truth ignores
    of_classes = slice(1, num_classes + 1)
    return PixelCounts(
        common=np.diagonal(table)[of_classes].copy(),
        predicted=table[of_classes].sum(axis=1),
        true=table[:, of_classes].sum(axis=0),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ClassSums:
    """What class scores are made of; adds up over frames and videos.

    All are float with a leading shape that is the same for all; ``(..., num_classes)`` where it says per class.

    Attributes:
        num_frames: Frames.
        true_iou: Mean IoU of a frame over the classes that the truth shows there.
        true_frames: Frames in which the truth shows a class.
        seen_iou: Mean IoU of a frame over the classes that truth or prediction shows there.
        seen_frames: Frames in which truth or prediction shows a class.
        iou: Per class, IoU in the frames in which truth or prediction shows it.
        dice: Per class, likewise.
        class_frames: Per class, the number of those frames.
        common_px: Per class, pixels predicted and true.
        union_px: Per class, pixels predicted or true.
    """

    num_frames: np.ndarray
    true_iou: np.ndarray
    true_frames: np.ndarray
    seen_iou: np.ndarray
    seen_frames: np.ndarray
    iou: np.ndarray
    dice: np.ndarray
    class_frames: np.ndarray
    common_px: np.ndarray
    union_px: np.ndarray

    @classmethod
    def of_frame(cls, counts: PixelCounts) -> ClassSums:
        """The sums of one frame."""
        area = (counts.predicted + counts.true).astype(float)
        common = counts.common.astype(float)
        union = area - common
        in_truth, is_seen = counts.true > 0, union > 0
        iou = np.divide(common, union, out=np.zeros_like(common), where=is_seen)
        dice = np.divide(2 * common, area, out=np.zeros_like(common), where=is_seen)
        return cls(
            num_frames=np.array(1.0),
            true_iou=np.array(iou[in_truth].mean() if in_truth.any() else 0.0),
            true_frames=np.array(float(in_truth.any())),
            seen_iou=np.array(iou[is_seen].mean() if is_seen.any() else 0.0),
            seen_frames=np.array(float(is_seen.any())),
            iou=iou,
            dice=dice,
            class_frames=is_seen.astype(float),
            common_px=common,
            union_px=union,
        )

    @classmethod
    def stack(cls, parts: list[ClassSums]) -> ClassSums:
        """Put sums side by side, along a new first axis."""
        return cls(**{f.name: np.stack([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def total(self, weights: np.ndarray | None = None) -> ClassSums:
        """Add up along the first axis, each ``weights (num_samples, num_parts)`` times, if given."""
        weights = np.ones(len(self.num_frames)) if weights is None else weights
        return ClassSums(**{f.name: weights @ getattr(self, f.name) for f in fields(self)})


def replace_ids(label_map: np.ndarray, lookup: np.ndarray) -> np.ndarray:
    """Replace each id by ``lookup[id]``, in an image of the lookup's type."""
    if label_map.dtype == lookup.dtype == np.uint8:
        padded = np.zeros(256, np.uint8)
        padded[: lookup.size] = lookup[:256]
        return cv2.LUT(np.ascontiguousarray(label_map), padded)
    return lookup[label_map]


def joint_histogram(first: np.ndarray, second: np.ndarray, num_values: int) -> np.ndarray:
    """Count pairs of values below ``num_values`` in two images of one size, int ``(num_values, num_values)``.

    Fast where most pixels are 0 in both.

    Args:
        first: uint8 or uint16; which value stands in the rows of the table.
        second: The same, for its columns.
        num_values: Values there may be.
    """
    images = [np.ascontiguousarray(image).reshape(-1) for image in (first, second)]
    table = np.zeros((num_values, num_values), np.int64)
    if all(image.dtype == np.uint8 for image in images):
        images, num_zeros = _without_zeros(images)
        table[0, 0] = num_zeros
    bounds = [0.0, float(num_values)]
    for start in range(0, images[0].size, _MAX_PIXELS_PER_COUNT):
        parts = [image[None, start : start + _MAX_PIXELS_PER_COUNT] for image in images]
        table += cv2.calcHist(parts, [0, 1], None, [num_values] * 2, bounds * 2).astype(np.int64)
    return table


def _without_zeros(images: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """Leave out eight pixels in a row that are 0 in both images; also return how many those were."""
    num_in_words = images[0].size - images[0].size % 8
    words = [image[:num_in_words].view(np.uint64) for image in images]
    kept = np.flatnonzero(words[0] | words[1])
    shorter = [
        np.concatenate([word[kept].view(np.uint8), image[num_in_words:]])
        for word, image in zip(words, images, strict=True)
    ]
    return shorter, num_in_words - 8 * kept.size


@lru_cache(maxsize=8)
def _lookup(classes: LabelSpace) -> np.ndarray:
    """Id -> 0 for background, 1 .. n for classes, n + 1 ignored, n + 2 unknown."""
    num_classes = len(classes)
    lookup = np.full(_NUM_IDS, num_classes + 2, np.uint8 if num_classes + 3 <= 256 else np.uint16)
    lookup[[label.id for label in classes.labels]] = np.arange(1, num_classes + 1)
    lookup[classes.background] = 0
    if classes.ignore is not None:
        lookup[classes.ignore] = num_classes + 1
    return lookup


def _unknown_id(name: str, label_map: np.ndarray, classes: LabelSpace) -> InputError:
    known = {label.id for label in classes.labels} | {classes.background, classes.ignore}
    unknown = next(int(i) for i in np.unique(label_map) if int(i) not in known)
    ids = ", ".join(str(label.id) for label in classes.labels)
    return InputError(
        f"expected class ids {ids} or {classes.background} for none in the {name}, got {unknown}; "
        f"try other --classes, or --ignore {unknown}"
    )

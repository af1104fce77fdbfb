"""Published scores per class: which means, and what a class counts that is not there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from surgvos.evaluation.class_counts import ClassSums

Scores = dict[str, np.ndarray]
_EPSILON = 1e-15


class AbsentClass(StrEnum):
    """What a frame counts for a class that neither truth nor prediction shows there.

    ``SKIP``: nothing. ``PERFECT``: 1, provided that some frame shows the class.
    """

    SKIP = "skip"
    PERFECT = "perfect"


@dataclass(frozen=True, slots=True)
class ClassProtocol:
    """Scores made of sums over frames; every function keeps the leading shape of the sums.

    Attributes:
        name: Under which reports and the command line know it.
        overall: Scores over all classes, ``(...)``, NaN where there is nothing to score.
        per_class: Scores of each class, ``(..., num_classes)``, NaN for a class that is never seen.
    """

    name: str
    overall: Callable[[ClassSums], Scores]
    per_class: Callable[[ClassSums], Scores]


def endovis_scores(sums: ClassSums) -> Scores:
    """Compute Challenge IoU, ISI IoU, mean class IoU and cumulative IoU.

    Reference: Allan et al., 2017 Robotic Instrument Segmentation Challenge, arXiv 1902.06426 (Challenge IoU);
        González et al., ISINet, MICCAI 2020 (IoU, mcIoU).
    """
    union = sums.union_px.sum(axis=-1)
    cumulative = sums.common_px.sum(axis=-1) / (union + _EPSILON)
    return {
        "CIoU": _ratio(sums.true_iou, sums.true_frames),
        "IoU": _ratio(sums.seen_iou, sums.seen_frames),
        "mcIoU": _mean_over_known(_ratio(sums.iou, sums.class_frames)),
        "mIoU": np.where(union > 0, cumulative, np.nan),
    }


def endovis_class_scores(sums: ClassSums) -> Scores:
    """Compute the IoU of each class over the frames in which truth or prediction shows it."""
    return {"IoU": _ratio(sums.iou, sums.class_frames)}


def semantic_protocol(absent: AbsentClass = AbsentClass.SKIP) -> ClassProtocol:
    """Make the protocol of frame-wise Dice and IoU per class, and of both over all pixels together."""

    def per_class(sums: ClassSums) -> Scores:
        if absent is AbsentClass.SKIP:
            dice, iou = (_ratio(found, sums.class_frames) for found in (sums.dice, sums.iou))
        else:
            num_frames = np.broadcast_to(sums.num_frames[..., None], sums.iou.shape)
            num_absent = num_frames - sums.class_frames
            dice, iou = (_ratio(found + num_absent, num_frames) for found in (sums.dice, sums.iou))
            dice, iou = (np.where(sums.class_frames > 0, found, np.nan) for found in (dice, iou))
        return {
            "Dice": dice,
            "IoU": iou,
            "pooled Dice": _ratio(2 * sums.common_px, sums.common_px + sums.union_px),
            "pooled IoU": _ratio(sums.common_px, sums.union_px),
        }

    def overall(sums: ClassSums) -> Scores:
        return {key: _mean_over_known(found) for key, found in per_class(sums).items()}

    return ClassProtocol("semantic", overall, per_class)


ENDOVIS = ClassProtocol("endovis", endovis_scores, endovis_class_scores)
CLASS_PROTOCOLS: Mapping[str, ClassProtocol] = {protocol.name: protocol for protocol in (ENDOVIS, semantic_protocol())}


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    is_known = denominator > 0
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=is_known)


def _mean_over_known(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where nothing else is there."""
    is_known = ~np.isnan(values)
    return _ratio(np.where(is_known, values, 0.0).sum(axis=-1), is_known.sum(axis=-1))

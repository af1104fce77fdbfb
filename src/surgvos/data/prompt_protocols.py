"""Prompts as published evaluations give them: one for every object, in the frame that shows it first.

Pure functions of true masks and a seed, so that anyone gets the same prompts from the same data.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from surgvos.core.masks import mask_to_box_xyxy
from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt
from surgvos.errors import ConfigError, InputError

PlacedPrompt: TypeAlias = tuple[int, int, Prompt]
"""Frame index, object id, prompt."""

MAX_JITTER_PX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptProtocol:
    """How every object is shown once.

    Reference: Liu et al., Surgical SAM 2 (arXiv 2408.07931) report masks, 1 point and 5 points, and do not say where
    the points lie: published point results can be approached, not repeated. Ravi et al., SAM 2 (arXiv 2408.00714,
    appendix on interactive evaluation) put a first click at ``interior``. ``centroid`` with farthest points after it
    is how others have filled the gap.

    Attributes:
        kind: ``mask`` is the object's whole mask, ``point`` one click, ``points`` several, ``box`` its tight box.
        first_point: Where the first click lies: ``interior`` is the pixel farthest from the object's boundary,
            ``centroid`` the object's pixel nearest to its centre of mass.
        num_points: Clicks of ``points``. Each further one is the object's pixel farthest from all before it; an object
            with fewer pixels gets fewer.
        box_jitter: Largest shift of a box's side, as a share of the box's size, below 0.5; at most 20 pixels. 0 draws
            nothing: then nothing depends on the seed.
        seed: Of the shifts. Every object of every video has draws of its own, whichever others there are.
    """

    kind: Literal["mask", "point", "points", "box"] = "mask"
    first_point: Literal["interior", "centroid"] = "interior"
    num_points: int = 5
    box_jitter: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("mask", "point", "points", "box"):
            raise ConfigError(f"expected prompts of mask, point, points or box, got {self.kind!r}")
        if self.first_point not in ("interior", "centroid"):
            raise ConfigError(f"expected a first point at interior or centroid, got {self.first_point!r}")
        if self.num_points < 1 or not 0 <= self.box_jitter < 0.5 or self.seed < 0:
            raise ConfigError(
                "expected num_points >= 1, box_jitter in 0..0.5 and seed >= 0, got "
                f"{self.num_points}, {self.box_jitter} and {self.seed}"
            )


def prompts_for_video(
    label_maps: Iterable[tuple[int, np.ndarray]],
    protocol: PromptProtocol,
    *,
    video: str,
    object_ids: Collection[int] | None = None,
) -> list[PlacedPrompt]:
    """Prompt every object of a video in the first frame that shows it.

    Args:
        label_maps: Frame index and integer ``(h, w)`` label map, in order; frames may be missing.
        protocol: What is shown.
        video: Its name; draws depend on it.
        object_ids: Ids to prompt; None prompts all.

    Returns:
        Prompts ordered by frame, then by object.

    Raises:
        InputError: No object is ever visible.
    """
    placed = []
    for object_id, (frame_index, mask) in first_appearances(label_maps, object_ids).items():
        rng = np.random.default_rng((protocol.seed, zlib.crc32(video.encode()), object_id))
        placed.append((frame_index, object_id, prompt_for_mask(mask, protocol, rng)))
    if not placed:
        wanted = "objects" if object_ids is None else f"one of the objects {sorted(object_ids)}"
        raise InputError(f"expected {wanted} in the label maps of video {video!r}, got none; try other objects")
    return sorted(placed, key=lambda found: found[:2])


def first_appearances(
    label_maps: Iterable[tuple[int, np.ndarray]], object_ids: Collection[int] | None = None
) -> dict[int, tuple[int, np.ndarray]]:
    """Object id -> the first frame that shows it, and its mask bool ``(h, w)`` there.

    Args:
        label_maps: Frame index and integer ``(h, w)`` label map, in order.
        object_ids: Ids to look for; None looks for all but 0.
    """
    found: dict[int, tuple[int, np.ndarray]] = {}
    for frame_index, label_map in label_maps:
        for object_id in map(int, np.unique(label_map)):
            if object_id != 0 and object_id not in found and (object_ids is None or object_id in object_ids):
                found[object_id] = frame_index, label_map == object_id
    return found


def prompt_for_mask(mask: np.ndarray, protocol: PromptProtocol, rng: np.random.Generator) -> Prompt:
    """The prompt that shows a mask, bool ``(h, w)`` and not empty; ``rng`` is asked only for a box that is shifted."""
    if protocol.kind == "mask":
        return MaskPrompt(mask)
    if protocol.kind == "box":
        return BoxPrompt(_shift_sides(tight_box(mask), mask.shape, protocol.box_jitter, rng))
    first = interior_point(mask) if protocol.first_point == "interior" else centroid_point(mask)
    return PointPrompt(farthest_points(mask, first, 1 if protocol.kind == "point" else protocol.num_points))


def interior_point(mask: np.ndarray) -> tuple[int, int]:
    """The pixel ``(x, y)`` of a mask that lies farthest from outside; beyond the image is outside.

    Ties go to the upper, then to the left pixel.
    """
    padded = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return int(x), int(y)


def centroid_point(mask: np.ndarray) -> tuple[int, int]:
    """The pixel ``(x, y)`` of a mask nearest to its centre of mass, which itself may lie outside."""
    ys, xs = np.nonzero(mask)
    nearest = int(((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2).argmin())
    return int(xs[nearest]), int(ys[nearest])


def farthest_points(mask: np.ndarray, first_xy: tuple[int, int], num_points: int) -> np.ndarray:
    """Spread points over a mask: each is the pixel farthest from all before it.

    Returns:
        int64 ``(n, 2)`` as (x, y), beginning with the first point; ``n`` is less than asked for where the mask has
        fewer pixels.
    """
    ys, xs = np.nonzero(mask)
    points = [first_xy]
    nearest = np.full(len(xs), np.iinfo(np.int64).max)
    while len(points) < num_points:
        x, y = points[-1]
        nearest = np.minimum(nearest, (xs - x) ** 2 + (ys - y) ** 2)
        farthest = int(nearest.argmax())
        if nearest[farthest] == 0:
            break
        points.append((int(xs[farthest]), int(ys[farthest])))
    return np.array(points, dtype=np.int64)


def tight_box(mask: np.ndarray) -> np.ndarray:
    """float64 ``(4,)`` x0, y0, x1, y1 around a mask that is not empty, along the outer edges of its pixels."""
    box = mask_to_box_xyxy(mask)
    if box is None:
        raise InputError("expected a mask with an object, got an empty one")
    return np.array(box, dtype=float)


def _shift_sides(box: np.ndarray, image_hw: tuple[int, ...], share: float, rng: np.random.Generator) -> np.ndarray:
    """Move each side by itself, within the image."""
    if share == 0:
        return box
    size = np.tile(box[2:] - box[:2], 2)
    reach = np.minimum(share * size, MAX_JITTER_PX)
    limit = np.tile(np.array(image_hw[1::-1], dtype=float), 2)
    return (box + rng.uniform(-1, 1, 4) * reach).clip(0, limit)

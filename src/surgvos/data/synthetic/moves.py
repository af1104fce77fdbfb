"""Which objects of a clip move, and which stand still?

Judged from the generator's own geometry in the scene, so that a camera that moves moves nothing. Points all over an
object are compared with where they lay a frame before, as far as both frames show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from surgvos.data.synthetic.actors import Actor

# Pixels of the scene per frame at 192 rows. Between the two nobody could be sure.
_MOVING = 1.5
_STILL = 0.5


def find_moves(
    actors: Sequence[Actor], instances: np.ndarray, cameras: np.ndarray
) -> dict[int, tuple[bool | None, ...]]:
    """Object id -> whether it moved since the frame before, for every frame.

    It moves where its points do so by ``_MOVING`` on average, and stands still where not one does so by more than
    ``_STILL``. None: neither is certain, it does not show in both frames, or there is no frame before.

    Args:
        actors: Those with an object id are judged.
        instances: uint8 ``(num_frames, h, w)``.
        cameras: ``(num_frames, 2, 3)``, from the scene to the image.
    """
    if len(instances) == 1:
        return {actor.object_id: (None,) for actor in actors if actor.object_id}
    return {actor.object_id: _moves_of(actor, instances, cameras) for actor in actors if actor.object_id}


def _moves_of(actor: Actor, instances: np.ndarray, cameras: np.ndarray) -> tuple[bool | None, ...]:
    unit_px = instances.shape[1] / 192
    places = (actor.points(t) for t in range(len(cameras)))
    # Two frames' points are held at a time: of a long clip all would be gigabytes.
    frames = zip(places, instances, cameras, strict=True)
    seen = ((xy, _shown(xy, instance_map, camera, actor.object_id)) for xy, instance_map, camera in frames)
    steps = (
        np.linalg.norm(now_xy - before_xy, axis=1)[now & before] / unit_px
        for (before_xy, before), (now_xy, now) in pairwise(seen)
    )
    return (None, *map(_judge, steps))


def _shown(points_xy: np.ndarray, instances: np.ndarray, camera: np.ndarray, object_id: int) -> np.ndarray:
    """Which points of an object an image shows, bool ``(n,)``."""
    height, width = instances.shape
    x, y = np.rint(points_xy @ camera[:, :2].T + camera[:, 2]).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return inside & (instances[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] == object_id)


def _judge(steps: np.ndarray) -> bool | None:
    if steps.size and steps.mean() >= _MOVING:
        return True
    return False if steps.size and steps.max() <= _STILL else None

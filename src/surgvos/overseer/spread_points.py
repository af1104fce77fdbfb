"""Points spread evenly over a mask."""

from __future__ import annotations

import numpy as np

MAX_PIXELS = 8192
MAX_ROUNDS = 300
SETTLED_PX = 0.1


def spread_points(mask: np.ndarray, num_points: int, seed: int = 0) -> np.ndarray:
    """Cut a mask into parts of similar size by k-means, and take the whole-pixel centre of each.

    A centre may lie outside a mask that is not convex.

    Args:
        mask: bool ``(h, w)`` with at least ``num_points`` pixels.
        num_points: Number of centres.
        seed: Of the start (k-means++).

    Returns:
        int64 ``(num_points, 2)``, ``(x, y)`` in pixels.

    Reference: Arthur and Vassilvitskii, k-means++ (SODA 2007), section 2; Lloyd's rounds until nothing moves
        by a tenth of a pixel.
    """
    rows, columns = np.nonzero(mask)
    pixels = np.stack((columns, rows), axis=1).astype(np.float64)
    assert len(pixels) >= num_points
    # The centres of every n-th pixel are those of all to within a pixel or so.
    pixels = pixels[:: max(1, len(pixels) // MAX_PIXELS)]
    centers = _scattered(pixels, num_points, np.random.default_rng(seed))
    for _ in range(MAX_ROUNDS):
        owners = _squared_distances(pixels, centers).argmin(axis=1)
        counts = np.bincount(owners, minlength=num_points)
        sums = np.stack([np.bincount(owners, pixels[:, axis], num_points) for axis in (0, 1)], axis=1)
        before, centers = centers, np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centers)
        if np.abs(centers - before).max() < SETTLED_PX:
            break
    return centers.astype(np.int64)


def _scattered(pixels: np.ndarray, num_points: int, random: np.random.Generator) -> np.ndarray:
    """Pixels far from each other: each is drawn with the square of its distance to the nearest one so far."""
    chosen = [pixels[random.integers(len(pixels))]]
    distances = _squared_distances(pixels, np.array(chosen))[:, 0]
    while len(chosen) < num_points:
        drawn = random.choice(len(pixels), p=distances / distances.sum())
        chosen.append(pixels[drawn])
        distances = np.minimum(distances, _squared_distances(pixels, pixels[drawn : drawn + 1])[:, 0])
    return np.array(chosen)


def _squared_distances(pixels: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Of all pairs, ``(num_pixels, num_centers)``; by one product, without an array for every pair."""
    distances = (pixels**2).sum(axis=1)[:, None] - 2 * pixels @ centers.T + (centers**2).sum(axis=1)
    return np.maximum(distances, 0.0)

"""How much faster the scores are than their definitions, written as loops and as plain NumPy.

    python benchmarks/metrics.py

Frames of 1024x1280 with seven objects as large as instruments; the fastest of repeated runs in one thread. Every row
first demands that all three give the same number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from surgvos.evaluation.bootstrap import Bootstrap, Unit
from surgvos.evaluation.class_counts import ClassSums, count_pixels, numbered_classes
from surgvos.evaluation.class_protocols import ENDOVIS
from surgvos.evaluation.contours import contour_distance, contour_of, crossings
from surgvos.evaluation.flow import warp
from surgvos.evaluation.functional import boundary, dice, jaccard, region_scores

HW = (1024, 1280)
TOLERANCE_PX = 14
CLASSES = numbered_classes(7)


def label_map(shift: int) -> np.ndarray:
    """Seven ellipses, moved down and to the right."""
    found = np.zeros(HW, np.uint8)
    for index in range(7):
        center = (160 + 150 * index + 2 * shift, 200 + 90 * index + shift)
        cv2.ellipse(found, center, (70 + 8 * index, 34 + 4 * index), 20.0 * index, 0, 360, index + 1, thickness=-1)
    return found


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The fastest of some runs: other work on the machine only ever adds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def loop_region(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    common = union = 0
    for p, t in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        common, union = common + (p and t), union + (p or t)
    return common / union, 2 * common / (common + union)


def numpy_region(prediction: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    common = (prediction & truth).sum()
    return common / (prediction | truth).sum(), 2 * common / (prediction.sum() + truth.sum())


def loop_boundary(prediction: np.ndarray, truth: np.ndarray) -> float:
    one, other = (np.argwhere(boundary(mask)).tolist() for mask in (prediction, truth))

    def share(points: list[list[int]], others: list[list[int]]) -> float:
        near = 0
        for y, x in points:
            near += any((y - v) ** 2 + (x - u) ** 2 <= TOLERANCE_PX**2 for v, u in others)
        return near / len(points)

    precision, recall = share(one, other), share(other, one)
    return 2 * precision * recall / (precision + recall)


def numpy_boundary(prediction: np.ndarray, truth: np.ndarray) -> float:
    y, x = np.ogrid[-TOLERANCE_PX : TOLERANCE_PX + 1, -TOLERANCE_PX : TOLERANCE_PX + 1]
    disk = (x**2 + y**2 <= TOLERANCE_PX**2).astype(np.uint8)
    one, other = (boundary(mask) for mask in (prediction, truth))
    near_one, near_other = (cv2.dilate(mask.astype(np.uint8), disk) > 0 for mask in (one, other))
    precision, recall = (one & near_other).sum() / one.sum(), (other & near_one).sum() / other.sum()
    return float(2 * precision * recall / (precision + recall))


def loop_classes(prediction: np.ndarray, truth: np.ndarray) -> float:
    ious = []
    pairs = list(zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True))
    for label in range(1, 8):
        common = union = 0
        for p, t in pairs:
            common, union = common + (p == label == t), union + (label in (p, t))
        ious.append(common / union)
    return sum(ious) / len(ious)


def numpy_classes(prediction: np.ndarray, truth: np.ndarray) -> float:
    ious = []
    for label in range(1, 8):
        one, other = prediction == label, truth == label
        ious.append((one & other).sum() / (one | other).sum())
    return float(np.mean(ious))


def our_classes(prediction: np.ndarray, truth: np.ndarray) -> float:
    sums = ClassSums.of_frame(count_pixels(prediction, truth, CLASSES))
    return float(ENDOVIS.overall(sums)["IoU"])


def loop_distance(one: np.ndarray, other: np.ndarray) -> float:
    def nearest(points: list[list[int]], others: list[list[int]]) -> float:
        return sum(min(math.dist(p, q) for q in others) for p in points) / len(points)

    first, second = one.tolist(), other.tolist()
    return (nearest(first, second) + nearest(second, first)) / 4


def numpy_distance(one: np.ndarray, other: np.ndarray) -> float:
    distances = np.sqrt(((one[:, None] - other[None]) ** 2).sum(axis=2))
    return float(distances.min(axis=1).mean() + distances.min(axis=0).mean()) / 4


def loop_warp(labels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    found = np.zeros_like(labels)
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            column = math.floor(min(max(x + float(flow[y, x, 0]), 0), width - 1) + 0.5)
            row = math.floor(min(max(y + float(flow[y, x, 1]), 0), height - 1) + 0.5)
            found[y, x] = labels[row, column]
    return found


def numpy_warp(labels: np.ndarray, flow: np.ndarray) -> np.ndarray:
    height, width = labels.shape
    x = np.clip(np.arange(width) + flow[..., 0], 0, width - 1)
    y = np.clip(np.arange(height)[:, None] + flow[..., 1], 0, height - 1)
    return labels[np.floor(y + 0.5).astype(int), np.floor(x + 0.5).astype(int)]


def numpy_bootstrap(values: list[float]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(values), (10_000, len(values)))
    low, high = np.percentile([np.array(values)[draw].mean() for draw in draws], (2.5, 97.5))
    return float(low), float(high)


def loop_bootstrap(values: list[float]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    samples = []
    for draw in rng.integers(0, len(values), (10_000, len(values))).tolist():
        samples.append(sum(values[index] for index in draw) / len(values))
    low, high = np.percentile(samples, (2.5, 97.5))
    return float(low), float(high)


def compare(name: str, ours: Callable[[], object], loops: Callable[[], object], plain: Callable[[], object]) -> None:
    """Print one row; the three must agree."""
    for other in (loops, plain):
        assert np.allclose(np.asarray(other(), float), np.asarray(ours(), float), rtol=0, atol=1e-9), name
    fast, slow, middle = seconds(ours, 30), seconds(loops, 1), seconds(plain, 10)
    cells = (
        name,
        f"{1000 * fast:.2f}",
        f"{1000 * slow:.0f} ({slow / fast:.0f}x)",
        f"{1000 * middle:.1f} ({middle / fast:.1f}x)",
    )
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    prediction, truth = label_map(5), label_map(0)
    one, other = prediction == 7, truth == 7
    contours = [contour_of(7, crossings(found)) for found in (prediction, truth)]
    flow = np.random.default_rng(0).normal(0, 3, (*HW, 2)).astype(np.float32)
    scores = np.random.default_rng(1).uniform(0, 100, 40).tolist()
    bootstrap = Bootstrap(num_samples=10_000, unit=Unit.OBJECTS)

    def ours_of_region() -> tuple[float, float]:
        return jaccard(one, other), dice(one, other)

    def ours_of_all() -> tuple[float, ...]:
        found = region_scores(one, other)
        return found.jaccard, found.dice, found.boundary_f

    def bootstrapped() -> tuple[float, float]:
        return bootstrap.of_means([{"J": value} for value in scores], range(len(scores)))["J"]

    print("| score | ours, ms | loops, ms | plain NumPy, ms |\n|---|---|---|---|")
    compare("J and Dice", ours_of_region, lambda: loop_region(one, other), lambda: numpy_region(one, other))
    compare(
        "J, Dice and F",
        ours_of_all,
        lambda: (*loop_region(one, other), loop_boundary(one, other)),
        lambda: (*numpy_region(one, other), numpy_boundary(one, other)),
    )
    compare(
        "IoU of 7 classes",
        lambda: our_classes(prediction, truth),
        lambda: loop_classes(prediction, truth),
        lambda: numpy_classes(prediction, truth),
    )
    compare(
        "contour distance",
        lambda: contour_distance(*contours),
        lambda: loop_distance(*contours),
        lambda: numpy_distance(*contours),
    )
    compare(
        "flow warp", lambda: warp(truth, flow).labels, lambda: loop_warp(truth, flow), lambda: numpy_warp(truth, flow)
    )
    compare(
        "bootstrap, 10 000 draws of 40", bootstrapped, lambda: loop_bootstrap(scores), lambda: numpy_bootstrap(scores)
    )


if __name__ == "__main__":
    main()

"""Videos of coloured blocks, and a detector that sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from surgvos.core import Frame, FrameResult, LabelSpace
from surgvos.overseer.detection import Detection

HW = (48, 64)
COLORS = {0: (250, 20, 20), 3: (20, 250, 20), 5: (20, 20, 250)}
Shown = Callable[[int], Sequence[int]]


def truth_of(index: int, shown: Sequence[int]) -> dict[int, np.ndarray]:
    masks = {}
    for number, class_id in enumerate(COLORS):
        if class_id in shown:
            mask = np.zeros(HW, dtype=bool)
            mask[4 + 14 * number : 14 + 14 * number, index % 40 : index % 40 + 16] = True
            masks[class_id] = mask
    return masks


class Film:
    """A video of coloured blocks that move to the right; it counts how often each frame is read."""

    def __init__(self, num_frames: int, shown: Shown) -> None:
        self.truths = [truth_of(index, shown(index)) for index in range(num_frames)]
        self.num_read = [0] * num_frames

    def __len__(self) -> int:
        return len(self.truths)

    def __getitem__(self, index: int) -> Frame:
        self.num_read[index] += 1
        image = np.full((*HW, 3), 120, dtype=np.uint8)
        for class_id, mask in self.truths[index].items():
            image[mask] = COLORS[class_id]
        return Frame(index, f"{index:05d}", image)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))


class FakeDetector:
    """Sees what the film shows, except in frames where it is told to miss a class."""

    label_space = LabelSpace.from_names(["a", "b", "c", "d", "e"])

    def __init__(self, film: Film, missed: Callable[[int, int], bool] = lambda index, class_id: False) -> None:
        self.film, self.missed = film, missed
        self.batches: list[list[int]] = []

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        self.batches.append([frame.index for frame in frames])
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: Frame) -> Detection:
        seen = {i: m for i, m in self.film.truths[frame.index].items() if not self.missed(frame.index, i)}
        return Detection.from_masks(np.array(list(seen.values()), dtype=bool).reshape(-1, *HW), list(seen))


def always(*classes: int) -> Shown:
    return lambda index: classes


def assert_equal(result: FrameResult, truth: dict[int, np.ndarray]) -> None:
    visible = {i: mask for i, mask in result.masks.items() if mask.any()}
    assert visible.keys() == truth.keys(), f"frame {result.frame_index}"
    for i, mask in visible.items():
        assert np.array_equal(mask, truth[i]), f"frame {result.frame_index}, class {i}"

"""Bring the predicted and the true masks of each video together, and go through their frames."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from surgvos.errors import InputError
from surgvos.evaluation.folders import DEFAULT_THRESHOLD, MaskFolder, MaskVideo, VideoMasks, find_videos

Item = TypeVar("Item")
Found = TypeVar("Found")
Progress = Callable[[int, int | None], None]
"""Called with the number of frames done, and of all, None where not known."""


@dataclass(frozen=True, slots=True)
class VideoPairs:
    """Videos of the truth with what was predicted of them.

    Attributes:
        pairs: Truth and prediction; a video that was not predicted has one without files.
        warnings: One sentence for each video that has no counterpart.
    """

    pairs: list[tuple[VideoMasks, MaskFolder]]
    warnings: list[str]

    @property
    def num_frames(self) -> int | None:
        """Frames of the truth, None where a video file would have to be decoded to know."""
        folders = [truth for truth, _ in self.pairs if isinstance(truth, MaskFolder)]
        return sum(len(folder.frame_names) for folder in folders) if len(folders) == len(self.pairs) else None


def pair_videos(predictions: Path, ground_truth: Path, threshold: int | None, ignore: int | None) -> VideoPairs:
    """Find the predicted masks of each video of the truth; a single video matches whatever its name.

    Raises:
        InputError: A folder holds no masks, or no video has a counterpart.
    """
    predicted = find_videos(predictions)
    truths: dict[str, VideoMasks]
    if ground_truth.is_file():
        video = MaskVideo(ground_truth, DEFAULT_THRESHOLD if threshold is None else threshold)
        truths, is_single = {video.name: video}, True
    else:
        found = find_videos(ground_truth, threshold=threshold, ignore=ignore)
        truths, is_single = dict(found.videos), found.is_single
    if len(truths) == len(predicted.videos) == 1 and (is_single or predicted.is_single):
        return VideoPairs(list(zip(truths.values(), predicted.videos.values(), strict=True)), [])
    if not truths.keys() & predicted.videos.keys():
        raise InputError(
            f"expected predictions of the ground truth's videos, such as {min(truths)}, got "
            f"{', '.join(sorted(predicted.videos)[:5])} in {predictions}; try renaming the folders, "
            "or giving the folder of one video"
        )
    warnings = [f"video {name}: no prediction" for name in truths.keys() - predicted.videos.keys()]
    warnings += [
        f"video {name}: predicted but not in the ground truth, not scored"
        for name in predicted.videos.keys() - truths.keys()
    ]
    pairs = [(truth, predicted.videos.get(name, MaskFolder(name, {}))) for name, truth in truths.items()]
    return VideoPairs(pairs, sorted(warnings))


def check_frames_meet(video: str, predicted: list[str], true: list[str]) -> None:
    """Check that some frame of the prediction, if there is any, is one of the truth's.

    Raises:
        InputError: None is.
    """
    if predicted and true and not set(predicted) & set(true):
        raise InputError(
            f"video {video}: expected predicted frames named like those of the ground truth, such "
            f"as {true[0]}, got {predicted[0]} and others; try renaming them"
        )


def in_order(
    work: Callable[[Item], Found], items: Iterable[Item], pool: ThreadPoolExecutor, num_ahead: int
) -> Iterator[Found]:
    """Yield the work's results in order while threads do it, a bounded number of items ahead."""
    running: deque[Future[Found]] = deque()
    for item in items:
        running.append(pool.submit(work, item))
        if len(running) >= num_ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def num_threads(num_workers: int | None) -> int:
    """Return the number of threads asked for, or one per processor."""
    return num_workers or os.cpu_count() or 1

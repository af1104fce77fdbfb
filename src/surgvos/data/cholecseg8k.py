"""CholecSeg8k: clips of 17 laparoscopic cholecystectomies of Cholec80 with twelve classes."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from surgvos.core.label_tables import label_space_by_name
from surgvos.core.labels import LabelSpace
from surgvos.data.archives import FileTree
from surgvos.data.class_maps import ClassMaps, FrameKey, LabelledFrames
from surgvos.data.dataset import Access, Archive, DataSet, Part, Plan, PrepareOptions, collect
from surgvos.data.prepared import VideoPlan, as_json
from surgvos.errors import InputError
from surgvos.io.masks import decode_label_map

MAPS = ClassMaps({"classes": label_space_by_name("cholecseg8k")}, "classes", (480, 854))
NUM_FRAMES = 8080
"""Frames of the whole data set: 101 clips of 80."""

STRAY_VALUES = (35, 36)
"""Values that are reported to stand in some watershed masks and mean nothing; they are not scored."""

FRAME_SPLIT = "frame_split.json"

TEST = ("video37", "video48", "video55")
TRAIN = tuple(f"video{i:02d}" for i in (1, 9, 12, 17, 18, 20, 24, 25, 26, 27, 28, 35, 43, 52))

_FILE = re.compile(r"(?:^|/)(video\d+)_(\d+)/frame_(\d+)_endo(_watershed_mask)?\.png$")


@dataclass(frozen=True)
class CholecSeg8k(DataSet):
    """Clips of 80 consecutive frames of 854x480, prepared as one video each and split by operation.

    Beside the object maps there are ``Labels/classes``; an object is one class. Black background is nothing; what
    the masks leave out is 255 and not scored. The split by frame of the literature, in which neighbouring frames
    fall on both sides, stands in ``frame_split.json`` (`read_frame_split`) where all 8080 frames are there.

    Reference: Hong et al., "CholecSeg8k", arXiv 2012.12453; SASVi, arXiv 2502.09653 (splits).

    Departs: SASVi turns what is not scored into background; ``Labels`` keep it apart
    (``tests/data/test_cholecseg8k.py``).

    Attributes:
        num_frames: Frames of the whole data set, on which the split by frame depends.
    """

    name: ClassVar[str] = "cholecseg8k"
    title: ClassVar[str] = "CholecSeg8k, semantic segmentation of Cholec80"
    access: ClassVar[Access] = Access(
        address="https://www.kaggle.com/datasets/newslab/cholecseg8k",
        steps="downloading from https://www.kaggle.com/datasets/newslab/cholecseg8k (an account is needed)",
        licence="CC BY-NC-SA 4.0: not for commercial use.",
    )
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(name="archive.zip", holds=("frames", "labels"), splits=("train", "test"), videos=TRAIN + TEST),
    )
    label_spaces: ClassVar[Mapping[str, LabelSpace]] = MAPS.spaces
    in_clips: ClassVar[bool] = True
    image_hw: ClassVar[tuple[int, int]] = MAPS.image_hw

    parts: tuple[Part, ...] = (
        Part("train", "train", TRAIN, None),
        Part("test", "valid", TEST, None),
    )
    num_frames: int = NUM_FRAMES

    def plan(self, files: FileTree, options: PrepareOptions) -> Plan:
        """See `DataSet.plan`."""
        source = _Source(files)
        videos, gaps = collect(self.parts, lambda _, *key: source.has(*key), numbers=source.numbers)
        clips = [(part, clip) for part, video, frames in videos for clip in source.clips(video, frames)]
        frames = [(clip.name, number) for _, clip in clips for number in clip.frames]
        if len(frames) != self.num_frames:
            note = f"no split by frame: it is defined on all {self.num_frames} frames, and {len(frames)} are there"
            return Plan(tuple(clips), gaps, (note,))
        return Plan(tuple(clips), gaps, files={FRAME_SPLIT: as_json(_by_clip(split_by_frame(frames)))})


def split_by_frame(frames: Iterable[FrameKey]) -> dict[str, list[FrameKey]]:
    """Split frames as SASVi does: in natural order, shuffled with seed 42, 70 / 15 / 15 %.

    Args:
        frames: Clip and frame number of all frames of the data set, in any order.

    Returns:
        ``train``, ``val`` and ``test``, in the order of the shuffle.
    """
    shuffled = sorted(frames, key=_natural_order)
    random.Random(42).shuffle(shuffled)
    first, second = (len(shuffled) * percent // 100 for percent in (70, 85))
    return {"train": shuffled[:first], "val": shuffled[first:second], "test": shuffled[second:]}


def read_frame_split(root: str | Path) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read the split by frame of a prepared data set.

    Args:
        root: Where it was prepared.

    Returns:
        Split -> clip -> names of frames. The clips lie in both ``train`` and ``valid``.

    Raises:
        InputError: There is none, as the data set was not prepared whole.
    """
    path = Path(root) / FRAME_SPLIT
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return {split: {clip: tuple(names) for clip, names in clips.items()} for split, clips in plain.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"expected the split by frame in {str(path)!r}, got none ({error}); try preparing the whole data set"
        ) from error


class _Source(LabelledFrames):
    """Operations, whose frames lie in clips."""

    def __init__(self, files: FileTree) -> None:
        found = [(name, found) for name in files if (found := _FILE.search(name))]
        keyed = [("labels" if m[4] else "frames", (m[1], int(m[3])), name) for name, m in found]
        super().__init__(files, MAPS, keyed, _decode)
        self._clip_of: dict[FrameKey, str] = {}
        for _, m in found:
            self._clip_of.setdefault((m[1], int(m[3])), f"{m[1]}_{m[2]}")

    def clips(self, video: str, frames: Sequence[int]) -> list[VideoPlan]:
        """How the clips of an operation are made."""
        clips: dict[str, list[int]] = {}
        for number in frames:
            clips.setdefault(self._clip_of[video, number], []).append(number)
        return [self.plan(video, tuple(numbers), name=clip) for clip, numbers in sorted(clips.items())]


def _decode(content: bytes, where: str) -> np.ndarray:
    raw = decode_label_map(content, where)
    return np.where(np.isin(raw, STRAY_VALUES), np.uint8(255), raw)


def _natural_order(key: FrameKey) -> tuple[int, ...]:
    clip, number = key
    return (*map(int, re.findall(r"\d+", clip)), number)


def _by_clip(split: Mapping[str, Sequence[FrameKey]]) -> dict[str, dict[str, list[str]]]:
    """Split -> clip -> names of its files, as they are prepared, in order."""
    listed: dict[str, dict[str, list[str]]] = {}
    for name, frames in split.items():
        for clip, number in sorted(frames):
            listed.setdefault(name, {}).setdefault(clip, []).append(f"{number:05d}")
    return listed

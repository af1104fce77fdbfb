"""How far two annotators of the same videos agree: Dice and kappa per class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgvos.core.masks import present_ids
from surgvos.errors import InputError
from surgvos.evaluation.folders import MaskFolder, find_videos
from surgvos.evaluation.object_classes import ObjectClasses, read_object_classes
from surgvos.evaluation.tables import Row, ScoreTable

BACKGROUND = "background"
CLASSES = "object_classes.json"


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """What two annotators said of the same pixels.

    Attributes:
        names: Classes, background first.
        counts: int64 ``(n, n)``: pixels by the class of the one (rows) and of the other (columns).
        num_frames: Frames that both labelled.
        warnings: One sentence for each thing that a reader of the scores should know.
    """

    names: tuple[str, ...]
    counts: np.ndarray
    num_frames: int
    warnings: tuple[str, ...] = ()

    @property
    def kappa(self) -> float:
        """Cohen's kappa over all classes and background, in [-1, 1]; NaN where both say one thing throughout.

        Reference: Cohen, A Coefficient of Agreement for Nominal Scales, 1960, equation 1.
        """
        return cohen_kappa(self.counts)

    def of_class(self, name: str) -> dict[str, float]:
        """Dice and kappa of one class against everything else; the pixels of all frames are counted together."""
        index = self.names.index(name)
        both = int(self.counts[index, index])
        one, other = int(self.counts[index].sum()), int(self.counts[:, index].sum())
        rest = int(self.counts.sum()) - one - other + both
        pair = np.array([[both, one - both], [other - both, rest]])
        return {"dice": 2 * both / (one + other) if one + other else float("nan"), "kappa": cohen_kappa(pair)}

    def table(self) -> ScoreTable:
        """Return one row per class that either annotator used, and one over all."""
        rows = [Row((name,), self.of_class(name)) for name in self.names[1:]]
        rows.append(Row(("all",), {"kappa": self.kappa, "frames": self.num_frames}, is_summary=True))
        return ScoreTable("agreement of two annotators", ("class",), ("dice", "kappa", "frames"), tuple(rows))

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        scores = {name: self.of_class(name) for name in self.names[1:]}
        known = {name: {key: v for key, v in found.items() if np.isfinite(v)} for name, found in scores.items()}
        kappa = self.kappa if np.isfinite(self.kappa) else None
        return {
            "classes": known,
            "kappa": kappa,
            "confusion": {"names": list(self.names), "pixels": self.counts.tolist()},
            "num_frames": self.num_frames,
            "warnings": list(self.warnings),
        }


def cohen_kappa(counts: np.ndarray) -> float:
    """Agreement beyond what chance would give.

    Args:
        counts: ``(n, n)``, by the class of the one and of the other.

    Returns:
        In [-1, 1]; NaN where chance alone would agree on everything.

    Example:
        >>> round(cohen_kappa(np.array([[20, 5], [10, 15]])), 3)
        0.4
    """
    share = counts / counts.sum()
    expected = float(share.sum(axis=0) @ share.sum(axis=1))
    return float("nan") if expected >= 1 else (float(np.trace(share)) - expected) / (1 - expected)


def compare_annotators(one: str | Path, other: str | Path) -> Agreement:
    """Compare two projects, or two folders of masks, of the same video or videos, frame by frame.

    Only frames that both labelled count. Objects are compared by their class, which ``object_classes.json`` in the
    folder of each names; without the file, by their ids.

    Args:
        one, other: Folders as `evaluate_folders` takes them.

    Raises:
        InputError: A folder holds no masks, no frame is labelled by both, or sizes differ.
    """
    ones, others = find_videos(Path(one)).videos, find_videos(Path(other)).videos
    if len(ones) == len(others) == 1:
        # Two folders of one video each are of the same video, whatever they are called.
        others = dict(zip(ones, others.values(), strict=True))
    names: dict[str, int] = {BACKGROUND: 0}
    tables = [_classes_in(Path(folder)) for folder in (one, other)]
    total = np.zeros((1, 1), dtype=np.int64)
    num_frames, num_alone = 0, 0
    for video in sorted(ones.keys() & others.keys()):
        pair = (ones[video], others[video])
        frames = set(pair[0].frame_names) & set(pair[1].frame_names)
        num_alone += len({*pair[0].frame_names, *pair[1].frame_names}) - len(frames)
        for frame in sorted(frames):
            maps = [
                _by_class(f, frame, table.names_of_video(video), names) for f, table in zip(pair, tables, strict=True)
            ]
            if maps[0].shape != maps[1].shape:
                raise InputError(
                    f"video {video}, frame {frame}: expected masks of one size, got {maps[0].shape} and {maps[1].shape}"
                )
            total = _add(total, maps, len(names))
            num_frames += 1
    if num_frames == 0:
        raise InputError(f"expected frames that both labelled, got none in {str(one)!r} and {str(other)!r}")
    warnings = [f"frames that only one annotator labelled, not compared: {num_alone}"] if num_alone else []
    return Agreement(tuple(names), total, num_frames, tuple(warnings))


def _classes_in(folder: Path) -> ObjectClasses:
    path = folder / CLASSES
    return read_object_classes(path) if path.exists() else ObjectClasses({}, {})


def _by_class(folder: MaskFolder, frame: str, called: Mapping[int, str], names: dict[str, int]) -> np.ndarray:
    """A frame by position in ``names``, to which new names are added."""
    label_map = folder.label_map(frame)
    assert label_map is not None, "the frame is one of the folder's"
    lookup = np.zeros(int(label_map.max(initial=0)) + 1, dtype=np.int64)
    for object_id in present_ids(label_map):
        if object_id != 0:
            lookup[object_id] = names.setdefault(called.get(object_id, f"object {object_id}"), len(names))
    return lookup[label_map]


def _add(total: np.ndarray, maps: list[np.ndarray], num_names: int) -> np.ndarray:
    """Count one more pair of frames; names may have become more."""
    grown = np.zeros((num_names, num_names), dtype=np.int64)
    grown[: len(total), : len(total)] = total
    pairs = np.bincount((maps[0] * num_names + maps[1]).ravel(), minlength=num_names**2)
    return grown + pairs.reshape(num_names, num_names)

"""The folder that ``surgvos segment`` writes, as a video of masks; and the same layout for masks from elsewhere."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from surgvos.core.frame import VideoSource
from surgvos.core.labels import LabelSpace
from surgvos.errors import InputError
from surgvos.export.interface import FrameHead, LabelledVideo, object_labels
from surgvos.io.files import new_folder
from surgvos.io.image_folder import ImageSequence
from surgvos.io.label_spaces import find_label_space, read_label_space, write_label_space
from surgvos.io.masks import MaskFolder, MaskWriter, read_mask_folder
from surgvos.io.results import read_frame_log
from surgvos.io.video import open_video

MASKS, FRAMES, RUN, LABEL_SPACE = "masks", "frames.jsonl", "run.json", "label_space.json"


def read_results(folder: Path, *, label_space: str | None = None, video: str | None = None) -> LabelledVideo:
    """Open a result folder.

    Args:
        folder: With ``masks/``; ``frames.jsonl``, ``run.json`` and ``label_space.json`` are used where they are.
        label_space: Name or file of what the ids mean; None takes what the folder says of itself.
        video: The frames; None takes the source of the run, if it is still there.

    Raises:
        InputError: There are no masks, or what was named cannot be opened.
        ConfigError: The label space is not known.
    """
    if not (folder / MASKS).is_dir():
        raise InputError(f"expected a folder that surgvos segment wrote, got {str(folder)!r} without {MASKS}/")
    record = _read_record(folder / RUN)
    labels = _find_labels(folder, record, label_space)
    masks = read_mask_folder(folder / MASKS, (0,) if labels is None else labels.nothing)
    source = _open_source(record.get("source") if video is None else video, must=video is not None)
    heads, ids = _heads_of(folder, masks, source)
    first = next(iter(masks))

    def read(position: int) -> dict[int, np.ndarray]:
        return masks.get(heads[position].name, {})

    return LabelledVideo(
        name=_name_of(folder, record, source),
        image_hw=(masks.label_map(first).shape[0], masks.label_map(first).shape[1]),
        labels=object_labels(_ids_in(masks) if ids is None else ids) if labels is None else labels,
        heads=heads,
        read=read,
        fps=None if source is None else getattr(source, "fps", None),
        source=source,
    )


def write_results(video: LabelledVideo, out: Path, *, per_object: bool = False) -> int:
    """Write masks in the layout of a result folder: ``masks/`` and ``label_space.json``.

    Args:
        video: The masks.
        out: A new folder.
        per_object: Write ``masks/<object, as 001>/<frame>.png``, so that objects may overlap. Without it the lowest
            id wins where they do, with a warning.

    Returns:
        The number of frames.

    Raises:
        InputError: The folder holds something, or the masks cannot be read.
    """
    num_overlapping = 0
    with new_folder(out) as part:
        with MaskWriter(part / MASKS, palette=video.labels.palette()) as writer:
            for head, masks in video:
                if per_object:
                    empty = np.zeros(video.image_hw, dtype=bool)
                    writer.write_per_object(head.name, {i: masks.get(i, empty) for i in video.labels.ids})
                else:
                    num_overlapping += _overlap(masks.values())
                    writer.write(head.name, video.paint(masks))
        write_label_space(part / LABEL_SPACE, video.labels)
    if num_overlapping:
        warnings.warn(
            f"expected objects that do not overlap, got overlap in {num_overlapping} frames, where the lowest id was "
            "taken; --per-object keeps all",
            stacklevel=2,
        )
    return len(video)


def _overlap(masks: Iterable[np.ndarray]) -> bool:
    listed = list(masks)
    return len(listed) > 1 and bool((np.sum(listed, axis=0, dtype=np.uint16) > 1).any())


def _read_record(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["record"]
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"expected the record of a run in {str(path)!r}, got something else") from error


def _find_labels(folder: Path, record: dict[str, Any], asked: str | None) -> LabelSpace | None:
    """What the ids mean, from the first that says so: the user, the folder, the run."""
    if asked is not None:
        return find_label_space(asked)
    if (folder / LABEL_SPACE).exists():
        return read_label_space(folder / LABEL_SPACE)
    overseer = record.get("overseer")
    return find_label_space(overseer["label_space"]) if overseer else None


def _open_source(source: str | None, *, must: bool) -> VideoSource | None:
    if source is None or not (must or Path(source).exists()):
        return None
    opened = open_video(source)
    if not isinstance(opened, VideoSource):
        raise InputError(f"expected a video file or a folder of images, got {source!r}, which is a live stream")
    return opened


def _name_of(folder: Path, record: dict[str, Any], source: VideoSource | None) -> str:
    if source is not None:
        return str(getattr(source, "name", folder.name))
    return Path(record["source"]).stem if record.get("source") else folder.resolve().name


def _heads_of(folder: Path, masks: MaskFolder, source: VideoSource | None) -> tuple[list[FrameHead], set[int] | None]:
    """The frames in order, and the ids that the log knows (None: there is no log)."""
    if not (folder / FRAMES).exists():
        heads = [FrameHead(i, name, image_name=_image_name(source, i)) for i, name in enumerate(masks)]
        return heads, None
    found: dict[str, FrameHead] = {}
    ids: set[int] = set()
    for record in read_frame_log(folder / FRAMES):
        image_name = _image_name(source, record.index)
        found[record.name] = FrameHead(record.index, record.name, record.time_s, image_name)
        ids.update(record.objects)
    if strange := [name for name in masks if name not in found]:
        raise InputError(
            f"expected every mask in {str(folder / FRAMES)!r}, got none of frame {strange[0]!r}; "
            "try the folder of one run, or without that file"
        )
    return sorted(found.values(), key=lambda head: head.index), ids


def _image_name(source: VideoSource | None, index: int) -> str:
    is_known = isinstance(source, ImageSequence) and index < len(source)
    return source.paths[index].name if is_known and isinstance(source, ImageSequence) else ""


def _ids_in(masks: MaskFolder) -> set[int]:
    return {object_id for found in masks.values() for object_id in found}

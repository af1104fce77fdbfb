"""Write videos in the layout of DAVIS, file by file, so that a run that was killed can be repeated and goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from surgvos.io.files import replacing
from surgvos.io.image_folder import natural_key
from surgvos.io.masks import read_label_map, write_label_map

FRAMES, ANNOTATIONS = "JPEGImages", "Annotations"
PROMPTS = "VOS/Annotations_vos_instrument"
OBJECTS = "objects.json"

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPlan:
    """How the files of one video are made.

    Attributes:
        name: Of its folders.
        frames: Numbers of its frames, in order.
        suffixes: Folder below the split -> suffix of its files; for each frame, one file in each.
        make: Frame number -> the same folders, with a label map to write or the content of the file.
        categories: Object id -> what the object is, as far as it is known.
        palettes: Folder -> colours of its label maps, uint8 ``(n, 3)`` RGB; the default is `object_palette`.
        given_prompts: Content of prompt files by frame number, where the source has them; None makes them.
    """

    name: str
    frames: tuple[int, ...]
    suffixes: Mapping[str, str]
    make: Callable[[int], Mapping[str, np.ndarray | bytes]]
    categories: Mapping[int, str] = field(default_factory=dict)
    palettes: Mapping[str, np.ndarray] = field(default_factory=dict)
    given_prompts: Mapping[int, Callable[[], bytes]] | None = None

    def path(self, root: Path, folder: str, number: int) -> Path:
        """Where a frame's file of a folder lies."""
        return root / folder / self.name / f"{number:05d}{self.suffixes.get(folder, '.png')}"

    def listing(self, ids: set[int]) -> list[dict[str, object]]:
        """The objects as in ``objects.json``."""
        return [{"id": i, "category": self.categories.get(i, f"object {i}")} for i in sorted(ids)]


def write_video(plan: VideoPlan, root: Path, *, prompts: bool, on_frame: Callable[[bool], None]) -> set[int]:
    """Write the frames of a video that are not there yet, and its prompts.

    Args:
        plan: How its files are made.
        root: Folder of the split.
        prompts: Whether the split has prompts: the label maps on whose frames an object first appears.
        on_frame: Told, for each frame in order, whether anything had to be written.

    Returns:
        Ids of its objects.
    """
    seen: set[int] = set()
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    try:
        results = pool.map(lambda number: _write_frame(plan, root, number), plan.frames)
        for number, (was_written, ids) in zip(plan.frames, results, strict=True):
            if prompts and plan.given_prompts is None and ids - seen:
                _copy(plan.path(root, ANNOTATIONS, number), plan.path(root, PROMPTS, number))
            seen |= ids
            on_frame(was_written)
    finally:
        # On a fault or Ctrl-C what has not begun is not begun any more.
        pool.shutdown(cancel_futures=True)
    if prompts and plan.given_prompts is not None:
        _write_given_prompts(plan, root)
    return seen


def _write_frame(plan: VideoPlan, root: Path, number: int) -> tuple[bool, set[int]]:
    """Write what lacks of a frame; returns whether anything did, and the object ids of its label map."""
    paths = {folder: plan.path(root, folder, number) for folder in plan.suffixes}
    lacking = {folder: path for folder, path in paths.items() if not path.exists()}
    if lacking:
        made = plan.make(number)
        for folder, path in lacking.items():
            content = made[folder]
            if isinstance(content, bytes):
                write_bytes(path, content)
            else:
                write_label_map(path, content, plan.palettes.get(folder))
    ids = np.flatnonzero(np.bincount(read_label_map(paths[ANNOTATIONS]).ravel()))
    return bool(lacking), {int(i) for i in ids if i}


def _write_given_prompts(plan: VideoPlan, root: Path) -> None:
    for number, content in (plan.given_prompts or {}).items():
        path = plan.path(root, PROMPTS, number)
        if not path.exists():
            write_bytes(path, content())


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        write_bytes(target, source.read_bytes())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        SurgvosError: The disk is full or the folder not writable.
    """
    with replacing(path) as part:
        part.write_bytes(content)


def write_json(path: Path, content: object) -> None:
    """Write plain data as JSON; what is there is replaced."""
    write_bytes(path, as_json(content))


def as_json(content: object) -> bytes:
    """Plain data as the text of a file."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def write_objects(root: Path, listing: Mapping[str, list[dict[str, object]]]) -> None:
    """Enter the objects of some videos into ``objects.json``; those of other videos stay."""
    path = root / OBJECTS
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    write_json(path, dict(sorted({**known, **listing}.items(), key=lambda item: natural_key(Path(item[0])))))

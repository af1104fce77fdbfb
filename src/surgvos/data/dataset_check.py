"""Whether a prepared data set is whole: the videos, frames, sizes, objects and prompts that belong to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from surgvos.data.archives import first_names
from surgvos.data.dataset import RECORD, DataSet, Part
from surgvos.data.phrases import PHRASES, read_phrases
from surgvos.data.prepared import ANNOTATIONS, FRAMES, PROMPTS, Progress
from surgvos.data.vos_check import VideoCheck, check_vos_folder, faults_of, vos_roots
from surgvos.errors import InputError
from surgvos.io.image_folder import natural_key
from surgvos.io.masks import read_label_map


def recorded_name(root: str | Path) -> str | None:
    """Name of the data set that was prepared in a folder, or None."""
    try:
        record = json.loads((Path(root) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = record.get("name") if isinstance(record, dict) else None
    return name if isinstance(name, str) else None


def check_dataset(
    dataset: DataSet, root: str | Path, progress: Progress | None = None
) -> tuple[list[VideoCheck], list[str]]:
    """Check a prepared data set, or one that was published in this layout.

    Beyond `check_vos_folder`: every video and frame of every split, the size of the frames, and prompts that show
    each object on the frame on which it first appears.

    Returns:
        What was found in each video, and all faults, one sentence each.

    Raises:
        InputError: Nothing of the data set is there.
    """
    root = Path(root)
    wanted = sorted({part.folder for part in dataset.parts})
    folders = {folder.name: folder for folder in vos_roots(root) if folder != root}
    if not folders.keys() & set(wanted):
        raise InputError(
            f"expected {dataset.name} with {' and '.join(f'{name}/{FRAMES}' for name in wanted)} in {str(root)!r}, got "
            f"none; try 'surgvos data prepare {dataset.name}'"
        )
    checks: list[VideoCheck] = []
    faults: list[str] = []
    for name, folder in folders.items():
        found = check_vos_folder(folder, progress)
        checks += found
        faults += [f"{name}/{fault}" for fault in (*faults_of(found), *faults_of_phrases(folder, found))]
        by_name = {checked.name: checked for checked in found}
        for part in dataset.parts:
            if part.folder == name:
                faults += _faults_of_part(dataset, part, folder, by_name)
    faults += [
        f"expected the split {part.split} ({part.folder}), which is not there"
        for part in dataset.parts
        if part.folder not in folders
    ]
    return checks, faults


def faults_of_phrases(folder: Path, checks: list[VideoCheck]) -> Iterator[str]:
    """Phrases of a folder in the layout of DAVIS that name an object, a frame or a video that is not there."""
    path = folder / PHRASES
    if not path.exists():
        return
    try:
        book = read_phrases(path)
    except InputError as error:
        yield str(error)
        return
    objects = {checked.name: checked.objects for checked in checks}
    for video, phrases in book.items():
        if video not in objects:
            yield f"{video}: expected the video of the phrases in {PHRASES}, got none"
            continue
        frames = {image.stem for image in (folder / FRAMES / video).iterdir()}
        for phrase in phrases:
            if phrase.object is not None and phrase.object not in objects[video]:
                yield f"{video}: expected a mask of object {phrase.object}, named {phrase.phrase!r}, got none"
            for frame in (phrase.start, phrase.stop):
                if frame is not None and frame not in frames:
                    yield f"{video}: expected the frame {frame} of {phrase.phrase!r}, got none"


def _faults_of_part(dataset: DataSet, part: Part, folder: Path, checks: dict[str, VideoCheck]) -> Iterator[str]:
    for video in part.videos:
        names = [name for name in dataset.prepared_names(folder, video) if name in checks and checks[name].num_frames]
        for name in names:
            yield from (
                f"{part.folder}/{name}: {fault}" for fault in _faults_of_video(dataset, part, folder, checks[name])
            )
        if not names:
            number = "" if part.frames is None else f"{len(part.frames)} "
            yield f"{part.folder}/{video}: expected {number}frames of {part.split}, got none"


def _faults_of_video(dataset: DataSet, part: Part, folder: Path, checked: VideoCheck) -> Iterator[str]:
    if checked.image_hw not in (None, dataset.image_hw):
        yield f"expected frames of {_size(dataset.image_hw)}, got {_size(checked.image_hw)}"
    there = {kind: _numbers(folder / kind / checked.name) for kind in (FRAMES, ANNOTATIONS)}
    # Where no list of frames is published, what is there in one folder must be there in the other.
    expected = sorted(set.union(*there.values())) if part.frames is None else part.frames
    for kind, numbers in there.items():
        lacking = [f"{number:05d}" for number in expected if number not in numbers]
        if lacking:
            yield f"expected {len(expected)} files in {kind}, got no {first_names(lacking)}"
    if part.folder != "train":
        yield from _faults_of_prompts(folder, checked.name)


def _faults_of_prompts(folder: Path, video: str) -> Iterator[str]:
    """Follow the label maps and compare the frame on which each object first appears with the prompts."""
    prompts, annotations = folder / PROMPTS / video, folder / ANNOTATIONS / video
    if not prompts.is_dir():
        yield f"expected prompts in {PROMPTS}, got none"
        return
    if not annotations.is_dir():
        return
    try:
        first_in_truth = _first_masks(annotations)
        first_in_prompts = _first_masks(prompts)
    except InputError:
        return  # Unreadable label maps are a fault that is named already.
    for object_id, (frame, mask) in first_in_truth.items():
        if object_id not in first_in_prompts:
            yield f"expected a prompt of object {object_id} (frame {frame}) in {PROMPTS}, got none"
            continue
        prompt_frame, prompt_mask = first_in_prompts[object_id]
        if prompt_frame != frame:
            yield f"expected the prompt of object {object_id} on frame {frame}, got {prompt_frame}"
        elif not np.array_equal(mask, prompt_mask):
            yield f"expected the prompt of object {object_id} to be its mask on frame {frame}, got another"


def _first_masks(folder: Path) -> dict[int, tuple[str, np.ndarray]]:
    """Object id -> the first frame on which it is seen, and its mask there, packed to bits."""
    found: dict[int, tuple[str, np.ndarray]] = {}
    for path in sorted(folder.glob("*.png"), key=natural_key):
        label_map = read_label_map(path)
        for object_id in np.flatnonzero(np.bincount(label_map.ravel())).tolist():
            if object_id and object_id not in found:
                found[object_id] = path.stem, np.packbits(label_map == object_id)
    return found


def _numbers(folder: Path) -> set[int]:
    if not folder.is_dir():
        return set()
    return {int(path.stem) for path in folder.iterdir() if path.is_file() and path.stem.isdecimal()}


def _size(image_hw: tuple[int, int] | None) -> str:
    return "unknown size" if image_hw is None else f"{image_hw[1]}x{image_hw[0]}"

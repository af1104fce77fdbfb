"""nnU-Net v2's folders: data sets and videos to train on and to predict, and predictions back as label maps.

A case is one frame, named ``<video>__<frame>``; nnU-Net wants ``<case>_0000.png`` for an RGB image and ``<case>.png``
for its labels, numbered from 0 (background) without a gap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.data.dataset_check import recorded_name
from surgvos.data.datasets import dataset_by_name
from surgvos.data.prepared import FRAMES, Progress, write_json
from surgvos.errors import InputError
from surgvos.io.files import replacing
from surgvos.io.image_folder import list_images, natural_key, read_image
from surgvos.io.masks import read_label_map, write_label_map
from surgvos.overseer.nnunet import DATASET, IMAGE_HW, ids_of_numbers, nnunet_labels, to_size

SPLITS = "splits_final.json"
NUM_FOLDS = 5
_SEPARATOR = "__"
_CHANNELS = {"0": "R", "1": "G", "2": "B"}
_LABELS = "Labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class NnunetDataSet:
    """What a data set of nnU-Net is made as.

    Attributes:
        number: Its id, 1 to 999.
        name: Of its folder, ``Dataset<number>_<name>``.
        label_space: Of the label maps.
        image_hw: Height and width to which frames and labels are brought; None leaves them.
    """

    number: int
    name: str
    label_space: LabelSpace
    image_hw: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 999 or not self.name.isidentifier():
            raise InputError(
                f"expected a number in 1..999 and a name of letters and digits, got {self.number} and {self.name!r}"
            )

    @property
    def folder(self) -> str:
        """Name of its folder in ``nnUNet_raw``."""
        return f"Dataset{self.number:03d}_{self.name}"


@dataclass(frozen=True, slots=True)
class _LabelledFrame:
    video: str
    image: Path
    labels: Path

    @property
    def case(self) -> str:
        return case_name(self.video, self.image.stem)


def case_name(video: str, frame: str) -> str:
    """The name of a frame as a case of nnU-Net.

    Raises:
        InputError: The frame's name would not come back out of it.
    """
    if _SEPARATOR in frame:
        raise InputError(f"expected a frame name without {_SEPARATOR!r} for nnU-Net, got {frame!r}")
    return f"{video}{_SEPARATOR}{frame}"


def label_family(root: str | Path, family: str | None, space: LabelSpace | None) -> tuple[str, LabelSpace]:
    """Which label maps of a prepared data set are meant, and what their values mean.

    Args:
        root: Where it was prepared.
        family: One of its folders ``Labels/<family>``; None where there is one alone.
        space: None asks the data set.

    Raises:
        InputError: That is not clear, or there are none.
    """
    found = sorted({path.name for path in Path(root).glob(f"*/{_LABELS}/*") if path.is_dir()})
    family = found[0] if family is None and len(found) == 1 else family
    if family not in found:
        what = ", ".join(found) or "none"
        raise InputError(f"expected one of the label families of {str(root)!r} ({what}), got {family}; try --labels")
    if space is None:
        name = recorded_name(root)
        spaces: Mapping[str, LabelSpace] = {} if name is None else dataset_by_name(name).label_spaces
        if family not in spaces:
            raise InputError(f"expected a label space for {family!r} in {str(root)!r}, got none; try --label-space")
        space = spaces[family]
    return family, space


def export_dataset(
    root: str | Path, out: str | Path, family: str, target: NnunetDataSet, progress: Progress | None = None
) -> Path:
    """Write a prepared data set for nnU-Net: ``train`` to train on, ``valid`` to be predicted and compared with.

    Beside nnU-Net's own files there are ``labelsTs``, and ``splits_final.json`` with folds in which no operation is on
    both sides: in ``nnUNet_preprocessed/<data set>`` it takes the place of nnU-Net's random folds.

    Args:
        root: Where it was prepared: ``<split>/JPEGImages`` and ``<split>/Labels/<family>``.
        out: ``nnUNet_raw``.
        family: Of its label maps.
        target: What is made.
        progress: Told after every frame.

    Returns:
        The folder of the data set.

    Raises:
        InputError: There are no labelled frames to train on, the folder is there, or a label is not known.
    """
    root, folder = Path(root), Path(out) / target.folder
    if folder.exists():
        raise InputError(f"expected no folder {str(folder)!r} yet, got one; try another --id")
    splits = {
        "Tr": list(_labelled_frames(root / "train", family)),
        "Ts": list(_labelled_frames(root / "valid", family)),
    }
    if not splits["Tr"]:
        raise InputError(f"expected labelled frames in {str(root / 'train')!r}, got none; try 'surgvos data prepare'")
    labels = nnunet_labels(target.label_space)
    numbers = _numbers(target.label_space)
    num_frames, done = sum(map(len, splits.values())), 0
    for split, frames in splits.items():
        for frame in frames:
            _write_image(folder / f"images{split}" / f"{frame.case}_0000.png", read_image(frame.image), target.image_hw)
            ids = target.label_space.checked(read_label_map(frame.labels))
            _write_grey(folder / f"labels{split}" / f"{frame.case}.png", _resized(numbers[ids], target.image_hw))
            done += 1
            if progress is not None:
                progress(done, num_frames)
    described = {
        "name": target.name,
        "channel_names": _CHANNELS,
        "labels": labels,
        "numTraining": len(splits["Tr"]),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }
    write_json(folder / DATASET, described | ({} if target.image_hw is None else {IMAGE_HW: list(target.image_hw)}))
    folds = _folds(splits["Tr"], in_clips=_in_clips(root))
    if folds:
        write_json(folder / SPLITS, folds)
    return folder


def export_frames(frames: Iterable[Frame], video: str, out: str | Path, image_hw: tuple[int, int] | None = None) -> int:
    """Write the frames of a video to be predicted by nnU-Net.

    Args:
        frames: Of the video.
        video: Its name.
        out: Folder for ``<video>__<frame>_0000.png``.
        image_hw: As in `NnunetDataSet`.

    Returns:
        How many there are.
    """
    num_frames = 0
    for frame in frames:
        _write_image(Path(out) / f"{case_name(video, frame.name)}_0000.png", frame.image, image_hw)
        num_frames += 1
    return num_frames


def import_predictions(predictions: str | Path, out: str | Path, space: LabelSpace) -> dict[str, int]:
    """Turn what nnU-Net predicted, post-processed or not, into label maps of a label space.

    They serve as a detector (``--overseer OUT/<video>``) and can be scored.

    Args:
        predictions: Folder of ``<video>__<frame>.png``; nnU-Net leaves its ``dataset.json`` beside them.
        out: Folder for ``<video>/<frame>.png``, at the size of the predictions.
        space: Of the classes.

    Returns:
        Video -> number of its frames.

    Raises:
        InputError: There is no prediction, or one has another name or a number that means nothing.
    """
    predictions = Path(predictions)
    paths = list_images(predictions) if predictions.is_dir() else []
    if not paths:
        raise InputError(f"expected a folder of nnU-Net's predictions (PNG), got {str(predictions)!r}")
    ids = ids_of_numbers(_predicted_labels(predictions, space), space)
    dtype = np.uint8 if max(ids.values()) <= 255 else np.uint16
    table = np.zeros(max(ids) + 1, dtype=dtype)
    table[list(ids)] = list(ids.values())
    counts: dict[str, int] = {}
    for path in paths:
        video, separator, frame = path.stem.rpartition(_SEPARATOR)
        if not separator:
            raise InputError(f"expected predictions named VIDEO{_SEPARATOR}FRAME.png, got {path.name!r}")
        numbers = read_label_map(path)
        if int(numbers.max()) >= len(table):
            raise InputError(f"expected numbers up to {max(ids)} in {str(path)!r}, got {int(numbers.max())}")
        write_label_map(Path(out) / video / f"{frame}.png", table[numbers], space.palette())
        counts[video] = counts.get(video, 0) + 1
    return counts


def _predicted_labels(predictions: Path, space: LabelSpace) -> dict[str, object]:
    path = predictions / DATASET
    if not path.is_file():
        return dict(nnunet_labels(space))
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["labels"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"expected a {DATASET} of nnU-Net with labels, got {str(path)!r} ({error})") from error


def _labelled_frames(split: Path, family: str) -> Iterator[_LabelledFrame]:
    images, labels = split / FRAMES, split / _LABELS / family
    if not images.is_dir() or not labels.is_dir():
        return
    for folder in sorted((path for path in labels.iterdir() if path.is_dir()), key=natural_key):
        by_name = {path.stem: path for path in list_images(folder)}
        for image in list_images(images / folder.name):
            if image.stem in by_name:
                yield _LabelledFrame(folder.name, image, by_name[image.stem])


def _numbers(space: LabelSpace) -> np.ndarray:
    """Id of the label space -> number of nnU-Net."""
    table = np.zeros(max((*space.ids, *space.nothing)) + 1, dtype=np.uint8)
    for number, i in ids_of_numbers(nnunet_labels(space), space).items():
        table[i] = number
    return table


def _in_clips(root: Path) -> bool:
    name = recorded_name(root)
    return name is not None and dataset_by_name(name).in_clips


def _folds(frames: Iterable[_LabelledFrame], *, in_clips: bool) -> list[dict[str, list[str]]]:
    """Folds as nnU-Net reads them; none where there are too few operations."""
    cases: dict[str, list[str]] = {}
    for frame in frames:
        operation = frame.video.rpartition("_")[0] if in_clips else frame.video
        cases.setdefault(operation, []).append(frame.case)
    if len(cases) < NUM_FOLDS:
        return []
    held_out = [list(cases)[fold::NUM_FOLDS] for fold in range(NUM_FOLDS)]
    return [
        {
            "train": [case for operation in cases if operation not in out for case in cases[operation]],
            "val": [case for operation in out for case in cases[operation]],
        }
        for out in held_out
    ]


def _write_image(path: Path, image: np.ndarray, image_hw: tuple[int, int] | None) -> None:
    with replacing(path) as part:
        Image.fromarray(to_size(image, image_hw)).save(part, format="png", compress_level=1)


def _write_grey(path: Path, numbers: np.ndarray) -> None:
    """Write numbers without a palette: nnU-Net's reader would take the colours."""
    with replacing(path) as part:
        Image.fromarray(numbers).save(part, format="png", compress_level=1)


def _resized(label_map: np.ndarray, image_hw: tuple[int, int] | None) -> np.ndarray:
    if image_hw is None or label_map.shape == image_hw:
        return label_map
    return cv2.resize(label_map, image_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)

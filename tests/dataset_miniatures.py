"""Challenge-shaped downloads in miniature: the real layout and image sizes, a few frames of a few sequences."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from surgvos.data.dataset import DataSet, Part, seq_names
from surgvos.data.endovis17 import EndoVis17
from surgvos.data.endovis18 import SCENE, EndoVis18

Files = dict[str, bytes]
"""Relative name -> content: a download, unpacked."""

NUM_TRAIN, NUM_TEST = 3, 2
"""Frames per sequence."""


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


@lru_cache
def frame(seed: int, image_hw: tuple[int, int]) -> bytes:
    """A coarse picture that differs from every other; the border is not black, so that a wrong crop shows."""
    height, width = image_hw
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return png(coarse.repeat(8, axis=0).repeat(8, axis=1))


def tool_map(left_px: int, image_hw: tuple[int, int] = (1080, 1920)) -> np.ndarray:
    """A tool of three parts, 90 pixels wide: shaft, wrist, clasper."""
    pixels = np.zeros(image_hw, np.uint8)
    for step, value in enumerate((10, 20, 30)):
        pixels[400:600, left_px + 30 * step : left_px + 30 * (step + 1)] = value
    return pixels


@lru_cache
def endovis17_files() -> Files:
    """Sequences 1 and 7 in training, the test part of 1, and the hold-out 9; sequence 7 has RGB labels."""
    files: Files = {"instrument_1_4_training/mappings.json": b"{}"}
    tools = {
        1: ["Left_Prograsp_Forceps_labels", "Maryland_Bipolar_Forceps_labels", "Other_labels"],
        7: ["Left_Bipolar_Forceps", "Right_Vessel_Sealer"],
    }
    for number, names in tools.items():
        archive = f"instrument_{'1_4' if number < 5 else '5_8'}_training/instrument_dataset_{number}"
        for index in range(NUM_TRAIN):
            files[f"{archive}/left_frames/frame{index:03d}.png"] = frame(10 * number + index, (1080, 1920))
            files[f"{archive}/right_frames/frame{index:03d}.png"] = b"not read"
            for place, name in enumerate(names):
                # The last tool enters late, so that its prompt is not on the first frame.
                enters = index if place == len(names) - 1 else 1
                pixels = tool_map(500 + 200 * place) * np.uint8(enters > 0)
                stored = np.repeat(pixels[..., None], 3, axis=2) if number == 7 else pixels
                files[f"{archive}/ground_truth/{name}/frame{index:03d}.png"] = png(stored)
    for number, archive, start in ((1, "instrument_1_4_testing", 225), (9, "instrument_9_10_testing", 0)):
        for index in range(start, start + NUM_TEST):
            folder = f"instrument_dataset_{number}"
            files[f"{archive}/{folder}/left_frames/frame{index:03d}.png"] = frame(100 + number + index, (1080, 1920))
            type_map = np.where(tool_map(700) > 0, np.uint8(2), np.uint8(0))
            type_map[100:200, 900:1000] = 7 if index > start else 0
            truth = f"instrument_2017_test/instrument_2017_test/{folder}/gt"
            files[f"{truth}/TypeSegmentation/frame{index:03d}.png"] = png(type_map)
            files[f"{truth}/TypeSegmentationRescaled/frame{index:03d}.png"] = b"not read"
            files[f"{truth}/BinarySegmentation/frame{index:03d}.png"] = b"not read"
    return files


def endovis17() -> DataSet:
    return EndoVis17(
        parts=(
            Part("train", "train", seq_names(1, 7), range(NUM_TRAIN)),
            Part("test", "valid", seq_names(1), range(225, 225 + NUM_TEST)),
            Part("holdout", "valid", seq_names(9), range(NUM_TEST)),
        )
    )


def scene_image(shift_px: int) -> np.ndarray:
    """Kidney, a shaft with wrist and clasper, and suction, in the challenge's colours."""
    pixels = np.zeros((1024, 1280, 3), np.uint8)
    color = {label.name: label.color for label in SCENE.labels}
    pixels[600:900, 200:700] = color["kidney-parenchyma"]
    for step, name in enumerate(("instrument-shaft", "instrument-wrist", "instrument-clasper")):
        pixels[300:400, shift_px + 40 * step : shift_px + 40 * (step + 1)] = color[name]
    pixels[100:150, 1000:1100] = color["suction-instrument"]
    return pixels


@lru_cache
def endovis18_files(*, types: bool = True) -> Files:
    """Sequences 3 (training) and 5 (validation), a repair, the test data, and perhaps the masks of ISINet."""
    table = [{"name": "background-tissue", "color": [0, 0, 0], "classid": 0}]
    table += [{"name": label.name, "color": list(label.color), "classid": label.id} for label in SCENE.labels]
    files: Files = {}
    for number, archive in ((3, "miccai_challenge_2018_release_1"), (5, "miccai_challenge_release_2")):
        files[f"{archive}/labels.json"] = json.dumps(table).encode()
        for index in range(NUM_TRAIN):
            folder = f"{archive}/{archive}/seq_{number}"
            files[f"{folder}/left_frames/frame{index:03d}.png"] = frame(10 * number + index, (1024, 1280))
            files[f"{folder}/labels/frame{index:03d}.png"] = png(scene_image(300 + 10 * index))
            if types:
                mask = np.zeros((1024, 1280), np.uint8)
                mask[300:400, 300 + 10 * index : 420 + 10 * index] = 255
                name = f"{folder}/instrument_labels_2017/frame{index:03d}_class{2 + (index > 1)}_inst0.png"
                files[name] = png(mask)
    files["repairs/repairs/seq_3_frame001.png"] = png(scene_image(500))
    # Another operation under a number that is in use: it is not to be mixed in.
    files["test_data/test_data/seq_3/left_frames/frame000.png"] = frame(999, (1024, 1280))
    files["test_data/labels.json"] = b"{}"
    return files


def endovis18() -> DataSet:
    return EndoVis18(
        parts=(
            Part("train", "train", seq_names(3), range(NUM_TRAIN)),
            Part("valid", "valid", seq_names(5), range(NUM_TRAIN)),
        )
    )


MINIATURES: dict[str, tuple[Callable[[], DataSet], Callable[[], Files]]] = {
    "endovis17": (endovis17, lambda: dict(endovis17_files())),
    "endovis18": (endovis18, lambda: dict(endovis18_files())),
}
"""Data set -> the data set in miniature, and its downloads."""


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_zips(root: Path, files: Mapping[str, bytes]) -> Path:
    """One zip per top folder, with the names that the challenge gives, and with what macOS adds."""
    root.mkdir(parents=True, exist_ok=True)
    for archive in sorted({name.split("/")[0] for name in files}):
        with zipfile.ZipFile(root / f"{archive}.zip", "w") as target:
            for name, content in files.items():
                top, _, rest = name.partition("/")
                if top == archive:
                    target.writestr(rest, content)
                    target.writestr(f"__MACOSX/{Path(rest).parent}/._{Path(rest).name}", b"\0\5\26\7")
    return root


def write_tars(root: Path, files: Mapping[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "all.tar", "w") as target:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Everything in a folder, by relative name."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

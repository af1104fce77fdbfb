"""Challenge-shaped downloads in miniature: the real layout and image sizes, a few frames of a few sequences."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from surgvos.core import object_palette
from surgvos.data.cadis import Cadis
from surgvos.data.cataract1k import Cataract1k
from surgvos.data.cholecseg8k import CholecSeg8k
from surgvos.data.dataset import DataSet, Part, seq_names
from surgvos.data.endovis17 import EndoVis17
from surgvos.data.endovis18 import SCENE, EndoVis18
from surgvos.data.endovis_vos import VosEndoVis17, VosEndoVis18
from surgvos.data.ref_endovis import RefEndoVis17, RefEndoVis18

Files = dict[str, bytes]
"""Relative name -> content: a download, unpacked."""

NUM_TRAIN, NUM_TEST = 3, 2
"""Frames per sequence; frames of 1920x1080 take long, so there are fewer of them."""


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


@lru_cache
def frame(seed: int, image_hw: tuple[int, int]) -> bytes:
    """A coarse picture that differs from every other; the border is not black, so that a wrong crop shows."""
    height, width = image_hw
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    return png(coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width])


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
        for index in range(NUM_TEST):
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
            Part("train", "train", seq_names(1, 7), range(NUM_TEST)),
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


def object_map(ids: Sequence[int], shift_px: int, *, mode: str = "P") -> bytes:
    """A square per object, side by side, as a palette or a grey PNG."""
    pixels = np.zeros((1024, 1280), np.uint8)
    for place, object_id in enumerate(ids):
        pixels[300:400, shift_px + 150 * place : shift_px + 150 * place + 100] = object_id
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette(object_palette().ravel().tolist())
    buffer = io.BytesIO()
    image.save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


@lru_cache
def vos_endovis17_files() -> Files:
    """Masks of 9 with the challenge's frames, and of training sequence 2, which is not known of it, with JPEGs."""
    files: Files = {}
    masks = {0: object_map((2, 4), 100), 1: object_map((2, 4, 6), 110)}
    for index, mask in masks.items():
        files[f"instrument_9_10_testing/instrument_dataset_9/left_frames/frame{index:03d}.png"] = frame(
            index, (1080, 1920)
        )
        files[f"VOS-Endovis17/VOS-Endovis17/valid/Annotations/seq_9/{index:05d}.png"] = mask
        files[f"VOS-Endovis17/VOS-Endovis17/valid/VOS/Annotations_vos_instrument/seq_9/{index:05d}.png"] = mask
        picture = io.BytesIO()
        Image.open(io.BytesIO(frame(index, (1024, 1280)))).save(picture, format="jpeg")
        files[f"VOS-Endovis17/VOS-Endovis17/train/JPEGImages/seq_2/{index:05d}.jpg"] = picture.getvalue()
        files[f"VOS-Endovis17/VOS-Endovis17/train/Annotations/seq_2/{index:05d}.png"] = object_map((1,), 50, mode="L")
    return files


def vos_endovis17() -> DataSet:
    return VosEndoVis17(parts=(Part("holdout", "valid", seq_names(9), range(NUM_TEST)),))


def frames18(*numbers: int) -> Files:
    """Frames of the challenge, as released."""
    return {
        f"miccai_challenge_2018_release_1/seq_{number}/left_frames/frame{index:03d}.png": frame(
            10 * number + index, (1024, 1280)
        )
        for number in numbers
        for index in range(NUM_TRAIN)
    }


@lru_cache
def vos_endovis18_files() -> Files:
    """Masks of 3 and 5, without prompts, and the challenge's frames."""
    files = frames18(3, 5)
    for index in range(NUM_TRAIN):
        for folder, number in (("train", 3), ("valid", 5)):
            ids = (1, 7) if index == 1 else (1,)
            files[f"VOS-Endovis18/{folder}/Annotations/seq_{number}/{index:05d}.png"] = object_map(ids, 90 + 10 * index)
    return files


def vos_endovis18() -> DataSet:
    return VosEndoVis18(
        parts=(
            Part("train", "train", seq_names(3), range(NUM_TRAIN)),
            Part("valid", "valid", seq_names(5), range(NUM_TRAIN)),
        )
    )


def meta_file(categories: Mapping[int, str], frames: Mapping[int, Mapping[int, tuple[int, int, bool]]]) -> bytes:
    """A ``Meta/seq_<n>.json``: (action, location, unique) of each object in each frame."""
    plain = {
        "info": {"category": {str(i): name for i, name in categories.items()}},
        "frames": {
            f"{number:05d}": {
                str(i): {"action": action, "location": location, "unique": unique}
                for i, (action, location, unique) in objects.items()
            }
            for number, objects in frames.items()
        },
    }
    return json.dumps(plain).encode()


def expressions_file(expressions: Mapping[str, Sequence[tuple[str, int]]], frames: Sequence[int]) -> bytes:
    """A ``meta_expressions.json``: (phrase, object id) of each video."""
    videos = {
        video: {
            "frames": [f"{number:05d}" for number in frames],
            "expressions": {str(n): {"exp": text, "obj_id": str(i)} for n, (text, i) in enumerate(found)},
            "first_frame": {str(i): 0 for _, i in found},
        }
        for video, found in expressions.items()
    }
    return json.dumps({"videos": videos}).encode()


@lru_cache
def ref_endovis17_files() -> Files:
    """Training sequence 9, whose tools are swapped, and validation sequence 2 across its training and test part."""
    files: Files = {}
    for number, archive, indices in (
        (9, "instrument_9_10_testing", range(NUM_TRAIN)),
        (2, "instrument_1_4_training", (223, 224)),
        (2, "instrument_1_4_testing", (225, 226)),
    ):
        for index in indices:
            name = f"{archive}/instrument_dataset_{number}/left_frames/frame{index:03d}.png"
            files[name] = frame(number + index, (1080, 1920))
            folder = "train" if number == 9 else "valid"
            ids = (2, 4) if number == 9 else (1, 2)
            files[f"Ref-Endovis17/{folder}/Annotations/seq_{number}/{index:05d}.png"] = object_map(ids, 200 + index)
    doing = {0: {2: (1, 4, True), 4: (6, 6, False)}, 1: {2: (1, 4, True)}, 2: {2: (5, 4, True), 4: (6, 6, False)}}
    files["Ref-Endovis17/train/Meta/seq_9.json"] = meta_file({2: "prograsp forceps", 4: "bipolar forceps"}, doing)
    files["Ref-Endovis17/valid/Meta/seq_2.json"] = meta_file({1: "prograsp forceps", 2: "prograsp forceps"}, {})
    files["Ref-Endovis17/valid/meta_expressions.json"] = expressions_file(
        {"seq_2": [("prograsp forceps is idle on the left", 1), ("prograsp forceps is idle on the right", 2)]},
        range(223, 227),
    )
    return files


def ref_endovis17() -> DataSet:
    return RefEndoVis17(
        parts=(
            Part("train", "train", seq_names(9), range(NUM_TRAIN)),
            Part("valid", "valid", seq_names(2), range(223, 227)),
        )
    )


@lru_cache
def ref_endovis18_files() -> Files:
    """Training sequence 13 with a tool and tissue, and validation sequence 5."""
    files = frames18(13, 5)
    for index in range(NUM_TRAIN):
        files[f"Ref-Endovis18/train/Annotations/seq_13/{index:05d}.png"] = object_map((2, 3, 11), 90 + 10 * index)
        files[f"Ref-Endovis18/valid/Annotations/seq_5/{index:05d}.png"] = object_map((1, 12), 90 + 10 * index)
    doing = {index: {2: (7, 0, False), 3: (1, 0, True), 11: (0, 0, True)} for index in range(NUM_TRAIN)}
    categories = {2: "large needle driver", 3: "prograsp forceps", 11: "kidney-parenchyma"}
    files["Ref-Endovis18/train/Meta/seq_13.json"] = meta_file(categories, doing)
    files["Ref-Endovis18/valid/meta_expressions.json"] = expressions_file(
        {"seq_5": [("bipolar forceps is idle", 1), ("bipolar forceps is grasping tissue", 1), ("covered-kidney", 12)]},
        range(NUM_TRAIN),
    )
    return files


def ref_endovis18() -> DataSet:
    return RefEndoVis18(
        parts=(
            Part("train", "train", seq_names(13), range(NUM_TRAIN)),
            Part("valid", "valid", seq_names(5), range(NUM_TRAIN)),
        )
    )


def class_map(values: Sequence[int], shift_px: int, image_hw: tuple[int, int], *, rest: int) -> np.ndarray:
    """Stripes of the values of a data set's files, side by side, and another value around them."""
    pixels = np.full(image_hw, rest, np.uint8)
    for place, value in enumerate(values):
        pixels[100:300, shift_px + 50 * place : shift_px + 50 * place + 40] = value
    return pixels


CADIS_VALUES = {0: (0, 4, 6, 13), 1: (0, 4, 6, 13, 21), 2: (0, 4, 6, 25)}
"""Values by place of the frame: the handpiece's handle enters late, and the suture needle is in no task but one."""


@lru_cache
def cadis_files() -> Files:
    """Videos 1, 5 and 2, numbered sparsely, with labels of any mode; one frame of 1 is known to be mislabelled."""
    files: Files = {"CaDISv2/phase_annotations/train01.csv": b"Frame,Steps"}
    for video, numbers in ((1, (1400, 1430, 1440, 1390)), (5, (90, 100)), (2, (100000, 100030))):
        for place, number in enumerate(numbers):
            name = f"Video{video}_frame{number:06d}.png"
            pixels = class_map(CADIS_VALUES[place % 3], 100 + place, (540, 960), rest=255 if video == 2 else 5)
            rgb = np.repeat(pixels[..., None], 3, axis=2)
            stored = (pixels, rgb, np.dstack([rgb, np.full_like(pixels, 255)]))[place % 3]
            files[f"CaDISv2/Video{video:02d}/Images/{name}"] = frame(number, (540, 960))
            files[f"CaDISv2/Video{video:02d}/Labels/{name}"] = png(stored)
    return files


def cadis() -> DataSet:
    return Cadis(
        parts=(
            Part("train", "train", ("Video01",), None),
            Part("val", "valid", ("Video05",), None),
            Part("test", "valid", ("Video02",), None),
        )
    )


@lru_cache
def cholecseg8k_files() -> Files:
    """Two clips of operation 1 and one of 37; stray values and what is left out stand between the classes."""
    files: Files = {}
    for video, starts in ((1, (80, 15019)), (37, (848,))):
        for start in starts:
            clip = f"archive/video{video:02d}/video{video:02d}_{start:05d}"
            for number in range(start, start + NUM_TRAIN):
                entering = (31,) if number > start else ()
                pixels = class_map((0, 35, 255, 21, 22, *entering), 90 + number - start, (480, 854), rest=50)
                files[f"{clip}/frame_{number}_endo.png"] = frame(number, (480, 854))
                files[f"{clip}/frame_{number}_endo_watershed_mask.png"] = png(np.repeat(pixels[..., None], 3, axis=2))
                files[f"{clip}/frame_{number}_endo_mask.png"] = b"not read"
                files[f"{clip}/frame_{number}_endo_color_mask.png"] = b"not read"
    return files


def cholecseg8k() -> DataSet:
    parts = (Part("train", "train", ("video01",), None), Part("test", "valid", ("video37",), None))
    return CholecSeg8k(parts=parts, num_frames=3 * NUM_TRAIN)


def polygons_file(
    shapes: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, image_hw: tuple[int, int] = (768, 1024)
) -> bytes:
    """A file of Supervisely: (title, corners) of each polygon."""
    objects = [
        {"classTitle": title, "geometryType": "polygon", "points": {"exterior": corners, "interior": []}}
        for title, corners in shapes
    ]
    return json.dumps({"size": {"height": image_hw[0], "width": image_hw[1]}, "objects": objects}).encode()


def box_corners(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


@lru_cache
def cataract1k_files() -> Files:
    """Cases 5013, 5315 and 5329: the knife stands in front of the eye in the file, and enters late."""
    files: Files = {}
    for case, numbers in ((5013, (1, 2, 4)), (5315, (7,)), (5329, (10, 11))):
        for number in numbers:
            folder = f"Segmentation_dataset/Annotations/Images-and-Supervisely-Annotations/case_{case}"
            name = f"case{case}_{number:02d}.png"
            knife = [("Slit Knife", box_corners(300, 300, 500, 340))] if number != numbers[0] else []
            eye = [("pupil1", box_corners(350, 250, 600, 450)), ("Cornea", box_corners(200 + number, 150, 800, 600))]
            files[f"{folder}/img/{name}"] = frame(10 * case + number, (768, 1024))
            files[f"{folder}/ann/{name}.json"] = polygons_file([*knife, *eye])
    return files


def cataract1k() -> DataSet:
    return Cataract1k(
        parts=(
            Part("train", "train", ("case_5013",), None),
            Part("val", "valid", ("case_5315",), None),
            Part("test", "valid", ("case_5329",), None),
        )
    )


MINIATURES: dict[str, tuple[Callable[[], DataSet], Callable[[], Files]]] = {
    "endovis17": (endovis17, lambda: dict(endovis17_files())),
    "endovis18": (endovis18, lambda: dict(endovis18_files())),
    "vos-endovis17": (vos_endovis17, lambda: dict(vos_endovis17_files())),
    "vos-endovis18": (vos_endovis18, lambda: dict(vos_endovis18_files())),
    "ref-endovis17": (ref_endovis17, lambda: dict(ref_endovis17_files())),
    "ref-endovis18": (ref_endovis18, lambda: dict(ref_endovis18_files())),
    "cadis": (cadis, lambda: dict(cadis_files())),
    "cholecseg8k": (cholecseg8k, lambda: dict(cholecseg8k_files())),
    "cataract1k": (cataract1k, lambda: dict(cataract1k_files())),
}
"""Data set -> the data set in miniature, and its downloads."""

FRAME_FILES = re.compile(r"(?!test_data).*(left_frames/|Images/|/img/|/frame_\d+_endo\.png).*")
"""Files of `MINIATURES` that are frames."""


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

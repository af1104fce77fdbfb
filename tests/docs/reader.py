"""What a reader of the pages has: videos, masks, data sets and weights under the pages' names, all in miniature."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_miniatures import MINIATURES, write_zips
from helpers import moving_square_frames, write_video
from models.test_checkpoints import TOY
from models.test_text_model import TOY as REFERRING_TOY
from oracle.test_transformers import TOY as TOY_OF_TRANSFORMERS
from surgvos.cli.train import resolve
from surgvos.core.label_tables import LABEL_SPACES
from surgvos.data.datasets import DATASETS
from surgvos.io.masks import write_label_map
from surgvos.models import registry
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoConfig
from surgvos.models.nano.referring import ReferringNano, ReferringNanoConfig
from surgvos.models.nano.segmenter import NanoSegmenter, NanoSegmenterConfig
from surgvos.models.random_weights import ARCHITECTURES
from surgvos.models.resurg import ResurgModel
from surgvos.models.sam2 import Sam2Model
from surgvos.models.zoo import PUBLISHED, ZOO
from surgvos.models.zoo_entries import HandEntry, HubEntry, ZooEntry
from surgvos.overseer import mask_rcnn, nnunet
from surgvos.training.detector_weights import save_detector
from tiny_clip import tiny_clip_folder
from training.detector_miniatures import DETR, MASK2FORMER, MASK_RCNN, few_proposals

HW = (512, 832)
"""Just enough for the pixels that the pages speak of."""
TRUNK: dict[str, Any] = {"widths": (16, 16, 16, 16), "depths": (1, 1, 1), "input_area_px": 64 * 96}
NANO: dict[str, Any] = TRUNK | {"decoder_widths": (16, 16, 16, 16, 16), "head_dim": 16}
NETWORKS = (
    ReferringNanoConfig(**NANO, context_width=16, place_width=16, mask_width=16, text_width=32),
    NanoConfig(**NANO),
    NanoSegmenterConfig(**TRUNK),
    replace(REFERRING_TOY, language_model=str(tiny_clip_folder())),
    TOY,
    MASK_RCNN,
    DETR,
    MASK2FORMER,
)
"""One miniature of each kind of network."""

WEIGHTS = {
    "sam2.1_hiera_s_endo18.pth": "sam2.safetensors",
    "sam2.1_hiera_tiny.pt": "sam2.safetensors",
    "my_finetuned_small.pth": "sam2.safetensors",
    "sam2.1_hiera_s_ref17.pth": "reads.safetensors",
    "ref17.pth": "reads.safetensors",
    "cadis_maskrcnn.pth": "sees.safetensors",
    "cholecseg8k_maskrcnn.pth": "sees_others.safetensors",
    "nnUNetTrainer__nnUNetPlans__2d": "nnunet",
    "$results": "nnunet",
}
"""Weights that a page names -> the miniature that stands for them."""


def write_files(folder: Path, num_frames: int = 5) -> Path:
    """Write videos, masks and downloads; returns ``folder``."""
    folder.mkdir(exist_ok=True)
    frames, masks = moving_square_frames(num_frames, hw=HW, side_px=300, step_px=4)
    write_video(folder / "case.mp4", frames)
    for name in ("first.png", "tool.png"):
        write_label_map(folder / name, masks[0].astype(np.uint8))
    for index, mask in enumerate(masks):
        label_map = mask.astype(np.uint8)
        label_map[-60:-20, 40:200] = 2
        write_label_map(folder / f"ground_truth/{index:05d}.png", label_map)
    shutil.copy(folder / "ground_truth/00000.png", folder / "labels.png")
    shutil.copytree(folder / "ground_truth", folder / "predicted_label_maps")
    for name in ("truth", "case-labels", "case-anna", "case-ben"):
        shutil.copytree(folder / "ground_truth", folder / name)
    for index, mask in enumerate(masks):
        write_label_map(folder / f"processed/case__{index:05d}.png", mask.astype(np.uint8))
    _write_images(folder / "videos", frames)
    _write_images(folder / "frames", frames[:3])
    _write_many(folder)
    _write_labelled(folder / "mine")
    (folder / "mine.yaml").write_text("classes:\n  - {id: 1, name: grasper}\n  - {id: 2, name: hook}\n")
    first, second = LABEL_SPACES["endovis18-types"].labels[:2]
    (folder / "classes.json").write_text(json.dumps({"1": first.name, "2": second.name}))
    (folder / "downloads").mkdir()
    (folder / "downloads/some_weights.pt").write_bytes(b"some weights")
    return folder


def _write_images(folder: Path, frames: list[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(frames):
        Image.fromarray(image).save(folder / f"{index:05d}.png")


def _write_many(folder: Path) -> None:
    """Small videos, and the first mask of each."""
    frames, masks = moving_square_frames(3)
    _write_images(folder / "frames_of_c", frames)
    for name in ("cases/one", "cases/two", "archive/2025/one", "archive/2026/two", "a", "b"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / f"{name}.mp4", frames)
    for name in ("one", "two", "a", "b", "frames_of_c"):
        write_label_map(folder / f"first_masks/{name}.png", masks[0].astype(np.uint8))
    (folder / "today.txt").write_text("cases/one.mp4\ncases/two.mp4\n")


def _write_labelled(folder: Path) -> None:
    """Frames of two classes, as a prepared data set has them."""
    frames, masks = moving_square_frames(2, hw=(64, 64), side_px=20)
    _write_images(folder / "train/JPEGImages/case", frames)
    for index, mask in enumerate(masks):
        label_map = mask.astype(np.uint8)
        label_map[50:60, 5:30] = 2
        write_label_map(folder / f"train/Labels/classes/case/{index:05d}.png", label_map)


def write_weights(folder: Path) -> Path:
    """Write a network of each kind that pages use, with random weights; returns ``folder``."""
    torch.manual_seed(0)
    save_model(folder / "sam2.safetensors", Sam2Model(TOY))
    save_model(folder / "reads.safetensors", ResurgModel(NETWORKS[3]))  # type: ignore[arg-type]
    for name, space in (("sees", "cadis-2"), ("sees_others", "cholecseg8k"), ("box", "surgvos-nano")):
        config = replace(NETWORKS[2], num_classes=len(LABEL_SPACES[space]))  # type: ignore[arg-type]
        save_detector(folder / f"{name}.safetensors", config, NanoSegmenter(config).state_dict())
    (folder / "box").mkdir()
    (folder / "box.safetensors").rename(folder / "box/surgvos-nano-overseer.safetensors")
    save_model(folder / "box/surgvos-nano.safetensors", ReferringNano(NETWORKS[0]))  # type: ignore[arg-type]
    _write_nnunet(folder / "nnunet")
    (folder / "box/SHA256SUMS").write_text("")
    return folder


def _write_nnunet(folder: Path) -> None:
    """A folder as nnU-Net leaves it, without its network."""
    (folder / "fold_0").mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps({"labels": nnunet.nnunet_labels(LABEL_SPACES["cadis-2"])}))
    (folder / "plans.json").write_text("{}")
    (folder / "fold_0/checkpoint_final.pth").touch()


class _RedIsTheFirstClass:
    """Stands for nnU-Net, which is not installed where tests run; ``tests/oracle/test_nnunet.py`` has it itself."""

    def predict_single_npy_array(self, pixels: np.ndarray, *_: Any, **__: Any) -> tuple[None, np.ndarray]:
        probabilities = np.zeros((1 + len(LABEL_SPACES["cadis-2"]), 1, *pixels.shape[-2:]), np.float32)
        probabilities[1] = pixels[0] > 150
        probabilities[0] = 1 - probabilities[1]
        return None, probabilities


def use_miniatures(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let names of data sets, of models and of what is in the box mean miniatures, in the folder that is worked in."""
    for name, (make, _) in MINIATURES.items():
        monkeypatch.setitem(DATASETS, name, make)
    for name, entry in PUBLISHED.items():
        if isinstance(entry, HubEntry | HandEntry):
            monkeypatch.setitem(PUBLISHED, name, _in_miniature(entry))
            if name in ZOO:
                monkeypatch.setitem(ZOO, name, PUBLISHED[name])
            stands = weights / ("sam2.safetensors" if name in ZOO else "sees.safetensors")
            mirrored = Path("mirror", name, PUBLISHED[name].file_name)
            mirrored.parent.mkdir(parents=True)
            mirrored.symlink_to(stands)
    monkeypatch.setitem(ARCHITECTURES, "sam2.1-hiera-tiny", lambda: TOY_OF_TRANSFORMERS)
    monkeypatch.setattr(mask_rcnn, "build_mask_rcnn", few_proposals)
    monkeypatch.setattr(nnunet, "_read_checkpoint", lambda _: {})
    monkeypatch.setattr(nnunet, "_predictor", lambda *_: _RedIsTheFirstClass())
    monkeypatch.setenv("SURGVOS_MIRROR", "mirror")
    monkeypatch.setenv("SURGVOS_MODELS", "models")
    monkeypatch.setattr(registry, "_bundle", lambda: weights / "box")


def _in_miniature(entry: ZooEntry) -> ZooEntry:
    changes: dict[str, Any] = {"file_name": f"{Path(entry.file_name).stem}.safetensors", "sha256": None}
    if isinstance(entry, HandEntry) and entry.config is not None:
        changes["config"] = TOY
    elif isinstance(entry, HandEntry):
        changes["sign"] = "class_head."
    return replace(entry, **changes)


def write_downloads(name: str, folder: Path) -> None:
    """Write the archives of a data set, as they are downloaded."""
    write_zips(folder, MINIATURES[name][1]())


def prepare_data_of(words: tuple[str, ...]) -> None:
    """Prepare what a training reads, where the page has not done so."""
    config = resolve(words[1], [value for option, value in pairwise(words) if option == "--set"])
    root = Path(getattr(config.data, "root", "."))
    if not root.exists():
        name = root.parts[1]
        write_downloads(name, Path("downloads"))
        DATASETS[name]().prepare([Path("downloads")], root.parent)  # type: ignore[call-arg]


def short_run(words: tuple[str, ...]) -> list[str]:
    """What makes of a training one step of a small network on one small batch."""
    config = resolve(words[1], [])
    network = next(found for found in NETWORKS if type(found) is type(config.model))
    kept = ("num_labels", "num_classes")
    settings = {f"model.{field.name}": getattr(network, field.name) for field in fields(network)}
    settings = {key: value for key, value in settings.items() if key.rpartition(".")[2] not in kept}
    batch = replace(config.stages[-1].batch, image_hw=(64, 64), batch_size=1)
    settings |= {
        "stages": [{"steps": 1, "batch": asdict(batch)}],
        "optimiser.warmup_steps": 0,
        "num_workers": 0,
        "validation": None,
    }
    if hasattr(config.data, "pool_size"):
        settings["data.pool_size"] = 2
    if config.init_parts:
        settings["init_parts"] = {}  # of runs that another page tells of
    if (config.init_from or "").startswith("weights/"):
        settings["init_from"] = None
    return [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]

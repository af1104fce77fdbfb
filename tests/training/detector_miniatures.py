"""Detectors, label spaces and frames so small that a test can train on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from surgvos.core.labels import LabelSpace
from surgvos.data.batches import BatchShape
from surgvos.data.labelled_folder import LabelledFolderConfig
from surgvos.data.transforms import AS_IT_IS
from surgvos.io.masks import write_label_map
from surgvos.overseer import mask_rcnn
from surgvos.overseer.detr import DetrConfig
from surgvos.overseer.mask2former import Mask2FormerConfig
from surgvos.overseer.mask_rcnn import MaskRcnnConfig
from surgvos.training.config import Stage, TrainConfig
from surgvos.training.detection import DetectionSettings
from surgvos.training.detector_weights import DetectorConfig
from surgvos.training.optim import OptimiserSettings

SIDE = 64
SPACE = LabelSpace.from_names(["hook", "grasper", "clip"], ignore=255)
SPACE_FILE = """classes:
  - {id: 1, name: hook}
  - {id: 2, name: grasper}
  - {id: 3, name: clip}
ignore: 255
"""
COLORS = {1: (230, 60, 60), 2: (60, 220, 80), 3: (70, 90, 240)}
NUM_LABELS = len(SPACE) + 1
MASK_RCNN = MaskRcnnConfig(num_labels=NUM_LABELS, box_width=32, mask_widths=(16, 16, 16, 16), mask_hidden=8)
DETR = DetrConfig(
    num_labels=NUM_LABELS,
    num_queries=6,
    width=64,
    num_encoder_layers=1,
    num_decoder_layers=1,
    encoder_ffn_dim=48,
    decoder_ffn_dim=48,
    stem_width=16,
    stage_widths=(32, 64, 128, 256),
    stage_depths=(1, 1, 1, 1),
)
MASK2FORMER = Mask2FormerConfig(
    num_labels=NUM_LABELS,
    num_queries=6,
    width=32,
    feature_width=32,
    mask_width=32,
    num_encoder_layers=1,
    num_decoder_layers=2,
    encoder_ffn_dim=24,
    decoder_ffn_dim=40,
    embed_dim=24,
    stage_depths=(1, 1, 1, 1),
    stage_heads=(2, 3, 4, 6),
    window_size=4,
)
DETECTORS: dict[str, DetectorConfig] = {"mask-rcnn": MASK_RCNN, "detr": DETR, "mask2former": MASK2FORMER}


def write_frames(root: Path, num_frames: int = 8, side: int = SIDE) -> Path:
    """Two videos of rectangles, one for each class that a frame shows; the third class is in every fourth frame."""
    rng = np.random.default_rng(0)
    for number in range(num_frames):
        image = rng.integers(0, 40, (side, side, 3), dtype=np.uint8)
        label_map = np.zeros((side, side), dtype=np.uint8)
        label_map[:3] = 255
        for label in (1, 2, 3) if number % 4 == 0 else (1, 2):
            top, left = 4 + 20 * (label - 1), int(rng.integers(2, side - 30))
            label_map[top : top + 16, left : left + 24] = label
            image[label_map == label] = COLORS[label]
        video = f"case_{number % 2}"
        folder = root / "JPEGImages" / video
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number:05d}.png"), image[..., ::-1])
        (root / "Labels/classes" / video).mkdir(parents=True, exist_ok=True)
        write_label_map(root / "Labels/classes" / video / f"{number:05d}.png", label_map)
    (root / "space.yaml").write_text(SPACE_FILE)
    return root


def folder_of(root: Path) -> LabelledFolderConfig:
    return LabelledFolderConfig(root=str(root), label_space=str(root / "space.yaml"), augmentation=AS_IT_IS)


def tiny_run(root: Path, model: DetectorConfig, steps: int = 4) -> TrainConfig:
    return TrainConfig(
        model=model,
        data=folder_of(root),
        stages=(Stage(steps=steps, batch=BatchShape(image_hw=(SIDE, SIDE), batch_size=2)),),
        task=DetectionSettings(),
        optimiser=OptimiserSettings(learning_rate=1e-3, max_grad_norm=None, schedule="halving"),
        precision="fp32",
        num_workers=0,
        checkpoint_every=2,
        log_every=1,
    )


build_whole_mask_rcnn = mask_rcnn.build_mask_rcnn


def few_proposals(config: MaskRcnnConfig) -> nn.Module:
    """A Mask R-CNN that looks at few places of an image, for time's sake."""
    network: Any = build_whole_mask_rcnn(config)
    for most in (network.rpn._pre_nms_top_n, network.rpn._post_nms_top_n):
        most.update(training=50, testing=20)
    network.roi_heads.fg_bg_sampler.batch_size_per_image = 32
    return network

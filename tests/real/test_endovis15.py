"""The one dense real sequence: EndoVis 2015, a da Vinci tool over tissue, by the model in the box.

The floor is the issue's own figure. The footage may not be shipped; where it is absent, these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import surgvos
from helpers import samples_dir
from surgvos.evaluation import evaluate_folders
from surgvos.io.masks import read_mask_video
from surgvos.tracking.run import RunSettings, segment_video
from surgvos.training.prompts import error_centres

TOOL_THRESHOLD = 35


def tool_folder() -> Path:
    return samples_dir() / "endovis15_robotic"


def first_mask() -> np.ndarray:
    masks = read_mask_video(tool_folder() / "dataset2_masks.avi", {1: TOOL_THRESHOLD})
    return masks[next(iter(masks))][1]


@pytest.mark.slow
def test_the_box_model_follows_a_real_instrument(tmp_path: Path) -> None:
    """Shown by a mask and by a click: as two objects of one run, so that every frame is encoded once."""
    mask = first_mask()
    session = surgvos.Session(surgvos.load_model("surgvos-nano"), options=surgvos.SessionOptions(non_overlap=False))
    session.add_prompt(0, 1, surgvos.MaskPrompt(mask))
    session.add_prompt(0, 2, surgvos.PointPrompt(error_centres(torch.from_numpy(mask)[None]).numpy()))
    video = surgvos.open_video(tool_folder() / "dataset2_video.avi")
    segment_video(session, video, tmp_path / "run", RunSettings(per_object=True), {"test": "both"})
    for object_id, floor in ((1, 84.0), (2, 75.0)):
        alone = tmp_path / f"object_{object_id}"
        alone.mkdir()
        (tmp_path / f"run/masks/{object_id:03d}").rename(alone / "001")
        report = evaluate_folders(alone, tool_folder() / "dataset2_masks.avi", "davis", threshold=TOOL_THRESHOLD)
        assert report.mean.jaccard_and_boundary_f >= floor

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
@pytest.mark.parametrize(("kind", "floor"), [("mask", 84.0), ("click", 75.0)])
def test_the_box_model_follows_a_real_instrument(tmp_path: Path, kind: str, floor: float) -> None:
    mask = first_mask()
    session = surgvos.Session(surgvos.load_model("surgvos-nano"))
    click = error_centres(torch.from_numpy(mask)[None]).numpy()
    session.add_prompt(0, 1, surgvos.MaskPrompt(mask) if kind == "mask" else surgvos.PointPrompt(click))
    video = surgvos.open_video(tool_folder() / "dataset2_video.avi")
    segment_video(session, video, tmp_path / "dataset2", RunSettings(), {"test": kind})
    truth = tool_folder() / "dataset2_masks.avi"
    report = evaluate_folders(tmp_path / "dataset2" / "masks", truth, "davis", threshold=TOOL_THRESHOLD)
    assert report.mean.jaccard_and_boundary_f >= floor

"""J&F of a model on EndoVis 2015 ``dataset2``, from the first mask, from one click in its middle and from its box.

    python benchmarks/real_footage.py --samples SAMPLES --out /tmp/real

SAMPLES holds ``endovis15_robotic/dataset2_video.avi`` and ``dataset2_masks.avi``, which may not be shipped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import surgvos
from surgvos.core.masks import mask_to_box_xyxy
from surgvos.evaluation import evaluate_folders
from surgvos.io.masks import read_mask_video
from surgvos.tracking.run import RunSettings, segment_video
from surgvos.training.prompts import error_centres

TOOL_THRESHOLD = 35


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--model", default="surgvos-nano")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, help="Input size; see `surgvos segment --size`.")
    parser.add_argument("--no-refine", action="store_true", help="Follow by memory alone.")
    chosen = parser.parse_args()
    folder = chosen.samples / "endovis15_robotic"
    truth = folder / "dataset2_masks.avi"
    masks = read_mask_video(truth, {1: TOOL_THRESHOLD})
    first = masks[next(iter(masks))][1]
    click = error_centres(torch.from_numpy(first)[None]).numpy()
    model = surgvos.load_model(chosen.model, image_size=chosen.size)
    prompts = {
        "mask": surgvos.MaskPrompt(first),
        "click": surgvos.PointPrompt(click),
        "box": surgvos.BoxPrompt(mask_to_box_xyxy(first)),
    }
    for kind, prompt in prompts.items():
        session = surgvos.Session(model, options=surgvos.SessionOptions(refine=not chosen.no_refine))
        session.add_prompt(0, 1, prompt)
        video = surgvos.open_video(folder / "dataset2_video.avi")
        out = chosen.out / kind / "dataset2"
        segment_video(session, video, out, RunSettings(overlay=True), {"model": chosen.model, "prompt": kind})
        mean = evaluate_folders(out / "masks", truth, "davis", threshold=TOOL_THRESHOLD).mean
        scores = (mean.jaccard_and_boundary_f, mean.jaccard, mean.boundary_f, mean.dice)
        print(
            f"{kind:6} " + "  ".join(f"{n} {s:.1f}" for n, s in zip(("J&F", "J", "F", "Dice"), scores, strict=True)),
            flush=True,
        )


if __name__ == "__main__":
    main()

"""How well the overseer in the box knows its classes: single synthetic frames of scenes that it was not trained on.

python benchmarks/overseer_classes.py --scenes 200

Given are IoU, recall and precision over the pixels of all scenes, and the number of scenes that show the class.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import torch

from surgvos.core import Frame
from surgvos.data.synthetic import SceneConfig, generate_clip
from surgvos.data.synthetic_classes import SYNTHETIC_CLASSES, class_maps
from surgvos.evaluation.class_counts import count_pixels
from surgvos.overseer.load import load_detector

MIN_SCORE = 0.5
"""As the rules have it by default."""
SCENE = SceneConfig(image_hw=(256, 320), num_frames=1, surgical_share=1.0, occluder=0.0, strand=0.4)
FIRST_SEED = 900_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--overseer", default="surgvos-nano")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--lens-circle", type=float, default=SCENE.lens_circle, help="Share with a black rim.")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    detector = load_detector(chosen.overseer, SYNTHETIC_CLASSES, device="cpu")
    scene = dataclasses.replace(SCENE, lens_circle=chosen.lens_circle)
    counts = []
    for seed in range(chosen.first_seed, chosen.first_seed + chosen.scenes):
        clip = generate_clip(seed, scene)
        (detection,) = detector.detect([Frame(0, "00000", clip.frames[0])])
        seen = detection.above(MIN_SCORE)
        answer = SYNTHETIC_CLASSES.paint({i: seen.mask(i) for i in seen.seen.ids}, detection.hw)
        counts.append(count_pixels(answer, class_maps(clip)[0], SYNTHETIC_CLASSES))
    common, predicted, true = (
        np.sum([getattr(count, name) for count in counts], axis=0) for name in ("common", "predicted", "true")
    )
    num_scenes = np.sum([count.true > 0 for count in counts], axis=0)
    print(f"{'class':12}{'IoU':>7}{'recall':>8}{'precision':>11}{'scenes':>8}")
    for k, label in enumerate(SYNTHETIC_CLASSES.labels):
        iou, recall, precision = (
            100 * common[k] / max(area, 1) for area in (predicted[k] + true[k] - common[k], true[k], predicted[k])
        )
        print(f"{label.name:12}{iou:7.1f}{recall:8.1f}{precision:11.1f}{num_scenes[k]:8}")


if __name__ == "__main__":
    main()

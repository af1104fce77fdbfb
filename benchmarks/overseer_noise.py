"""How much a tracker adds to a detector that misses, coarsens and imagines things: synthetic clips, a class per object.

python benchmarks/overseer_noise.py --clips 6

The detector is the truth made worse: it misses each class in short runs of frames, sees it at a quarter of the
resolution with a shaken outline, and now and then sees a blob of a class that is not there. Given are the mean Dice
over classes and frames (a class absent in both is left out), and how often a class's answer flickers: changes between
something and nothing where the truth does not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch

import surgvos
from surgvos.core import Frame, LabelSpace
from surgvos.data.synthetic import SceneConfig, SyntheticClip, generate_clip
from surgvos.overseer.corrections import AnyOverseer
from surgvos.overseer.detection import Detection
from surgvos.overseer.oversee import OverseenSession
from surgvos.overseer.sasvi import Sasvi

HW = (288, 384)
CLASSES = LabelSpace.from_names([f"object {i}" for i in range(1, 9)])


class ClipVideo:
    def __init__(self, clip: SyntheticClip) -> None:
        self.clip = clip

    def __len__(self) -> int:
        return len(self.clip.frames)

    def __getitem__(self, index: int) -> Frame:
        return Frame(index, f"{index:05d}", self.clip.frames[index])

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))


class NoisyDetector:
    """The truth made worse, the same in every run.

    Args:
        truth: Label maps ``(h, w)``, pixel = class id.
        label_space: Of the classes. Its last class is the one that is imagined.
        seed: Of the errors.
        miss_share: Share of the frames in which a class is missed, roughly.
        imagined_share: Share of the frames in which a blob is seen that is not there.
    """

    def __init__(
        self,
        truth: Sequence[np.ndarray],
        label_space: LabelSpace,
        seed: int,
        miss_share: float = 0.15,
        imagined_share: float = 0.05,
    ) -> None:
        self.label_space = label_space
        random = np.random.default_rng(seed)
        self.detections = []
        missed: dict[int, int] = {}
        for labels in truth:
            masks, ids, scores = [], [], []
            for i in (int(i) for i in np.unique(labels) if i != label_space.background):
                if missed.get(i, 0) <= 0 and random.random() < miss_share / 3:
                    missed[i] = int(random.integers(1, 6))
                missed[i] = missed.get(i, 0) - 1
                if missed[i] >= 0:
                    continue
                masks.append(_coarse(labels == i, random))
                ids.append(i)
                scores.append(float(random.uniform(0.6, 1.0)))
            if random.random() < imagined_share:
                masks.append(_blob(labels.shape, random))
                ids.append(label_space.ids[-1])
                scores.append(0.6)
            stacked = np.array(masks, dtype=bool).reshape(-1, *labels.shape)
            self.detections.append(Detection.from_masks(stacked, ids, scores))

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        return [self.detections[frame.index] for frame in frames]


def _coarse(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    height, width = mask.shape
    small = cv2.resize(mask.astype(np.float32), (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    moved = np.roll(small, random.integers(-1, 2, 2), axis=(0, 1))
    grid = moved > random.uniform(0.3, 0.7)
    return cv2.resize(grid.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).view(np.bool_)


def _blob(hw: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    blob = np.zeros(hw, dtype=np.uint8)
    center = (int(random.integers(hw[1])), int(random.integers(hw[0])))
    cv2.circle(blob, center, 25, 1, -1)
    return blob.view(np.bool_)


def score(answers: list[dict[int, np.ndarray]], clip: SyntheticClip) -> tuple[float, int]:
    """Mean Dice, and the number of appearances and disappearances that the truth does not have."""
    dices, num_flickers = [], 0
    for i in range(1, 9):
        own = np.array([bool(masks.get(i, np.zeros(1)).any()) for masks in answers])
        true = np.array([bool((labels == i).any()) for labels in clip.instances])
        num_flickers += int(np.diff(own).sum()) - min(int(np.diff(own).sum()), int(np.diff(true).sum()))
        for masks, labels in zip(answers, clip.instances, strict=True):
            predicted, truth = masks.get(i, np.zeros(HW, dtype=bool)), labels == i
            total = int(predicted.sum() + truth.sum())
            if total:
                dices.append(2 * int((predicted & truth).sum()) / total)
    return float(np.mean(dices)), num_flickers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--misses", type=float, default=0.15)
    parser.add_argument("--model", default="surgvos-nano")
    parser.add_argument("--no-refine", action="store_true", help="follow by memory alone")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = surgvos.load_model(chosen.model, device="cpu")
    options = surgvos.SessionOptions(refine=not chosen.no_refine)
    config = SceneConfig(image_hw=HW, num_frames=chosen.frames, surgical_share=1.0, num_instruments=(2, 4))
    rules: dict[str, AnyOverseer | None] = {"detector": None, "published": Sasvi.published(), "default": Sasvi()}
    sums = {name: [0.0, 0.0] for name in rules}
    for seed in range(1000, 1000 + chosen.clips):
        clip = generate_clip(seed, config)
        detector = NoisyDetector(clip.instances, CLASSES, seed, chosen.misses)
        for name, overseer in rules.items():
            if overseer is None:
                answers = [{i: d.mask(i) for i in d.seen.ids} for d in detector.detections]
            else:
                overseen = OverseenSession(surgvos.Session(model, options=options), detector, overseer)
                answers = [result.masks for result in overseen.follow(ClipVideo(clip))]
            dice, flickers = score(answers, clip)
            sums[name][0] += dice / chosen.clips
            sums[name][1] += flickers / chosen.clips
            print(f"clip {seed} {name:9}  Dice {dice:.3f}  flickers {flickers}", flush=True)
    print("\nrules      mean Dice  flickers per clip")
    for name, (dice, flickers) in sums.items():
        print(f"{name:9}  {dice:9.3f}  {flickers:17.1f}")


if __name__ == "__main__":
    main()

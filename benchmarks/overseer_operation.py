"""What rules make of a detector over a long operation: the overseer in the box alone, and with the tracker in the box.

python benchmarks/overseer_operation.py --seeds 2

Each operation is one synthetic scene of 1500 frames in which tools enter, leave, cross and come back. Given are, in
percent, the mean Dice over the classes that the truth shows (each the mean over the frames where truth or answer shows
it); and how steady answers are from one frame to the next: in every third pair of frames the mean IoU of a class with
itself as it is, and the mean Dice where the motion is followed by optical flow; and the flickers: how often a class
comes or goes where the truth's does not. The first row of each operation is the truth itself. ``--overseer noise`` is a
detector that errs by chance: the truth made worse, as in ``overseer_noise.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from overseer_noise import ClipVideo, NoisyDetector

import surgvos
from surgvos.core import Frame
from surgvos.core.instances import merge_instances
from surgvos.data.synthetic import SceneConfig, generate_clip
from surgvos.data.synthetic_classes import SYNTHETIC_CLASSES, class_maps
from surgvos.evaluation.class_counts import ClassSums, count_pixels
from surgvos.evaluation.class_protocols import semantic_protocol
from surgvos.evaluation.flow import Flow, dis_flow
from surgvos.evaluation.temporal import (
    FLOW_DICE,
    IOU,
    TEMPORAL,
    LabelFrame,
    TemporalSums,
    compare_neighbours,
)
from surgvos.models.interface import VideoModel
from surgvos.overseer.alone import DetectorAlone
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import Detector
from surgvos.overseer.load import load_detector
from surgvos.overseer.oversee import OverseenSession
from surgvos.overseer.rules import rules_by_name
from surgvos.tracking.run import Tracker

OPERATION = SceneConfig(
    image_hw=(256, 320),
    num_frames=1500,
    surgical_share=1.0,
    num_instruments=(2, 5),
    num_anatomy=(1, 3),
    reentry=0.6,
    late_entry=0.15,
    exit=0.05,
    insertion=0.1,
    strand=0.3,
    occluder=0.0,
)
ALONE, INSTANCES, FLICKERS = "detector alone", " by instance", "flickers"
PAIR_STEP = 3  # flow and contours take longer than all that they judge
NOISE = "noise"


class Remembered:
    """The answers of a detector to a video, found once for all rules."""

    def __init__(self, detector: Detector, video: ClipVideo) -> None:
        self.label_space = detector.label_space
        self.detections = [found for frame in video for found in detector.detect([frame])]

    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        return [self.detections[frame.index] for frame in frames]


def answers(
    name: str, model: VideoModel, detector: Detector, video: ClipVideo, options: surgvos.SessionOptions
) -> Iterator[np.ndarray]:
    """Label maps of a whole video, pixel = class id, by the name of a row."""
    by_instance = name.endswith(INSTANCES)
    tracker: Tracker
    if name == ALONE:
        tracker = DetectorAlone(detector)
    else:
        rules = rules_by_name(name.removesuffix(INSTANCES))
        tracker = OverseenSession(surgvos.Session(model, options=options), detector, rules, instances=by_instance)
    for result in tracker.follow(video):
        masks = merge_instances(result.masks) if by_instance else result.masks
        yield SYNTHETIC_CLASSES.paint(masks, OPERATION.image_hw)


def steadiness(answers_of: Mapping[str, Sequence[np.ndarray]], video: ClipVideo) -> dict[str, TemporalSums]:
    """How steady the label maps of every row are; the flow between two frames is estimated once for all."""
    steady = {name: TemporalSums() for name in answers_of}
    for i in range(1, len(video), PAIR_STEP):
        images, flow = (video[i - 1].image, video[i].image), remembered_flow()
        for name, label_maps in answers_of.items():
            first, second = (LabelFrame(label_maps[i - 1 + k], images[k]) for k in (0, 1))
            steady[name].merge(compare_neighbours(first, second, TEMPORAL, flow=flow))
    return steady


def remembered_flow() -> Flow:
    """An estimator that estimates each flow once."""
    found: dict[tuple[int, int], np.ndarray] = {}

    def flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        key = (id(first), id(second))
        if key not in found:
            found[key] = dis_flow(first, second)
        return found[key]

    return flow


def score(label_maps: Sequence[np.ndarray], steady: TemporalSums, truth: np.ndarray) -> dict[str, float]:
    """Scores by name, over the classes that the truth shows; then the Dice of each of these classes."""
    sums = [
        ClassSums.of_frame(count_pixels(label_map, true, SYNTHETIC_CLASSES))
        for label_map, true in zip(label_maps, truth, strict=True)
    ]
    dice = semantic_protocol().per_class(ClassSums.stack(sums).total())["Dice"]
    ids = [i for i in SYNTHETIC_CLASSES.ids if (truth == i).any()]
    per_class = {SYNTHETIC_CLASSES[i].name: 100 * float(dice[SYNTHETIC_CLASSES.ids.index(i)]) for i in ids}
    steady_of = {name: steady.per_label(name) for name in (IOU, FLOW_DICE)}
    return {
        "Dice": float(np.mean(list(per_class.values()))),
        **{name: 100 * float(np.mean([found.get(i, 0.0) for i in ids])) for name, found in steady_of.items()},
        FLICKERS: float(num_changes(label_maps) - num_changes(truth)),
    } | per_class


def num_changes(label_maps: Sequence[np.ndarray] | np.ndarray) -> int:
    """How often a class comes or goes."""
    shown = np.array([np.isin(SYNTHETIC_CLASSES.ids, label_map) for label_map in label_maps])
    return int((shown[1:] != shown[:-1]).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2])
    parser.add_argument("--frames", type=int, default=OPERATION.num_frames)
    parser.add_argument("--rules", nargs="+", default=["sasvi", "sasvi-published"])
    parser.add_argument("--overseer", default="surgvos-nano", help="a detector, or noise")
    parser.add_argument("--model", default="surgvos-nano")
    parser.add_argument("--dtype", default="auto", help="of the tracker")
    parser.add_argument("--no-refine", action="store_true", help="follow by memory alone")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    model = surgvos.load_model(chosen.model, device="cpu", dtype=chosen.dtype)
    network = None if chosen.overseer == NOISE else load_detector(chosen.overseer, SYNTHETIC_CLASSES, device="cpu")
    options = surgvos.SessionOptions(refine=not chosen.no_refine)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in chosen.seeds:
        clip = generate_clip(seed, replace(OPERATION, num_frames=chosen.frames))
        truth, video = class_maps(clip), ClipVideo(clip)
        print(f"operation {seed}: {', '.join(item.category for item in clip.objects)}", flush=True)
        detector = Remembered(network, video) if network else NoisyDetector(truth, SYNTHETIC_CLASSES, seed)
        answers_of: dict[str, Sequence[np.ndarray]] = {"truth": list(truth)}
        for name in (ALONE, *chosen.rules):
            answers_of[name] = list(answers(name, model, detector, video, options))
        for name, steady in steadiness(answers_of, video).items():
            found = score(answers_of[name], steady, truth)
            rows.setdefault(name, []).append(found)
            print(f"  {name:18} {', '.join(f'{key} {value:.1f}' for key, value in found.items())}", flush=True)
    columns = ("Dice", IOU, FLOW_DICE, FLICKERS)
    print(f"\nmean over {len(chosen.seeds)} operation(s){''.join(f'{name:>11}' for name in columns)}")
    for name, found_rows in rows.items():
        means = [float(np.mean([row[key] for row in found_rows])) for key in columns]
        print(f"{name:24}{''.join(f'{value:11.1f}' for value in means)}")


if __name__ == "__main__":
    main()

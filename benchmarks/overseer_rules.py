"""What the overseer's rules cost per frame, without any network.

python benchmarks/overseer_rules.py

Twelve classes drift over a frame; the tracker answers the same masks a little late. Three classes come and go, so that
prompts are made as well, and the detector is unsure of each class in half of the frames. The time of cutting a label
map, or overlapping masks, into regions is given apart: it belongs to the detector. Times are of one core's work,
whatever else the machine does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from surgvos.core.results import FrameResult
from surgvos.overseer.corrections import Add, AnyOverseer, Drop, Reprompt, Restart
from surgvos.overseer.detection import Detection
from surgvos.overseer.sasvi import Sasvi


def class_masks(index: int, hw: tuple[int, int], num_classes: int) -> dict[int, np.ndarray]:
    height, width = hw
    masks = {}
    for i in range(num_classes):
        if i % 4 == 3 and (index // 20 + i) % 2:
            continue
        mask = np.zeros(hw, dtype=np.uint8)
        center = (int((i + 0.5) * width / num_classes + 40 * np.sin(index / 9 + i)), height // 3 + 37 * (i % 7))
        cv2.ellipse(mask, center, (width // 14, height // 5), 20.0 * i, 0, 360, 1, -1)
        masks[i] = mask.view(np.bool_)
    return masks


def timed(call: Callable[[], object]) -> tuple[object, float]:
    started = time.thread_time()
    answer = call()
    return answer, (time.thread_time() - started) * 1e3


def run(overseer: AnyOverseer, detections: list[Detection], answers: list[dict[int, np.ndarray]]) -> list[float]:
    state, followed, spent = None, set[int](), []
    for index in range(len(detections) - overseer.look_ahead):
        masks = {i: mask for i, mask in answers[max(0, index - 1)].items() if i in followed}
        result = FrameResult(index, str(index), masks, {}, {})
        window = detections[index : index + overseer.look_ahead]
        started = time.thread_time()
        corrections, state = overseer.review(result, window, state)
        spent.append((time.thread_time() - started) * 1e3)
        for correction in corrections:
            if isinstance(correction, Restart):
                followed = set(correction.prompts)
            elif isinstance(correction, Drop):
                followed.discard(correction.class_id)
            elif isinstance(correction, Add | Reprompt):
                followed.add(correction.class_id)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--classes", type=int, default=12)
    parser.add_argument("--frames", type=int, default=100)
    chosen = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    timed(lambda: Detection.from_masks(np.ones((1, 2, 2), dtype=bool), [0]).seen)  # the first one loads parts of NumPy
    hw = (chosen.height, chosen.width)
    answers = [class_masks(i, hw, chosen.classes) for i in range(chosen.frames)]
    overlapping, cutting, reading, chance = [], [], [], np.random.default_rng(0)
    for masks in answers:
        stacked = np.stack(list(masks.values()))
        scores = chance.choice((0.6, 0.95), len(masks))  # the lower ones are unsure beside the frames around
        detection, spent = timed(
            lambda stacked=stacked, masks=masks, scores=scores: Detection.from_masks(stacked, list(masks), scores)
        )
        overlapping.append(detection)
        cutting.append(spent)
        label_map = np.full(hw, 255, dtype=np.uint8)
        for i, mask in masks.items():
            label_map[mask] = i
        reading.append(timed(lambda label_map=label_map: Detection.from_label_map(label_map, (255,)))[1])
    print("rules      median ms  90 % ms  worst ms")
    for name, overseer in (("default", Sasvi()), ("published", Sasvi.published())):
        spent = run(overseer, overlapping, answers)
        print(f"{name:9}  {statistics.median(spent):9.2f}  {np.quantile(spent, 0.9):7.2f}  {max(spent):8.2f}")
    print(f"a detection of {chosen.classes} overlapping masks: {statistics.median(cutting):.1f} ms")
    print(f"a detection of a label map: {statistics.median(reading):.1f} ms")


if __name__ == "__main__":
    main()

"""No row of detections, however odd, ends a run: every set of rules answers, and speaks only of what it follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from surgvos.core.results import FrameResult, ObjectResult, Phase
from surgvos.overseer.corrections import Add, Drop, Reprompt, Restart
from surgvos.overseer.detection import Detection
from surgvos.overseer.rules import RULES, rules_by_name

HW = (24, 32)
NUM_FRAMES = 60
CLASSES = (0, 1, 2, 3)


def random_detection(rng: np.random.Generator) -> Detection:
    """Up to three instances that may overlap, fill nothing, or be missing altogether."""
    num_instances = int(rng.integers(0, 4))
    masks = np.zeros((num_instances, *HW), dtype=bool)
    for mask in masks:
        top, left = rng.integers(0, 16, 2)
        mask[top : top + rng.integers(0, 12), left : left + rng.integers(1, 16)] = True
    ids = [int(i) for i in rng.choice(CLASSES, num_instances, replace=False)]
    return Detection.from_masks(masks, ids, [float(score) for score in rng.random(num_instances)])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", RULES)
def test_rules_survive_any_detections(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rules = rules_by_name(name)
    detections = [random_detection(rng) for _ in range(NUM_FRAMES)]
    tracked: dict[int, np.ndarray] = {}
    state: Any = None
    for index in range(NUM_FRAMES):
        objects = {i: ObjectResult(Phase.TRACKING, 1.0, 1.0, prompted=False) for i in tracked}
        result = FrameResult(index, f"{index:05d}", dict(tracked), objects, {})
        corrections, state = rules.review(result, detections[index : index + rules.look_ahead], state)
        for correction in corrections:
            # A tracker that drifts at once: its masks have nothing to do with what it was shown.
            drifted = rng.random(HW) < 0.3
            if isinstance(correction, Restart):
                tracked = {i: rng.random(HW) < 0.3 for i in correction.prompts}
            elif isinstance(correction, Drop):
                del tracked[correction.class_id]
            elif isinstance(correction, Reprompt):
                assert correction.class_id in tracked
                tracked[correction.class_id] = drifted
            elif isinstance(correction, Add):
                assert correction.class_id not in tracked
                tracked[correction.class_id] = drifted

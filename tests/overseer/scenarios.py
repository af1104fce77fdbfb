"""The seventeen situations in which the published rules were traced, and a tracker that keeps what it was shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surgvos.core.prompts import MaskPrompt, PointPrompt
from surgvos.core.results import FrameResult, ObjectResult, Phase
from surgvos.overseer.corrections import Add, AnyOverseer, Drop, Reprompt, Restart
from surgvos.overseer.detection import Detection

HW = (96, 96)
Box = tuple[int, int, int, int]
HOME: dict[int, Box] = {0: (0, 0, 20, 96), 6: (30, 0, 40, 40), 7: (50, 0, 60, 40), 9: (70, 0, 80, 40)}
"""Top, left, bottom and right of each class where nothing else is said; they do not touch."""

Scene = Mapping[int, Box]


@dataclass(frozen=True)
class Scenario:
    """What a detector sees, frame by frame, and what the published rules make of it."""

    name: str
    seen: Callable[[int], Scene]
    published: str
    num_frames: int = 80


def of(*classes: int) -> Scene:
    return {i: HOME[i] for i in classes}


def _plus(scene: Scene, class_id: int, box: Box) -> Scene:
    return {**scene, class_id: box}


SCENARIOS = (
    Scenario("constant", lambda f: of(0, 6), "0 m{0,6}; 25 m{0,6}; 49 m{0,6}; 73 m{0,6}"),
    Scenario(
        "7 from 10 on",
        lambda f: of(0, 6, 7) if f >= 10 else of(0, 6),
        "0 m{0,6}; 10 m{0,6} p{7}; 34 m{0,6,7}",
        57,
    ),
    Scenario(
        "7 from 30 on",
        lambda f: of(0, 6, 7) if f >= 30 else of(0, 6),
        "0 m{0,6}; 25 m{0,6}; 31 m{0,6} p{7}; 55 m{0,6,7}",
        78,
    ),
    Scenario("7 in 10 to 12 only", lambda f: of(0, 6, 7) if 10 <= f <= 12 else of(0, 6), "0 m{0,6}; 25 m{0,6}", 48),
    Scenario(
        "7 in 10 to 13 only",
        lambda f: of(0, 6, 7) if 10 <= f <= 13 else of(0, 6),
        "0 m{0,6}; 10 m{0,6} p{7}; 34 m{0,6}",
        57,
    ),
    Scenario(
        "6 missing in 10 only",
        lambda f: of(0) if f == 10 else of(0, 6),
        "0 m{0,6}; 11 m{0} p{6}; 35 m{0,6}",
        58,
    ),
    Scenario(
        "6 missing in 24 only",
        lambda f: of(0) if f == 24 else of(0, 6),
        "0 m{0,6}; 25 m{0}; 26 m{0} p{6}; 50 m{0,6}",
        73,
    ),
    Scenario("6 gone from 10 on", lambda f: of(0) if f >= 10 else of(0, 6), "0 m{0,6}; 25 m{0}; 49 m{0}", 72),
    Scenario(
        "6 missing in every sixth frame",
        lambda f: of(0) if f % 6 == 5 else of(0, 6),
        "0 m{0,6}; 6 m{0} p{6}; 13 m{0} p{6}; 19 m{0} p{6}; 25 m{0} p{6}; 31 m{0} p{6}",
        36,
    ),
    Scenario("nothing until 5, then 0", lambda f: of(0) if f >= 5 else of(), "0 none; 5 p{0}; 29 m{0}", 52),
    Scenario(
        "9 from 10 on, a smaller double of 6",
        lambda f: _plus(of(0, 6), 9, (30, 0, 39, 40)) if f >= 10 else of(0, 6),
        "0 m{0,6}; 25 m{0,6}; 49 m{0,6}; 73 m{0,6}",
    ),
    Scenario(
        "9 from 10 on, a larger double of 6",
        lambda f: _plus(of(0, 6), 9, (30, 0, 41, 40)) if f >= 10 else of(0, 6),
        "0 m{0,6}; 10 m{0} p{9}; 34 m{0,9}",
        57,
    ),
    Scenario(
        "9 from 10 on, inside 6",
        lambda f: _plus(of(0, 6), 9, (32, 5, 38, 25)) if f >= 10 else of(0, 6),
        "0 m{0,6}; 25 m{0,6}; 49 m{0,6}; 73 m{0,6}",
    ),
    Scenario(
        "9 from 10 on, of 12 pixels",
        lambda f: _plus(of(0, 6), 9, (70, 0, 73, 4)) if f >= 10 else of(0, 6),
        "0 m{0,6}; 10 m{0,6}; 34 m{0,6,9}",
        57,
    ),
    Scenario(
        "7 from 10 on, 6 from 11 on",
        lambda f: of(0, *[7] * (f >= 10), *[6] * (f >= 11)),
        "0 m{0}; 10 m{0} p{7}; 12 m{0,7} p{6}; 36 m{0,6,7}",
        59,
    ),
    Scenario(
        "6 and 7 from 10 on",
        lambda f: of(0, 6, 7) if f >= 10 else of(0),
        "0 m{0}; 10 m{0} p{6,7}; 34 m{0,6,7}",
        57,
    ),
    Scenario(
        "7 in the last two frames",
        lambda f: of(0, 6, 7) if f >= 38 else of(0, 6),
        "0 m{0,6}; 25 m{0,6}; 39 m{0,6} p{7}",
        40,
    ),
)

LAST_FRAME_ONLY = Scenario(
    "7 in the last frame only",
    lambda f: of(0, 6, 7) if f >= 39 else of(0, 6),
    "0 m{0,6}; 25 m{0,6}",
    40,
)
"""The second half of the last trace."""


def mask_of(box: Box) -> np.ndarray:
    mask = np.zeros(HW, dtype=bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


def detection_of(scene: Scene, scores: Mapping[int, float] | None = None) -> Detection:
    masks = np.array([mask_of(box) for box in scene.values()], dtype=bool).reshape(-1, *HW)
    return Detection.from_masks(masks, list(scene), [(scores or {}).get(i, 1.0) for i in scene])


def detections_of(scenario: Scenario) -> list[Detection]:
    return [detection_of(scenario.seen(index)) for index in range(scenario.num_frames)]


@dataclass
class Trace:
    """What rules did: one text per frame with corrections, and the classes answered in each frame."""

    steps: list[str]
    answered: list[tuple[int, ...]]

    def __str__(self) -> str:
        return "; ".join(self.steps)


def run_rules(overseer: AnyOverseer, detections: Sequence[Detection]) -> Trace:
    """Run rules over detections, with a tracker that answers the last mask it was shown."""
    trace = Trace([], [])
    held: dict[int, np.ndarray] = {}
    state = None
    for index in range(len(detections)):
        window = detections[index : index + overseer.look_ahead]
        corrections, state = overseer.review(result_of(index, held), window, state)
        before = dict(held)
        for correction in corrections:
            if isinstance(correction, Restart):
                held = {i: _shown(prompt, detections[index], i) for i, prompt in correction.prompts.items()}
            elif isinstance(correction, Drop):
                del held[correction.class_id]
            elif isinstance(correction, Add | Reprompt):
                assert isinstance(correction, Reprompt) == (correction.class_id in before)
                held[correction.class_id] = _shown(correction.prompt, detections[index], correction.class_id)
        if corrections:
            trace.steps.append(f"{index} {_describe(corrections)}")
        trace.answered.append(tuple(sorted(held)))
    return trace


def result_of(index: int, masks: Mapping[int, np.ndarray]) -> FrameResult:
    known = {i: ObjectResult(Phase.TRACKING, 1.0, 1.0, prompted=False) for i in masks}
    return FrameResult(index, str(index), dict(masks), known, {})


def _shown(prompt: MaskPrompt | PointPrompt, detection: Detection, class_id: int) -> np.ndarray:
    return prompt.mask if isinstance(prompt, MaskPrompt) else detection.mask(class_id)


def _describe(corrections: Sequence[object]) -> str:
    restarts = [c for c in corrections if isinstance(c, Restart)]
    if restarts:
        prompts = restarts[0].prompts.items()
        by_mask = sorted(i for i, prompt in prompts if isinstance(prompt, MaskPrompt))
        by_points = sorted(i for i, prompt in prompts if isinstance(prompt, PointPrompt))
        words = [f"{kind}{{{','.join(map(str, ids))}}}" for kind, ids in (("m", by_mask), ("p", by_points)) if ids]
        return " ".join(words) or "none"
    signs = {Drop: "-", Reprompt: "again ", Add: "+"}
    return " ".join(f"{signs[type(c)]}{c.class_id}" for c in corrections)  # type: ignore[index, attr-defined]

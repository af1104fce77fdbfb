"""What is said of objects in one frame, and how that becomes the frame's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from surgvos.core.frame import Frame
from surgvos.core.results import FrameResult, ObjectResult, Phase
from surgvos.memory import MemoryEntry
from surgvos.tracking.postprocess import fill_holes, to_masks, to_video_size


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One object's mask logits ``(h, w)`` in one frame, and what is said of them."""

    logits: Tensor
    result: ObjectResult


def answer_of(logits: Tensor, entry: MemoryEntry, attended: Sequence[int] = ()) -> Answer:
    """The answer that goes with what is remembered of a frame."""
    phase = Phase.TRACKING if entry.presence > 0.5 else Phase.ABSENT
    return Answer(logits, ObjectResult(phase, entry.presence, entry.iou, entry.prompted, tuple(attended)))


def frame_result(
    frame: Frame, answers: Mapping[int, Answer], *, non_overlap: bool, fill_hole_area_px: int
) -> FrameResult:
    """Bring answers to the size of the video; of objects that claim one pixel, the first of equals comes first."""
    if not answers:
        return FrameResult(frame.index, frame.name, {}, {}, {})
    logits = torch.stack([answer.logits for answer in answers.values()]).float()
    video = to_video_size(fill_holes(logits, fill_hole_area_px), frame.hw)
    masks = to_masks(video, non_overlap=non_overlap).cpu().numpy()
    low = logits.cpu().numpy()
    return FrameResult(
        frame_index=frame.index,
        frame_name=frame.name,
        masks={object_id: masks[slot] for slot, object_id in enumerate(answers)},
        objects={object_id: answer.result for object_id, answer in answers.items()},
        logits={object_id: low[slot] for slot, object_id in enumerate(answers)},
    )

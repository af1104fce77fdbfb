"""Whole videos against Surgical-SAM-2's first release: which memories are pruned, and the masks that come of it.

Every recording of this shape is replayed, in any folder named by ``SURGVOS_REFERENCE``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reference.replay import (
    MASK_OF,
    SCORE_TOLERANCE,
    Replay,
    compare,
    load,
    recorded_steps,
    replay_box_reverse,
    replay_click,
    replay_mask,
    said,
    video_point,
)
from reference.weights import reference_folder
from surgvos.core import MaskPrompt, PointPrompt
from surgvos.memory import MemoryEntry, MemoryQuery, Pruned, pruning
from surgvos.tracking.step import encode_entries

RECORDINGS = sorted(
    path.stem for path in reference_folder().glob("ssam2*_video_*.npz") if not path.stem.endswith("_video_frames")
)
ADOPTED_LOGIT, UNSEEN_LOGIT = -10.0, -1024.0


def replay_two_objects(r: Replay) -> None:
    """The predictor of that time follows all objects as one batch, so that each is prompted wherever one is.

    An object that was not shown there is recorded as absent, which is what an empty mask says.
    """
    shown = {int(i): int(frame) for i, frame in re.findall(r"object (\d+): mask at frame (\d+)", r.meta["prompts"])}
    for object_id, own_frame in shown.items():
        mask = r.masks[MASK_OF[object_id]]
        for frame in shown.values():
            r.session.add_prompt(frame, object_id, MaskPrompt(mask if frame == own_frame else np.zeros_like(mask)))
            if frame != own_frame:
                recorded = r.arrays[f"obj{object_id}_low_res_logits"]
                assert (recorded[frame] == UNSEEN_LOGIT).all()
                recorded[frame] = ADOPTED_LOGIT
    r.run("fwd", start=0)


def replay_correction(r: Replay) -> None:
    """A correction sticks there, but as if the frame had been followed."""
    sign, x, y, frame = said(r, r"(negative|positive) correction click \(([\d.]+),([\d.]+)\) on frame (\d+)")
    moment = int(frame)
    r.session.add_prompt(0, 1, MaskPrompt(r.masks[MASK_OF[1]]))
    r.run("part1")
    made: list[MemoryEntry] = []

    def noted(*args: Any, **kwargs: Any) -> list[MemoryEntry]:
        made.extend(encode_entries(*args, **kwargs))
        return made

    r.session.add_prompt(moment, 1, PointPrompt(video_point(x, y), int(sign == "positive")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("surgvos.tracking.answering.encode_entries", noted)
        corrected = r.session.preview(r.video[moment])
    r.compare_video_size(corrected, r.arrays["prompt_video_res"])
    (entry,) = made
    r.session.policy.admit(r.session.objects[1].bank, replace(entry, prompted=False), MemoryQuery(moment))
    order = r.arrays["part2_order"]
    assert order[0] == moment
    r.arrays["part2_order"] = order[1:]
    r.run("part2", start=moment + 1)
    r.results[1][moment] = corrected


REPLAYS = {
    "mask": replay_mask,
    "click": replay_click,
    "box_reverse": replay_box_reverse,
    "two_objects": replay_two_objects,
    "correction": replay_correction,
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_video_equals_the_first_release(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[list[int], list[float]]] = []

    def noted(memories: Sequence[Sequence[MemoryEntry]]) -> Any:
        scores = resemblance(memories)
        compared.append(([entry.frame_index for entry in memories[0][:-1]], scores.sum(dim=0).tolist()))
        return scores

    resemblance = pruning.resemblance_to_last
    monkeypatch.setattr(pruning, "resemblance_to_last", noted)
    r = load(name, monkeypatch, lambda recent: replace(Pruned.first_release(), recent=recent))
    kind = max((k for k in REPLAYS if name.partition("_video_")[2].startswith(k)), key=len)
    REPLAYS[kind](r)
    compare(r)

    # One entry of their log speaks for all objects. A correction first predicts its frame without the click, which
    # the published predictor looks up instead: that is one reading more.
    recorded = recorded_steps(r.meta)
    theirs = [step for step in recorded for _ in r.session.objects]
    pruned = [entry["pruning_cos_sim"] for entry in r.meta["memory_log"] if "pruning_cos_sim" in entry]
    if kind == "correction":
        again = next(i for i, step in enumerate(recorded) if i and step[0] < recorded[i - 1][0])
        theirs.insert(again, theirs[again])
        at = next(i for i, row in enumerate(pruned) if i and row[0][1] < pruned[i - 1][0][1])
        pruned.insert(at, pruned[at])
    assert r.steps == theirs
    assert [frames for frames, _ in compared] == [[frame for _, frame, _ in row] for row in pruned]
    for (_, scores), row in zip(compared, pruned, strict=True):
        np.testing.assert_allclose(scores, [score for _, _, score in row], rtol=0, atol=SCORE_TOLERANCE)

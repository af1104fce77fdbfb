"""Whole videos against the published SAM 2 predictor: prompts, memory choices, masks and pointers.

Every recording of this shape is replayed, in any folder named by ``SURGVOS_REFERENCE``.
"""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from reference.replay import (
    MASK_OF,
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

RECORDINGS = sorted(
    path.stem for path in reference_folder().glob("sam2*_video_*.npz") if not path.stem.endswith("_video_frames")
)


def replay_absent(r: Replay) -> None:
    # The note rounds the click of the recording it refers to.
    click = json.loads((reference_folder() / f"{r.name.replace('_absent', '_click')}.json").read_text())
    r.session.add_prompt(0, 1, PointPrompt(click["points_video_px"], click["labels"]))
    for result in r.session.propagate(r.video):
        r.results.setdefault(1, {})[result.frame_index] = result


def replay_two_objects(r: Replay) -> None:
    for object_id, frame in re.findall(r"object (\d+): mask at frame (\d+)", r.meta["prompts"]):
        r.session.add_prompt(int(frame), int(object_id), MaskPrompt(r.masks[MASK_OF[int(object_id)]]))
    r.run("fwd", start=0)


def replay_late_object(r: Replay) -> None:
    (last,) = said(r, r"track frames 0\.\.(\d+)")
    x, y, frame = said(r, r"object 2: click \(([\d.]+),([\d.]+)\) at frame (\d+)")
    r.session.add_prompt(0, 1, MaskPrompt(r.masks[MASK_OF[1]]))
    r.run("part1", stop=int(last) + 1)
    r.session.add_prompt(int(frame), 2, PointPrompt(video_point(x, y)))
    r.run("part2", start=int(frame))


def replay_correction(r: Replay) -> None:
    sign, x, y, frame = said(r, r"(negative|positive) correction click \(([\d.]+),([\d.]+)\) on frame (\d+)")
    r.session.add_prompt(0, 1, MaskPrompt(r.masks[MASK_OF[1]]))
    r.run("part1")
    r.session.add_prompt(int(frame), 1, PointPrompt(video_point(x, y), int(sign == "positive")))
    r.preview(int(frame))
    r.run("part2", start=int(frame))


REPLAYS = {
    "mask": replay_mask,
    "click": replay_click,
    "absent": replay_absent,
    "box_reverse": replay_box_reverse,
    "two_objects": replay_two_objects,
    "late_object": replay_late_object,
    "correction": replay_correction,
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_video_equals_the_published_predictor(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = max((k for k in REPLAYS if name.partition("_video_")[2].startswith(k)), key=len)
    replay = load(name, monkeypatch)
    REPLAYS[kind](replay)

    compare(replay)


@pytest.mark.parametrize("name", RECORDINGS)
def test_memory_read_equals_the_published_choices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = max((k for k in REPLAYS if name.partition("_video_")[2].startswith(k)), key=len)
    replay = load(name, monkeypatch)
    if "memory_log" not in replay.meta:
        pytest.skip("this recording holds no log of its memory")
    REPLAYS[kind](replay)
    # A correction first predicts its frame without the click, which the published predictor looks up instead: that
    # is one reading more of the same memory. Within a frame, objects may come in another order.
    ours, theirs = Counter(replay.steps), Counter(recorded_steps(replay.meta))
    assert ours.keys() == theirs.keys()
    assert sum((ours - theirs).values()) == (kind == "correction")
    assert not theirs - ours
    assert [step[0] for step in replay.steps if step[1]] == [step[0] for step in recorded_steps(replay.meta) if step[1]]

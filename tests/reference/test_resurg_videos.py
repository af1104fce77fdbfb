"""Whole videos against the published ReSurgSAM2: what is found, where following starts, and what is remembered."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pytest
import torch

from reference.recordings import Recording, recordings
from reference.replay import LOGIT_TOLERANCE, SCORE_TOLERANCE, VIDEO_HW, RecordedFeatures, RecordedFrames
from reference.weights import fill_with_reference_weights, reference_config
from surgvos.core import FrameResult, Phase, TextPrompt
from surgvos.memory import Diverse
from surgvos.models.interface import TextFeatures
from surgvos.models.resurg import ResurgConfig, ResurgModel
from surgvos.models.sam2 import Sam2Config
from surgvos.tracking.answering import SessionOptions
from surgvos.tracking.searching import SearchOptions
from surgvos.tracking.session import Session
from surgvos.tracking.step import track_objects

RECORDINGS = recordings("resurg*_referring_video_*")


@dataclass
class Replay:
    """A recording that was replayed, and what the session held after each frame."""

    recording: Recording
    session: Session
    results: list[FrameResult] = field(default_factory=list)
    held: list[list[list[int]]] = field(default_factory=list)
    pointers: dict[int, torch.Tensor] = field(default_factory=dict)
    pointer_frames: dict[int, list[int]] = field(default_factory=dict)


def recorded_text(recording: Recording) -> TextFeatures:
    """What the text tower made of the phrase, behind the projection."""
    text = recording.sibling("text")
    assert text.description["text"] == recording.description["text"]
    tokens = text.tensor("text_emb_sentence")
    return TextFeatures(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool), text.tensor("text_emb_cls")[:, 0])


def build_model(recording: Recording) -> ResurgModel:
    base = reference_config(recording.description)
    shared = {item.name: getattr(base, item.name) for item in fields(Sam2Config)}
    # The recorded runs had the published option --apply_postprocessing, which binarises the anchor's mask.
    shared["binarize_prompted_memory"] = True
    model = ResurgModel(ResurgConfig(**shared, text_dim=base.hidden_dim, projection_dim=64))
    fill_with_reference_weights(model, recording.description["weight_overrides"])
    return model.eval()


@pytest.fixture(scope="module", params=RECORDINGS, ids=str)
def replay(request: pytest.FixtureRequest) -> Replay:
    recording: Recording = request.param
    model = build_model(recording)
    model.encode_text = lambda phrases: recorded_text(recording)  # type: ignore[method-assign]
    # The settings by default of the memory; nothing is kept that they do not need.
    session = Session(model, Diverse(), SessionOptions(non_overlap=False), SearchOptions.published())
    images = recording.sibling("video_frames").arrays["frames_u8"]
    session._answering.features = RecordedFeatures(model, images)
    session._answering.features._capacity = 2
    session.add_prompt(0, 1, TextPrompt(recording.description["text"]))
    replayed = Replay(recording, session)

    def logged(model: Any, features: Any, banks: Any, policy: Any, query: Any, prompts: Any) -> Any:
        step = track_objects(model, features, banks, policy, query, prompts)
        replayed.pointer_frames[query.frame_index] = list(step.selections[0].pointer_frames)
        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("surgvos.tracking.answering.track_objects", logged)
        for result in session.propagate(RecordedFrames(images)):
            bank = session.objects[1].bank
            replayed.results.append(result)
            replayed.held.append([list(bank.long_term), [e.frame_index for e in bank.candidates], list(bank.prompted)])
            replayed.pointers |= {e.frame_index: e.pointer for e in bank if e.pointer is not None}
    return replayed


def memory_log(replay: Replay) -> list[dict[str, Any]]:
    return replay.recording.description["memory_log"]


def test_following_starts_where_the_published_system_starts(replay: Replay) -> None:
    told = replay.recording.description
    assert list(replay.session.objects[1].bank.prompted) == told["initial_frame_chosen"]
    # A frame that is followed reads memory; one in which the phrase is looked for reads none.
    stages = ["track" if result.objects[1].attended_frames else "ref" for result in replay.results]
    assert stages == told["stage_per_frame"]
    trigger = stages.index("track") - 1
    phases = [result.objects[1].phase for result in replay.results]
    assert set(phases[:trigger]) <= {Phase.SEARCHING, Phase.CONFIRMING}
    assert phases[trigger] == Phase.TRACKING


def test_masks_scores_and_pointers_are_the_published_ones(replay: Replay) -> None:
    arrays = replay.recording.arrays
    assert [result.frame_index for result in replay.results] == list(range(len(arrays["low_res_logits"])))
    for index, result in enumerate(replay.results):
        found, recorded = result.objects[1], arrays["low_res_logits"][index]
        np.testing.assert_allclose(result.logits[1], recorded, atol=LOGIT_TOLERANCE, rtol=0, err_msg=str(index))
        presence = 1 / (1 + np.exp(-arrays["object_score_logits"][index]))
        assert found.presence == pytest.approx(presence, abs=SCORE_TOLERANCE)
        assert found.predicted_iou == pytest.approx(arrays["iou_best"][index], abs=SCORE_TOLERANCE)
    for index, pointer in replay.pointers.items():
        np.testing.assert_allclose(pointer, arrays["obj_ptr"][index], atol=SCORE_TOLERANCE, rtol=0)
    last = torch.from_numpy(replay.results[-1].logits[1])[None, None]
    video = torch.nn.functional.interpolate(last, size=VIDEO_HW, mode="bilinear")
    np.testing.assert_allclose(video, arrays["video_res_last"], atol=LOGIT_TOLERANCE, rtol=0)


def test_the_anchor_is_remembered_as_published(replay: Replay) -> None:
    (anchor,) = replay.session.objects[1].bank.prompted.values()
    assert anchor.features is not None
    recorded = replay.recording.arrays["cond_maskmem_features"][0]
    # Stored in bfloat16, so that two runs may differ by one unit in the last place.
    np.testing.assert_allclose(anchor.features.float(), recorded, atol=LOGIT_TOLERANCE, rtol=2**-7)


def test_long_term_memories_and_candidates_are_the_published_ones(replay: Replay) -> None:
    recorded = replay.recording.description["per_frame_longmem_candidates_cond"]
    # The published update of a frame is made when the next one begins.
    assert [held[:2] for held in replay.held[:-1]] == [held[:2] for held in recorded[1:]]
    assert [held[2] for held in replay.held] == [held[2] for held in recorded]


def test_memory_read_equals_the_published_choices(replay: Replay) -> None:
    for result, entry in zip(replay.results, memory_log(replay), strict=True):
        assert result.frame_index == entry["frame"]
        assert list(result.objects[1].attended_frames) == [index for _, index in entry["attended"]]
        pointer_frames = [index for _, index in entry["obj_ptr_frames"]]
        assert replay.pointer_frames.get(result.frame_index, []) == pointer_frames

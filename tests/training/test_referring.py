"""Learning to find phrases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.test_text_model import TOY
from surgvos.config.load import from_plain, to_plain
from surgvos.data.batches import BatchShape
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig
from surgvos.errors import CheckpointError, ConfigError
from surgvos.models.interface import EncodedMemory, ImageFeatures, MaskPrediction, PromptBatch, TextFeatures
from surgvos.models.nano import ReferringNano, ReferringNanoConfig
from surgvos.models.registry import load_model
from surgvos.models.resurg import ResurgModel
from surgvos.training import referring
from surgvos.training.config import Stage, TrainConfig
from surgvos.training.losses import FrameLosses, LossSettings
from surgvos.training.networks import initial_model
from surgvos.training.referring import ReferringSettings, forward_referring
from surgvos.training.task import BatchLosses
from surgvos.training.trainer import train
from tiny_clip import tiny_clip_folder
from training.tiny import TINY_NANO, tiny_run

READER = ReferringNanoConfig(
    **asdict(TINY_NANO), context_width=16, place_width=16, mask_width=16, name_width=8, text_width=16, num_buckets=256,
    joint_depth=1,
)  # fmt: skip
DATA = SyntheticPhrasesConfig(pool_size=3, min_area_share=0.002)


def reading_run(steps: int, num_frames: int = 1) -> TrainConfig:
    shape = BatchShape(num_frames=num_frames, image_hw=(64, 64), batch_size=2)
    return replace(
        tiny_run(),
        model=READER,
        data=DATA,
        stages=(Stage(steps=steps, batch=shape),),
        task=ReferringSettings(losses=LossSettings(bce=1.0, absent=1.0, at_logits_resolution=True)),
    )


def pass_through(num_frames: int, num_referring: int) -> tuple[ReferringNano, BatchLosses]:
    torch.manual_seed(0)
    model = ReferringNano(READER).train()
    batch = DATA.open(BatchShape(num_frames=num_frames, image_hw=(64, 64), batch_size=2), seed=0)[0]
    settings = ReferringSettings(memory=tiny_run().task.memory, num_referring=num_referring)
    losses = forward_referring(model, batch, settings)
    losses.total.backward()
    return model, losses


def test_looking_alone_teaches_the_reader_and_nothing_of_memory() -> None:
    model, losses = pass_through(num_frames=1, num_referring=1)
    assert losses.total.isfinite()
    taught = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"phrase_encoder", "phrase_matcher", "object_finder"} <= taught
    assert not taught & {"memory_encoder", "read_projection"}


def test_what_was_found_is_followed() -> None:
    model, _ = pass_through(num_frames=3, num_referring=2)
    assert any(p.grad is not None and p.grad.any() for p in model.memory_encoder.parameters())


def test_looking_sees_the_frames_before_and_what_it_predicts_last_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reference: Liu et al., ReSurgSAM2 (arXiv 2505.08581): no true mask is ever shown, and all frames are judged."""
    torch.manual_seed(0)
    model = ResurgModel(replace(TOY, language_model=str(tiny_clip_folder()))).eval()
    looks: list[tuple[Tensor, list[Tensor]]] = []
    found: list[Tensor] = []
    remembered: list[tuple[Tensor, bool]] = []
    spoken: list[bool] = []
    judged: list[int] = []
    refer, encode, decode, judge = model.refer, model.encode_memory, model.decode, referring.frame_losses

    def look(features: ImageFeatures, previous: Sequence[ImageFeatures], text: TextFeatures) -> MaskPrediction:
        looks.append((features.levels[-1], [frame.levels[-1] for frame in previous]))
        answer = refer(features, previous, text)
        found.append(answer.best().logits)
        return answer

    def remember(features: ImageFeatures, logits: Tensor, presence: Tensor, *, prompted: bool) -> EncodedMemory:
        remembered.append((logits, prompted))
        return encode(features, logits, presence, prompted=prompted)

    def follow(*arguments: Any, **named: Any) -> MaskPrediction:
        spoken.extend(a.text is not None for a in (*arguments, *named.values()) if isinstance(a, PromptBatch))
        return decode(*arguments, **named)

    def judging(prediction: MaskPrediction, masks: Tensor, settings: LossSettings) -> FrameLosses:
        judged.append(len(masks))
        return judge(prediction, masks, settings)

    monkeypatch.setattr(model, "refer", look)
    monkeypatch.setattr(model, "encode_memory", remember)
    monkeypatch.setattr(model, "decode", follow)
    monkeypatch.setattr(referring, "frame_losses", judging)
    batch = DATA.open(BatchShape(num_frames=5, image_hw=(64, 64), batch_size=1), seed=0)[0]
    with torch.no_grad():
        forward_referring(model, batch, ReferringSettings(num_referring=3))
    frames = [features for features, _ in looks]
    assert len(frames) == 3
    for number, (_, previous) in enumerate(looks):
        torch.testing.assert_close(previous, list(reversed(frames[:number])), rtol=0, atol=0)
    assert [prompted for _, prompted in remembered] == [True, False]
    torch.testing.assert_close(remembered[0][0], found[-1], rtol=0, atol=0)
    assert spoken == [True, True]
    assert judged == [batch.num_objects] * 5


def test_what_is_only_shown_is_not_judged_but_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = ReferringNano(READER).train()
    judged: list[Tensor] = []
    judge = referring.frame_losses

    def judging(prediction: MaskPrediction, masks: Tensor, settings: LossSettings) -> FrameLosses:
        judged.append(masks)
        return judge(prediction, masks, settings)

    monkeypatch.setattr(referring, "frame_losses", judging)
    shape = BatchShape(num_frames=2, image_hw=(64, 64), batch_size=2)
    data = replace(DATA, scene=replace(DATA.scene, rest=0.5), motion_share=0.5)
    pair, alone = (data.open(replace(shape, num_frames=num_frames), seed=0)[0] for num_frames in (2, 1))
    settings = ReferringSettings(num_shown=1)
    forward_referring(model, pair, settings).total.backward()
    assert len(judged) == 1
    assert judged[0] is not pair.masks[0]
    assert torch.equal(judged[0], pair.masks[1])
    look = model.phrase_matcher.motion
    assert look.say.weight.grad is not None
    assert look.say.weight.grad.any()
    model.zero_grad()
    forward_referring(model, alone, settings).total.backward()  # too short to show anything first
    assert len(judged) == 2
    assert look.say.weight.grad is None


def test_clips_without_phrases_are_refused() -> None:
    model = ReferringNano(READER)
    batch = DATA.open(BatchShape(num_frames=1, image_hw=(64, 64), batch_size=2), seed=0)[0]
    with pytest.raises(ConfigError, match="with phrases"):
        forward_referring(model, replace(batch, phrases=()), ReferringSettings())
    with pytest.raises(ConfigError, match="at least 2 frame"):
        forward_referring(model, batch, ReferringSettings(num_referring=2))


def test_a_reader_sees_as_another_network_that_it_is_told_of(tmp_path: Path) -> None:
    base = train(tiny_run(2), tmp_path, device="cpu").weights
    reader = initial_model(READER, str(base), {"object_finder.image_encoder.": f"{base}:image_encoder."})
    assert isinstance(reader, ReferringNano)
    expected = reader.image_encoder.state_dict()
    assert expected
    for name, value in reader.object_finder.image_encoder.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
    for wrong in ("image_encoder.", f"{base}:class_head."):
        with pytest.raises(CheckpointError, match="expected"):
            initial_model(READER, str(base), {"object_finder.pyramid.": wrong})
    with pytest.raises(CheckpointError, match="another size or kind"):
        initial_model(replace(READER, head_dim=32), str(base))


def test_a_reader_is_trained_on_weights_that_stay_as_they_are(tmp_path: Path) -> None:
    base = train(tiny_run(2), tmp_path / "base", device="cpu").weights
    assert base is not None
    config = replace(reading_run(4), init_from=str(base), freeze=("image_encoder", "mask_decoder", "matching"))
    config = from_plain(TrainConfig, to_plain(config))
    path = train(config, tmp_path / "reader", device="cpu").weights
    assert path is not None
    before, after = load_model(base, device="cpu", dtype="fp32"), load_model(path, device="cpu", dtype="fp32")
    assert isinstance(after, ReferringNano)
    for name, value in before.state_dict().items():  # type: ignore[attr-defined]
        if name.startswith(config.freeze):
            torch.testing.assert_close(after.state_dict()[name], value, rtol=0, atol=0)

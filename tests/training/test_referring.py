"""Learning to find phrases."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from surgvos.config.load import from_plain, to_plain
from surgvos.data.clips import BatchShape
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig
from surgvos.errors import ConfigError
from surgvos.models.nano import ReferringNano, ReferringNanoConfig
from surgvos.models.registry import load_model
from surgvos.training.clip import ClipLosses
from surgvos.training.losses import LossSettings
from surgvos.training.referring import ReferringSettings, forward_referring
from surgvos.training.trainer import Stage, TrainConfig, train
from training.tiny import TINY_NANO, tiny_run

READER = ReferringNanoConfig(**asdict(TINY_NANO), text_width=16, num_buckets=256, text_depth=1, joint_depth=1)
DATA = SyntheticPhrasesConfig(pool_size=3, min_area_px=10)


def reading_run(steps: int, num_frames: int = 1) -> TrainConfig:
    shape = BatchShape(num_frames=num_frames, image_hw=(64, 64), batch_size=2)
    return replace(
        tiny_run(),
        model=READER,
        data=DATA,
        stages=(Stage(steps=steps, batch=shape),),
        clip=ReferringSettings(losses=LossSettings(bce=1.0, absent=1.0, at_logits_resolution=True)),
    )


def pass_through(num_frames: int, num_referring: int) -> tuple[ReferringNano, ClipLosses]:
    torch.manual_seed(0)
    model = ReferringNano(READER).train()
    batch = DATA.open(BatchShape(num_frames=num_frames, image_hw=(64, 64), batch_size=2), seed=0)[0]
    policy = tiny_run().memory
    losses = forward_referring(model, batch, policy, ReferringSettings(num_referring=num_referring))
    losses.total.backward()
    return model, losses


def test_looking_alone_teaches_the_reader_and_nothing_of_memory() -> None:
    model, losses = pass_through(num_frames=1, num_referring=1)
    assert losses.total.isfinite()
    taught = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"phrase_encoder", "phrase_finder", "image_encoder", "mask_decoder"} <= taught
    assert not taught & {"memory_encoder", "read_projection"}


def test_what_was_found_is_followed() -> None:
    model, _ = pass_through(num_frames=3, num_referring=2)
    assert any(p.grad is not None and p.grad.any() for p in model.memory_encoder.parameters())


def test_clips_without_phrases_are_refused() -> None:
    model = ReferringNano(READER)
    batch = DATA.open(BatchShape(num_frames=1, image_hw=(64, 64), batch_size=2), seed=0)[0]
    with pytest.raises(ConfigError, match="with phrases"):
        forward_referring(model, replace(batch, phrases=()), tiny_run().memory, ReferringSettings())
    with pytest.raises(ConfigError, match="at least 2 frame"):
        forward_referring(model, batch, tiny_run().memory, ReferringSettings(num_referring=2))


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

"""Outlines are judged once more when they are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.test_nano_referring import TOY
from surgvos.models.checkpoints import load_checkpoint, save_model
from surgvos.models.nano import ReferringNano, ReferringNanoConfig
from surgvos.models.nano.judge import OutlineJudge, outline_signs
from surgvos.training.networks import initial_model

JUDGES = dataclasses.replace(TOY, judges_outlines=True)
PHRASES = ("hook", "the liver on the left")


@pytest.fixture
def plain() -> ReferringNano:
    torch.manual_seed(0)
    return ReferringNano(TOY).eval()


@pytest.fixture
def judging(plain: ReferringNano, tmp_path: Path) -> ReferringNano:
    """The same reader with a judge that has learnt nothing yet."""
    save_model(tmp_path / "plain.safetensors", plain)
    model = initial_model(JUDGES, str(tmp_path / "plain.safetensors")).eval()
    assert isinstance(model, ReferringNano)
    return model


def disc(sharpness: float, radius: float = 10.0) -> torch.Tensor:
    """Mask logits ``(1, 1, 48, 64)`` of a disc."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    return sharpness * (radius - ((y - 24) ** 2 + (x - 30) ** 2).sqrt())[None, None]


@torch.inference_mode()
def test_a_judge_that_has_learnt_nothing_changes_nothing(plain: ReferringNano, judging: ReferringNano) -> None:
    features = plain.encode_image(torch.randn(1, 3, 64, 96))
    ours, theirs = (model.refer(features, (), model.encode_text(PHRASES)) for model in (judging, plain))
    for name in ("logits", "iou", "presence_logits"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=0)


@torch.inference_mode()
@pytest.mark.parametrize("is_training", [False, True])
def test_a_judge_changes_what_is_thought_of_outlines_not_the_outlines(
    plain: ReferringNano, judging: ReferringNano, is_training: bool
) -> None:
    assert judging.phrase_judge is not None
    torch.nn.init.normal_(judging.phrase_judge.weigh[-1].weight)
    for model in (plain, judging):
        torch.nn.init.constant_(model.phrase_finder.judge[-1].bias, 3.0)  # so that both are shown
        model.train(is_training)
    features = plain.encode_image(torch.randn(1, 3, 64, 96))
    ours, theirs = (model.refer(features, (), model.encode_text(PHRASES)) for model in (judging, plain))
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=0)
    assert (ours.iou != theirs.iou).all()
    assert (ours.presence_logits != theirs.presence_logits).all()


@torch.inference_mode()
def test_what_has_no_outline_is_not_judged_by_it(plain: ReferringNano, judging: ReferringNano) -> None:
    assert judging.phrase_judge is not None
    torch.nn.init.constant_(judging.phrase_judge.weigh[-1].bias, 100.0)
    for model in (plain, judging):
        torch.nn.init.constant_(model.phrase_finder.judge[-1].bias, -100.0)
    features = plain.encode_image(torch.randn(1, 3, 64, 96))
    ours, theirs = (model.refer(features, (), model.encode_text(PHRASES)) for model in (judging, plain))
    torch.testing.assert_close(ours.presence_logits, theirs.presence_logits, rtol=0, atol=0)


def test_files_say_whether_outlines_are_judged(judging: ReferringNano, tmp_path: Path) -> None:
    save_model(tmp_path / "judges.safetensors", judging)
    loaded = load_checkpoint(tmp_path / "judges.safetensors")
    assert isinstance(loaded, ReferringNano)
    assert loaded.config == JUDGES
    torch.save(ReferringNano(ReferringNanoConfig(judges_outlines=True)).state_dict(), tmp_path / "bare.pt")
    bare = load_checkpoint(tmp_path / "bare.pt")
    assert isinstance(bare, ReferringNano)
    assert bare.config == ReferringNanoConfig(judges_outlines=True)


@given(st.floats(-30, 30), st.floats(0, 40))
def test_signs_of_any_outline_can_be_weighed(sharpness: float, radius: float) -> None:
    signs = outline_signs(disc(sharpness, radius))
    assert signs.shape == (1, 5)
    assert (signs.isfinite() & (signs.abs() < 10)).all()


def test_sharp_outlines_are_sure_of_themselves() -> None:
    sharp, blurred = outline_signs(torch.cat((disc(4.0), disc(0.2))))
    for sign, is_sure_when in enumerate((1, -1, 1, 0, -1)):
        assert is_sure_when * (sharp[sign] - blurred[sign]) >= 0
    assert sharp[3] == blurred[3]  # as large as each other


def test_a_judge_learns_whom_to_trust() -> None:
    """From blurred outlines, which are wrong here, and sharp ones."""
    torch.manual_seed(0)
    judge, outlines, right = OutlineJudge(), torch.cat((disc(3.0), disc(0.15))), torch.tensor([1.0, 0.0])
    optimiser = torch.optim.AdamW(judge.parameters(), lr=1e-2)
    for _ in range(60):
        presence, iou = judge(outlines, torch.zeros(2), torch.zeros(2))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(torch.stack((presence, iou)), right.expand(2, 2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert presence[0] > 1 > -1 > presence[1]
    assert iou[0] > 1 > -1 > iou[1]

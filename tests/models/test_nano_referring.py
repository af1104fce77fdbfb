"""The box model's reader of phrases."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surgvos.errors import InputError
from surgvos.models.interface import ABSENT_LOGIT
from surgvos.models.nano import NanoModel, ReferringNano, ReferringNanoConfig
from surgvos.models.nano.text import buckets_of, words_of

TOY = ReferringNanoConfig(
    widths=(8, 8, 16, 16),
    depths=(1, 1, 1),
    decoder_widths=(8, 8, 16, 16, 16),
    head_dim=8,
    text_width=16,
    num_buckets=64,
    text_depth=1,
    joint_depth=2,
)


@pytest.fixture
def model() -> ReferringNano:
    torch.manual_seed(0)
    return ReferringNano(TOY).eval()


def test_words_are_told_without_case_and_punctuation() -> None:
    assert words_of("The  Needle-Driver, left!") == ["the", "needle", "driver", "left"]
    assert words_of("\uff27rasper") == ["grasper"]  # a full-width letter


def test_words_that_share_letters_share_buckets() -> None:
    alike = set(buckets_of("grasper", 1 << 20)) & set(buckets_of("graspers", 1 << 20))
    assert len(alike) > 8
    assert not set(buckets_of("grasper", 1 << 20)) & set(buckets_of("hook", 1 << 20))


@given(st.text(min_size=1, max_size=40))
def test_any_word_has_buckets(text: str) -> None:
    assert all(0 <= bucket < 64 for bucket in buckets_of(text, 64))
    assert buckets_of(text, 64)


@torch.inference_mode()
def test_phrases_together_are_as_alone(model: ReferringNano) -> None:
    features = model.encode_image(torch.randn(1, 3, 96, 128))
    phrases = ["the large needle driver on the left", "liver", "\u8179\u8154\u955c"]
    together = model.refer(features, (), model.encode_text(phrases))
    for row, phrase in enumerate(phrases):
        alone = model.refer(features, (), model.encode_text([phrase]))
        torch.testing.assert_close(together.presence_logits[row], alone.presence_logits[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.iou[row], alone.iou[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-4, atol=1e-3)


@torch.inference_mode()
def test_words_and_their_order_matter(model: ReferringNano) -> None:
    said = model.encode_text(["left grasper", "grasper left", "right grasper"]).pooled
    assert (said[0] - said[1]).abs().max() > 1e-4
    assert (said[0] - said[2]).abs().max() > 1e-4


@torch.inference_mode()
def test_what_is_judged_absent_has_no_mask(model: ReferringNano) -> None:
    torch.nn.init.constant_(model.phrase_finder.judge[-1].bias, -100.0)
    found = model.refer(model.encode_image(torch.randn(1, 3, 64, 64)), (), model.encode_text(["liver"]))
    assert (found.logits == ABSENT_LOGIT).all()


@pytest.mark.parametrize("phrase", ["?!", "word " * 200])
def test_what_cannot_be_read_is_said(model: ReferringNano, phrase: str) -> None:
    with pytest.raises(InputError, match="expected a phrase"):
        model.encode_text([phrase])


@torch.inference_mode()
def test_following_is_that_of_the_model_it_builds_on(model: ReferringNano) -> None:
    base = NanoModel(TOY).eval()
    base.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("phrase_")})
    image = torch.randn(1, 3, 64, 96)
    ours, theirs = model.encode_image(image), base.encode_image(image)
    a = model.decode(ours, model.condition(ours, None), None, multimask=False)
    b = base.decode(theirs, base.condition(theirs, None), None, multimask=False)
    torch.testing.assert_close(a.logits, b.logits, rtol=0, atol=0)

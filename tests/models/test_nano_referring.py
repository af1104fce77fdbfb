"""The box model's reader of phrases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surgvos.errors import CheckpointError, InputError
from surgvos.memory import MemoryQuery
from surgvos.models.checkpoints import load_checkpoint
from surgvos.models.interface import ABSENT_LOGIT
from surgvos.models.nano import NanoModel, ReferringNano, ReferringNanoConfig
from surgvos.models.nano.matcher import Matches
from surgvos.models.nano.motion import MotionLook, local_resemblance
from surgvos.models.nano.objects import Proposals
from surgvos.models.nano.referring import Compared
from surgvos.models.nano.text import buckets_of, words_of
from surgvos.referring.referrer import Referrer, Wanted

TOY = ReferringNanoConfig(
    widths=(8, 8, 16, 16),
    depths=(1, 1, 1),
    decoder_widths=(8, 8, 16, 16, 16),
    head_dim=8,
    context_width=16,
    place_width=16,
    mask_width=16,
    name_width=8,
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


def nothing_is_trusted(module: object, arguments: object, matches: Matches) -> Matches:
    return replace(matches, trust=matches.trust - 100)


@torch.inference_mode()
def test_what_is_not_trusted_has_no_mask(model: ReferringNano) -> None:
    model.phrase_matcher.register_forward_hook(nothing_is_trusted)
    found = model.refer(model.encode_image(torch.randn(1, 3, 64, 64)), (), model.encode_text(["liver"]))
    assert (found.logits == ABSENT_LOGIT).all()


@pytest.mark.parametrize("phrase", ["?!", "word " * 200])
def test_what_cannot_be_read_is_said(model: ReferringNano, phrase: str) -> None:
    with pytest.raises(InputError, match="expected a phrase"):
        model.encode_text([phrase])


@torch.inference_mode()
def test_following_is_that_of_the_model_it_builds_on(model: ReferringNano) -> None:
    base = NanoModel(TOY).eval()
    base.load_state_dict(
        {k: v for k, v in model.state_dict().items() if not k.startswith(("phrase_", "object_finder."))}
    )
    image = torch.randn(1, 3, 64, 96)
    ours, theirs = model.encode_image(image), base.encode_image(image)
    a = model.decode(ours, model.condition(ours, None), None, multimask=False)
    b = base.decode(theirs, base.condition(theirs, None), None, multimask=False)
    torch.testing.assert_close(a.logits, b.logits, rtol=0, atol=0)


@pytest.fixture
def sees_motion(model: ReferringNano) -> ReferringNano:
    """A reader that has learnt something of motion."""
    torch.nn.init.normal_(model.phrase_matcher.motion.say.weight)
    return model


def test_where_a_place_came_from_resembles_it_most() -> None:
    before = torch.nn.functional.normalize(torch.randn(2, 8, 9, 12), dim=1)
    now = before.roll((2, -1), dims=(2, 3))  # down by two, left by one
    found = local_resemblance(now, before, reach=2)
    assert found.shape == (2, 25, 9, 12)
    came_from = found.argmax(dim=1)[:, 3:6, 3:9]
    assert (came_from == 0 * 5 + 3).all()
    assert (found[:, 0, 0] == 0).all()  # beyond the border


@torch.inference_mode()
def test_what_is_to_be_learnt_of_motion_changes_nothing_at_first(model: ReferringNano) -> None:
    first, second = (model.encode_image(torch.randn(1, 3, 64, 96)) for _ in range(2))
    text = model.encode_text(["the moving grasper", "liver"])
    ours, theirs = model.refer(second, (first,), text), model.refer(second, (), text)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=0)
    torch.testing.assert_close(ours.presence_logits, theirs.presence_logits, rtol=0, atol=0)


@torch.inference_mode()
def test_a_frame_before_matters_to_what_sees_motion(sees_motion: ReferringNano) -> None:
    shifted = torch.randn(1, 3, 64, 96)
    now, before = sees_motion.encode_image(shifted), sees_motion.encode_image(shifted.roll(8, dims=3))
    text = sees_motion.encode_text(["the moving grasper"])
    moved, still, alone = (
        sees_motion.refer(now, previous, text).presence_logits for previous in ((before,), (now,), ())
    )
    assert len({moved.item(), still.item(), alone.item()}) == 3


@torch.inference_mode()
def test_each_image_is_compared_with_its_own_before(sees_motion: ReferringNano) -> None:
    look = sees_motion.phrase_matcher.motion
    now, before = torch.randn(2, 3, 8, 16, 24)
    together = look(now, before)
    assert together.shape == (3, 16, 4, 6)
    torch.testing.assert_close(look(now[1:2], before[1:2]), together[1:2], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_frame_looked_at_last_is_shown_beside_the_next(sees_motion: ReferringNano) -> None:
    referrer, wanted = Referrer(sees_motion), [Wanted(("hook",), since=0)]
    frames = [sees_motion.encode_image(torch.randn(1, 3, 64, 64)) for _ in range(3)]
    found = [referrer.look(frames[i], MemoryQuery(i), wanted) for i in (0, 1)]
    text = sees_motion.encode_text(["hook"])
    expected = [sees_motion.refer(frames[0], (), text), sees_motion.refer(frames[1], frames[:1], text)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.prediction.presence_logits, theirs.presence_logits, rtol=0, atol=0)


def test_bare_weights_are_known_by_their_names(tmp_path: Path) -> None:
    state = ReferringNano().state_dict()
    torch.save(state, tmp_path / "bare.pt")  # as of another program
    again = load_checkpoint(tmp_path / "bare.pt")
    assert isinstance(again, ReferringNano)
    assert again.config == ReferringNanoConfig()
    del state["phrase_matcher.motion.say.bias"]
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match=r"1 missing \(first: phrase_matcher.motion.say.bias"):
        load_checkpoint(tmp_path / "part.pt")


@torch.inference_mode()
@pytest.mark.parametrize("num_images", [1, 2])
def test_each_phrase_is_looked_for_in_its_image(model: ReferringNano, num_images: int) -> None:
    images = torch.randn(num_images, 3, 64, 96)
    phrases = ["hook", "the liver on the left"]
    text = model.encode_text(phrases)
    together = model.refer(model.encode_image(images), (), text)
    for row in range(2):
        own = model.encode_image(images[row % num_images][None])
        alone = model.refer(own, (), model.encode_text([phrases[row]]))
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_a_part_lies_inside_its_object() -> None:
    whole, parts = torch.randn(1, 2, 4, 6), torch.randn(1, 3, 4, 6)
    ones = torch.ones(1, 2)
    proposals = Proposals(ones.bool(), whole, ones, ones, ones.long())
    compared = Compared(proposals, parts, Matches(torch.zeros(8, 9), torch.zeros(8, 2), torch.zeros(8, 2)))
    masks = compared.candidates(torch.zeros(8, dtype=torch.long), torch.arange(8)) > 0
    for number in range(2):
        of_object = masks[4 * number : 4 * number + 4]
        assert (of_object[0] == (whole[0, number] > 0)).all()
        for part in range(3):
            assert (of_object[1 + part] == ((whole[0, number] > 0) & (parts[0, part] > 0))).all()


def test_a_shift_can_be_learnt() -> None:
    """From pairs of noise: did the right half move, or the left one?"""
    torch.manual_seed(0)
    look = MotionLook(8, 1)
    optimiser = torch.optim.AdamW(look.parameters(), lr=5e-3)
    losses = []
    for _ in range(25):
        before = torch.randn(8, 8, 16, 32)
        right = torch.rand(8) < 0.5
        moved = before.roll(1, dims=3)
        now = torch.where((torch.arange(32) >= 16) == right[:, None, None, None], moved, before)
        truth = ((torch.arange(8) >= 4) == right[:, None, None, None]).float().expand(8, 1, 4, 8)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(look(now, before), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)  # it begins by saying nothing
    assert sum(losses[-5:]) / 5 < 0.35

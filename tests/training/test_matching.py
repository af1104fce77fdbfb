"""Which object a phrase means is learnt from where it lies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from surgvos.data.clips import ClipBatch
from surgvos.errors import ConfigError
from surgvos.models.interface import TextFeatures
from surgvos.models.nano import ReferringNano
from surgvos.models.nano.matcher import Matches
from surgvos.models.nano.objects import Proposals
from surgvos.models.nano.referring import Compared
from surgvos.training.matching import MatchSettings, iou_loss, match_loss, overlaps_of, trust_loss
from training.test_objects import two_squares
from training.test_referring import READER


def left_and_right() -> tuple[Proposals, torch.Tensor]:
    """The left and the right half as objects, one row of padding; tips are on top."""
    outlines = torch.full((1, 3, 4, 6), -5.0)
    outlines[0, 0, :, :3], outlines[0, 1, :, 3:] = 5.0, 5.0
    ones = torch.ones(1, 3)
    parts = torch.full((1, 3, 4, 6), -5.0)
    parts[0, 0, :2] = 5.0
    return Proposals(torch.tensor([[True, True, False]]), outlines, ones, ones, ones.long()), parts


def test_overlaps_are_those_of_objects_and_their_parts() -> None:
    proposals, parts = left_and_right()
    true = torch.zeros(3, 4, 6, dtype=torch.bool)
    true[0, :, :3], true[1, :2, 3:] = True, True  # the left one; the tip of the right one; nothing
    none = Matches(torch.zeros(3, 13), torch.zeros(3, 3), torch.zeros(3, 3))
    found = overlaps_of(Compared(proposals, parts, none), torch.zeros(3, dtype=torch.long), true)
    assert found.shape == (3, 12)
    expected = torch.zeros(3, 12)
    expected[0, 0], expected[0, 1] = 1, 0.5
    expected[1, 4], expected[1, 5] = 0.5, 1
    torch.testing.assert_close(found, expected)


def test_what_matches_best_costs_least() -> None:
    overlaps = torch.zeros(2, 12)
    overlaps[0, 4] = 0.9
    logits = torch.zeros(2, 13)
    logits[0, 4] = logits[1, -1] = 20.0
    right = Matches(logits, torch.zeros(2, 3), torch.zeros(2, 3))
    assert (match_loss(right, overlaps) < 1e-3).all()
    assert (match_loss(replace(right, logits=logits.flip(0)), overlaps) > 10).all()
    iou = torch.full((2, 3), -9.0)
    iou[0, 1] = torch.logit(torch.tensor(0.9))
    wrong = iou.roll(1, dims=1)
    assert iou_loss(replace(right, iou=iou), overlaps)[0] < 0.5 * iou_loss(replace(right, iou=wrong), overlaps)[0]


def test_trust_is_held_to_whether_what_is_chosen_is_right() -> None:
    overlaps = torch.zeros(3, 12)
    overlaps[0, 4], overlaps[1, 0], overlaps[1, 4] = 0.6, 0.9, 0.4
    logits = torch.zeros(3, 13)
    logits[:, 4] = 20.0  # the first is right, the second has a better one, the third means nothing
    trust = torch.zeros(3, 3)
    trust[:, 1] = torch.tensor([9.0, -9.0, -9.0])
    matches = Matches(logits, torch.zeros(3, 3), trust)
    assert (trust_loss(matches, overlaps) < 1e-3).all()
    assert (trust_loss(replace(matches, trust=-trust), overlaps) > 8).all()


class TwoSquares(ReferringNano):
    """Objects are found as they are; what phrases mean is to be learnt."""

    def compare(self, images: object, before: object, text: TextFeatures) -> Compared:
        outlines = torch.full((1, 2, 16, 24), -5.0)
        outlines[0, 0, 4:12, 2:8], outlines[0, 1, 4:12, 16:22] = 5.0, 5.0
        ones = torch.ones(1, 2)
        proposals = Proposals(ones.bool(), outlines, ones, ones, ones.long())
        told = torch.eye(2, READER.text_width)[None] * 3
        parts = torch.full((1, 3, 16, 24), -5.0)
        parts[0, 0, 4:8] = 5.0
        return Compared(proposals, parts, self.phrase_matcher(told, proposals.is_object, text))


def asking(*phrases: str) -> ClipBatch:
    """For the left square, the right one, the tip of the left one, and twice for what is not there."""
    batch = two_squares()
    return ClipBatch(batch.images, batch.masks, batch.object_image, phrases)


def test_phrases_learn_what_they_mean() -> None:
    torch.manual_seed(0)
    model = TwoSquares(READER)
    task, optimiser = MatchSettings().module(model), torch.optim.Adam(model.parameters(), lr=3e-3)
    batch = asking("hook on the left", "hook on the right", "tip of the hook", "liver", "spleen")
    for _ in range(80):
        optimiser.zero_grad()
        losses = task(batch, None)
        losses.total.backward()
        optimiser.step()
    assert losses.scores["right"] == 1
    assert losses.scores["trusted"] == 1
    assert losses.scores["not_found"] == 1
    assert losses.scores["iou"] > 0.9
    assert losses.num_items == 5


def test_the_last_frame_is_what_phrases_are_held_to(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ReferringNano(READER)
    seen = []
    compare = model.compare

    def noted(images: torch.Tensor, before: torch.Tensor, text: TextFeatures) -> Compared:
        seen.append((images, before))
        return compare(images, before, text)

    monkeypatch.setattr(model, "compare", noted)
    one = asking("a", "b", "c", "d", "e")
    pair = ClipBatch(one.images.repeat(2, 1, 1, 1, 1), one.masks.repeat(2, 1, 1, 1), one.object_image, one.phrases)
    pair.images[0] = 0
    losses = MatchSettings().module(model)(pair, None)
    losses.total.backward()
    (now, before) = seen[0]
    assert now.amax() > before.amax()
    assert model.phrase_matcher.motion.say.weight.grad.isfinite().all()  # type: ignore[union-attr]
    assert model.phrase_matcher.part.weight.grad.any()  # type: ignore[union-attr]


def test_clips_without_phrases_are_refused() -> None:
    with pytest.raises(ConfigError, match="phrases"):
        MatchSettings().module(ReferringNano(READER))(asking(), None)

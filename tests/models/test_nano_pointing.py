"""Boxes point at one of an image's objects."""

from __future__ import annotations

import pytest
import torch

from models.test_nano_referring import TOY
from surgvos.models.interface import ABSENT_LOGIT, MaskPrediction, PromptBatch
from surgvos.models.nano import ReferringNano
from surgvos.models.nano.objects import Proposals
from surgvos.models.nano.pointing import point_at

LEFT, RIGHT, BOTH = 0, 1, 2


def proposals() -> Proposals:
    """On a grid of 8x12 at stride 4: a square on the left, one on the right, and both with what lies between."""
    outlines = torch.full((1, 4, 8, 12), -5.0)
    outlines[0, LEFT, 2:6, 1:4], outlines[0, RIGHT, 2:6, 8:11], outlines[0, BOTH, 2:6, 1:11] = 5.0, 5.0, 5.0
    outlines[0, 3] = 5.0  # padding
    quality = torch.tensor([[0.6, 0.7, 0.9, 1.0]])
    return Proposals(torch.tensor([[True, True, True, False]]), outlines, quality, torch.ones(1, 4), quality.long())


def chosen(*prompts: tuple[float, float, int]) -> int | None:
    """Which proposal ``(x, y, label)`` point at."""
    points = torch.tensor([[(x, y) for x, y, _ in prompts]])
    batch = PromptBatch(points, torch.tensor([[label for *_, label in prompts]]))
    known = proposals()
    pointed = point_at(known, batch, torch.zeros(1, dtype=torch.long), stride=4)
    if pointed.worth[0] == 0:
        return None
    same = (known.outlines[0] == pointed.outlines[0]).flatten(1).all(dim=1)
    return int(same.nonzero()[0])


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([(32, 8, 2), (44, 24, 3)], RIGHT),  # the box that it fills, not the surest
        ([(4, 8, 2), (44, 24, 3)], BOTH),
        ([(4, 8, 2), (44, 24, 3), (24, 12, 0)], RIGHT),  # of those that do not hold it, the surer one
        ([(4, 8, 2), (44, 24, 3), (24, 12, 0), (8, 12, 1)], LEFT),
        ([(4, 8, 2), (44, 24, 3), (8, 12, 1), (0, 0, -1)], BOTH),  # padding says nothing
        ([(4, 8, 2), (44, 24, 3), (24, 12, 1), (8, 12, 0)], None),
        ([(0, 28, 2), (48, 32, 3)], None),
    ],
)
def test_prompts_choose_what_fits_them(prompts: list[tuple[float, float, int]], expected: int | None) -> None:
    assert chosen(*prompts) == expected


def test_how_well_a_box_is_filled_counts() -> None:
    boxes = torch.tensor([[(4.0, 8.0), (16.0, 24.0)], [(4.0, 8.0), (16.0, 40.0)]])
    batch = PromptBatch(boxes, torch.tensor([[2, 3], [2, 3]]))
    exact, half = point_at(proposals(), batch, torch.zeros(2, dtype=torch.long), stride=4).worth
    assert exact == pytest.approx(0.6)
    assert half == pytest.approx(0.6 / 2)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> ReferringNano:
    """What is drawn from prompts, and the objects of the image, are given."""
    monkeypatch.setattr("surgvos.models.nano.referring.propose", lambda maps, most: proposals())

    draw(monkeypatch, -1.0, presence=3.0)
    return ReferringNano(TOY).eval()


def draw(monkeypatch: pytest.MonkeyPatch, logit: float, presence: float) -> None:
    """Let the tracker's decoder draw the same everywhere, with a predicted IoU of 0.3."""
    drawn = MaskPrediction(torch.full((1, 1, 16, 24), logit), torch.tensor([[0.3]]), torch.tensor([presence]))
    monkeypatch.setattr("surgvos.models.nano.model.NanoModel.decode", lambda *args, **kwargs: drawn)


@torch.inference_mode()
def decoded(model: ReferringNano, *prompts: tuple[float, float, int]) -> MaskPrediction:
    features = model.encode_image(torch.zeros(1, 3, 32, 48))
    points = torch.tensor([[(x, y) for x, y, _ in prompts]])
    batch = PromptBatch(points, torch.tensor([[label for *_, label in prompts]]))
    return model.decode(features, model.condition(features, None), batch, multimask=True)


def test_the_surer_of_two_opinions_prevails(known: ReferringNano) -> None:
    found = decoded(known, (4, 8, 2), (16, 24, 3))
    # 0.6 squared to 0.3 squared: four fifths of 5, and one of -1.
    assert found.logits[0, 0, 8, 4] == pytest.approx(0.8 * 5 - 0.2)
    assert found.logits[0, 0, 8, 20] == pytest.approx(0.8 * -5 - 0.2)
    assert found.iou[0, 0] == pytest.approx(0.8 * 0.6 + 0.2 * 0.3)
    assert found.presence_logits[0] == 3


def test_where_no_object_fits_what_is_drawn_stands(known: ReferringNano) -> None:
    found = decoded(known, (0, 28, 2), (48, 32, 3))
    assert (found.logits == -1).all()
    assert found.iou[0, 0] == pytest.approx(0.3)


def test_what_was_not_seen_is_there_where_a_box_encloses_it(
    known: ReferringNano, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(monkeypatch, ABSENT_LOGIT, presence=-3.0)
    found = decoded(known, (4, 8, 2), (16, 24, 3))
    assert found.logits[0, 0, 8, 4] == pytest.approx(5)
    assert found.presence_logits[0] > 0


def test_an_object_that_a_box_barely_touches_is_not_shown_for_it(
    known: ReferringNano, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(monkeypatch, ABSENT_LOGIT, presence=-3.0)
    found = decoded(known, (0, 0, 2), (4.02, 8.02, 3))
    assert found.presence_logits[0] == -3
    assert (found.logits < 0).all()


def test_training_is_of_what_is_drawn(known: ReferringNano) -> None:
    assert (decoded(known.train(), (4, 8, 2), (16, 24, 3)).logits == -1).all()


def test_clicks_alone_point_at_nothing(known: ReferringNano) -> None:
    assert (decoded(known, (8, 12, 1), (24, 12, 0)).logits == -1).all()

"""What is followed is outlined also by what an image alone shows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import surgvos
from models.test_nano_referring import TOY
from surgvos.data.synthetic import SceneConfig, generate_clip
from surgvos.models.interface import ABSENT_LOGIT, ImageFeatures, MaskPrediction
from surgvos.models.nano import ReferringNano
from surgvos.models.nano.objects import ObjectMaps
from surgvos.models.nano.refining import most_alike
from surgvos.tracking.features import normalize_images

SQUARES = {"left": (slice(1, 3), slice(0, 2)), "right": (slice(1, 3), slice(4, 6))}


def maps(**quality: float) -> ObjectMaps:
    """On a grid of 4x6 at stride 8: every place lies on one of two squares or on nothing, and says so."""
    outlines = torch.full((1, 2, 8, 12), -5.0)
    kernels, worth = torch.zeros(1, 2, 4, 6), torch.full((1, 4, 6), -9.0)
    for number, (name, (rows, columns)) in enumerate(SQUARES.items()):
        fine = (slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop))
        outlines[0, number][fine] = 5.0
        kernels[0, number][rows, columns] = 1.0
        worth[0][rows, columns] = torch.tensor(quality.get(name, 0.8)).logit()
    nothing = torch.zeros(1, 1, 1, 1)
    return ObjectMaps(kernels, worth, nothing, nothing, outlines, nothing, (), ())


def square(name: str) -> Tensor:
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[SQUARES[name]] = True
    return mask


def test_each_mask_gets_the_object_that_is_most_like_it() -> None:
    half = square("right") & (torch.arange(6) == 4)
    found = most_alike(maps(right=0.6), 0, torch.stack((square("left"), half)))
    assert [outline[0].argmax() // 12 for outline in found.outlines] == [2, 2]
    assert (found.outlines[0, 0, :, :4] > 0).sum() == (found.outlines[1, 0, :, 8:] > 0).sum() == 16
    torch.testing.assert_close(found.worth, torch.tensor([0.8, 0.6 / 2]))


def test_a_mask_of_several_objects_gets_them_all() -> None:
    known = maps(left=0.9, right=0.7)
    found = most_alike(known, 0, torch.stack((square("left") | square("right"), square("left"))))
    torch.testing.assert_close(found.outlines[0, 0], known.outlines[0].amax(dim=0))
    torch.testing.assert_close(found.outlines[1, 0], known.outlines[0, 0])
    torch.testing.assert_close(found.worth, torch.tensor([(0.9 + 0.7) / 2, 0.9]))


def test_what_is_like_nothing_gets_nothing() -> None:
    between = torch.zeros(1, 4, 6, dtype=torch.bool)
    between[0, :, 2:4] = True
    nowhere = between & False
    assert most_alike(maps(), 0, torch.cat((between, nowhere))).worth.tolist() == [0, 0]
    assert most_alike(maps(), 0, nowhere).worth.tolist() == [0]


def test_places_that_mean_another_object_have_no_say() -> None:
    known = maps(left=0.99, right=0.4)
    found = most_alike(known, 0, square("right")[None])
    torch.testing.assert_close(found.outlines[0, 0], known.outlines[0, 1])


# --- the model -------------------------------------------------------------------------------------------------------


def followed(logits: Tensor, *, iou: float = 0.8, presence: float = 4.0) -> MaskPrediction:
    return MaskPrediction(logits, torch.full((len(logits), 1), iou), torch.full((len(logits),), presence))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> ReferringNano:
    monkeypatch.setattr("surgvos.models.nano.objects.ObjectFinder.forward", lambda self, images: maps())
    return ReferringNano(TOY).eval()


def seen(model: ReferringNano) -> ImageFeatures:
    return model.encode_image(torch.zeros(1, 3, 32, 48))


def at_stride_2(mask: Tensor) -> Tensor:
    return F.interpolate(mask[None, None].float(), scale_factor=4)


@torch.inference_mode()
def test_two_opinions_count_as_they_are_sure(known: ReferringNano) -> None:
    found = known.refine(seen(known), followed(at_stride_2(square("left")) * 8 - 4))
    # 0.8 squared on both sides: half of 5 and half of 4.
    assert found.logits[0, 0, 8, 4] == pytest.approx(4.5)
    assert found.logits[0, 0, 8, 20] == pytest.approx(-4.5)
    assert (found.iou[0, 0], found.presence_logits[0]) == (pytest.approx(0.8), 4)


@torch.inference_mode()
def test_what_is_absent_stays_absent(known: ReferringNano) -> None:
    absent = torch.full((1, 1, 16, 24), ABSENT_LOGIT)
    assert torch.equal(known.refine(seen(known), followed(absent, presence=-2.0)).logits, absent)
    shown = at_stride_2(square("left")) * 8 - 4
    assert torch.equal(known.refine(seen(known), followed(shown, presence=-2.0)).logits, shown)


@torch.inference_mode()
def test_what_is_like_nothing_keeps_its_outline(known: ReferringNano) -> None:
    shown = torch.full((1, 1, 16, 24), -4.0)
    shown[..., 8:16] = 4.0
    assert torch.equal(known.refine(seen(known), followed(shown)).logits, shown)


@torch.inference_mode()
def test_one_image_per_object_is_the_same() -> None:
    torch.manual_seed(0)
    model = ReferringNano(TOY).eval()
    images = torch.randn(2, 3, 64, 96)
    logits = 4 * torch.randn(2, 1, 4, 6).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    together = model.refine(model.encode_image(images), followed(logits)).logits
    for n in range(2):
        alone = model.refine(model.encode_image(images[n : n + 1]), followed(logits[n : n + 1])).logits
        torch.testing.assert_close(together[n : n + 1], alone, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_an_image_is_looked_through_once_for_all_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ReferringNano(TOY).eval()
    looked = []
    finder = model.object_finder.forward
    monkeypatch.setattr(model.object_finder, "forward", lambda images: looked.append(1) or finder(images))
    features = seen(model)
    held = sum(features.storages().values())
    model.refine(features, followed(torch.ones(1, 1, 16, 24)))
    model.refer(features, [], model.encode_text(["a needle"]))
    model.refine(features, followed(torch.ones(2, 1, 16, 24)))
    assert len(looked) == 1
    assert sum(features.storages().values()) > held  # and what is kept for it is counted


@torch.inference_mode()
def test_the_box_model_completes_what_was_half_followed() -> None:
    """Half of each large object of a scene is followed, and looking at the image brings that nearer to the truth."""
    model = surgvos.load_model("surgvos-nano", dtype="fp32")
    assert isinstance(model, ReferringNano)
    gains = []
    for seed in range(3):
        clip = generate_clip(seed, SceneConfig(surgical_share=1.0, num_frames=1, image_hw=(256, 320)))
        image = torch.from_numpy(clip.frames.copy()).permute(0, 3, 1, 2)
        features = model.encode_image(normalize_images(image))
        for item in clip.objects:
            truth = torch.from_numpy(clip.instances == item.id)[None].float()
            if truth.mean() < 0.02:
                continue
            columns = truth[0, 0].any(dim=0).nonzero().flatten()
            half = truth * (torch.arange(320) < columns.float().mean())
            logits = F.avg_pool2d(half, 2) * 8 - 4
            better = model.refine(features, followed(logits, iou=0.3)).logits
            wanted = F.avg_pool2d(truth, 2) > 0.5
            gains.append(_iou(better > 0, wanted) - _iou(logits > 0, wanted))
    assert len(gains) >= 6
    assert sum(gains) / len(gains) > 0.1


def _iou(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum())

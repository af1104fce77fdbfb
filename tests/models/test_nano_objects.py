"""Objects are found all at once, and places that mean the same one are put together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surgvos.models.nano.matcher import PhraseMatcher, pool
from surgvos.models.nano.objects import ObjectFinder, ObjectFinderConfig, ObjectMaps, overlap, propose

TOY = ObjectFinderConfig(
    widths=(8, 8, 16, 16),
    depths=(1, 1, 1),
    context_width=16,
    context_depth=1,
    place_width=16,
    mask_width=8,
    name_width=8,
    max_objects=4,
)


@pytest.fixture
def finder() -> ObjectFinder:
    torch.manual_seed(0)
    return ObjectFinder(TOY).eval()


def maps_of(kernels: Tensor, quality: Tensor, outlines: Tensor) -> ObjectMaps:
    """What places say, and nothing else."""
    num_images, _, height, width = kernels.shape
    none = torch.zeros(num_images, 1, height, width)
    parts = torch.zeros(num_images, 3, 2 * height, 2 * width)
    return ObjectMaps(kernels, quality, none, none, outlines, parts, (none,), (none,))


def halves() -> ObjectMaps:
    """Places on the left say that the left half is an object, those on the right the right half; the top row nothing.

    A pixel's one channel is -1 on the left and 1 on the right.
    """
    sides = torch.ones(1, 1, 8, 12)
    sides[..., :6] = -1
    kernels = sides[..., ::2, ::2].clone() * 5
    quality = torch.full((1, 4, 6), 2.0)
    quality[0, 0] = -9
    quality[0, 2, 1] = 4
    quality[0, 3, 4] = 3
    return maps_of(kernels, quality, sides)


def test_places_that_mean_the_same_are_one_object() -> None:
    found = propose(halves(), max_objects=20)
    assert found.is_object.tolist() == [[True, True]]
    left, right = found.outlines[0] > 0
    assert left[:, :6].all()
    assert not left[:, 6:].any()
    assert (right == ~left).all()
    assert found.votes.tolist() == [[9, 9]]
    assert found.places.tolist() == [[2 * 6 + 1, 3 * 6 + 4]]  # the surest of each
    torch.testing.assert_close(found.quality, torch.tensor([[4.0, 3.0]]).sigmoid())


def test_the_surest_objects_are_kept() -> None:
    found = propose(halves(), max_objects=1)
    assert found.places.tolist() == [[13]]


def test_a_large_object_leaves_room_for_a_small_one() -> None:
    """Hundreds of places that are surer, all of one organ, say nothing about what lies beside it."""
    is_small = torch.zeros(1, 1, 64, 80, dtype=torch.bool)
    is_small[..., 2:8, 2:8] = True
    pixels = torch.where(is_small, 1.0, -1.0)
    at_places = pixels[..., ::2, ::2]
    quality = torch.where(at_places[:, 0] > 0, -1.0, 3.0)
    found = propose(maps_of(at_places * 5, quality, pixels), max_objects=20)
    assert found.is_object.tolist() == [[True, True]]
    assert ((found.outlines[0, 1] > 0) == is_small[0, 0]).all()


def test_where_nothing_is_nothing_is_proposed() -> None:
    maps = halves()
    none = propose(maps_of(maps.kernels, torch.full((1, 4, 6), -9.0), maps.outlines), max_objects=20)
    assert not none.is_object.any()
    assert none.outlines.shape == (1, 1, 8, 12)


@torch.inference_mode()
def test_images_together_are_as_alone(finder: ObjectFinder) -> None:
    torch.nn.init.constant_(finder.to_quality.bias, 2.0)
    images = torch.randn(3, 3, 64, 96)
    together = propose(finder(images), TOY.max_objects)
    for n in range(3):
        alone = propose(finder(images[n : n + 1]), TOY.max_objects)
        count = int(alone.is_object.sum())
        assert together.is_object[n].sum() == count > 0
        torch.testing.assert_close(together.outlines[n, :count], alone.outlines[0, :count], rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_a_brief_look_is_the_first_of_a_long_one(finder: ObjectFinder) -> None:
    images = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(finder.look_briefly(images), finder(images).levels[1], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(2, 5))
def test_any_image_can_be_described(num_images: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    finder, matcher = ObjectFinder(TOY).eval(), PhraseMatcher(TOY, width=16, depth=1).eval()
    images = torch.randn(num_images, 3, 32 * height, 32 * width)
    maps = finder(images)
    proposals = propose(maps, TOY.max_objects)
    told = matcher.describe(maps, proposals, images, finder.look_briefly(images))
    assert told.shape == (*proposals.is_object.shape, 16)
    assert told.isfinite().all()


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 5))
def test_overlaps_are_of_sets(seed: int, num_a: int, num_b: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(n, 12, generator=generator) > 0.5 for n in (num_a, num_b))
    found = overlap(a.float(), b.float())
    for i in range(num_a):
        for j in range(num_b):
            union = int((a[i] | b[j]).sum())
            assert found[i, j] == pytest.approx(int((a[i] & b[j]).sum()) / max(union, 1))


@pytest.mark.parametrize("side", [2, 4, 8])
def test_means_are_over_the_object_at_any_stride(side: int) -> None:
    share = torch.zeros(1, 1, 4, 4)
    share[..., :2] = 1
    level = torch.full((1, 2, side, side), 7.0)
    level[0, 1, :, : side // 2] = 3.0
    torch.testing.assert_close(pool(level, share), torch.tensor([[[7.0, 3.0]]]), rtol=1e-3, atol=1e-3)

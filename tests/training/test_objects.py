"""Every place learns what it lies on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surgvos.data.clips import Clip, ClipBatch, collate_clips
from surgvos.errors import ConfigError
from surgvos.models.nano import ReferringNano
from surgvos.models.nano.objects import overlap, propose
from surgvos.tracking.features import normalize_images
from surgvos.training.objects import ObjectSettings
from training.test_referring import READER


def two_squares() -> ClipBatch:
    """Two that look alike, and nothing else; the upper half of the left one is its tip."""
    image = np.zeros((1, 64, 96, 3), np.uint8)
    image[0, 16:48, 8:32, 0] = 250
    image[0, 16:48, 64:88, 0] = 250
    left, right, tip = np.zeros((3, 64, 96), bool)
    left[16:48, 8:32], right[16:48, 64:88], tip[16:32, 8:32] = True, True, True
    none = np.zeros_like(left)
    masks = np.stack([left, right, tip, none, none])[None]
    return collate_clips([Clip(image, masks, ("hook", "hook", "tip", "wrist", "shaft"))])


def test_two_that_look_alike_are_learnt_apart() -> None:
    torch.manual_seed(0)
    model, batch = ReferringNano(READER), two_squares()
    task = ObjectSettings().module(model)
    optimiser = torch.optim.Adam(model.object_finder.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    before = task(batch, None)
    for _ in range(150):
        optimiser.zero_grad()
        task(batch, generator).total.backward()
        optimiser.step()
    after = task(batch, None)
    assert after.total < 0.4 * before.total
    assert after.scores["iou"] > 0.75
    assert after.num_items == 1
    with torch.no_grad():
        maps = model.object_finder(normalize_images(batch.images[0]))
        found = propose(maps, 20)
    true = torch.nn.functional.avg_pool2d(batch.masks[0, :2].float(), 4).flatten(1)
    best = overlap(true, (found.outlines[0] > 0).float().flatten(1)).amax(dim=1)
    assert (best > 0.7).all()
    assert (maps.parts[0, 0] > 0)[4:8, 2:8].float().mean() > 0.6


def test_scores_are_the_same_each_time() -> None:
    torch.manual_seed(0)
    task = ObjectSettings(places_per_object=1).module(ReferringNano(READER).eval())
    first, second = (task(two_squares(), None).total for _ in range(2))
    assert first == second


def test_an_image_without_objects_teaches_that_there_are_none() -> None:
    torch.manual_seed(0)
    model = ReferringNano(READER)
    none = np.zeros((1, 3, 64, 96), bool)
    batch = collate_clips([Clip(np.zeros((1, 64, 96, 3), np.uint8), none, ("tip", "wrist", "shaft"))])
    losses = ObjectSettings().module(model)(batch, None)
    losses.total.backward()
    assert losses.total.isfinite()
    assert losses.parts["quality"] > 0
    assert losses.parts["dice"] == 0
    assert model.object_finder.to_quality.weight.grad.any()  # type: ignore[union-attr]


def test_images_without_names_are_refused() -> None:
    batch = two_squares()
    with pytest.raises(ConfigError, match="names"):
        ObjectSettings().module(ReferringNano(READER))(ClipBatch(batch.images, batch.masks, batch.object_image), None)
    with pytest.raises(ConfigError, match="places_per_object"):
        ObjectSettings(places_per_object=0)

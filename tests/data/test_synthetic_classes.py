"""Single frames with classes: what is drawn is what is labelled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surgvos.data.batches import BatchShape
from surgvos.data.synthetic import SceneConfig, SyntheticObject, generate_clip
from surgvos.data.synthetic_classes import SYNTHETIC_CLASSES, SyntheticClassesConfig, class_maps, class_of
from surgvos.errors import ConfigError

SHAPE = BatchShape(image_hw=(64, 80), batch_size=3)
TINY = SyntheticClassesConfig(pool_size=4, reuse=2)


@pytest.mark.parametrize(
    ("category", "kind", "name"),
    [
        ("needle driver", "instrument", "instrument"),
        ("injection needle", "instrument", "instrument"),
        ("articulated shape", "shape", "instrument"),
        ("needle", "instrument", "needle"),
        ("thread", "instrument", None),
        ("cystic duct", "anatomy", "vessel"),
        ("gallbladder", "anatomy", "organ"),
        ("polyp", "anatomy", None),
        ("pupil", "anatomy", "pupil"),
        ("fold", "anatomy", None),
        ("blob", "shape", None),
    ],
)
def test_categories_have_classes(category: str, kind: str, name: str | None) -> None:
    found = class_of(SyntheticObject(1, category, kind, ()))  # type: ignore[arg-type]
    assert found == 0 if name is None else SYNTHETIC_CLASSES[found].name == name


def test_class_maps_say_what_objects_are() -> None:
    clip = generate_clip(4, SceneConfig(image_hw=(64, 80), num_frames=2, surgical_share=1.0))
    found = class_maps(clip)
    assert found.shape == clip.instances.shape
    for item in clip.objects:
        assert set(np.unique(found[clip.instances == item.id])) == {class_of(item)}
    assert not found[clip.instances == 0].any()


def test_every_organ_and_tube_of_the_generator_has_a_class() -> None:
    """Only what is named here is background: nothing new is forgotten."""
    seen: set[str] = set()
    for seed in range(60):
        clip = generate_clip(seed, SceneConfig(image_hw=(32, 40), num_frames=1, surgical_share=1.0))
        for item in clip.objects:
            seen.add(item.category)
            assert class_of(item) or item.category in ("thread", "polyp", "fold"), item.category
    assert len(seen) > 20


def test_a_batch_is_a_function_of_its_index() -> None:
    first, second = TINY.open(SHAPE, seed=3), TINY.open(SHAPE, seed=3)
    later = first[5]
    for index in (2, 5):
        batch = second[index]
    assert torch.equal(later.images, batch.images)
    assert torch.equal(later.labels, batch.labels)
    assert batch.images.shape == (3, 3, 64, 80)
    assert batch.labels.shape == (3, 64, 80)
    assert batch.num_classes == len(SYNTHETIC_CLASSES)
    assert batch.labels.any()
    assert int(batch.labels.max()) <= len(SYNTHETIC_CLASSES)


def test_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected single frames"):
        TINY.open(BatchShape(num_frames=3, image_hw=(64, 80), batch_size=1), seed=0)
    with pytest.raises(ConfigError, match="expected reuse and pool_size"):
        SyntheticClassesConfig(reuse=0)

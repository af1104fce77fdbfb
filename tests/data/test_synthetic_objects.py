"""Images with all of their objects."""

from __future__ import annotations

import numpy as np
import pytest

from surgvos.data.batches import BatchShape
from surgvos.data.synthetic_objects import SyntheticObjectsConfig
from surgvos.data.synthetic_phrases import PART_WORDS
from surgvos.errors import ConfigError

SHAPE = BatchShape(num_frames=1, image_hw=(64, 80), batch_size=3)


def test_batches_are_functions_of_their_index() -> None:
    config = SyntheticObjectsConfig(pool_size=4, reuse=4)
    first, second = config.open(SHAPE, seed=1), config.open(SHAPE, seed=1)
    expected = first[3]
    second[0]
    found = second[3]
    assert found.phrases == expected.phrases
    assert (found.images == expected.images).all()
    assert (found.masks == expected.masks).all()
    assert found.masks.shape[2:] == (64, 80)


def test_objects_are_apart_and_parts_lie_in_instruments() -> None:
    batch = SyntheticObjectsConfig(pool_size=6, reuse=2).open(SHAPE, seed=0)[0]
    is_part = np.array([phrase in PART_WORDS.values() for phrase in batch.phrases])
    masks, image = batch.masks[0].numpy(), batch.object_image.numpy()
    assert is_part.sum() == 3 * len(PART_WORDS)
    for n in range(3):
        objects = masks[(image == n) & ~is_part]
        assert objects.sum(axis=0).max(initial=0) <= 1
        parts = masks[(image == n) & is_part]
        assert not (parts.any(axis=0) & ~objects.any(axis=0)).any()
        assert parts.sum(axis=0).max() <= 1


def test_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_frames=1"):
        SyntheticObjectsConfig().open(BatchShape(num_frames=2, image_hw=(64, 80), batch_size=1), seed=0)
    with pytest.raises(ConfigError, match="pool_size"):
        SyntheticObjectsConfig(pool_size=0)

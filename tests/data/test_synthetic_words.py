"""Words and where they hold."""

from __future__ import annotations

import numpy as np
import pytest

from surgvos.data.batches import BatchShape
from surgvos.data.synthetic import SURGICAL_CATEGORIES, Part, SyntheticClip, SyntheticObject
from surgvos.data.synthetic_words import SyntheticWordsConfig, words_in
from surgvos.errors import ConfigError

SHAPE = BatchShape(num_frames=1, image_hw=(64, 80), batch_size=3)


def scene(*objects: SyntheticObject, resembled: frozenset[str] = frozenset()) -> SyntheticClip:
    """Objects side by side, one row each; the first column of each is its tip."""
    instances = np.repeat(np.array([[item.id] for item in objects], np.uint8), 4, axis=1)[None]
    parts = np.zeros_like(instances)
    parts[0, :, 0] = Part.JAWS
    return SyntheticClip(np.zeros((*instances.shape, 3), np.uint8), instances, parts, objects, resembled)


HOOK = SyntheticObject(1, "hook", "instrument", (), ("hook", "instrument"))
PLAIN_STAPLER = SyntheticObject(2, "stapler", "instrument", (), ("instrument",))
LIVER = SyntheticObject(3, "liver", "anatomy", (), ("liver",))


def test_a_word_holds_where_all_of_its_kind_are() -> None:
    words = words_in(scene(HOOK, PLAIN_STAPLER, LIVER))
    assert words["instrument"].any(axis=1).tolist() == [True, True, False]
    assert words["hook"].any(axis=1).tolist() == [True, False, False]
    assert words["tip"].any(axis=0).tolist() == [True, False, False, False]


def test_what_is_not_there_holds_nowhere() -> None:
    words = words_in(scene(HOOK))
    assert not words["needle driver"].any()
    assert set(words) >= set(SURGICAL_CATEGORIES) - {"iris hook"}
    assert "iris hook" not in words  # it may be called a hook, too


def test_what_is_not_known_is_not_said() -> None:
    assert "stapler" not in words_in(scene(PLAIN_STAPLER))
    assert "fat" not in words_in(scene(HOOK, resembled=frozenset({"fat"})))


def test_batches_are_functions_of_their_index() -> None:
    config = SyntheticWordsConfig(pool_size=4, reuse=4)
    first, second = config.open(SHAPE, seed=1), config.open(SHAPE, seed=1)
    expected = first[3]
    second[0]
    found = second[3]
    assert found.phrases == expected.phrases
    assert (found.images == expected.images).all()
    assert (found.masks == expected.masks).all()
    assert 0.05 < found.visible.float().mean() < 0.5
    assert found.masks.shape[2:] == (64, 80)


def test_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_frames=1"):
        SyntheticWordsConfig().open(BatchShape(num_frames=2, image_hw=(64, 80), batch_size=1), seed=0)
    with pytest.raises(ConfigError, match="pool_size"):
        SyntheticWordsConfig(pool_size=0)

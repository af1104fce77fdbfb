"""Clips with phrases: what is asked for is there, and what is not, is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from surgvos.data.batches import BatchShape
from surgvos.data.synthetic import Part, SceneConfig, SyntheticClip, SyntheticObject, generate_clip
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig, foreign_phrase, misplaced_phrase, part_phrase
from surgvos.data.transforms import Augmentation
from surgvos.errors import ConfigError

SHAPE = BatchShape(num_frames=2, image_hw=(64, 80), batch_size=3)
TINY = SyntheticPhrasesConfig(pool_size=4, reuse=4, min_area_share=0.002)


def clip_of(*objects: SyntheticObject) -> SyntheticClip:
    empty = np.zeros((1, 8, 8), np.uint8)
    return SyntheticClip(np.zeros((1, 8, 8, 3), np.uint8), empty, empty, objects)


LIVER = SyntheticObject(1, "liver", "anatomy", ("the liver", "liver", "the liver on the left"))
HOOK = SyntheticObject(2, "hook", "instrument", ("the hook", "hook", "the instrument", "the hook on the top"))
DRIVER = SyntheticObject(1, "needle driver", "instrument", ("the left needle driver",))


def test_batches_hold_a_phrase_for_every_row_of_masks() -> None:
    batch = TINY.open(SHAPE, seed=0)[0]
    assert len(batch.phrases) == batch.num_objects == batch.masks.shape[1]
    assert batch.images.shape == (2, 3, 3, 64, 80)


def test_a_batch_is_a_function_of_its_index() -> None:
    first, second = TINY.open(SHAPE, seed=3), TINY.open(SHAPE, seed=3)
    later = first[5]
    for index in (2, 5):
        found = second[index]
    assert found.phrases == later.phrases
    assert torch.equal(found.images, later.images)
    assert torch.equal(found.masks, later.masks)


def test_some_phrases_are_for_nothing_and_most_for_something() -> None:
    source = SyntheticPhrasesConfig(pool_size=4, min_area_share=0.002).open(SHAPE, seed=1)
    seen = torch.cat([source[i].visible[0] for i in range(4)])
    assert 0.1 < 1 - seen.float().mean() < 0.6


def test_sides_are_said_as_they_are_seen() -> None:
    """Also where the clip was flipped."""
    source = SyntheticPhrasesConfig(pool_size=6, min_area_share=0.002, num_absent=0).open(SHAPE, seed=2)
    checked = 0
    for index in range(12):
        batch = source[index]
        for row, phrase in enumerate(batch.phrases):
            columns = batch.masks[0, row].any(dim=0).nonzero().float().mean().item() / 80
            if "on the left" in phrase and " top" not in phrase and " bottom" not in phrase:
                checked += 1
                assert columns < 0.65, phrase
            if "on the right" in phrase and " top" not in phrase and " bottom" not in phrase:
                checked += 1
                assert columns > 0.35, phrase
    assert checked > 5


def test_a_foreign_phrase_names_a_kind_that_is_not_there() -> None:
    rng = np.random.default_rng(0)
    found = {foreign_phrase(clip_of(LIVER), clip_of(LIVER, HOOK), rng) for _ in range(30)}
    assert found == {"the hook", "hook", "the hook on the top"}  # not "the instrument": it may mean another one
    assert foreign_phrase(clip_of(DRIVER), clip_of(LIVER), rng) is not None
    either = SyntheticObject(4, "driver", "instrument", ("the driver",))
    assert foreign_phrase(clip_of(DRIVER), clip_of(either), rng) is None
    assert foreign_phrase(clip_of(either), clip_of(DRIVER), rng) is None


def test_what_unlabelled_tissue_resembles_is_not_said_to_be_missing() -> None:
    rng = np.random.default_rng(0)
    hidden = dataclasses.replace(clip_of(HOOK), resembled=frozenset({"liver"}))
    assert foreign_phrase(hidden, clip_of(LIVER), rng) is None


def test_a_part_is_what_its_phrase_names() -> None:
    source = SyntheticPhrasesConfig(pool_size=6, part_share=1.0, num_absent=0).open(SHAPE, seed=5)
    shares = {"tip": [], "shaft": []}
    for index in range(10):
        batch = source[index]
        for phrase, mask in zip(batch.phrases, batch.masks[0], strict=True):
            for part, found in shares.items():
                if phrase.startswith(f"the {part} of the "):
                    found.append(mask.sum().item())
    assert all(len(found) > 2 and min(found) > 0 for found in shares.values())
    assert part_phrase(Part.JAWS, "hook on the left") == "the tip of the hook on the left"


def test_a_misplaced_phrase_names_the_side_where_it_is_not() -> None:
    rng = np.random.default_rng(0)
    found = {misplaced_phrase(clip_of(LIVER, HOOK, DRIVER), rng) for _ in range(30)}
    assert found == {"the liver on the right", "the hook on the bottom"}
    assert misplaced_phrase(clip_of(DRIVER), rng) is None  # there may be another one on the right


def test_the_seed_of_a_scene_gives_its_clip() -> None:
    scene = SceneConfig(num_frames=1, image_hw=(48, 64))
    assert np.array_equal(generate_clip(4, scene).frames, generate_clip(4, scene).frames)


@pytest.mark.parametrize("more", [{"num_phrases": 0}, {"augmentation": Augmentation()}])
def test_what_would_belie_phrases_is_refused(more: dict) -> None:
    with pytest.raises(ConfigError):
        SyntheticPhrasesConfig(**more)

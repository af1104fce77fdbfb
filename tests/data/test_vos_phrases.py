"""Clips with phrases: which frames, which objects, which words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dataset_miniatures import ref_endovis17, ref_endovis17_files, write_folder
from surgvos.data.batches import BatchShape
from surgvos.data.clips import ClipBatch
from surgvos.data.phrases import Phrase, mirrored, write_phrases
from surgvos.data.transforms import Augmentation, ColorJitter
from surgvos.data.vos_phrases import VosPhrasesConfig
from surgvos.errors import ConfigError, InputError
from surgvos.io.masks import write_label_map

HW = (48, 64)
NUM_FRAMES = 16
SHAPE = BatchShape(num_frames=6, image_hw=HW, batch_size=1)
AS_IT_IS = Augmentation(
    flip_probability=0.0,
    max_rotation=0.0,
    max_shear=0.0,
    clip_jitter=ColorJitter(),
    frame_jitter=ColorJitter(),
    grey_probability=0.0,
)


def write_set(root: Path) -> Path:
    """One video whose grey tells the frame: object 1 on the left until frame 9, 2 on the right from 4 on, 3 unnamed."""
    phrases = [
        Phrase(phrase=f"grasper is in frame {i} on the left", object=1, start=f"{i:05d}", stop=f"{i:05d}")
        for i in range(10)
    ]
    phrases += [
        Phrase(phrase="hook on the right", object=2, start="00004"),
        Phrase(phrase="needle", object=None),
        Phrase(phrase="hook that was", object=2, stop="00003"),
    ]
    write_phrases(root / "phrases.json", {"seq_1": tuple(phrases)})
    for index in range(NUM_FRAMES):
        label_map = np.zeros(HW, np.uint8)
        label_map[8:24, 4:20] = 1 if index < 10 else 0
        label_map[8:24, 40:60] = 2 if index >= 4 else 0
        label_map[30:40, 20:40] = 3
        (root / "JPEGImages/seq_1").mkdir(parents=True, exist_ok=True)
        image = np.full((*HW, 3), 10 * index, np.uint8)
        cv2.imwrite(str(root / f"JPEGImages/seq_1/{index:05d}.png"), image)
        write_label_map(root / f"Annotations/seq_1/{index:05d}.png", label_map)
    return root


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> VosPhrasesConfig:
    return VosPhrasesConfig(root=str(write_set(tmp_path_factory.mktemp("ref") / "train")), augmentation=AS_IT_IS)


def frames_of(batch: ClipBatch) -> list[int]:
    return [int(image.float().mean() / 10 + 0.5) for image in batch.images[:, 0]]


def test_looking_ends_with_the_frame_before_those_that_are_followed(config: VosPhrasesConfig) -> None:
    source = config.open(SHAPE, seed=0)
    orders = set()
    for index in range(60):
        *earlier, last, first, second, third = frames_of(source[index])
        assert (first, second, third) == (last + 1, last + 2, last + 3)
        assert len(set(earlier)) == 2
        assert set(earlier) < set(range(last - 4, last))
        orders.add(tuple(last - i for i in earlier))
    # Any two of the four, in either order.
    assert len(orders) == 12


def test_time_runs_backward_in_a_share_of_the_draws(config: VosPhrasesConfig) -> None:
    source = replace(config, augmentation=replace(AS_IT_IS, reverse_probability=0.25)).open(SHAPE, seed=0)
    backward = []
    for index in range(120):
        frames = frames_of(source[index])
        step = frames[3] - frames[2]
        assert frames[3:] == [frames[2] + k * step for k in (1, 2, 3)]
        assert all(0 < step * (frames[2] - i) <= 4 for i in frames[:2])
        backward.append(step < 0)
    assert 0.1 < np.mean(backward) < 0.4


def test_objects_are_those_with_a_phrase_in_the_frame_in_which_they_show(config: VosPhrasesConfig) -> None:
    source = config.open(SHAPE, seed=0)
    seen = set()
    for index in range(60):
        batch = source[index]
        frames = frames_of(batch)
        at = frames[2]
        expected = ({f"grasper is in frame {at} on the left"} if at < 10 else set()) | (
            {"hook on the right"} if at >= 4 else set()
        )
        assert set(batch.phrases) == expected
        for slot, phrase in enumerate(batch.phrases):
            is_grasper = phrase.startswith("grasper")
            visible = [i < 10 if is_grasper else i >= 4 for i in frames]
            assert batch.visible[:, slot].tolist() == visible
            seen.add((is_grasper, all(visible)))
    # Some objects go away, or come only later.
    assert seen == {(True, True), (True, False), (False, True), (False, False)}


def test_no_more_objects_than_asked_for(config: VosPhrasesConfig) -> None:
    source = replace(config, max_objects=1).open(SHAPE, seed=0)
    batches = [source[index] for index in range(20)]
    assert {batch.num_objects for batch in batches} == {1}
    assert len({batch.phrases[0].split()[0] for batch in batches}) == 2


def test_a_flip_turns_words_round_with_the_image(config: VosPhrasesConfig) -> None:
    source = replace(config, augmentation=replace(AS_IT_IS, flip_probability=1.0)).open(SHAPE, seed=0)
    straight = config.open(SHAPE, seed=0)
    for index in range(10):
        flipped, batch = source[index], straight[index]
        assert flipped.phrases == tuple(mirrored(phrase) for phrase in batch.phrases)
        assert flipped.phrases != batch.phrases
        assert torch.equal(flipped.masks, batch.masks.flip(-1))
    assert mirrored("the leftmost hook, left of copyright.") == "the rightmost hook, right of copyright."


def test_batches_depend_on_seed_and_index_alone(config: VosPhrasesConfig) -> None:
    varied = replace(config, augmentation=Augmentation(reverse_probability=0.25))
    shape = replace(SHAPE, batch_size=2)
    first, again, other = varied.open(shape, 0), varied.open(shape, 0, num_streams=3), varied.open(shape, 1)
    for index in (7, 2):
        assert torch.equal(first[index].images, again[index].images)
        assert torch.equal(first[index].masks, again[index].masks)
        assert first[index].phrases == again[index].phrases
    assert not torch.equal(first[2].images, other[2].images)


def test_a_frame_may_be_all_there_is(config: VosPhrasesConfig) -> None:
    source = replace(config, num_referring=1, num_spare=0).open(replace(SHAPE, num_frames=1), seed=0)
    assert source[0].num_frames == 1


def test_a_prepared_data_set_is_a_source(tmp_path: Path) -> None:
    ref_endovis17().prepare([write_folder(tmp_path / "source", ref_endovis17_files())], tmp_path / "out")
    source = VosPhrasesConfig(root=str(tmp_path / "out/train")).open(replace(SHAPE, num_frames=3, batch_size=2), 0)
    batch = source[0]
    assert batch.images.shape[:2] == (3, 2)
    assert len(batch.phrases) == batch.num_objects >= 2
    assert all(" forceps are " in phrase for phrase in batch.phrases)


def test_what_does_not_fit_is_told(config: VosPhrasesConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 3 frames"):
        config.open(replace(SHAPE, num_frames=2), seed=0)
    with pytest.raises(ConfigError, match="num_referring >= 1"):
        replace(config, num_referring=0)
    with pytest.raises(ConfigError, match="max_objects >= 1"):
        replace(config, max_objects=0)
    root = write_set(tmp_path / "train")
    write_phrases(root / "phrases.json", {"seq_1": (Phrase(phrase="needle", object=None),)})
    with pytest.raises(InputError, match="phrases for objects of video 'seq_1'"):
        replace(config, root=str(root)).open(SHAPE, seed=0)
    (root / "phrases.json").unlink()
    with pytest.raises(InputError, match="JSON file of phrases"):
        replace(config, root=str(root)).open(SHAPE, seed=0)

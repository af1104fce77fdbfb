"""Frames with classes: which are drawn, how often, and what their pixels say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset_miniatures import (
    cadis,
    cadis_files,
    cataract1k,
    cataract1k_files,
    cholecseg8k,
    cholecseg8k_files,
    write_zips,
)
from surgvos.config.presets import RECIPES
from surgvos.core.label_tables import LABEL_SPACES
from surgvos.core.labels import LabelSpace
from surgvos.data.batches import BatchShape
from surgvos.data.frames import UNLABELLED, FrameBatch, labels_of
from surgvos.data.labelled_folder import LabelledFolderConfig, frame_chances, rarity_weights
from surgvos.data.transforms import AS_IT_IS, augment
from surgvos.errors import ConfigError, InputError
from training.detector_miniatures import COLORS, SIDE, folder_of, write_frames

SHAPE = BatchShape(image_hw=(SIDE, SIDE), batch_size=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("frames"))


def same(one: FrameBatch, other: FrameBatch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


# --- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_a_function_of_its_index(root: Path) -> None:
    source, again = (folder_of(root).open(SHAPE, seed=3) for _ in range(2))
    assert same(source[5], again[5])
    assert not same(source[5], source[6])
    assert not same(source[5], folder_of(root).open(SHAPE, seed=4)[5])


def test_pixels_say_which_class_they_are_of(root: Path) -> None:
    batch = folder_of(root).open(SHAPE, seed=0)[0]
    assert (batch.num_frames, batch.num_classes) == (3, 3)
    assert batch.images.shape == (3, 3, SIDE, SIDE)
    assert set(batch.labels.unique().tolist()) <= {0, 1, 2, 3, UNLABELLED}
    for label in (1, 2):
        pixels = batch.images.permute(0, 2, 3, 1)[batch.labels == label]
        assert len(pixels)
        assert (pixels == torch.tensor(COLORS[label], dtype=torch.uint8)).all()
    assert (batch.labels[:, :2] == UNLABELLED).all()
    assert batch.class_weights.tolist() == [1, 1, 1]


def test_labels_count_classes_from_one_in_the_order_of_ids() -> None:
    in_cadis = labels_of(np.array([[0, 16, 255]], dtype=np.uint8), LABEL_SPACES["cadis-2"])
    assert in_cadis.tolist() == [[1, 17, UNLABELLED]]
    in_cholec = labels_of(np.array([[0, 1, 12, 255]], dtype=np.uint8), LABEL_SPACES["cholecseg8k"])
    assert in_cholec.tolist() == [[0, 1, 12, UNLABELLED]]
    with pytest.raises(InputError, match="got 17"):
        labels_of(np.array([[17]], dtype=np.uint8), LABEL_SPACES["cadis-2"])
    with pytest.raises(InputError, match="fewer than 255 classes"):
        labels_of(np.zeros((1, 1), dtype=np.uint8), LabelSpace.from_names([f"class {i}" for i in range(255)]))


def test_values_of_a_data_sets_own_files_are_understood(root: Path, tmp_path: Path) -> None:
    space = tmp_path / "two.yaml"
    space.write_text(
        "classes: [{id: 1, name: clip}, {id: 2, name: tool}]\nignore: 255\n"
        "raw_ids: [{value: 0, id: 0}, {value: 1, id: 2}, {value: 2, id: 2}, {value: 3, id: 1}, {value: 255, id: 255}]\n"
    )
    own = replace(folder_of(root), label_space=str(space), raw=True).open(SHAPE, seed=0)[0]
    published = folder_of(root).open(SHAPE, seed=0)[0]
    table = torch.arange(256)
    table[1:4] = torch.tensor([2, 2, 1])
    assert torch.equal(own.labels.long(), table[published.labels.long()])


def test_what_cannot_be_served_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected single frames, got clips of 2"):
        folder_of(root).open(replace(SHAPE, num_frames=2), seed=0)
    with pytest.raises(ConfigError, match="a fraction above 0"):
        replace(folder_of(root), fraction=0.0)
    with pytest.raises(InputError, match="folders JPEGImages and Labels/classes"):
        replace(folder_of(root), root=str(tmp_path)).open(SHAPE, seed=0)
    empty = LabelSpace.from_names(["nothing of this"])
    (tmp_path / "empty.yaml").write_text(
        f"classes: [{{id: 9, name: {empty.labels[0].name}}}]\nignore: 255\n"
        "raw_ids: [{value: 0, id: 0}, {value: 1, id: 0}, {value: 2, id: 0}, {value: 3, id: 0}, {value: 255, id: 255}]\n"
    )
    source = replace(folder_of(root), label_space=str(tmp_path / "empty.yaml"), raw=True).open(SHAPE, seed=0)
    with pytest.raises(InputError, match="got none in 200 random frames"):
        source[0]


# --- which frames ----------------------------------------------------------------------------------------------------


def test_smaller_shares_are_parts_of_larger_ones(root: Path) -> None:
    def frames(fraction: float, subset: int = 0) -> list[tuple[Path, Path]]:
        return replace(folder_of(root), fraction=fraction, subset=subset).open(SHAPE, seed=0).frames

    assert [len(frames(share)) for share in (0.01, 0.25, 0.5, 1.0)] == [1, 2, 4, 8]
    assert set(frames(0.01)) < set(frames(0.25)) < set(frames(0.5)) < set(frames(1.0))
    assert frames(0.5) == [frame for frame in frames(1.0) if frame in frames(0.5)]
    assert len({tuple(frames(0.5, subset)) for subset in range(5)}) > 1


def test_rare_classes_count_more() -> None:
    """Reference: SASVi's scripts, in which a weight is the fifth root of one over the share of pixels."""
    weights = rarity_weights(np.array([90.0, 10.0, 0.0]))
    assert weights[1] / weights[0] == pytest.approx(9**0.2, rel=1e-4)
    assert weights[2] == 0
    assert weights.sum() == pytest.approx(2)
    assert rarity_weights(np.zeros(2)).tolist() == [0, 0]
    shows = np.array([[True, False], [True, True], [False, True], [False, False]])
    chances = frame_chances(shows, np.array([0.5, 1.5]))
    assert chances == pytest.approx(np.array([0.5, 1.0, 1.5, 0.0]) / 3)
    assert frame_chances(np.zeros((2, 1), dtype=bool), np.zeros(1)) == pytest.approx([0.5, 0.5])


def test_frames_with_rare_classes_are_drawn_more_often(root: Path) -> None:
    favouring = replace(folder_of(root), favour_rare=True).open(SHAPE, seed=0)
    assert favouring.class_weights.sum() == pytest.approx(3)
    assert favouring.class_weights.argmax() == 2
    assert favouring[0].class_weights.tolist() == pytest.approx(favouring.class_weights.tolist())

    assert favouring.chances is not None
    rare = np.array([image.stem in ("00000", "00004") for image, _ in favouring.frames])
    assert favouring.chances[rare].min() > favouring.chances[~rare].max()
    favouring.chances = rare / rare.sum()
    assert all((labels == 3).any() for index in range(4) for labels in favouring[index].labels)


# --- prepared data sets ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Miniatures of the three data sets, where the recipes look for them."""
    folder = tmp_path_factory.mktemp("prepared")
    made = {"cadis": (cadis, cadis_files), "cholecseg8k": (cholecseg8k, cholecseg8k_files)}
    made["cataract1k"] = (cataract1k, cataract1k_files)
    for name, (dataset, files) in made.items():
        dataset().prepare([write_zips(folder / "downloads" / name, files())], folder / "data" / name)
    return folder


def found(config: LabelledFolderConfig, prepared: Path) -> FrameBatch:
    here = replace(config, root=str(prepared / config.root))
    have = {path.name for path in (Path(here.root) / "JPEGImages").iterdir()}
    return replace(here, videos=tuple(have & set(config.videos))).open(SHAPE, seed=0)[0]


@pytest.mark.parametrize("name", ["cadis", "cholecseg8k", "cataract1k"])
def test_recipes_find_prepared_data_sets(name: str, prepared: Path) -> None:
    recipe = RECIPES[f"overseer_maskrcnn_{name}"]()
    assert isinstance(recipe.data, LabelledFolderConfig)
    assert found(recipe.data, prepared).num_classes == len(LABEL_SPACES[recipe.data.label_space])
    if recipe.validation is not None:
        assert isinstance(recipe.validation.data, LabelledFolderConfig)
        assert recipe.validation.data.videos
        assert found(recipe.validation.data, prepared).num_frames == 3


def test_the_split_by_frame_takes_frames_of_all_operations(prepared: Path) -> None:
    root = prepared / "data/cholecseg8k"
    config = LabelledFolderConfig(root=str(root), label_space="cholecseg8k")
    taken = []
    for split in ("train", "val", "test"):
        source = replace(config, frame_split=split).open(SHAPE, seed=0)
        listed = json.loads((root / "frame_split.json").read_text())[split]
        names = {(image.parent.name, image.stem) for image, _ in source.frames}
        assert names == {(clip, frame) for clip, frames in listed.items() for frame in frames}
        taken += source.frames
    assert len(taken) == len(set(taken))
    assert {image.parents[2].name for image, _ in taken} == {"train", "valid"}


def test_half_of_the_frames_stay_upright() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    labels, half = np.ones((1, 40, 40), dtype=np.uint8), replace(AS_IT_IS, max_rotation=45.0, rotation_probability=0.5)
    varied = [augment(image, labels, (40, 40), half, np.random.default_rng(seed))[0] for seed in range(200)]
    share = np.mean([np.array_equal(one, image) for one in varied])
    assert share == pytest.approx(0.5, abs=0.1)

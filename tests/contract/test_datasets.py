"""What every registered data set promises, on downloads in miniature."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest

from dataset_miniatures import FRAME_FILES, MINIATURES, contents, png, write_folder, write_tars, write_zips
from surgvos.core.labels import LabelSpace
from surgvos.data import prepared
from surgvos.data.archives import FileTree
from surgvos.data.batches import BatchShape
from surgvos.data.dataset import DataSet, PrepareOptions
from surgvos.data.dataset_check import check_dataset, recorded_name
from surgvos.data.datasets import DATASETS, dataset_by_name
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.errors import InputError
from surgvos.io.image_folder import list_images
from surgvos.io.masks import read_label_map

each_dataset = pytest.mark.parametrize("name", DATASETS)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data set -> a folder with its zips."""
    root = tmp_path_factory.mktemp("downloads")
    return {name: write_zips(root / name, files()) for name, (_, files) in MINIATURES.items()}


@pytest.fixture(scope="module")
def ready(downloads: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data set -> the folder that it was prepared in."""
    root = tmp_path_factory.mktemp("ready")
    for name, (make, _) in MINIATURES.items():
        done = make().prepare([downloads[name]], root / name)
        assert done.num_written == done.num_frames > 0
    return {name: root / name for name in MINIATURES}


@pytest.fixture
def own(ready: dict[str, Path], name: str, tmp_path: Path) -> Path:
    """A prepared copy to damage."""
    return shutil.copytree(ready[name], tmp_path / "own")


def miniature(name: str) -> DataSet:
    return MINIATURES[name][0]()


def test_every_data_set_has_a_miniature() -> None:
    assert set(MINIATURES) == set(DATASETS)


@each_dataset
def test_it_says_what_it_is_and_where_to_get_it(name: str) -> None:
    dataset = dataset_by_name(name)
    assert dataset.name == name
    assert dataset.title
    assert dataset.access.licence
    assert urlparse(dataset.access.address).scheme == "https"
    assert dataset.archives
    assert all(isinstance(space, LabelSpace) and len(space) for space in dataset.label_spaces.values())


@each_dataset
def test_its_splits_do_not_share_frames(name: str) -> None:
    dataset = dataset_by_name(name)
    keys = [(part.folder, video, n) for part in dataset.parts for video in part.videos for n in part.frames or ("all",)]
    assert len(set(keys)) == len(keys)


@each_dataset
def test_its_folds_share_the_training_videos_out(name: str) -> None:
    dataset = dataset_by_name(name)
    in_folds = [video for fold in dataset.folds for video in fold]
    if in_folds:
        assert sorted(in_folds) == sorted(dataset.splits["train"])


@each_dataset
def test_every_missing_video_is_in_an_archive_that_is_named(name: str, tmp_path: Path) -> None:
    dataset = dataset_by_name(name)
    with FileTree.open(tmp_path) as files:
        gaps = dataset.missing(files)
    assert {(gap.part.split, gap.video) for gap in gaps} == {
        (p.split, video) for p in dataset.parts for video in p.videos
    }
    for gap in gaps:
        assert dataset.archives_of([gap]), str(gap)


@each_dataset
def test_what_is_prepared_is_sound(name: str, ready: dict[str, Path]) -> None:
    dataset = miniature(name)
    checks, faults = check_dataset(dataset, ready[name])
    assert not faults
    assert recorded_name(ready[name]) == name
    assert all(checked.image_hw == dataset.image_hw and checked.objects for checked in checks)


@each_dataset
def test_its_videos_are_found(name: str, ready: dict[str, Path]) -> None:
    dataset = miniature(name)
    videos = dataset.videos(ready[name])
    # A clip is named after its video.
    names = [(v.split, v.name.split("_")[0] if dataset.in_clips else v.name) for v in videos]
    assert list(dict.fromkeys(names)) == [(p.split, video) for p in dataset.parts for video in p.videos]
    assert len(set(videos)) == len(videos)
    for part in dataset.parts:
        for video in dataset.videos(ready[name], part.split):
            names = [path.stem for path in list_images(video.images)]
            assert names == [path.stem for path in list_images(video.annotations)]
            assert (video.prompts is None) == (part.folder == "train")


@each_dataset
def test_prompts_are_the_frames_on_which_objects_first_appear(name: str, ready: dict[str, Path]) -> None:
    for video in miniature(name).videos(ready[name]):
        if video.prompts is None:
            continue
        seen: set[int] = set()
        expected = []
        for path in list_images(video.annotations):
            ids = set(np.unique(read_label_map(path)).tolist()) - {0}
            if ids - seen:
                expected.append(path.stem)
            seen |= ids
        assert [path.stem for path in list_images(video.prompts)] == expected


@each_dataset
def test_training_reads_what_is_prepared(name: str, ready: dict[str, Path]) -> None:
    shape = BatchShape(num_frames=2, image_hw=(64, 80), batch_size=1)
    batch = VosFolderConfig(root=str(ready[name] / "train")).open(shape, seed=0)[0]
    assert batch.images.shape == (2, 1, 3, 64, 80)
    assert batch.masks.any()


@each_dataset
def test_zipped_unzipped_and_tarred_downloads_give_the_same_bytes(
    name: str, ready: dict[str, Path], tmp_path: Path
) -> None:
    files = MINIATURES[name][1]()
    for kind, write in (("folder", write_folder), ("tar", write_tars)):
        source = write(tmp_path / kind, files)
        miniature(name).prepare([source], tmp_path / f"from_{kind}")
        assert contents(tmp_path / f"from_{kind}") == contents(ready[name])
        shutil.rmtree(source)


@each_dataset
def test_preparing_again_writes_what_lacks_and_nothing_else(name: str, downloads: dict[str, Path], own: Path) -> None:
    before = contents(own)
    video = miniature(name).videos(own)[0]
    lost = [list_images(video.images)[-1], list_images(video.annotations)[0]]
    for path in lost:
        path.unlink()
    lost[0].with_name(f"{lost[0].stem}.part.png").write_bytes(b"half of it")
    done = miniature(name).prepare([downloads[name]], own)
    assert done.num_written == 2
    assert {key: value for key, value in contents(own).items() if ".part" not in key} == before
    assert miniature(name).prepare([downloads[name]], own).num_written == 0


@each_dataset
def test_a_killed_preparation_goes_on(
    name: str, downloads: dict[str, Path], ready: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = prepared.write_bytes

    def write_six(path: Path, content: bytes) -> None:
        if len(written) == 6:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    monkeypatch.setattr(prepared, "write_bytes", write_six)
    with pytest.raises(KeyboardInterrupt):
        miniature(name).prepare([downloads[name]], tmp_path / "out")
    assert recorded_name(tmp_path / "out") is None, "what is not finished must not look so"
    monkeypatch.undo()
    done = miniature(name).prepare([downloads[name]], tmp_path / "out")
    assert done.num_written < done.num_frames
    assert contents(tmp_path / "out") == contents(ready[name])


@each_dataset
def test_progress_is_told_to_the_end(name: str, downloads: dict[str, Path], own: Path) -> None:
    told: list[tuple[int, int | None]] = []
    done = miniature(name).prepare([downloads[name]], own, progress=lambda *step: told.append(step))
    assert told == [(step + 1, done.num_frames) for step in range(done.num_frames)]


@each_dataset
def test_nothing_is_written_beside_the_target(name: str, downloads: dict[str, Path], ready: dict[str, Path]) -> None:
    assert {path.suffix for path in downloads[name].iterdir()} == {".zip"}
    assert {path.name for path in ready[name].parent.iterdir()} == set(MINIATURES)


@each_dataset
def test_a_missing_video_is_named_with_its_archive_and_address(
    name: str, downloads: dict[str, Path], tmp_path: Path
) -> None:
    dataset = miniature(name)
    part = dataset.parts[-1]
    known = dataset_by_name(name).splits[part.split]
    absent = next(video for video in known if video not in part.videos)
    larger = replace(dataset, parts=(*dataset.parts[:-1], replace(part, videos=(*part.videos, absent))))
    with pytest.raises(
        InputError, match=rf"expected frames of {absent} in {part.split}.* got none.*https://"
    ) as refused:
        larger.prepare([downloads[name]], tmp_path / "out")
    archive = next(a for a in dataset.archives if "frames" in a.holds and absent in a.videos and part.split in a.splits)
    assert archive.name in str(refused.value)
    assert not (tmp_path / "out").exists()


@each_dataset
def test_partial_prepares_the_rest_and_says_what_lacks(
    name: str, downloads: dict[str, Path], ready: dict[str, Path], tmp_path: Path
) -> None:
    dataset = miniature(name)
    part = dataset.parts[0]
    numbers = [int(path.stem) for path in list_images(dataset.videos(ready[name], part.split)[0].images)]
    longer = replace(part, frames=range(numbers[0], numbers[-1] + 3))
    larger = replace(dataset, parts=(longer, *dataset.parts[1:]))
    shutil.copytree(ready[name], tmp_path / "out")
    done = larger.prepare([downloads[name]], tmp_path / "out", PrepareOptions(partial=True))
    assert done.num_written == 0
    assert any(f"frames of {part.videos[0]} in {part.split} (frames " in note for note in done.notes)
    assert any("00003" in fault or "expected" in fault for fault in check_dataset(larger, tmp_path / "out")[1])


@each_dataset
def test_corrections_that_do_not_exist_cannot_be_left_out(name: str, tmp_path: Path) -> None:
    if not miniature(name).has_corrections:
        with pytest.raises(InputError, match="expected a data set with corrections"):
            miniature(name).prepare([tmp_path], tmp_path / "out", PrepareOptions(corrections=False))


@each_dataset
def test_a_truncated_archive_is_one_sentence(name: str, downloads: dict[str, Path], tmp_path: Path) -> None:
    source = shutil.copytree(downloads[name], tmp_path / "source")
    archive = max(source.iterdir(), key=lambda path: path.stat().st_size)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(
        InputError, match=rf"expected a whole archive, got '.*{archive.name}'.*try downloading it again"
    ):
        miniature(name).prepare([source], tmp_path / "out")


@each_dataset
@pytest.mark.parametrize("damage", ["size", "cut", "empty"])
def test_a_damaged_frame_is_named(name: str, damage: str, tmp_path: Path) -> None:
    files = MINIATURES[name][1]()
    path = next(key for key in files if FRAME_FILES.fullmatch(key))
    files[path] = {"size": png(np.zeros((64, 80, 3), np.uint8)), "cut": files[path][:2000], "empty": b""}[damage]
    source = write_folder(tmp_path / "source", files)
    with pytest.raises(InputError, match=rf"expected .*, got .*{path}"):
        miniature(name).prepare([source], tmp_path / "out")


@each_dataset
def test_faults_of_a_prepared_data_set_are_found(name: str, own: Path) -> None:
    dataset = miniature(name)
    video = dataset.videos(own, dataset.parts[-1].split)[0]
    assert video.prompts is not None
    last = list_images(video.images)[-1]
    last.unlink()
    for path in list_images(video.prompts):
        path.unlink()
    faults = check_dataset(dataset, own)[1]
    assert any(f"got no {last.stem}" in fault and video.name in fault for fault in faults)
    assert any("VOS/Annotations_vos_instrument" in fault for fault in faults)
    shutil.rmtree(own / dataset.parts[-1].folder)
    if len({part.folder for part in dataset.parts}) > 1:
        assert any("which is not there" in fault for fault in check_dataset(dataset, own)[1])
    shutil.rmtree(own / "train")
    with pytest.raises(InputError, match=f"try 'surgvos data prepare {name}'"):
        check_dataset(dataset, own)
    with pytest.raises(InputError, match="expected videos of"):
        dataset.videos(own)


@each_dataset
def test_an_unknown_split_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a split of .*, got 'tset'"):
        miniature(name).videos(tmp_path, "tset")


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected a data set in .*, got 'endovis99'; try 'surgvos data list'"):
        dataset_by_name("endovis99")

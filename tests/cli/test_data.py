"""``surgvos data``: make clips, and find what is wrong with a data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from surgvos.cli.main import app
from surgvos.data.vos_check import check_vos_folder

SMALL = ("--frames", "3", "--size", "64x48")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    result = run("synth", "--out", folder, "--num-clips", "3", "--seed", "5", *SMALL)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "own")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_clips_have_the_size_and_length_asked_for(made: Path) -> None:
    clips = sorted((made / "JPEGImages").iterdir())
    assert [clip.name for clip in clips] == ["clip_00000", "clip_00001", "clip_00002"]
    assert all(len(list(clip.iterdir())) == 3 for clip in clips)
    with Image.open(clips[0] / "00000.jpg") as image:
        assert image.size == (64, 48)
    assert json.loads((made / "objects.json").read_text()).keys() == {clip.name for clip in clips}


def test_clips_depend_on_the_seed_and_their_number_alone(made: Path, tmp_path: Path) -> None:
    for first in (0, 1, 2):
        run("synth", "--out", tmp_path, "--num-clips", "1", "--first", first, "--seed", "5", *SMALL)
    assert contents(tmp_path) == contents(made)


def test_processes_change_no_clip(made: Path, tmp_path: Path) -> None:
    assert run("synth", "--out", tmp_path, "--num-clips", "3", "--seed", "5", "--workers", "2", *SMALL).exit_code == 0
    assert contents(tmp_path) == contents(made)


def test_an_existing_clip_is_not_replaced(own: Path) -> None:
    result = run("synth", "--out", own, "--num-clips", "1", *SMALL)
    assert result.exit_code == 2
    assert "expected a new video" in result.output


@pytest.mark.parametrize("size", ["64", "64x", "axb", "8x8"])
def test_a_wrong_size_is_one_sentence(size: str, tmp_path: Path) -> None:
    result = run("synth", "--out", tmp_path, "--size", size)
    assert result.exit_code == 2
    assert result.output.startswith("surgvos: expected ")


def test_what_was_made_is_sound(made: Path) -> None:
    result = run("check", made)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("3 videos, 9 frames, 9 of them annotated")


def test_sparse_annotation_is_no_fault(own: Path) -> None:
    (own / "Annotations/clip_00001/00001.png").unlink()
    found = {checked.name: checked for checked in check_vos_folder(own)}
    assert found["clip_00001"].num_annotated == 2
    assert not found["clip_00001"].faults


def test_objects_and_empty_label_maps_are_counted(own: Path) -> None:
    labels = np.zeros((48, 64), np.uint8)
    for frame, value in enumerate((0, 7, 0)):
        labels[10:20, 10:20] = value
        Image.fromarray(labels).save(own / f"Annotations/clip_00002/{frame:05d}.png")
    checked = check_vos_folder(own)[2]
    assert checked.objects == {7: 1}
    assert checked.num_empty == 2


def drop_images(root: Path) -> None:
    shutil.rmtree(root / "JPEGImages/clip_00001")


def drop_label_maps(root: Path) -> None:
    shutil.rmtree(root / "Annotations/clip_00001")


def drop_one_image(root: Path) -> None:
    (root / "JPEGImages/clip_00001/00001.jpg").unlink()


def cut_an_image(root: Path) -> None:
    path = root / "JPEGImages/clip_00001/00001.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def empty_a_label_map(root: Path) -> None:
    (root / "Annotations/clip_00001/00001.png").write_bytes(b"")


def shrink_a_label_map(root: Path) -> None:
    Image.fromarray(np.ones((24, 32), np.uint8)).save(root / "Annotations/clip_00001/00001.png")


def shrink_an_image(root: Path) -> None:
    Image.fromarray(np.ones((24, 32, 3), np.uint8)).save(root / "JPEGImages/clip_00001/00002.jpg")


def erase_all_objects(root: Path) -> None:
    for path in (root / "Annotations/clip_00001").iterdir():
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (drop_images, "JPEGImages/clip_00001, which does not exist"),
        (drop_label_maps, "Annotations/clip_00001, which does not exist"),
        (drop_one_image, "an image for every label map, got none for 00001.png"),
        (cut_an_image, "expected a readable image"),
        (empty_a_label_map, "expected a readable image"),
        (shrink_a_label_map, "expected a label map of 64x48, got 32x24 in 00001.png"),
        (shrink_an_image, "expected images of 64x48, got 32x24 in 00002.jpg"),
        (erase_all_objects, "expected at least one object"),
    ],
)
def test_every_fault_is_found(damage: object, sentence: str, own: Path) -> None:
    damage(own)  # type: ignore[operator]
    result = run("check", own)
    assert result.exit_code == 1
    assert sentence in result.output
    assert "fault: clip_00001: " in result.output
    assert "clip_00000" not in result.output
    assert "got" in result.output.splitlines()[-1]


def test_many_faults_are_cut_short(own: Path) -> None:
    for number in range(30):
        (own / f"JPEGImages/lonely_{number:02d}").mkdir()
    result = run("check", own)
    assert result.output.count("fault: ") == 20
    assert "... and 40 more" in result.output


def test_a_folder_of_another_layout_is_wrong_use(tmp_path: Path) -> None:
    result = run("check", tmp_path)
    assert result.exit_code == 2
    assert "got no JPEGImages" in result.output

"""Result folders: read for exports, written by imports, and what the commands say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from helpers import moving_square_frames, write_video
from surgvos.cli.main import app
from surgvos.core.labels import LabelSpace
from surgvos.core.results import FrameResult, ObjectResult, Phase
from surgvos.errors import InputError
from surgvos.export.formats import export_video, import_video
from surgvos.export.interface import FrameHead, LabelledVideo, object_labels
from surgvos.export.result_folder import read_results, write_results
from surgvos.io.masks import read_label_map, write_label_map
from surgvos.io.results import FrameLog, write_json_atomic

HW = (96, 128)
runner = CliRunner()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "case.mp4", moving_square_frames(4, hw=HW)[0])


@pytest.fixture
def results(tmp_path: Path, video: Path) -> Path:
    """What a run leaves: objects 1 and 3, a log, and a record with the source."""
    out = tmp_path / "run"
    (out / "masks").mkdir(parents=True)
    write_json_atomic(out / "run.json", {"status": "done", "record": {"source": str(video)}})
    known = ObjectResult(Phase.TRACKING, 1.0, 1.0, prompted=False)
    with FrameLog(out / "frames.jsonl") as log:
        for index, mask in enumerate(moving_square_frames(4, hw=HW)[1]):
            masks = {1: mask, 3: np.zeros(HW, bool)}
            write_label_map(out / "masks" / f"{index:05d}.png", mask.astype(np.uint8))
            log.write(FrameResult(index, f"{index:05d}", masks, dict.fromkeys(masks, known), {}), index / 25)
    return out


def test_a_run_tells_its_frames_its_objects_and_its_video(results: Path) -> None:
    found = read_results(results)
    assert (found.name, found.image_hw, found.fps) == ("case", HW, 25.0)
    assert [(label.id, label.name) for label in found.labels.labels] == [(1, "object 1"), (3, "object 3")]
    assert [(head.index, head.name, head.time_s) for head in found.heads] == [
        (index, f"{index:05d}", index / 25) for index in range(4)
    ]
    assert [sorted(masks) for _, masks in found] == [[1]] * 4
    assert len(list(found.images())) == 4


def test_masks_alone_are_enough(results: Path, video: Path) -> None:
    (results / "frames.jsonl").unlink()
    (results / "run.json").unlink()
    found = read_results(results)
    assert found.labels.ids == (1,)
    assert (found.name, found.source, len(found)) == ("run", None, 4)


def test_a_folder_per_object_keeps_frames_before_its_first(results: Path) -> None:
    """An object has files from its first prompt on; the log knows the frames before."""
    for path in (results / "masks").iterdir():
        path.unlink()
    mask = np.ones(HW, bool)
    for object_id in (1, 3):
        write_label_map(results / "masks" / f"{object_id:03d}" / "00002.png", mask)
    assert [sorted(masks) for _, masks in read_results(results)] == [[], [], [1, 3], []]


def test_classes_are_those_of_the_run_or_of_the_user(results: Path, tmp_path: Path) -> None:
    write_json_atomic(results / "run.json", {"record": {"overseer": {"label_space": "endovis18-types"}}})
    assert read_results(results).labels.name == "endovis18-types"
    assert read_results(results, label_space="endovis17-types").labels.name == "endovis17-types"


def test_a_mask_without_a_label_is_one_sentence(results: Path) -> None:
    write_label_map(results / "masks" / "00002.png", np.full(HW, 9, np.uint8))
    with pytest.raises(InputError, match=r"got 9 in frame '00002'"):
        list(read_results(results))


@pytest.mark.parametrize("lost", ["masks", "frames"])
def test_a_folder_of_something_else_is_one_sentence(results: Path, lost: str) -> None:
    if lost == "masks":
        (results / "masks").rename(results / "other")
    else:
        write_label_map(results / "masks" / "77777.png", np.zeros(HW, np.uint8))
    with pytest.raises(InputError, match=r"^expected"):
        read_results(results)


def test_another_video_than_the_one_that_was_segmented(results: Path, tmp_path: Path) -> None:
    short = write_video(tmp_path / "short.mp4", moving_square_frames(2, hw=HW)[0])
    small = write_video(tmp_path / "small.mp4", moving_square_frames(4, hw=(64, 64))[0])
    for path in (short, small):
        with pytest.raises(InputError, match="try the --video that was segmented"):
            export_video(read_results(results, video=str(path)), "davis", tmp_path / "out")


def test_images_keep_their_names_in_coco(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(moving_square_frames(4, hw=HW)[0]):
        Image.fromarray(image).save(folder / f"{index:05d}.png")
    export_video(read_results(results, video=str(folder)), "coco", tmp_path / "out")
    images = json.loads((tmp_path / "out" / "annotations.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"{index:05d}.png" for index in range(4)]


def overlapping() -> LabelledVideo:
    left, right = np.zeros(HW, bool), np.zeros(HW, bool)
    left[:, :70], right[:, 60:] = True, True
    return LabelledVideo("v", HW, object_labels([1, 2]), [FrameHead(0, "00000")], lambda _: {1: left, 2: right})


def test_overlap_is_told_unless_it_is_kept(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="overlap in 1 frames"):
        write_results(overlapping(), tmp_path / "flat")
    assert np.bincount(read_label_map(tmp_path / "flat" / "masks" / "00000.png").ravel()).tolist() == [
        0, 70 * 96, 58 * 96,
    ]  # fmt: skip
    write_results(overlapping(), tmp_path / "kept", per_object=True)
    ((_, masks),) = list(read_results(tmp_path / "kept"))
    assert {number: int(mask.sum()) for number, mask in masks.items()} == {1: 70 * 96, 2: 68 * 96}


def test_what_is_imported_has_the_background_of_its_classes(tmp_path: Path) -> None:
    labels = LabelSpace.from_names(["one"])
    labels = LabelSpace(labels.labels, background=255, ignore=255)
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    video = LabelledVideo("v", (4, 5), labels, [FrameHead(0, "a")], lambda _: {1: mask})
    write_results(video, tmp_path / "out")
    label_map = read_label_map(tmp_path / "out" / "masks" / "a.png")
    assert np.array_equal(label_map, np.where(mask, 1, 255))
    assert [sorted(masks) for _, masks in read_results(tmp_path / "out")] == [[1]]


def test_an_import_is_written_whole_or_not_at_all(results: Path, tmp_path: Path) -> None:
    export_video(read_results(results), "coco", tmp_path / "coco")
    path = tmp_path / "coco" / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"][3]["segmentation"]["counts"] = [1]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError):
        import_video(path, "coco", tmp_path / "truth")
    assert not (tmp_path / "truth").exists()


def test_from_a_run_to_coco_to_a_truth_that_scores_it(results: Path, tmp_path: Path) -> None:
    out, truth = tmp_path / "coco", tmp_path / "truth"
    told = runner.invoke(app, ["export", str(results), "--to", "coco", "--out", str(out)])
    assert (told.exit_code, told.output) == (0, f"4 frames, 2 ids in {out}\n")
    told = runner.invoke(app, ["import", str(out), "--from", "coco", "--out", str(truth)])
    assert told.exit_code == 0, told.output
    scores = tmp_path / "scores.json"
    told = runner.invoke(app, ["evaluate", str(results), str(truth), "--protocol", "davis", "--json", str(scores)])
    assert told.exit_code == 0, told.output
    assert read_label_map(truth / "masks" / "00003.png").tolist() == (
        read_label_map(results / "masks" / "00003.png").tolist()
    )
    # Both are the same masks, so they score 100 where they score at all.
    assert "100.0" in told.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["export", "{run}", "--to", "cocoa", "--out", "{new}"], "try 'coco'"),
        (["export", "{new}", "--to", "coco", "--out", "{new}"], "without masks/"),
        (["export", "{run}", "--to", "coco", "--out", "{run}"], "new or empty folder"),
        (["export", "{run}", "--to", "davis", "--out", "{new}", "--video", "nowhere.mp4"], "does not exist"),
        (["export", "{run}", "--to", "coco", "--out", "{new}", "--label-space", "cadiss"], "label space"),
        (["import", "{new}", "--from", "coco", "--out", "{new}"], "does not exist"),
        (["import", "{run}/run.json", "--from", "coco", "--out", "{new}"], "COCO"),
        (["import", "{run}/run.json", "--from", "cvat", "--out", "{new}"], "CVAT"),
        (["import", "{run}/run.json", "--from", "dicom-seg", "--out", "{new}"], "DICOM"),
    ],
)
def test_wrong_use_is_one_sentence(results: Path, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    words = [word.format(run=results, new=tmp_path / "new") for word in arguments]
    told = runner.invoke(app, words)
    assert told.exit_code == 2
    assert told.output.startswith("surgvos: expected")
    assert told.output.count("\n") == 1
    assert sentence in told.output
    assert not (tmp_path / "new").exists()

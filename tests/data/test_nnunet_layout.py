"""nnU-Net's folders: what is written can be read back, in numbers that nnU-Net knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from helpers import moving_square_frames, write_video
from nnunet_miniatures import HW, SPACE, write_prepared
from surgvos.cli.main import app
from surgvos.core.labels import LabelSpace
from surgvos.data.nnunet_layout import (
    NnunetDataSet,
    case_name,
    export_dataset,
    export_frames,
    import_predictions,
    label_family,
)
from surgvos.errors import InputError
from surgvos.io.image_folder import list_images, read_image
from surgvos.io.masks import read_label_map
from surgvos.io.video import open_video
from surgvos.overseer.mask_folder import MaskFolderDetector


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    write_prepared(folder)
    return folder


def exported(prepared: Path, out: Path, image_hw: tuple[int, int] | None = None) -> Path:
    target = NnunetDataSet(number=7, name="Tiny", label_space=SPACE, image_hw=image_hw)
    return export_dataset(prepared, out, "classes", target)


def test_a_data_set_is_written_as_nnunet_reads_it(prepared: Path, tmp_path: Path) -> None:
    folder = exported(prepared, tmp_path)
    assert folder == tmp_path / "Dataset007_Tiny"
    described = json.loads((folder / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "pupil": 1, "iris": 2, "hook": 3, "ignore": 4}
    assert described["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert described["numTraining"] == 10 == len(list((folder / "imagesTr").iterdir()))
    cases = {path.stem for path in (folder / "labelsTr").iterdir()}
    assert {path.stem.removesuffix("_0000") for path in (folder / "imagesTr").iterdir()} == cases
    assert {path.name for path in (folder / "imagesTs").iterdir()} == {"v6__00000_0000.png", "v6__00025_0000.png"}
    source = prepared / "train/JPEGImages/v2/00025.png"
    np.testing.assert_array_equal(read_image(folder / "imagesTr/v2__00025_0000.png"), read_image(source))
    with Image.open(folder / "labelsTr/v2__00025.png") as labels:
        assert labels.mode == "L"  # the colours of a palette would be read, not its indices
        numbers = np.asarray(labels)
    ids = read_label_map(prepared / "train/Labels/classes/v2/00025.png")
    for number, class_id in {0: 255, 1: 0, 2: 4, 3: 7, 4: 200}.items():
        np.testing.assert_array_equal(numbers == number, ids == class_id)


def test_where_what_is_not_scored_is_background_there_is_nothing_to_ignore(prepared: Path, tmp_path: Path) -> None:
    space = LabelSpace(SPACE.labels, background=200, ignore=200, raw_ids={})
    write = NnunetDataSet(number=1, name="A", label_space=space)
    with pytest.raises(InputError, match=r"expected label values of the label space \(0, 4, 7, 200\), got 255"):
        export_dataset(prepared, tmp_path, "classes", write)
    from surgvos.overseer.nnunet import nnunet_labels

    assert nnunet_labels(space) == {"background": 0, "pupil": 1, "iris": 2, "hook": 3}


def test_frames_and_labels_are_brought_to_one_size(prepared: Path, tmp_path: Path) -> None:
    folder = exported(prepared, tmp_path, image_hw=(32, 40))
    assert json.loads((folder / "dataset.json").read_text())["image_hw"] == [32, 40]
    assert read_image(folder / "imagesTs/v6__00000_0000.png").shape == (32, 40, 3)
    numbers = read_label_map(folder / "labelsTs/v6__00000.png")
    assert numbers.shape == (32, 40)
    assert set(np.unique(numbers).tolist()) <= {0, 1, 2, 3, 4}


def test_no_operation_is_on_both_sides_of_a_fold(prepared: Path, tmp_path: Path) -> None:
    folder = exported(prepared, tmp_path)
    folds = json.loads((folder / "splits_final.json").read_text())
    cases = {path.stem for path in (folder / "labelsTr").iterdir()}
    held_out = [case for fold in folds for case in fold["val"]]
    assert len(folds) == 5
    assert sorted(held_out) == sorted(cases)
    for fold in folds:
        assert set(fold["train"]) | set(fold["val"]) == cases
        assert not {case.split("__")[0] for case in fold["train"]} & {case.split("__")[0] for case in fold["val"]}


def test_with_fewer_operations_than_folds_nnunet_makes_its_own(tmp_path: Path) -> None:
    write_prepared(tmp_path / "few", num_videos=4)
    assert not (exported(tmp_path / "few", tmp_path) / "splits_final.json").exists()


def test_predictions_come_back_as_label_maps_that_serve_as_a_detector(prepared: Path, tmp_path: Path) -> None:
    folder = exported(prepared, tmp_path)
    (folder / "labelsTs" / "dataset.json").write_bytes((folder / "dataset.json").read_bytes())
    assert import_predictions(folder / "labelsTs", tmp_path / "maps", SPACE) == {"v6": 2}
    truth = prepared / "valid/Labels/classes/v6"
    for path in list_images(truth):
        np.testing.assert_array_equal(read_label_map(tmp_path / "maps/v6" / path.name), read_label_map(path))
    frames = list(open_video(str(prepared / "valid/JPEGImages/v6")))
    detections = MaskFolderDetector(tmp_path / "maps/v6", SPACE).detect(frames)
    assert [detection.seen.ids for detection in detections] == [(0, 4, 7)] * 2
    assert detections[0].hw == HW


def test_predictions_go_by_the_names_of_their_own_data_set(tmp_path: Path) -> None:
    (tmp_path / "predicted").mkdir()
    Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8)).save(tmp_path / "predicted/case__00003.png")

    def ids(labels: dict[str, int] | None) -> list[int]:
        if labels is not None:
            (tmp_path / "predicted/dataset.json").write_text(json.dumps({"labels": labels}))
        import_predictions(tmp_path / "predicted", tmp_path / "maps", SPACE)
        return read_label_map(tmp_path / "maps/case/00003.png")[0].tolist()

    assert ids(None) == [255, 0, 4, 7]
    assert ids({"background": 0, "hook": 1, "iris": 2, "pupil": 3}) == [255, 7, 4, 0]
    # Other spellings are other names: then the order counts.
    assert ids({"Background": 0, "Pupil": 1, "Iris": 2, "Hook": 3}) == [255, 0, 4, 7]
    (tmp_path / "predicted/dataset.json").unlink()
    with pytest.raises(InputError, match=r"expected numbers up to 2 in .*, got 3"):
        import_predictions(tmp_path / "predicted", tmp_path / "maps", LabelSpace.from_names(["a", "b"]))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"background": 0, "a": 1}, "expected a head of 4 labels"),
        ({"background": 0, "whole": [1, 2]}, "expected labels of nnU-Net that are numbers, got regions"),
    ],
)
def test_predictions_of_other_classes_are_refused(tmp_path: Path, labels: dict[str, object], sentence: str) -> None:
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "case__00003.png")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(ValueError, match=sentence):
        import_predictions(tmp_path, tmp_path / "maps", SPACE)


def test_what_cannot_be_a_case_is_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a frame name without '__'"):
        case_name("video", "frame__7")
    assert case_name("a__b", "7").rpartition("__") == ("a__b", "__", "7")
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(InputError, match=r"expected predictions named VIDEO__FRAME\.png, got 'other\.png'"):
        import_predictions(tmp_path, tmp_path / "maps", SPACE)
    with pytest.raises(InputError, match=r"expected a number in 1\.\.999"):
        NnunetDataSet(number=1000, name="A", label_space=SPACE)
    with pytest.raises(InputError, match=r"expected one of the label families .* \(classes\), got parts"):
        label_family(prepared, "parts", SPACE)
    with pytest.raises(InputError, match="try --label-space"):
        label_family(prepared, None, None)
    exported(prepared, tmp_path)
    with pytest.raises(InputError, match="expected no folder"):
        exported(prepared, tmp_path)
    with pytest.raises(InputError, match="for nnU-Net, got one"):
        export_dataset(
            prepared,
            tmp_path,
            "classes",
            NnunetDataSet(number=9, name="A", label_space=LabelSpace.from_names(["ignore"])),
        )


def test_a_video_is_written_frame_by_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "case.mp4", moving_square_frames(3, hw=(48, 64))[0])
    assert export_frames(open_video(str(tmp_path / "case.mp4")), "case", tmp_path / "frames", (24, 32)) == 3
    written = list_images(tmp_path / "frames")
    assert [path.name for path in written] == [f"case__{index:05d}_0000.png" for index in range(3)]
    assert read_image(written[0]).shape == (24, 32, 3)


# --- the commands ------------------------------------------------------------------------------------------------


def nnunet(*words: object) -> Result:
    return CliRunner().invoke(app, ["data", "nnunet", *map(str, words)])


def test_the_commands_go_there_and_back(prepared: Path, tmp_path: Path) -> None:
    names = [{"id": label.id, "name": label.name} for label in SPACE.labels]
    space = tmp_path / "tiny.json"
    space.write_text(json.dumps({"classes": names, "background": 255, "ignore": 200}))
    words = ("export", prepared, "--out", tmp_path, "--id", 7, "--name", "Tiny", "--label-space", space)
    result = nnunet(*words, "--size", "40x32")
    assert result.exit_code == 0, result.output
    assert "next: nnUNetv2_plan_and_preprocess -d 7" in result.output
    result = nnunet("import", tmp_path / "Dataset007_Tiny/labelsTs", "--out", tmp_path / "maps", "--label-space", space)
    assert result.exit_code == 0, result.output
    assert read_label_map(tmp_path / "maps/v6/00025.png").shape == (32, 40)
    folder = prepared / "valid/JPEGImages/v6"
    result = nnunet("frames", folder, "--out", tmp_path / "frames")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "frames/v6__00025_0000.png").exists()
    assert nnunet(*words).exit_code == 2
    assert "expected a size such as 1280x720" in nnunet("frames", folder, "--out", tmp_path, "--size", "12").output

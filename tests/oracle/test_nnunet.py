"""A data set that nnU-Net v2 itself plans and trains on, and predictions like those of its own program."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from nnunet_miniatures import SPACE, write_prepared
from surgvos.core import Frame
from surgvos.data.nnunet_layout import NnunetDataSet, export_dataset, import_predictions
from surgvos.io.image_folder import list_images, read_image
from surgvos.io.masks import read_label_map
from surgvos.overseer.detector import DetectorOptions
from surgvos.overseer.load import load_detector

pytestmark = pytest.mark.oracle
HW = (64, 80)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``nnUNet_raw`` with a data set that nnU-Net has checked and planned."""
    pytest.importorskip("nnunetv2")
    folder = tmp_path_factory.mktemp("nnunet")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            (folder / name).mkdir()
            patch.setenv(name, str(folder / name))
        write_prepared(folder / "prepared", num_videos=3)
        target = NnunetDataSet(number=7, name="Tiny", label_space=SPACE, image_hw=HW)
        export_dataset(folder / "prepared", folder / "nnUNet_raw", "classes", target)
        _plan()
        _save_random_network(folder / "nnUNet_preprocessed" / "Dataset007_Tiny")
        yield folder


def _plan() -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    extract_fingerprints([7], num_processes=1, check_dataset_integrity=True)
    plan_experiments([7])
    preprocess([7], configurations=("2d",), num_processes=(1,))


def _save_random_network(folder: Path) -> None:
    """What training would leave, without having trained: two folds of the trainer's own checkpoints."""
    import json

    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plans, dataset = (json.loads((folder / name).read_text()) for name in ("nnUNetPlans.json", "dataset.json"))
    for fold in (0, 1):
        torch.manual_seed(fold)
        trainer = nnUNetTrainer({**plans, "continue_training": False}, "2d", fold, dataset, torch.device("cpu"))
        trainer.initialize()
        trainer.logger.log("ema_fg_dice", 0.5, 0)
        trainer._best_ema = np.float64(0.5)
        results = Path(trainer.output_folder)
        results.mkdir(parents=True, exist_ok=True)
        for name, content in (("plans.json", plans), ("dataset.json", dataset)):
            (results.parent / name).write_text(json.dumps(content))
        trainer.save_checkpoint(str(results / "checkpoint_final.pth"))


def test_nnunet_reads_what_was_exported(raw: Path) -> None:
    from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO

    data = raw / "nnUNet_raw" / "Dataset007_Tiny"
    for path in list_images(data / "labelsTr"):
        numbers, _ = NaturalImage2DIO().read_seg(str(path))
        assert numbers.shape == (1, 1, *HW)
        np.testing.assert_array_equal(numbers[0, 0], read_label_map(path))
        image, _ = NaturalImage2DIO().read_images([str(data / "imagesTr" / f"{path.stem}_0000.png")])
        assert image.shape == (3, 1, *HW)


def test_the_detector_says_what_nnunet_predicts(raw: Path) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    results = raw / "nnUNet_results/Dataset007_Tiny/nnUNetTrainer__nnUNetPlans__2d"
    images = raw / "nnUNet_raw/Dataset007_Tiny/imagesTs"
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(results), (0, 1))
    predictor.predict_from_files(str(images), str(raw / "predictions"), False, True, 1, 1)
    counts = import_predictions(raw / "predictions", raw / "maps", SPACE)
    assert counts == {"v3": 2}
    detector = load_detector(results, SPACE, DetectorOptions(min_score=0.0, as_published=True), device="cpu")
    seen = set()
    for path in list_images(images):
        frame = Frame(0, path.stem, read_image(path))
        (detection,) = detector.detect([frame])
        painted = SPACE.paint({i: detection.mask(i) for i in detection.seen.ids}, HW)
        video, _, name = path.stem.removesuffix("_0000").rpartition("__")
        np.testing.assert_array_equal(painted, read_label_map(raw / "maps" / video / f"{name}.png"))
        seen |= set(detection.seen.ids)
        large = Frame(1, "large", cv2.resize(frame.image, (160, 128), interpolation=cv2.INTER_NEAREST))
        assert detector.detect([large])[0].hw == (128, 160)
    assert seen, "the random network sees nothing at all: the comparison says nothing"

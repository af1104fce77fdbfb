"""nnU-Net as a detector, as far as it can be tested without it; ``tests/oracle/test_nnunet.py`` does the rest."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnunet_miniatures import SPACE
from surgvos.errors import CheckpointError, MissingExtraError
from surgvos.overseer import nnunet
from surgvos.overseer.detector import DetectorOptions
from surgvos.overseer.load import load_detector
from surgvos.overseer.nnunet import is_nnunet_folder, label_pixels

IDS = {0: 255, 1: 0, 2: 4, 3: 7}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder as nnU-Net leaves it, but for the weights themselves."""
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": nnunet.nnunet_labels(SPACE), "channel_names": {}}))
    (tmp_path / "plans.json").write_text("{}")
    for fold in range(2):
        (tmp_path / f"fold_{fold}").mkdir()
        torch.save(checkpoint(), tmp_path / f"fold_{fold}/checkpoint_final.pth")
    return tmp_path


def checkpoint(**changes: Any) -> dict[str, Any]:
    """What nnU-Net's trainer saves: weights, and a log with numbers of NumPy."""
    return {
        "network_weights": {"conv.weight": torch.ones(2, 3)},
        "logging": {"ema_fg_dice": [np.float64(0.4), np.float32(0.5)], "epochs": [np.int64(3)]},
        "_best_ema": np.float64(0.5),
        "init_args": {"configuration": "2d", "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
        **changes,
    }


def test_a_folder_that_nnunet_trained_into_is_known(trained: Path) -> None:
    assert is_nnunet_folder(trained)
    for path in trained.glob("fold_*/*"):
        path.unlink()
    assert not is_nnunet_folder(trained)  # predictions have the same two files beside them


def test_without_nnunet_it_is_said_what_to_install(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    with pytest.raises(MissingExtraError, match=r"try pip install 'surgvos\[nnunet\]'"):
        load_detector(trained, SPACE, device="cpu")


def test_checkpoints_are_read_as_data(trained: Path) -> None:
    path = trained / "fold_0/checkpoint_final.pth"
    content = nnunet._read_checkpoint(path)
    assert content["logging"]["ema_fg_dice"] == [0.4, 0.5]
    assert content["network_weights"]["conv.weight"].shape == (2, 3)

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (trained / "touched",)  # type: ignore[return-value]

    torch.save(checkpoint(logging=Trap()), path, pickle_module=pickle)
    with pytest.raises(CheckpointError, match="holds code as well and was not run"):
        load_detector(trained, SPACE, device="cpu")
    assert not (trained / "touched").exists()


def test_a_checkpoint_of_something_else_is_refused(trained: Path) -> None:
    torch.save({"model": {}}, trained / "fold_1/checkpoint_final.pth")
    with pytest.raises(CheckpointError, match=r"expected a checkpoint of nnU-Net v2, got .* without network_weights"):
        load_detector(trained, SPACE, device="cpu")


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "torch.hub.load", "dynamic_network"])
def test_plans_that_name_something_else_than_networks_are_refused(name: str) -> None:
    nnunet._check_trusted("torch.nn.LeakyReLU", "dynamic_network_architectures.architectures.unet.PlainConvUNet")
    with pytest.raises(CheckpointError, match="which was not run"):
        nnunet._check_trusted("torch.nn.modules.conv.Conv2d", name)


def test_the_final_checkpoint_of_every_fold_counts_and_the_best_where_there_is_none(trained: Path) -> None:
    (trained / "fold_1/checkpoint_final.pth").rename(trained / "fold_1/checkpoint_best.pth")
    (trained / "fold_0/checkpoint_best.pth").write_bytes(b"")
    (trained / "fold_all").mkdir()
    (trained / "fold_all/checkpoint_final.pth").write_bytes(b"")
    assert [f"{path.parent.name}/{path.name}" for path in nnunet._checkpoints(trained)] == [
        "fold_0/checkpoint_final.pth",
        "fold_1/checkpoint_best.pth",
    ]


def test_each_pixel_goes_to_the_likeliest_class() -> None:
    probabilities = np.full((4, 2, 3), 0.1, np.float32)
    probabilities[0, :, 0] = probabilities[1, :, 1] = 0.7
    probabilities[3, 0, 2], probabilities[2, 1, 2] = 0.9, 0.4
    published = DetectorOptions(min_score=0.3, as_published=True)
    detection = label_pixels(probabilities, IDS, (4, 6), published)
    assert detection.seen.ids == (0, 4, 7)
    assert [detection.seen.score(i) for i in (0, 4, 7)] == pytest.approx([0.7, 0.4, 0.9])
    np.testing.assert_array_equal(detection.mask(0), np.tile(np.repeat([False, True, False], 2), (4, 1)))
    assert detection.mask(7).sum() == detection.mask(4).sum() == 4
    sure = label_pixels(probabilities, IDS, (4, 6), DetectorOptions(min_score=0.5, as_published=True))
    assert sure.seen.ids == (0, 7)
    nothing = label_pixels(probabilities[:1], IDS, (4, 6), published)
    assert nothing.seen.ids == ()
    assert nothing.hw == (4, 6)

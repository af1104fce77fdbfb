"""Detectors from files and folders; and one sentence where they are something else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from overseer.networks import frames, state_of
from overseer.test_query_detectors import toy_shapes
from surgvos.core.label_tables import LABEL_SPACES
from surgvos.errors import CheckpointError, ConfigError, InputError
from surgvos.io.label_spaces import read_label_space
from surgvos.io.masks import write_label_map
from surgvos.overseer.detr import DetrDetector
from surgvos.overseer.load import load_detector
from surgvos.overseer.mask2former import Mask2FormerDetector
from surgvos.overseer.mask_folder import MaskFolderDetector

TWO = """
classes:
  - {id: 3, name: grasper}
  - {id: 8, name: hook}
"""


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(TWO, encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "kind"), [("detr", DetrDetector), ("mask2former", Mask2FormerDetector)])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_say_what_they_are(tmp_path: Path, two: Path, name: str, kind: type, ending: str) -> None:
    path, state = tmp_path / f"best{ending}", state_of(toy_shapes(name))
    if ending == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    detector = load_detector(path, two, device="cpu")
    assert isinstance(detector, kind)
    assert detector.label_space == read_label_space(two)
    (detection,) = detector.detect(frames(1))
    assert set(detection.class_ids.tolist()) <= {3, 8}
    with pytest.raises(
        CheckpointError, match=rf"best\{ending}: expected a head of 18.* got one of 3; try the label space"
    ):
        load_detector(path, "cadis-2", device="cpu")


def test_other_files_are_refused(tmp_path: Path, two: Path) -> None:
    with pytest.raises(
        InputError, match="expected surgvos-nano, the weights of a detector or a folder of masks, got nothing"
    ):
        load_detector(tmp_path / "none.pth", two)
    save_file(
        {"image_encoder.trunk.pos_embed_window": torch.zeros(1), "maskmem_tpos_enc": torch.zeros(1)},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(
        CheckpointError, match="a Mask R-CNN, DETR, Mask2Former, nano segmenter, got weights that look like sam2"
    ):
        load_detector(tmp_path / "a.safetensors", two)
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(CheckpointError, match="truncated or of another kind"):
        load_detector(tmp_path / "cut.pth", two)
    with pytest.raises(InputError, match=r"expected a label space, one of cadis, .* or a YAML file of your own"):
        load_detector(tmp_path / "a.safetensors", "kadis")
    with pytest.raises(ConfigError, match="expected a YAML or JSON file"):
        load_detector(tmp_path / "a.safetensors", tmp_path / "none.yaml")


def test_files_that_hold_code_are_not_run(tmp_path: Path, two: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    torch.save({"detr": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(CheckpointError, match="holds code as well and was not run"):
        load_detector(tmp_path / "trap.pth", two)
    assert not (tmp_path / "sprung").exists()


# --- masks from a folder ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("raw", "nothing", "liver"), [(True, 50, 21), (False, 0, 2)])
def test_label_maps_of_a_folder_are_detections(tmp_path: Path, raw: bool, nothing: int, liver: int) -> None:
    space = LABEL_SPACES["cholecseg8k"]
    images = frames(2, hw=(54, 96))
    values = np.full((27, 48), nothing, dtype=np.uint8)
    values[5:20, 10:30] = liver
    values[0, 0] = 255
    for frame in images:
        write_label_map(tmp_path / "masks" / f"{frame.name}.png", values, space.palette())
    detector = (
        MaskFolderDetector(tmp_path / "masks", space, raw=True) if raw else load_detector(tmp_path / "masks", space)
    )
    for detection in detector.detect(images):
        assert detection.seen.ids == (2,)
        expected = cv2.resize((values == liver).astype(np.uint8), (96, 54), interpolation=cv2.INTER_NEAREST) > 0
        assert np.array_equal(detection.mask(2), expected)
    other = MaskFolderDetector(tmp_path / "masks", space, raw=not raw)
    with pytest.raises(InputError, match="expected label values of cholecseg8k"):
        other.detect(images)


def test_a_folder_must_hold_every_frame(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder of label maps"):
        MaskFolderDetector(tmp_path, LABEL_SPACES["cadis-2"])
    write_label_map(tmp_path / "00000.png", np.zeros((54, 96), dtype=np.uint8), LABEL_SPACES["cadis-2"].palette())
    detector = MaskFolderDetector(tmp_path, LABEL_SPACES["cadis-2"])
    assert detector.detect(frames(1))[0].seen.ids == (0,)
    with pytest.raises(InputError, match="expected a label map for every frame, got none for frame '00001'"):
        detector.detect(frames(2))

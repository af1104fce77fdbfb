"""Training detectors for the overseer: runs, the weights they begin from and end in, and the published recipes."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from surgvos.cli.train import resolve
from surgvos.config.presets import RECIPES
from surgvos.core.frame import Frame
from surgvos.data.labelled_folder import LabelledFolderConfig
from surgvos.errors import CheckpointError, ConfigError
from surgvos.io.image_folder import read_image
from surgvos.overseer import detr, mask_rcnn
from surgvos.overseer.detr import DetrConfig
from surgvos.overseer.load import load_detector
from surgvos.overseer.mask2former import Mask2FormerConfig
from surgvos.overseer.mask_rcnn import MaskRcnnConfig
from surgvos.training import detector_weights
from surgvos.training.checkpoint import CheckpointFolder
from surgvos.training.clip import ClipSettings
from surgvos.training.config import Validation
from surgvos.training.detection import DetectionSettings
from surgvos.training.detector_weights import DetectorConfig, begin_from, build_detector, save_detector
from surgvos.training.optim import learning_rate_factor
from surgvos.training.trainer import train
from training.detector_miniatures import (
    DETECTORS,
    DETR,
    MASK2FORMER,
    MASK_RCNN,
    SIDE,
    few_proposals,
    tiny_run,
    write_frames,
)

each_detector = pytest.mark.parametrize("model", DETECTORS.values(), ids=DETECTORS)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("frames"))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_rcnn, "INPUT_PX", SIDE)
    kind = replace(detector_weights._KINDS[MaskRcnnConfig], build=few_proposals)
    monkeypatch.setitem(detector_weights._KINDS, MaskRcnnConfig, kind)
    monkeypatch.setattr(detr, "INPUT_PX", SIDE)


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "steps"), [(MASK_RCNN, 10), (DETR, 60), (MASK2FORMER, 10)], ids=DETECTORS)
def test_a_detector_learns_and_its_weights_are_an_overseer(
    model: DetectorConfig, steps: int, root: Path, tmp_path: Path
) -> None:
    config = tiny_run(root, model, steps)
    validation = Validation(data=config.data, batch=config.stages[0].batch, num_batches=4, every=steps // 2)
    config = replace(config, validation=validation, log_every=steps // 5, checkpoint_every=steps)
    result = train(config, tmp_path, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    first, last = (line["validation_loss"] for line in lines if "validation_loss" in line)
    assert last < first
    assert all("validation_mean_dice" in line for line in lines if "validation_loss" in line)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]
    assert result.weights is not None
    detector = load_detector(result.weights, root / "space.yaml", device="cpu")
    image = read_image(next((root / "JPEGImages/case_0").iterdir()))
    (detection,) = detector.detect([Frame(0, "00000", image)])
    assert detection.hw == image.shape[:2]
    with pytest.raises(CheckpointError, match="for the 17 classes of cadis-2, got one of 4"):
        load_detector(result.weights, "cadis-2", device="cpu")


@each_detector
def test_a_run_that_is_cut_and_resumed_is_the_run_that_was_not(
    model: DetectorConfig, root: Path, tmp_path: Path
) -> None:
    config = replace(tiny_run(root, model, steps=3), checkpoint_every=2)
    whole = train(config, tmp_path, device="cpu")
    assert whole.weights is not None
    weights = load_file(whole.weights)
    log = _losses(tmp_path)
    CheckpointFolder(tmp_path / "checkpoints").paths()[-1].unlink()
    resumed = train(config, tmp_path, resume=True, device="cpu")
    assert resumed.weights is not None
    torch.testing.assert_close(load_file(resumed.weights), weights, rtol=0, atol=0)
    assert _losses(tmp_path) == log


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_what_does_not_go_together_is_refused(root: Path) -> None:
    config = tiny_run(root, DETR)
    with pytest.raises(ConfigError, match="all three for detectors, or none of them, got model and data alone"):
        replace(config, task=ClipSettings())
    with pytest.raises(ConfigError, match="got task alone"):
        replace(RECIPES["nano_clips"](), task=DetectionSettings())


# --- weights to begin from -------------------------------------------------------------------------------------------


def state_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("model", "others", "head"),
    [
        (MASK_RCNN, {"num_labels": 91, "mask_hidden": 16}, ("roi_heads.box_predictor", "roi_heads.mask_predictor")),
        (DETR, {"num_labels": 250, "num_queries": 9}, ("detr.class_labels_classifier", "detr.model.query_position")),
        (MASK2FORMER, {"num_labels": 80, "num_queries": 9}, ("class_predictor", "model.transformer_module.queries_")),
    ],
    ids=DETECTORS,
)
def test_all_but_heads_of_other_classes_is_taken_over(
    model: DetectorConfig, others: dict[str, Any], head: tuple[str, ...], tmp_path: Path
) -> None:
    """Weights that were trained on COCO have other labels, and other numbers of queries."""
    torch.manual_seed(0)
    given, network = build_detector(replace(model, **others)), build_detector(model)
    save_detector(tmp_path / "coco.safetensors", replace(model, **others), state_of(given))
    before, theirs = state_of(network), state_of(given)
    begin_from(network, model, tmp_path / "coco.safetensors")
    for name, value in network.state_dict().items():
        expected = before if name.startswith(head) and theirs[name].shape != value.shape else theirs
        assert torch.equal(value, expected[name]), name
    assert any(not torch.equal(value, before[name]) for name, value in network.state_dict().items())
    save_detector(tmp_path / "own.safetensors", model, state_of(network))
    torch.manual_seed(1)
    again = build_detector(model)
    begin_from(again, model, tmp_path / "own.safetensors")
    torch.testing.assert_close(state_of(again), state_of(network), rtol=0, atol=0)


def test_a_mask_rcnn_may_begin_from_a_classifier(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    classifier, network = resnet18(), build_detector(MASK_RCNN)
    torch.save(classifier.state_dict(), tmp_path / "resnet18.pth")
    before = state_of(network)
    begin_from(network, MASK_RCNN, tmp_path / "resnet18.pth")
    theirs = {f"backbone.body.{name}": value for name, value in classifier.state_dict().items()}
    for name, value in network.state_dict().items():
        assert torch.equal(value, theirs[name] if name.startswith("backbone.body.") else before[name])


def test_weights_of_another_network_are_refused_in_one_sentence(tmp_path: Path) -> None:
    deeper = replace(DETR, num_encoder_layers=2)
    save_detector(tmp_path / "deeper.safetensors", deeper, state_of(build_detector(deeper)))
    with pytest.raises(CheckpointError, match=r"of a DETR of the configured size in init_from, .* \d+ unexpected"):
        begin_from(build_detector(DETR), DETR, tmp_path / "deeper.safetensors")
    with pytest.raises(CheckpointError, match=r"\d+ missing or of another shape"):
        begin_from(build_detector(MASK2FORMER), MASK2FORMER, tmp_path / "deeper.safetensors")


# --- recipes ---------------------------------------------------------------------------------------------------------

DATA_SETS = {"cadis": (18, True, 30), "cholecseg8k": (13, False, 20), "cataract1k": (14, True, 20)}
"""Labels of a head, whether rare classes are favoured, queries of DETR."""


@pytest.mark.parametrize("name", DATA_SETS)
@pytest.mark.parametrize("kind", ["maskrcnn", "detr", "mask2former"])
def test_sasvis_overseers_are_trained_as_published(kind: str, name: str) -> None:
    """Reference: SASVi's training scripts (arXiv 2502.09653)."""
    recipe = RECIPES[f"overseer_{kind}_{name}"]()
    num_labels, favour_rare, num_queries = DATA_SETS[name]
    model, data, optimiser = recipe.model, recipe.data, recipe.optimiser
    assert isinstance(data, LabelledFolderConfig)
    assert isinstance(model, MaskRcnnConfig | DetrConfig | Mask2FormerConfig)
    assert (model.num_labels, data.favour_rare, data.fraction) == (num_labels, favour_rare, 1.0)
    if not isinstance(model, MaskRcnnConfig):
        assert model.num_queries == (num_queries if kind == "detr" else 20)
    ((stage),) = recipe.stages
    side = 200 if kind == "detr" else 299
    assert (stage.steps, stage.batch.batch_size, stage.batch.image_hw) == (100_000, 8, (side, side))
    assert optimiser.learning_rate == (1e-5 if kind == "detr" else 1e-4)
    assert optimiser.betas == ((0.5, 0.999) if kind == "maskrcnn" else (0.9, 0.999))
    assert (optimiser.weight_decay, optimiser.max_grad_norm) == (0.05, None)
    factors = [learning_rate_factor(step, 100_000, optimiser) for step in (0, 19_999, 20_000, 79_999, 80_000, 99_999)]
    assert factors == [1, 1, 0.5, 1 / 8, 1 / 16, 1 / 16]
    varied = data.augmentation
    assert (varied.max_rotation, varied.rotation_probability, varied.flip_probability) == (45, 0.5, 0.5)
    assert (varied.max_zoom**-2, varied.max_shear) == (pytest.approx(0.8), 0)
    assert (recipe.precision, recipe.num_workers, recipe.average_decay) == ("fp32", 4, None)
    assert recipe.task == DetectionSettings(as_published=False)
    if recipe.validation is not None:
        assert recipe.validation.every == (1000 if (kind, name) == ("maskrcnn", "cadis") else 500)


@pytest.mark.parametrize(
    ("name", "backbone", "hidden", "num_trained"),
    [("cadis", "resnet18", 32, 3), ("cholecseg8k", "resnet50_v2", 64, 3), ("cataract1k", "resnet18", 32, 5)],
)
def test_mask_rcnns_are_those_that_were_released(name: str, backbone: str, hidden: int, num_trained: int) -> None:
    recipe = RECIPES[f"overseer_maskrcnn_{name}"]()
    model = recipe.model
    assert isinstance(model, MaskRcnnConfig)
    assert (model.backbone, model.mask_hidden, model.box_width, model.mask_widths) == (
        backbone, hidden, 1024, (256,) * 4,
    )  # fmt: skip
    with torch.device("meta"):
        names = [name for name, _ in build_detector(model).named_parameters() if name.startswith("backbone.body.")]
    assert all(any(name.startswith(frozen) for name in names) for frozen in recipe.freeze)
    trained = {name.split(".")[2] for name in names if not name.startswith(recipe.freeze or ("nothing",))}
    layers = {"layer4", "layer3", "layer2"} if num_trained == 3 else {"layer4", "layer3", "layer2", "layer1", "conv1"}
    assert trained == layers


@pytest.mark.parametrize(("percent", "num_steps"), [(1, 2_000), (10, 19_000), (50, 94_000)])
def test_variants_on_fewer_frames(percent: int, num_steps: int) -> None:
    whole, part = (RECIPES[f"overseer_maskrcnn_cataract1k{suffix}"]() for suffix in ("", f"_{percent}"))
    assert part.num_steps == num_steps
    same = resolve("overseer_maskrcnn_cataract1k", [f"data.fraction={percent / 100}", f"stages.0.steps={num_steps}"])
    assert whole.validation is not None
    assert replace(part, validation=whole.validation) == same


def test_the_commands_of_the_page_are_understood() -> None:
    page = Path(__file__).parents[2] / "docs/overseer.md"
    lines = [shlex.split(line) for line in page.read_text("utf-8").splitlines() if line.startswith("surgvos train ")]
    assert len(lines) == 4
    for _, _, recipe, *arguments in lines:
        resolve(recipe, [value for option, value in pairwise(arguments) if option == "--set"])

"""Everything that runs on a GPU keeps its tensors there, and answers on a GPU as on a CPU.

There is no GPU: see `pretended_accelerator` for what that can show and what not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from contract.test_models import TOYS, model_of
from helpers import moving_square_frames, write_video
from overseer.networks import frames, published_mask_rcnn, random_state, state_of
from overseer.test_query_detectors import TWO, toy_shapes
from pretended_accelerator import (
    DEVICE,
    WrongDeviceError,
    operations_seen,
    pretended_accelerator,
    waits,
    without_mps_kernel,
)
from surgvos import BoxPrompt, MaskPrompt, PointPrompt, Session, TextPrompt, load_model
from surgvos.cli.main import app
from surgvos.core import Frame, FrameResult
from surgvos.core.label_tables import LABEL_SPACES
from surgvos.data.synthetic import SceneConfig, generate_clip
from surgvos.data.synthetic_objects import SyntheticObjectsConfig
from surgvos.io.masks import read_label_map
from surgvos.memory import POLICIES
from surgvos.models.families import FAMILIES
from surgvos.overseer.detr import DetrDetector
from surgvos.overseer.load import load_detector
from surgvos.overseer.mask2former import Mask2FormerDetector
from surgvos.overseer.mask_rcnn import MaskRcnnDetector
from surgvos.training.clip import ClipSettings
from surgvos.training.config import TrainConfig
from surgvos.training.matching import MatchSettings
from surgvos.training.networks import initial_model
from surgvos.training.noise import MaskNoise
from surgvos.training.objects import ObjectSettings
from training import detector_miniatures
from training.test_referring import reading_run
from training.test_segmenting import tiny_segmenting_run
from training.tiny import tiny_run

READERS = [name for name, family in FAMILIES.items() if hasattr(family.model_class, "refer")]
IMAGES, MASKS = moving_square_frames(6)
SHOWN = {
    "mask": [(0, 1, MaskPrompt(MASKS[0]))],
    "clicks": [(0, 1, PointPrompt([(20, 40), (70, 70)], (True, False)))],
    "box": [(0, 1, BoxPrompt((8, 32, 32, 56))), (0, 2, BoxPrompt((60, 10, 100, 60)))],
    "correction": [(0, 1, MaskPrompt(MASKS[0])), (0, 2, PointPrompt([(90, 20)])), (3, 1, PointPrompt([(90, 70)]))],
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in the same order on both sides."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def follow(model: Any, prompts: list, memory: str = "recent", kept: Path | None = None) -> list[FrameResult]:
    """What a session says of all frames; it may be written and read on its way."""
    session = Session(model, memory=POLICIES[memory]())
    for prompt in prompts:
        session.add_prompt(*prompt)
    answers = []
    for index, image in enumerate(IMAGES):
        if kept is not None and index == 4:
            session.save(kept)
            session = Session(model, memory=POLICIES[memory]())
            session.restore(kept)
        answers.append(session.step(Frame(index, f"{index:05d}", image)))
    return answers


def assert_same_there(make: Callable[[], Any], ask: Callable[[Any], list[FrameResult]]) -> list[FrameResult]:
    """What is asked of a model is answered alike on the CPU and on the accelerator.

    Not to the bit: on the CPU some sums are taken in another order, for speed.
    """
    here = ask(make())
    with pretended_accelerator() as device:
        there = ask(make().to(device))
    for own, other in zip(here, there, strict=True):
        assert own.objects.keys() == other.objects.keys()
        for object_id, result in own.objects.items():
            same = other.objects[object_id]
            assert (result.phase, result.attended_frames) == (same.phase, same.attended_frames)
            assert result.presence == pytest.approx(same.presence, abs=1e-4)
            assert result.predicted_iou == pytest.approx(same.predicted_iou, abs=1e-4)
            assert (own.masks[object_id] != other.masks[object_id]).mean() < 1e-3
    return here


def test_the_pretence_refuses_what_a_gpu_refuses() -> None:
    with pretended_accelerator() as device:
        there = torch.zeros(3, device=device)
        assert (there + torch.tensor(2.0)).tolist() == [2, 2, 2]
        assert there.device == (there > 0).nonzero().device == DEVICE
        assert there.cpu().numpy().sum() == 0
        for wrong in (
            lambda: there + torch.ones(3),
            lambda: torch.ones(3).add_(there),
            lambda: torch.where(there > 0, there, torch.ones(3)),
            lambda: torch.cat((there, torch.ones(1))),
            lambda: torch.ones(3)[there.long()],
            lambda: torch.nn.functional.linear(there, torch.ones(2, 3)),
            lambda: there.double(),
            lambda: torch.nn.functional.adaptive_avg_pool2d(there[None, None], (1, 2)),
        ):
            with pytest.raises(WrongDeviceError):
                wrong()
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()


@pytest.mark.parametrize("kind", SHOWN)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_shown_is_followed(family: str, kind: str) -> None:
    assert_same_there(lambda: model_of(family), lambda model: follow(model, SHOWN[kind]))


@pytest.mark.parametrize("memory", POLICIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_memories_are_kept_written_and_read(family: str, memory: str, tmp_path: Path) -> None:
    prompts = SHOWN["correction"]
    assert_same_there(lambda: model_of(family), lambda model: follow(model, prompts, memory, tmp_path / "session"))


@pytest.mark.parametrize("family", READERS)
def test_what_is_named_is_looked_for(family: str) -> None:
    prompts = [(0, 1, TextPrompt("the stapler on the left")), (0, 2, TextPrompt("the liver"))]
    assert_same_there(lambda: model_of(family), lambda model: follow(model, prompts))


@pytest.mark.parametrize(
    ("family", "memory", "kind"),
    [
        *(("sam2", memory, kind) for memory in POLICIES for kind in ("mask", "several")),
        *(("resurgsam2", "diverse", kind) for kind in ("mask", "several", "named")),
    ],
)
def test_a_gpu_is_waited_for_only_at_the_end_of_a_frame(family: str, memory: str, kind: str) -> None:
    """Elsewhere it would stand still until it is told what is next."""
    prompts = SHOWN | {
        "several": [(0, 1, MaskPrompt(MASKS[0])), (0, 2, PointPrompt([(90, 20)])), (2, 3, MaskPrompt(MASKS[2]))],
        "named": [(0, 1, TextPrompt("the stapler")), (0, 2, TextPrompt("the liver"))],
    }
    with pretended_accelerator() as device:
        session = Session(model_of(family).to(device), memory=POLICIES[memory]())
        for prompt in prompts[kind]:
            session.add_prompt(*prompt)
        for index, image in enumerate(IMAGES):
            waits.clear()
            session.step(Frame(index, f"{index:05d}", image))
    assert waits == ["aten::_to_copy"] * 2, "masks, and what the log says of them"


def test_apples_gpus_know_every_operation() -> None:
    prompts = {"nano": [], "sam2": []} | {name: [(0, 3, TextPrompt("the stapler"))] for name in READERS}
    for family, phrases in prompts.items():
        model = model_of(family)
        with pretended_accelerator() as device:
            follow(model.to(device), [*SHOWN["correction"], *SHOWN["box"][1:], *phrases], "diverse")
    # PyTorch takes this short cut on other devices alone.
    missing = without_mps_kernel(operations_seen) - {"_transformer_encoder_layer_fwd"}
    assert not missing
    assert without_mps_kernel({"aten::_transformer_encoder_layer_fwd"})
    assert {"aten::convolution", "aten::addmm"} <= operations_seen


def test_the_model_in_the_box() -> None:
    """As it is, with real weights, so that what is found is also followed."""
    prompts = [*SHOWN["mask"], (1, 2, BoxPrompt((60, 10, 100, 60)))]
    answers = assert_same_there(
        lambda: load_model("surgvos-nano", device="cpu", dtype="fp32"), lambda model: follow(model, prompts)
    )
    assert answers[-1].masks[1].any()


@pytest.mark.parametrize(
    "asked",
    [
        ("--box", "1@0:30,40,200,200", "--overlay"),
        ("--text", "the vessel", "--memory", "diverse"),
        ("--overseer", "surgvos-nano"),
    ],
    ids=lambda asked: asked[0],
)
def test_whole_commands(asked: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "case.mp4", [frame.image for frame in scene(6)])
    for module in ("models.registry", "overseer.load"):
        monkeypatch.setattr(f"surgvos.{module}.resolve_device", lambda device="auto": DEVICE)
    operations_seen.clear()
    command = ["segment", str(tmp_path / "case.mp4"), "--out", str(tmp_path / "out"), "--dtype", "fp32", *asked]
    with pretended_accelerator():
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    masks = [read_label_map(path) for path in sorted((tmp_path / "out/masks").glob("*.png"))]
    assert len(masks) == 6
    assert masks[-1].any(), "nothing was found, so nothing was followed"
    assert "aten::convolution" in operations_seen


DETECTORS: dict[str, Callable[[torch.device], Any]] = {
    "mask_rcnn": lambda device: MaskRcnnDetector(
        random_state(published_mask_rcnn(18, is_larger=False)), LABEL_SPACES["cadis-2"], device=device
    ),
    "detr": lambda device: DetrDetector(state_of(toy_shapes("detr")), TWO, device=device),
    "mask2former": lambda device: Mask2FormerDetector(state_of(toy_shapes("mask2former")), TWO, device=device),
    "surgvos-nano": lambda device: detector_in_the_box(device),
}


def detector_in_the_box(device: torch.device) -> Any:
    detector: Any = load_detector("surgvos-nano")
    detector.network.to(device)
    detector.device = device
    return detector


def scene(num_frames: int = 1) -> list[Frame]:
    """Of which the detector in the box recognises something."""
    clip = generate_clip(3, SceneConfig(num_frames=num_frames, image_hw=(256, 320)))
    return [Frame(index, f"{index:05d}", image) for index, image in enumerate(clip.frames)]


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors(name: str) -> None:
    images = frames(2) if name != "surgvos-nano" else scene()
    here = DETECTORS[name](torch.device("cpu")).detect(images)
    with pretended_accelerator() as device:
        there = DETECTORS[name](device).detect(images)
    assert any(detection.seen.ids for detection in here)
    for own, other in zip(here, there, strict=True):
        assert own.seen.ids == other.seen.ids
        for class_id in own.seen.ids:
            assert (own.mask(class_id) != other.mask(class_id)).mean() < 1e-3


TRAINING: dict[str, Callable[[Path], TrainConfig]] = {
    "clips": lambda root: tiny_run(),
    "clips of sam2": lambda root: replace(tiny_run(), model=TOYS["sam2"], task=ClipSettings()),
    "spoilt masks": lambda root: replace(tiny_run(), task=replace(tiny_run().task, prompt_noise=MaskNoise())),
    "phrases": lambda root: reading_run(1, num_frames=2),
    "matching": lambda root: replace(reading_run(1, num_frames=2), task=MatchSettings()),
    "objects": lambda root: replace(reading_run(1), task=ObjectSettings(), data=SyntheticObjectsConfig(pool_size=2)),
    "classes": lambda root: replace(tiny_segmenting_run(""), init_from=None),
    **{
        name: lambda root, config=config: detector_miniatures.tiny_run(detector_miniatures.write_frames(root), config)
        for name, config in detector_miniatures.DETECTORS.items()
    },
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TRAINING)
def test_losses(name: str, seed: int, tmp_path: Path) -> None:
    """Up to the gradients, which nothing computes without a GPU's driver. What is drawn differs by the seed."""
    config = TRAINING[name](tmp_path)
    batch = config.data.open(config.stages[-1].batch, seed)[0]

    def losses(device: torch.device | None) -> dict[str, float]:
        torch.manual_seed(seed)
        model = initial_model(config.model, None)
        module = config.task.module(model if device is None else model.to(device))
        placed = batch if device is None else batch.to(device)
        return {key: float(value) for key, value in module(placed, torch.Generator().manual_seed(seed)).parts.items()}

    here = losses(None)
    with pretended_accelerator() as device:
        there = losses(device)
    assert there == pytest.approx(here, rel=1e-3, abs=1e-4)

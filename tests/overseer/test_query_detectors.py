"""DETR and Mask2Former as detectors give what transformers gives by hand, in whichever version's names."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from overseer.networks import DATA, frames, published_detr, published_mask2former, random_state, state_of
from surgvos.core.label_tables import LABEL_SPACES
from surgvos.core.labels import LabelSpace
from surgvos.errors import CheckpointError
from surgvos.overseer import detr, mask2former
from surgvos.overseer.detector import DetectorOptions, classes_of_labels
from surgvos.overseer.detr import DetrDetector
from surgvos.overseer.mask2former import Mask2FormerDetector
from surgvos.overseer.query_masks import detection_of_queries

TWO = LabelSpace.from_names(["a", "b"])


def toy_shapes(name: str) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = json.loads((DATA / "transformers4_toys.json").read_text("utf-8"))["shapes"][name]
    return shapes


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(DATA / "transformers4_toys.npz") as stored:
        return dict(stored)


# --- the networks ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_detr_answers_as_under_transformers_4(recorded: dict[str, np.ndarray]) -> None:
    network = DetrDetector(state_of(toy_shapes("detr")), TWO).network
    pixels = torch.from_numpy(np.random.default_rng(0).random((2, 3, 96, 96), dtype=np.float32))
    answer = network(pixel_values=pixels)
    assert np.abs(answer.logits.numpy() - recorded["detr_logits"]).max() < 2e-5
    assert np.abs(answer.pred_masks.numpy() - recorded["detr_masks"]).max() < 2e-5


@torch.inference_mode()
def test_mask2former_answers_as_under_transformers_4(recorded: dict[str, np.ndarray]) -> None:
    network = Mask2FormerDetector(state_of(toy_shapes("mask2former")), TWO).network
    pixels = torch.from_numpy(np.random.default_rng(0).random((2, 3, 96, 96), dtype=np.float32))
    class_logits, mask_logits = network(pixels)
    assert np.abs(class_logits.numpy() - recorded["mask2former_logits"]).max() < 2e-5
    assert np.abs(mask_logits.numpy() - recorded["mask2former_masks"]).max() < 5e-5


@pytest.mark.parametrize(
    ("shapes", "build", "rename", "optional"),
    [
        (published_detr, lambda state: detr.build_detr(detr.infer_detr_config(state)), detr.rename, 0),
        (
            published_mask2former,
            lambda state: mask2former.build_mask2former(mask2former.infer_mask2former_config(state)),
            mask2former.rename,
            2,
        ),
    ],
    ids=["detr", "mask2former"],
)
def test_names_of_the_installed_version_are_understood_as_well(
    shapes: Callable[[], dict[str, list[int]]], build: Callable[..., Any], rename: Callable[[str], str], optional: int
) -> None:
    """What the installed version saves is renamed to the published names, one for one and of the same shapes."""
    published = {key: torch.empty(shape, device="meta") for key, shape in shapes().items()}
    with torch.device("meta"):
        own = build(published).state_dict()
    renamed = {rename(key): list(value.shape) for key, value in own.items()}
    assert len(renamed) == len(own)
    unused = {key for key in published if key.startswith("criterion") or key.endswith("relative_position_index")}
    needed = {key: list(value.shape) for key, value in published.items() if key not in unused}
    extra = {key: shape for key, shape in renamed.items() if needed.get(key) != shape}
    assert needed.items() <= renamed.items()
    assert all("encoder.layernorm" in key or key in unused for key in extra)
    assert {rename(key) for key in published} == published.keys(), "published names stay as they are"


def test_published_sizes() -> None:
    detr_shapes, mask2former_shapes = published_detr(), published_mask2former()
    assert len(detr_shapes) == 562
    assert len(mask2former_shapes) == 782
    assert sum(key.endswith("relative_position_index") for key in mask2former_shapes) == 24


# --- the detectors ---------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_published_detr_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 128 pixels instead of 800, for time's sake; everything else is of the published size."""
    from transformers import DetrImageProcessor

    monkeypatch.setattr(detr, "INPUT_PX", 128)
    state = random_state(published_detr(num_labels=14, num_queries=20))
    images = frames(2)
    detector = DetrDetector(state, LABEL_SPACES["cataract1k"], DetectorOptions.published())
    assert detector.network.config.num_queries == 20

    small = [cv2.resize(frame.image, (200, 200)).astype(np.float32) / 255 for frame in images]
    processor = DetrImageProcessor(size={"height": 128, "width": 128}, do_rescale=False)
    large = [
        np.asarray(Image.fromarray((image * 255).round().astype(np.uint8)).resize((128, 128), 2)) for image in small
    ]
    inputs = processor([image.astype(np.float32) / 255 for image in large], do_resize=False, return_tensors="pt")
    answer = detector.network(pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])
    assert_union_of_queries(
        detector.detect(images), answer.logits, answer.pred_masks > 0.5, range(14), images[0].hw, smooth=False
    )


@torch.inference_mode()
def test_published_mask2former_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 128 pixels instead of 299, for time's sake; everything else is of the published size."""
    monkeypatch.setattr(mask2former, "INPUT_PX", 128)
    images = frames(1)
    state = random_state(published_mask2former(num_labels=18))
    detector = Mask2FormerDetector(state, LABEL_SPACES["cadis-2"], DetectorOptions.published())
    pixels = np.stack([cv2.resize(frame.image, (128, 128)) for frame in images]).transpose(0, 3, 1, 2) / np.float32(255)
    answer = detector.network.model(pixel_values=torch.from_numpy(pixels))
    queries = answer.transformer_decoder_last_hidden_state
    queries = queries if queries.shape[0] == len(images) else queries.transpose(0, 1)
    class_logits = F.linear(queries, state["class_predictor.weight"], state["class_predictor.bias"])
    assert class_logits.shape == (1, 20, 19)
    masks = F.interpolate(answer.masks_queries_logits[-1], size=images[0].hw, mode="bilinear", align_corners=False)
    assert_union_of_queries(detector.detect(images), class_logits, masks > 0, range(-1, 17), images[0].hw, smooth=True)


def assert_union_of_queries(
    detections: list[Any],
    class_logits: torch.Tensor,
    masks: torch.Tensor,
    class_of_label: range,
    hw: tuple[int, int],
    *,
    smooth: bool,
) -> None:
    """Each class is the union of its queries' masks; labels below the first class are dropped."""
    labels = class_logits.argmax(dim=-1).numpy()
    rows, columns = (
        np.floor((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(hw, masks.shape[-2:], strict=True)
    )
    num_compared = 0
    for detection, frame_labels, frame_masks in zip(detections, labels, masks.numpy(), strict=True):
        unions: dict[int, np.ndarray] = {}
        for label, mask in zip(frame_labels, frame_masks, strict=True):
            known = label < len(class_of_label) and label > 0
            if known:
                at_size = mask if smooth else mask[np.ix_(rows, columns)]
                class_id = class_of_label[label]
                unions[class_id] = unions.get(class_id, np.zeros(hw, dtype=bool)) | at_size
        unions = {i: union for i, union in unions.items() if union.any()}
        assert detection.seen.ids == tuple(sorted(unions))
        for i, union in unions.items():
            assert (detection.mask(i) != union).mean() < 1e-3
            num_compared += 1
    assert num_compared


def test_a_batch_is_as_good_as_single_frames(recorded: dict[str, np.ndarray]) -> None:
    for make in (
        lambda: DetrDetector(state_of(toy_shapes("detr")), TWO, DetectorOptions(min_score=0.0)),
        lambda: Mask2FormerDetector(state_of(toy_shapes("mask2former")), TWO, DetectorOptions(min_score=0.0)),
    ):
        detector, images = make(), frames(3)
        together = detector.detect(images)
        for image, detection in zip(images, together, strict=True):
            (alone,) = detector.detect([image])
            assert alone.seen.ids == detection.seen.ids
            assert np.allclose(alone.scores, detection.scores, atol=1e-5)
            assert all((alone.mask(i) != detection.mask(i)).mean() < 1e-3 for i in alone.seen.ids)


def test_half_a_mask_is_cut_where_it_should_be() -> None:
    class_logits = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    ramp = torch.tensor([[-1.0, 0.25, 1.0, 1.0]]).repeat(2, 1)
    mask_logits = torch.stack([ramp, -ramp, ramp])
    cut = detection_of_queries(class_logits, mask_logits, (None, 5), (2, 8), min_score=0.5, cut_before_enlarging_at=0.5)
    assert cut.class_ids.tolist() == [5]
    assert cut.mask(5)[0].tolist() == [True] * 2 + [False] * 6
    smooth = detection_of_queries(class_logits, mask_logits, (4, 5), (2, 8), min_score=0.5)
    assert smooth.mask(4)[0].tolist() == [False] * 3 + [True] * 5
    assert smooth.scores == pytest.approx([0.99975, 0.99975], abs=1e-4)
    assert not detection_of_queries(class_logits * 0, mask_logits, (4, 5), (2, 8), min_score=0.5).seen.ids


# --- heads and label spaces ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "num_labels", "first"),
    [
        ("cadis-2", 18, (None, 0, 1)),
        ("cataract1k", 14, (None, 1, 2)),
        ("cholecseg8k", 13, (None, 1, 2)),
        ("cholecseg8k", 14, (None, None, 1)),
    ],
)
def test_published_heads(space: str, num_labels: int, first: tuple[int | None, ...]) -> None:
    classes = classes_of_labels(num_labels, LABEL_SPACES[space], spare=(1, 2))
    assert classes[:3] == first
    assert classes[-1] == LABEL_SPACES[space].ids[-1]
    assert len(classes) == num_labels


def test_what_is_not_this_network_is_refused_in_one_sentence() -> None:
    state = state_of(toy_shapes("detr"))
    with pytest.raises(
        CheckpointError, match="expected a head of 14 or 15 labels for the 13 classes of cataract1k, got one of 3"
    ):
        DetrDetector(state, LABEL_SPACES["cataract1k"])
    without = {key: value for key, value in state.items() if key != "mask_head.adapter2.bias"}
    with pytest.raises(
        CheckpointError, match=r"weights of a DETR, got some with 1 missing \(first: mask_head.adapter2.bias\)"
    ):
        DetrDetector(without, TWO)
    twice = {**state, "mask_head.output_conv.bias": state["mask_head.out_lay.bias"]}
    assert len({detr.rename(key) for key in twice}) < len(twice)
    state = state_of(toy_shapes("mask2former"))
    with pytest.raises(
        CheckpointError, match="expected a head of 18 labels for the 17 classes of cadis-2, got one of 3"
    ):
        Mask2FormerDetector(state, LABEL_SPACES["cadis-2"])
    del state["model.pixel_level_module.decoder.mask_projection.weight"]
    with pytest.raises(CheckpointError, match=r"got some without model\.pixel_level_module\.decoder\.mask_projection"):
        Mask2FormerDetector(state, TWO)

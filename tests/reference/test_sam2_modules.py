"""Every module of SAM 2 against numbers recorded from the published implementations."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reference.recordings import Recording, normalised, recordings
from reference.weights import build_reference_model, reference_config, reference_folder, reference_weight
from surgvos.models.interface import EncodedMemory, ImageFeatures, MemoryBatch, PromptBatch
from surgvos.models.sam2 import Sam2Config, Sam2Model, base_plus, large, small, tiny
from surgvos.models.sam2.position import sine_encoding

PUBLISHED = {
    "keys_sam2.1_hiera_tiny": tiny(),
    "keys_sam2.1_hiera_small": small(),
    "keys_sam2.1_hiera_base+": base_plus(),
    "keys_sam2.1_hiera_large": large(),
    "keys_surgical_sam2_small_512": Sam2Config(
        image_size=512,
        stages=small().stages,
        global_blocks=small().global_blocks,
        pointer_time_encoding=False,
        absent_spatial_embedding=False,
    ),
}
CASES = ("pt1", "pt3", "box", "box_pt", "mask", "pad", "mask_pt")


def of_part(part: str) -> list[Recording]:
    return recordings(*(f"{family}*_{part}" for family in ("sam2", "ssam2", "resurg")))


def each_recording(part: str) -> pytest.MarkDecorator:
    found = of_part(part)
    return pytest.mark.parametrize("recording", found, ids=[str(recording) for recording in found])


@lru_cache(maxsize=2)
def model_of(json_path: Path, **changes: Any) -> Sam2Model:
    return build_reference_model(Recording(json_path).description, **changes)


@lru_cache(maxsize=4)
def features_of(json_path: Path) -> ImageFeatures:
    encoder_run = Recording(json_path).sibling("image_encoder")
    with torch.no_grad():
        return model_of(encoder_run.json_path).encode_image(normalised(encoder_run.arrays["image_u8"][None]))


def thinned(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Take every n-th element along each axis, as large recordings were stored."""
    assert values.ndim == like.ndim
    steps = [-(-ours // theirs) for ours, theirs in zip(values.shape, like.shape, strict=True)]
    return values[tuple(slice(None, None, step) for step in steps)]


def assert_recorded(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(thinned(ours, theirs), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_keys_and_shapes(name: str) -> None:
    with torch.device("meta"):
        model = Sam2Model(PUBLISHED[name])
    ours = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert ours == json.loads((reference_folder() / f"{name}.json").read_text())["keys"]


@pytest.mark.parametrize("tag", ["sam2toy", "ssam2toy", "resurgtoy"])
def test_toy_weights_match_checksums(tag: str) -> None:
    description = json.loads((reference_folder() / f"keys_{tag}.json").read_text())
    if tag != "resurgtoy":
        with torch.device("meta"):
            model = Sam2Model(reference_config(description))
        assert {key: list(value.shape) for key, value in model.state_dict().items()} == description["keys"]
    for key, (first, total) in description["checksums"].items():
        weight = reference_weight(key, description["keys"][key])
        if key not in description["weight_overrides"] and not key.endswith("position_ids"):
            assert weight.flatten()[0] == pytest.approx(first, rel=1e-4, abs=1e-5)
            assert weight.sum(dtype=float) == pytest.approx(total, rel=1e-4, abs=1e-3)


@each_recording("image_encoder")
@torch.no_grad()
def test_image_encoder(recording: Recording) -> None:
    model = model_of(recording.json_path)
    images = normalised(recording.arrays["image_u8"][None])
    if "trunk0" in recording.arrays:
        for index, (tokens, layout) in enumerate(model.image_encoder.trunk(images)):
            assert_recorded(layout.to_grid(tokens), recording.tensor(f"trunk{index}"))
    levels = model.encode_image(images).levels
    for index, level in enumerate(levels):
        assert_recorded(level, recording.tensor(f"fpn{index}"))
        statistics = torch.stack([level.mean(), level.std(), level.abs().max()])
        assert_recorded(statistics, recording.tensor(f"fpn{index}_stats"))
        positions = sine_encoding(model.config.hidden_dim, *level.shape[-2:], level.device)
        assert_recorded(positions[None], recording.tensor(f"pos{index}"))


@pytest.mark.parametrize("case", CASES)
@each_recording("prompt_mask_decoder")
@torch.no_grad()
def test_prompt_encoder(recording: Recording, case: str) -> None:
    model = model_of(recording.sibling("image_encoder").json_path)
    encoder, size = model.sam_prompt_encoder, model.config.image_size
    sparse = encoder.encode_points(recording.tensor(f"{case}_points"), recording.tensor(f"{case}_labels"), (size, size))
    assert_recorded(sparse, recording.tensor(f"{case}_sparse"))
    grid_hw = (size // 16, size // 16)
    grid = encoder.grid_encoding(grid_hw).transpose(1, 2).unflatten(2, grid_hw)
    assert_recorded(grid, recording.tensor("dense_pe"))
    if f"{case}_dense" in recording.arrays:
        dense = encoder.encode_mask(recording.tensor("mask_input"), grid_hw)
        assert_recorded(dense, recording.tensor(f"{case}_dense"))


@pytest.mark.parametrize("mode", ["multi", "single", "singleraw"])
@pytest.mark.parametrize("case", CASES)
@each_recording("prompt_mask_decoder")
@torch.no_grad()
def test_prompt_mask_decoder(recording: Recording, case: str, mode: str) -> None:
    encoder_json = recording.sibling("image_encoder").json_path
    model = model_of(encoder_json, stability_fallback=False) if mode == "singleraw" else model_of(encoder_json)
    features = features_of(encoder_json)
    image = model.condition(features, None)
    grid_hw = (image.shape[-2], image.shape[-1])
    prompts = PromptBatch(
        recording.tensor(f"{case}_points"),
        recording.tensor(f"{case}_labels").long(),
        previous_logits=recording.tensor("mask_input") if f"{case}_dense" in recording.arrays else None,
    )
    multimask = mode == "multi"
    prediction = model.decode(features, image, prompts, multimask=multimask)
    expected = {part: recording.tensor(f"{case}_{mode}_{part}") for part in ("masks", "iou", "tokens", "objscore")}
    assert (expected["objscore"] > 0).all(), "masks of absent objects are gated, and could not be compared"
    assert_recorded(prediction.logits, expected["masks"])
    assert_recorded(prediction.iou, expected["iou"])
    assert_recorded(prediction.presence_logits[:, None], expected["objscore"])
    assert prediction.pointers is not None
    assert_recorded(prediction.pointers, model.obj_ptr_proj(expected["tokens"]))

    encoder = model.sam_prompt_encoder
    decoded = model.sam_mask_decoder(
        image,
        features.levels[:2],
        encoder.grid_encoding(grid_hw),
        recording.tensor(f"{case}_sparse"),
        encoder.no_mask() if prompts.previous_logits is None else encoder.encode_mask(prompts.previous_logits, grid_hw),
        multimask=multimask,
    )
    assert_recorded(decoded.tokens, expected["tokens"])


def recorded_mask_logits(size: int) -> torch.Tensor:
    """An ellipse at +6 on a ground of -6, with ripples along the columns."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = ((y - 0.5 * size) / (0.18 * size)) ** 2 + ((x - 0.35 * size) / (0.14 * size)) ** 2 <= 1
    return (inside * 12.0 - 6.0 + 0.5 * torch.sin(x / 9))[None, None]


@each_recording("memory_encoder")
@torch.no_grad()
def test_memory_encoder(recording: Recording) -> None:
    encoder_json = recording.sibling("image_encoder").json_path
    model, features = model_of(encoder_json), features_of(encoder_json)
    logits = recorded_mask_logits(model.config.image_size)
    assert_recorded(logits, recording.tensor("mask_logits_high_res"))
    positions = sine_encoding(model.config.memory_dim, *features.levels[-1].shape[-2:], logits.device)
    assert_recorded(positions[None], recording.tensor("mem_pos"))
    scaled = {"sigmoid": logits.sigmoid() * 20 - 10, "binarized": (logits > 0) * 20.0 - 10}
    for kind, prompted in (("sigmoid", False), ("binarized", True)):
        present = recording.tensor(f"mem_{kind}_present")
        assert_recorded(model.memory_encoder(features.levels[-1], scaled[kind]), present)
        stored = model.encode_memory(features, logits, torch.tensor([1.0]), prompted=prompted)
        assert_one_rounding_apart(stored, present)
        if f"mem_{kind}_absent" in recording.arrays:
            absent = recording.tensor(f"mem_{kind}_absent")
            stored = model.encode_memory(features, logits, torch.tensor([-1.0]), prompted=prompted)
            assert_one_rounding_apart(stored, absent)


def assert_one_rounding_apart(memory: EncodedMemory, recorded: torch.Tensor) -> None:
    """Memories are stored in bfloat16, which keeps 8 bits."""
    assert memory.features.dtype == torch.bfloat16
    torch.testing.assert_close(memory.features.float(), recorded, rtol=2**-8, atol=1e-4)


@each_recording("memory_attention")
@torch.no_grad()
def test_memory_attention(recording: Recording) -> None:
    encoder_json = recording.sibling("image_encoder").json_path
    model, image = model_of(encoder_json), features_of(encoder_json).levels[-1]
    height, width = image.shape[-2:]
    positions = sine_encoding(model.config.hidden_dim, height, width, image.device)
    num_pointer_tokens = recording.description["num_obj_ptr_tokens"]
    num_tokens = 3 * height * width + num_pointer_tokens
    random = torch.from_numpy(_normal_numbers(7, (2, num_tokens, model.config.memory_dim))).float()
    value, key = 0.5 * random[0:1], 0.5 * random[0:1] + 0.5 * random[1:2]
    if "memory" in recording.arrays:
        torch.testing.assert_close(value, recording.tensor("memory").transpose(0, 1))
    for name, tokens, num_unplaced in (
        ("out_3frames_2ptrs", num_tokens, num_pointer_tokens),
        ("out_1frame_0ptr", height * width, 0),
    ):
        attended = model.memory_attention(image, positions, key[:, :tokens], value[:, :tokens], num_unplaced)
        assert_recorded(attended.flatten(2).permute(2, 0, 1), recording.tensor(name))


def _normal_numbers(seed: int, shape: tuple[int, ...]) -> Any:
    return np.random.RandomState(seed).standard_normal(shape)


def test_memory_batch_lays_out_tokens_as_published() -> None:
    """Slot 0 takes the last row of the table, slot r the row r - 1; pointers are cut in order and come last."""
    torch.manual_seed(0)
    model = Sam2Model(
        Sam2Config(image_size=64, embed_dim=16, hidden_dim=32, memory_dim=16, num_memory_attention_layers=1)
    ).eval()
    features, pointers = torch.randn(1, 3, 16, 4, 4), torch.randn(1, 2, 32)
    memory = MemoryBatch(features, torch.tensor([[0, 6, 1]]), None, pointers, torch.tensor([[1.0, 0.2]]))
    key, value, num_pointer_tokens = model._memory_tokens(memory)
    assert num_pointer_tokens == 4
    torch.testing.assert_close(value[0, -4:], pointers.view(4, 16))
    torch.testing.assert_close(value[0, 16:32], features[0, 1].flatten(1).T)
    places = sine_encoding(16, 4, 4, features.device).flatten(1).T
    moments = (key - value)[0, :48].view(3, 16, 16) - places
    for slot_row, found in zip((6, 5, 0), moments, strict=True):
        torch.testing.assert_close(found, model.maskmem_tpos_enc[slot_row, 0].expand(16, -1))

"""What ReSurgSAM2 adds to SAM 2, against numbers recorded from the published implementation."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reference.recordings import Recording, normalised, recordings
from reference.weights import fill_with_reference_weights, reference_config, reference_folder, reference_state
from surgvos.models.families import infer_resurg_config
from surgvos.models.interface import PromptBatch, TextFeatures
from surgvos.models.resurg import ResurgConfig, ResurgModel, resurg_small
from surgvos.models.sam2 import Sam2Config
from surgvos.models.sam2.layers import MLP
from surgvos.models.text.mamba import BACKWARD, FORWARD, TUBES, MambaLayer, SelectiveStateSpace, Volume
from surgvos.models.text.selective_scan import selective_scan

VARIANTS = {
    "plain": ((FORWARD,), False),
    "bimamba": ((FORWARD, BACKWARD), False),
    "sp": ((FORWARD, BACKWARD, TUBES), True),
    "sp_dw": ((FORWARD, BACKWARD, TUBES), True),
}


def each_recording(pattern: str) -> pytest.MarkDecorator:
    found = recordings(pattern)
    return pytest.mark.parametrize("recording", found, ids=[str(recording) for recording in found])


@lru_cache(maxsize=2)
def model_of(json_path: Path) -> ResurgModel:
    """The recordings' toy network, with its toy text tower."""
    description = Recording(json_path).description
    base = reference_config(description)
    shared = {item.name: getattr(base, item.name) for item in fields(Sam2Config)}
    shared["binarize_prompted_memory"] = False
    model = ResurgModel(ResurgConfig(**shared, text_dim=base.hidden_dim, projection_dim=64))
    fill_with_reference_weights(model, description["weight_overrides"])
    model.language._tower = toy_text_tower()
    return model.eval()


def toy_text_tower() -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "projection_dim": 32}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "quick_gelu"}
    tower = CLIPTextModel(CLIPTextConfig(**sizes, **layers, bos_token_id=98, eos_token_id=99, pad_token_id=99))
    # Some versions of transformers hold the tower's layers one level deeper.
    own = {key: tuple(value.shape) for key, value in tower.state_dict().items() if not key.endswith("position_ids")}
    named = {f"language_model.{key.removeprefix('text_model.')}": shape for key, shape in own.items()}
    state = reference_state(named, {})
    tower.load_state_dict({key: state[name] for key, name in zip(own, named, strict=True)}, strict=False)
    return tower.eval()


def assert_recorded(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def scan_inputs(recording: Recording) -> dict[str, Tensor]:
    """One scan, with steps before channels."""
    steps_last = {name: recording.tensor(name).transpose(1, 2)[:, None] for name in ("u", "delta", "z", "B", "C")}
    tables = {name: recording.tensor(name)[None] for name in ("A", "D", "delta_bias")}
    return {name.lower(): value for name, value in (steps_last | tables).items()}


@pytest.mark.parametrize("name", ["out_full", "out_noz_noD", "out_4d_BC"])
@each_recording("selective_scan")
def test_selective_scan(recording: Recording, name: str) -> None:
    inputs = scan_inputs(recording)
    if name == "out_noz_noD":
        del inputs["z"], inputs["d"]
    found = selective_scan(**inputs, softplus=True)
    assert_recorded(found[:, 0].transpose(1, 2), recording.tensor(name))


@each_recording("selective_scan")
def test_selective_scan_last_state(recording: Recording) -> None:
    """The last state is what is read at the last step, one state after the other."""
    inputs = scan_inputs(recording)
    del inputs["z"], inputs["d"]
    num_states = inputs["a"].shape[-1]
    states = []
    for state in range(num_states):
        inputs["c"] = torch.zeros_like(inputs["c"])
        inputs["c"][..., state] = 1
        states.append(selective_scan(**inputs, softplus=True)[:, 0, -1])
    assert_recorded(torch.stack(states, dim=-1), recording.tensor("last_state_full"))


class _PlainMLP(MLP):
    """What variants without a convolution have for it."""

    def forward(self, x: Tensor, volume: Volume | None = None) -> Tensor:
        return super().forward(x)


def fill(module: nn.Module, prefix: str) -> None:
    """Give a module the recordings' weights, whose names begin with a prefix there."""
    own = {f"{prefix}.{key}": tuple(value.shape) for key, value in module.state_dict().items()}
    module.load_state_dict(
        {key.removeprefix(f"{prefix}."): value for key, value in reference_state(own, {}).items()}, strict=True
    )


@pytest.mark.parametrize("variant", VARIANTS)
@each_recording("resurg_mamba_layers")
@torch.no_grad()
def test_mamba_layers(recording: Recording, variant: str) -> None:
    orders, averages = VARIANTS[variant]
    x, volume = recording.tensor("x"), Volume(3, 8, 8)
    dim = x.shape[-1]
    layer = MambaLayer(dim, drop_path=0.2)
    layer.mamba = SelectiveStateSpace(dim, orders, averages=averages)
    if not variant.endswith("dw"):
        layer.mlp = _PlainMLP(dim, 4 * dim, dim)
    fill(layer.eval(), f"mamba_{variant}")
    assert_recorded(layer.mamba(x, volume), recording.tensor(f"{variant}_mamba_of_x"))
    assert_recorded(layer(x, volume), recording.tensor(f"{variant}_layer"))


def test_published_keys_and_shapes() -> None:
    """All published names but the frozen text tower's, whose weights are CLIP's."""
    published = json.loads((reference_folder() / "keys_resurgsam2_small_512.json").read_text())["keys"]
    with torch.device("meta"):
        model = ResurgModel(resurg_small())
    ours = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert len(ours) == 763
    assert ours == {key: shape for key, shape in published.items() if not key.startswith("language_model.")}
    everything = {key: torch.empty(shape, device="meta") for key, shape in published.items()}
    assert infer_resurg_config(everything) == resurg_small()


@each_recording("resurgtoy_text")
def test_toy_keys_and_checksums(recording: Recording) -> None:
    keys = json.loads((reference_folder() / "keys_resurgtoy.json").read_text())
    model = model_of(recording.json_path)
    own = model.state_dict()
    assert {key: list(value.shape) for key, value in own.items()} == {
        key: shape for key, shape in keys["keys"].items() if not key.startswith("language_model.")
    }
    for key, value in own.items():
        first, total = keys["checksums"][key]
        assert value.flatten()[0] == pytest.approx(first, rel=1e-4, abs=1e-5)
        assert value.sum(dtype=torch.float64) == pytest.approx(total, rel=1e-4, abs=1e-3)


@each_recording("resurgtoy_text")
@torch.no_grad()
def test_text(recording: Recording) -> None:
    model = model_of(recording.json_path)
    ids = recording.arrays["input_ids"][0].tolist()
    read = model.language.read_ids(ids, 99, torch.device("cpu"))
    assert read.is_token.sum() == len(ids)
    hidden = read.hidden[:, : len(ids)]
    assert_recorded(hidden, recording.tensor("last_hidden_state"))
    assert_recorded(read.pooled, recording.tensor("pooler_output"))
    assert_recorded(model.token_projection(hidden), recording.tensor("text_emb_sentence"))
    assert_recorded(model.token_projection(read.pooled)[:, None], recording.tensor("text_emb_cls"))


@pytest.mark.parametrize("name", ["prev0", "prev1", "prev2", "nopad_prev0", "nopad_prev2"])
@each_recording("resurgtoy_fusion")
@torch.no_grad()
def test_fusion(recording: Recording, name: str) -> None:
    model = model_of(recording.json_path)
    tokens = recording.tensor("text_emb_sentence")
    levels = model.encode_image(normalised(recording.arrays["frames_u8"])).levels[-1].split(1)
    by_index = dict(zip(recording.arrays["frames_used"].tolist(), levels, strict=True))
    current, previous = by_index[6], [by_index[4], by_index[3]][: int(name[-1])]
    fusion, is_token = model.cross_modal_fusion, torch.ones(tokens.shape[:2], dtype=torch.bool)
    if name.startswith("nopad"):
        meaning, image = fusion.fuse([current, *previous], range(len(previous) + 1), tokens, is_token)
    else:
        meaning, image = fusion(current, previous, tokens, is_token)
    assert_recorded(meaning, recording.tensor(f"{name}_cls"))
    assert_recorded(image.flatten(2).permute(2, 0, 1), recording.tensor(f"{name}_image"))


@each_recording("resurgtoy_prompt_mask_decoder")
@torch.no_grad()
def test_every_other_prompt_is_decoded_as_recorded(recording: Recording) -> None:
    """Points, boxes and masks go through the same network as in SAM 2."""
    model = model_of(recording.json_path)
    seen = model.encode_image(normalised(recording.sibling("image_encoder").arrays["image_u8"][None]))
    image = model.condition(seen, None)
    for case in ("pt1", "pt3", "box", "box_pt", "mask", "pad", "mask_pt"):
        prompts = PromptBatch(
            recording.tensor(f"{case}_points"),
            recording.tensor(f"{case}_labels").long(),
            previous_logits=recording.tensor("mask_input") if f"{case}_dense" in recording.arrays else None,
        )
        found = model.decode(seen, image, prompts, multimask=True)
        assert_recorded(found.logits, recording.tensor(f"{case}_multi_masks"))
        assert_recorded(found.iou, recording.tensor(f"{case}_multi_iou"))
        assert_recorded(found.presence_logits[:, None], recording.tensor(f"{case}_multi_objscore"))


@each_recording("resurgtoy_referring_video_*")
@torch.no_grad()
def test_first_frames_of_a_search(recording: Recording) -> None:
    """As many frames as every recorded search lasts: masks, scores and pointers."""
    model = model_of(recording.json_path)
    frames = recording.sibling("video_frames").arrays["frames_u8"][:5]
    assert recording.description["stage_per_frame"][: len(frames)] == ["ref"] * len(frames)
    text = recorded_text(recording.sibling("text"))
    seen = []
    for index, frame in enumerate(frames):
        seen.insert(0, model.encode_image(normalised(frame[None])))
        found = model.refer(seen[0], seen[1 : 1 + model.num_previous], text).best()
        low_res = recording.tensor("low_res_logits")[index]
        torch.testing.assert_close(found.logits[0, 0], low_res, rtol=1e-4, atol=1e-3)
        assert_recorded(found.presence_logits, recording.tensor("object_score_logits")[index : index + 1])
        assert_recorded(found.iou[0], recording.tensor("iou_best")[index : index + 1])
        assert found.pointers is not None
        assert_recorded(found.pointers[0, 0], recording.tensor("obj_ptr")[index])


def recorded_text(recording: Recording) -> TextFeatures:
    tokens, pooled = recording.tensor("text_emb_sentence"), recording.tensor("text_emb_cls")
    return TextFeatures(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool), pooled[:, 0])

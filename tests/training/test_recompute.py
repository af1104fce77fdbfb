"""Recomputed activations: the same gradients from less memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.test_checkpoints import TOY
from surgvos.data.batches import BatchShape
from surgvos.data.clips import ClipBatch
from surgvos.data.synthetic import SceneConfig
from surgvos.data.synthetic_clips import SyntheticClipsConfig
from surgvos.errors import ConfigError
from surgvos.memory import Pruned, Recent
from surgvos.models.sam2 import Sam2Model
from surgvos.training.clip import ClipSettings, forward_clip
from surgvos.training.prompts import PromptSettings
from surgvos.training.recompute import recompute_activations

NAMES = ("image_encoder.trunk.blocks", "memory_attention")


@contextmanager
def counting_kept_bytes() -> Iterator[list[int]]:
    """Count bytes that autograd keeps for the backward pass, once per storage."""
    kept: dict[int, int] = {}
    total = [0]

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield total
    total[0] = sum(kept.values())


@pytest.fixture(scope="module")
def batch() -> ClipBatch:
    shape = BatchShape(num_frames=4, image_hw=(64, 64), batch_size=2)
    return SyntheticClipsConfig(scene=SceneConfig(num_frames=4), pool_size=2).open(shape, 3)[0]


def toy(names: tuple[str, ...]) -> Sam2Model:
    torch.manual_seed(0)
    model = Sam2Model(replace(TOY, drop_path_rate=0.2)).train()
    recompute_activations(model, names)
    return model


def gradients(batch: ClipBatch, names: tuple[str, ...], policy: Recent | Pruned) -> tuple[dict[str, Tensor], int]:
    model = toy(names)
    settings = ClipSettings(memory=policy, prompts=PromptSettings(num_corrections=1))
    with counting_kept_bytes() as kept:
        loss = forward_clip(model, batch, settings, torch.Generator().manual_seed(1)).total
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, kept[0]


@pytest.mark.parametrize("policy", [Recent(), Pruned(recent=Recent(num_recent=2), num_pruned=1)], ids=["all", "pruned"])
def test_gradients_are_the_same_and_less_is_kept(batch: ClipBatch, policy: Recent | Pruned) -> None:
    whole, num_bytes = gradients(batch, (), policy)
    again, num_bytes_again = gradients(batch, NAMES, policy)
    assert whole.keys() == again.keys()
    assert {name.split(".")[0] for name in whole} >= {"image_encoder", "memory_attention", "sam_mask_decoder"}
    for name, expected in whole.items():
        torch.testing.assert_close(again[name], expected, rtol=1e-5, atol=1e-7, msg=name)
    assert num_bytes_again < num_bytes


def test_blocks_keep_little_but_what_goes_into_them() -> None:
    kept = []
    for names in ((), NAMES):
        with counting_kept_bytes() as num_bytes:
            toy(names).encode_image(torch.zeros(4, 3, 64, 64))
        kept.append(num_bytes[0])
    assert kept[1] < 0.3 * kept[0]


def test_weights_keep_their_names() -> None:
    model = Sam2Model(TOY)
    names = list(model.state_dict())
    recompute_activations(model, NAMES)
    assert list(model.state_dict()) == names


def test_nothing_is_done_twice_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    recompute_activations(model, ("0",))
    monkeypatch.setattr("surgvos.training.recompute.checkpoint", None)
    with torch.no_grad():
        assert model(torch.zeros(1, 2)).shape == (1, 2)


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(ConfigError, match=r"got 'trunk'; try one of \['image_encoder', 'mask_downsample'"):
        recompute_activations(Sam2Model(TOY), ("trunk",))

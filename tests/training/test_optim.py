"""Parameter groups, rates over time and averages of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from surgvos.config.load import from_plain, to_plain
from surgvos.errors import ConfigError
from surgvos.models.sam2 import Sam2Model, tiny
from surgvos.training.optim import (
    AveragedWeights,
    OptimiserSettings,
    Rate,
    build_optimiser,
    layer_scale,
    learning_rate_factor,
    names_beginning,
    parameter_groups,
    set_learning_rate,
    train_all_but,
)


@pytest.fixture(scope="module")
def sam2_tiny() -> nn.Module:
    with torch.device("meta"):
        return Sam2Model(tiny())


def _rates(model: nn.Module, settings: OptimiserSettings) -> dict[str, tuple[float, float]]:
    """Name -> (highest rate, weight decay)."""
    return {
        name: (group["peak"], group["weight_decay"])
        for group in parameter_groups(model, settings)
        for name in group["names"]
    }


def test_every_parameter_of_sam2_is_in_one_group(sam2_tiny: nn.Module) -> None:
    groups = parameter_groups(sam2_tiny, OptimiserSettings(layer_decay=0.9))
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in sam2_tiny.named_parameters())
    assert sum(p.numel() for group in groups for p in group["params"]) == sum(p.numel() for p in sam2_tiny.parameters())


def test_sam2_rates_fall_with_depth_in_the_trunk_only(sam2_tiny: nn.Module) -> None:
    rates = _rates(sam2_tiny, OptimiserSettings(learning_rate=5e-6, image_encoder_rate=3e-6, layer_decay=0.9))
    trunk = "image_encoder.trunk."
    assert rates[trunk + "patch_embed.proj.weight"][0] == pytest.approx(3e-6 * 0.9**13)
    assert rates[trunk + "blocks.0.attn.qkv.weight"][0] == pytest.approx(3e-6 * 0.9**12)
    assert rates[trunk + "blocks.11.attn.qkv.weight"][0] == pytest.approx(3e-6 * 0.9)
    assert rates[trunk + "pos_embed"][0] == rates[trunk + "pos_embed_window"][0] == 3e-6
    assert rates["image_encoder.neck.convs.0.conv.weight"][0] == 3e-6
    assert rates["memory_attention.layers.0.linear1.weight"][0] == 5e-6


def test_biases_and_layer_norms_do_not_decay_but_sam2s_own_norms_do(sam2_tiny: nn.Module) -> None:
    rates = _rates(sam2_tiny, OptimiserSettings())
    assert rates["image_encoder.trunk.blocks.3.norm1.weight"][1] == 0
    assert rates["memory_attention.norm.weight"][1] == 0
    assert all(decay == 0 for name, (_, decay) in rates.items() if name.endswith("bias"))
    for name in (
        "image_encoder.trunk.pos_embed",
        "memory_encoder.mask_downsampler.encoder.1.weight",
        "memory_encoder.fuser.layers.0.gamma",
        "maskmem_tpos_enc",
        "no_obj_ptr",
    ):
        assert rates[name][1] == 0.1, name
    undecayed = _rates(sam2_tiny, OptimiserSettings(decay_vectors=False))
    assert undecayed["memory_encoder.fuser.layers.0.gamma"][1] == 0
    assert undecayed["maskmem_tpos_enc"][1] == 0.1


def test_layer_scale_counts_from_the_end() -> None:
    scales = [layer_scale(f"image_encoder.trunk.blocks.{i}.mlp.weight", 3, 0.5) for i in range(3)]
    assert scales == [0.125, 0.25, 0.5]


def test_cosine_starts_at_the_peak_and_ends_at_its_share() -> None:
    settings = OptimiserSettings(final_fraction=0.1)
    factors = [learning_rate_factor(step, 100, settings) for step in range(101)]
    assert factors[0] == 1
    assert factors[50] == pytest.approx(0.55)
    assert factors[100] == pytest.approx(0.1)
    assert factors == sorted(factors, reverse=True)


def test_warmup_rises_and_a_constant_rate_stays() -> None:
    settings = OptimiserSettings(schedule="constant", warmup_steps=4)
    assert [learning_rate_factor(step, 10, settings) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    higher = OptimiserSettings(schedule="constant", warmup_steps=4, warmup_fraction=0.2)
    assert [learning_rate_factor(step, 10, higher) for step in range(5)] == pytest.approx([0.4, 0.6, 0.8, 1, 1])


def test_optimiser_follows_the_factor_in_every_group() -> None:
    model = nn.ModuleDict({"image_encoder": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    settings = OptimiserSettings(learning_rate=1.0, image_encoder_rate=0.5, final_fraction=0.1)
    optimiser = build_optimiser(model, settings)
    set_learning_rate(optimiser, 8, 8, settings)
    assert sorted(group["lr"] for group in optimiser.param_groups) == pytest.approx([0.05, 0.05, 0.1, 0.1])


def test_parts_may_have_rates_of_their_own() -> None:
    model = nn.ModuleDict({"head": nn.ModuleDict({"new": nn.Linear(2, 2), "old": nn.Linear(2, 2)})})
    settings = OptimiserSettings(
        learning_rate=1.0,
        final_fraction=0.5,
        weight_decay=0.0,
        rates={"head": Rate(highest=2.0), "head.new": Rate(highest=4.0, final_fraction=0.25)},
    )
    optimiser = build_optimiser(model, settings)
    peaks = {name: group["peak"] for group in optimiser.param_groups for name in group["names"]}
    assert peaks == {"head.new.weight": 4, "head.new.bias": 4, "head.old.weight": 2, "head.old.bias": 2}
    set_learning_rate(optimiser, 10, 10, settings)
    assert sorted(group["lr"] for group in optimiser.param_groups) == pytest.approx([1.0, 1.0])
    set_learning_rate(optimiser, 0, 10, settings)
    assert sorted(group["lr"] for group in optimiser.param_groups) == pytest.approx([2.0, 4.0])
    assert from_plain(OptimiserSettings, to_plain(settings)) == settings
    with pytest.raises(ConfigError, match="got 'tail'"):
        build_optimiser(model, OptimiserSettings(rates={"tail": Rate(highest=1.0)}))
    with pytest.raises(ConfigError, match="highest > 0"):
        Rate(highest=0.0)


def test_frozen_parts_are_left_out_and_unknown_ones_refused() -> None:
    model = nn.ModuleDict({"image_encoder": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    train_all_but(model, names_beginning(model, ("image_encoder",)))
    names = [name for group in parameter_groups(model, OptimiserSettings()) for name in group["names"]]
    assert sorted(names) == ["head.bias", "head.weight"]
    with pytest.raises(ConfigError, match=r"got 'encoder'; try one of \['head', 'image_encoder'\]"):
        names_beginning(model, ("encoder",))
    with pytest.raises(ConfigError, match="at least one parameter to train"):
        train_all_but(model, names_beginning(model, ("image_encoder", "head")))
    with pytest.raises(ConfigError, match="at least one parameter to train"):
        build_optimiser(model, OptimiserSettings())
    train_all_but(model, ())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_average_follows_weights_and_copies_buffers() -> None:
    model = nn.BatchNorm1d(1)
    average = AveragedWeights(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(7.0)
        model.num_batches_tracked.fill_(5)
    average.update(model)  # decay 2 / 11 at first
    values = average.values()
    assert values["weight"].item() == pytest.approx(1 + 2 * (1 - 2 / 11))
    assert values["running_mean"].item() == 7
    assert values["num_batches_tracked"].item() == 5
    for _ in range(60):
        average.update(model)
    assert average.values()["weight"].item() == pytest.approx(3.0, abs=1e-6)


def test_average_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    first, second = AveragedWeights(model, 0.9), AveragedWeights(model, 0.9)
    for _ in range(3):
        nn.init.normal_(model.weight)
        first.update(model)
    second.load_state_dict(first.state_dict())
    nn.init.normal_(model.weight)
    for average in (first, second):
        average.update(model)
    assert torch.equal(first.values()["weight"], second.values()["weight"])

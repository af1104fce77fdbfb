"""What ReSurgSAM2 adds to SAM 2, against numbers recorded from the published implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reference.recordings import Recording, recordings
from reference.weights import reference_state
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

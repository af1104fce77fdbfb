"""The selective scan against the recurrence it stands for."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from surgvos.models.text import selective_scan as module
from surgvos.models.text.selective_scan import selective_scan

PLANS = {
    "rows in turn": module._Plan(num_segments=1, rows_at_once=1, chunk=4),
    "rows at once": module._Plan(num_segments=1, rows_at_once=100, chunk=100),
    "segments at once": module._Plan(num_segments=4, rows_at_once=100, chunk=3),
    "some segments at once": module._Plan(num_segments=3, rows_at_once=2, chunk=1),
}
"""Ways of scanning: on a CPU, and where there is room."""


def plain_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Step by step."""
    state = u.new_zeros(*u.shape[:2], *a.shape[1:])
    answers = []
    for step in range(u.shape[2]):
        size, entering = delta[:, :, step, :, None], b[:, :, step, None, :]
        state = torch.exp(size * a) * state + size * entering * u[:, :, step, :, None]
        answers.append((state * c[:, :, step, None, :]).sum(-1))
    return torch.stack(answers, dim=2)


def random_inputs(
    shape: tuple[int, int, int, int] = (2, 2, 11, 3), num_states: int = 4, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows, scans, steps, channels = shape

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    rates = -normal(scans, channels, num_states).exp()
    enters, leaves = (normal(rows, scans, steps, num_states) for _ in range(2))
    return [normal(*shape), F.softplus(normal(*shape) - 2), rates, enters, leaves]


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> module._Plan:
    chosen = PLANS[request.param]
    monkeypatch.setattr(module, "_plan", lambda u, num_states: chosen)
    return chosen


def test_scan_is_the_recurrence(plan: module._Plan) -> None:
    inputs = random_inputs()
    torch.testing.assert_close(selective_scan(*inputs), plain_scan(*inputs), rtol=1e-12, atol=1e-12)


def test_gradients_are_those_of_the_recurrence(plan: module._Plan) -> None:
    inputs = [x.requires_grad_() for x in random_inputs()]
    weights = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = torch.autograd.grad((selective_scan(*inputs) * weights).sum(), inputs)
    theirs = torch.autograd.grad((plain_scan(*inputs) * weights).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_gradients_are_differences(plan: module._Plan) -> None:
    inputs = [x.requires_grad_() for x in random_inputs((1, 2, 7, 2), num_states=3)]
    assert torch.autograd.gradcheck(selective_scan, inputs)


def test_gradients_reach_skip_gate_and_bias() -> None:
    u, delta, a, b, c = random_inputs((1, 2, 5, 2), num_states=2)
    more = [random_inputs((1, 2, 5, 2))[0] + 1, *random_inputs((2, 1, 2, 2))[:2]]
    z, d, bias = more[0], more[1][0, 0], more[2][0, 0]

    def scan(*inputs: Tensor) -> Tensor:
        return selective_scan(*inputs, softplus=True)

    assert torch.autograd.gradcheck(scan, [x.requires_grad_() for x in (u, delta, a, b, c, d, z, bias)])


@pytest.mark.parametrize("num_segments", [1, 24])
def test_float32_keeps_within_a_hundred_thousandth(num_segments: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = module._Plan(num_segments, 8, 32)
    monkeypatch.setattr(module, "_plan", lambda u, num_states: plan)
    inputs = random_inputs((1, 3, 600, 8), num_states=16)
    exact = plain_scan(*inputs)
    ours = selective_scan(*(x.float() for x in inputs))
    assert ours.dtype == torch.float32
    assert (ours - exact).abs().max() < 1e-5 * exact.abs().max()


@settings(max_examples=25)
@given(
    length=st.integers(1, 40),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 1e2, 1e4]),
    num_segments=st.integers(1, 7),
    chunk=st.integers(1, 9),
)
def test_no_decay_is_too_fast_or_too_slow(length: int, scale: float, num_segments: int, chunk: int) -> None:
    """Decays that vanish, or hardly decay, are no trouble: nothing is divided by them."""
    u, delta, *others = random_inputs((1, 2, length, 2), num_states=3)
    inputs = [u, delta * scale, *others]
    expected = plain_scan(*inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_plan", lambda u, num_states: module._Plan(num_segments, 3, chunk))
        found = selective_scan(*inputs)
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_half_precision_is_scanned_in_float32() -> None:
    inputs = random_inputs(dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = selective_scan(*inputs)
    assert found.dtype == torch.float32
    exact = plain_scan(*(x.double() for x in inputs))
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)


def test_plans_suit_the_space() -> None:
    assert module._plan(torch.empty(3, 3072, 512), 16) == module._Plan(1, 1, 16)
    wide = module._plan(torch.empty(3, 3072, 512, device="meta"), 16)
    assert wide.num_segments == 55
    assert wide.rows_at_once >= 3 * 55
    assert wide.rows_at_once * wide.chunk * 512 * 16 <= 2**26


def test_installed_kernel_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the layout of ``mamba_ssm``: steps last, channels of all scans side by side."""
    parent, package, interface = (ModuleType(name) for name in ("mamba_ssm", "ops", "selective_scan_interface"))

    def kernel(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False) -> Tensor:  # noqa: N803
        assert all(x.dtype == torch.float32 and x.is_contiguous() for x in (u, delta, A, B, C, z))
        scans = B.shape[1]
        delta = delta + delta_bias[:, None]
        delta = F.softplus(delta) if delta_softplus else delta
        rows = [x.unflatten(1, (scans, -1)).transpose(2, 3) for x in (u, delta)]
        y = plain_scan(*rows, A.unflatten(0, (scans, -1)), B.transpose(2, 3), C.transpose(2, 3))
        y = y.transpose(2, 3).flatten(1, 2)
        return (y + D[:, None] * u) * F.silu(z)

    interface.selective_scan_fn = kernel  # type: ignore[attr-defined]
    for name, fake in (
        ("mamba_ssm", parent),
        ("mamba_ssm.ops", package),
        ("mamba_ssm.ops.selective_scan_interface", interface),
    ):
        monkeypatch.setitem(sys.modules, name, fake)
    found = module._installed_kernel()
    assert found is kernel
    u, delta, a, b, c = random_inputs(dtype=torch.float32)
    d, bias, z = torch.randn(2, 3), torch.randn(2, 3), torch.randn_like(u)
    ours = selective_scan(u, delta, a, b, c, d, z, bias, softplus=True)
    theirs = module._scan_by_kernel(kernel, u, delta, a, b, c, d, z, bias, True)
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def test_kernel_is_not_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    assert module._installed_kernel() is None

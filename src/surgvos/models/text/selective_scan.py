"""The selective scan: a linear recurrence whose rates depend on the input.

Reference: Gu & Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023, section 3.

The recurrence itself is followed, step by step, so that nothing is ever divided by a decay that has vanished. What is
bulky (exponentials, products, read-outs) is done for a chunk of steps at once, in buffers that stay in the cache. Where
steps in turn are slow and memory is wide, a sequence is cut into segments that are scanned side by side, once to learn
with which state each begins, and once from there.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from surgvos.models.sam2.layers import without_autocast

_CACHED = 2**17  # elements in each buffer of a chunk: half a MiB
_ON_DEVICE = 2**26  # where nothing needs to stay in a cache


def selective_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    softplus: bool = False,
) -> Tensor:
    """Run ``S`` independent scans over each of ``B`` sequences of ``L`` steps and ``C`` channels of ``N`` states.

    With Δ = softplus(delta + delta_bias), for every channel and state: h ← exp(Δ a) h + Δ b u; the answer of a step is
    Σ c h + d u, times SiLU(z). Differentiable once. On CUDA the kernel of ``mamba_ssm`` is used where it is installed.

    Args:
        u: ``(B, S, L, C)`` input.
        delta: ``(B, S, L, C)`` step sizes, before the bias and softplus.
        a: ``(S, C, N)`` rates, negative.
        b: ``(B, S, L, N)`` what of the input enters each state.
        c: ``(B, S, L, N)`` what of each state is read.
        d: ``(S, C)`` how much of the input passes by, or None.
        z: ``(B, S, L, C)`` gate, or None.
        delta_bias: ``(S, C)``, or None.
        softplus: Whether step sizes go through softplus.

    Returns:
        ``(B, S, L, C)`` in float32, or float64 where the input is.
    """
    kernel = _installed_kernel() if u.is_cuda and u.dtype != torch.float64 else None
    if kernel is not None:
        return _scan_by_kernel(kernel, u, delta, a, b, c, d, z, delta_bias, softplus)
    dtype = torch.promote_types(u.dtype, torch.float32)
    with without_autocast(u.device):
        u, delta, a, b, c = (x.to(dtype) for x in (u, delta, a, b, c))
        if delta_bias is not None:
            delta = delta + delta_bias.to(dtype).unsqueeze(1)
        if softplus:
            delta = F.softplus(delta)
        rates = a.transpose(1, 2).contiguous().expand(len(u), -1, -1, -1)
        rows = [x.flatten(0, 1) for x in (u, delta, rates, b, c)]
        y = _Scan.apply(*rows, _plan(rows[0], a.shape[-1])).view_as(u)
        if d is not None:
            y = torch.addcmul(y, d.to(dtype).unsqueeze(1), u)
        return y if z is None else y * F.silu(z.to(dtype))


@dataclass(frozen=True, slots=True)
class _Plan:
    """How rows are scanned.

    Attributes:
        num_segments: Stretches of a row that are scanned side by side.
        rows_at_once: Rows, or segments of rows, that share an operation.
        chunk: Steps whose bulky parts share an operation.
    """

    num_segments: int
    rows_at_once: int
    chunk: int


def _plan(u: Tensor, num_states: int) -> _Plan:
    num_rows, length, num_channels = u.shape
    per_step = num_channels * num_states
    if u.device.type == "cpu":
        return _Plan(1, 1, max(1, _CACHED // per_step))
    num_segments = max(1, math.isqrt(length))
    at_once = max(1, num_rows * num_segments)
    return _Plan(num_segments, at_once, max(1, _ON_DEVICE // (at_once * per_step)))


class _Scan(torch.autograd.Function):
    """The recurrence over rows: u, Δ ``(R, L, C)``, a ``(R, N, C)``, b, c ``(R, L, N)``."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, plan: _Plan) -> Tensor:
        segments = _Segments.cut(delta, delta * u, a, b, c, plan.num_segments)
        y = torch.empty_like(segments.delta)
        needs_gradient = any(ctx.needs_input_grad)
        starts = _starts(segments, plan)
        kept = []
        for part, start, own_y in _side_by_side(plan, segments, starts, y):
            states: list[Tensor] | None = [] if needs_gradient else None
            _advance(part, start, plan.chunk, own_y, states)
            kept.append(states)
        if needs_gradient:
            ctx.save_for_backward(u, delta, a, b, c)
            ctx.plan, ctx.kept = plan, kept
        return _join(y, u)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, a, b, c = ctx.saved_tensors
        plan: _Plan = ctx.plan
        segments = _Segments.cut(delta, delta * u, a, b, c, plan.num_segments)
        dy = _cut(gradients[0], plan.num_segments)
        into = _Segments(*(torch.zeros_like(x) for x in segments.tensors()))
        adjoints = _adjoints(segments, dy, plan)
        for kept, (part, own_dy, adjoint, *own) in zip(
            ctx.kept, _side_by_side(plan, segments, dy, adjoints, *into.tensors()), strict=True
        ):
            _retreat(part, own_dy, adjoint, plan.chunk, kept, _Segments(*own))
        d_delta, d_input, d_b, d_c = (_join(x, u) for x in (into.delta, into.input, into.b, into.c))
        d_a = into.a.unflatten(0, (len(a), -1)).sum(1)
        return d_input * delta, d_delta + d_input * u, d_a, d_b, d_c, None


@dataclass(frozen=True, slots=True, eq=False)
class _Segments:
    """Rows to scan, or their gradients; ``input`` is Δ u."""

    delta: Tensor
    input: Tensor
    a: Tensor
    b: Tensor
    c: Tensor

    @classmethod
    def cut(cls, delta: Tensor, scaled: Tensor, a: Tensor, b: Tensor, c: Tensor, num_segments: int) -> _Segments:
        delta, scaled, b, c = (_cut(x, num_segments) for x in (delta, scaled, b, c))
        return cls(delta, scaled, a.repeat_interleave(num_segments, dim=0) if num_segments > 1 else a, b, c)

    def tensors(self) -> tuple[Tensor, ...]:
        return self.delta, self.input, self.a, self.b, self.c


def _cut(x: Tensor, num_segments: int) -> Tensor:
    """Cut ``(R, L, C)`` into ``(R * segments, l, C)``; steps of size zero, which change nothing, fill the last."""
    length = -(-x.shape[1] // num_segments)
    missing = length * num_segments - x.shape[1]
    return (F.pad(x, (0, 0, 0, missing)) if missing else x).reshape(-1, length, x.shape[-1])


def _join(x: Tensor, like: Tensor) -> Tensor:
    """Undo `_cut`."""
    return x.reshape(len(like), -1, x.shape[-1])[:, : like.shape[1]]


def _side_by_side(plan: _Plan, segments: _Segments, *others: Tensor) -> Iterator[Any]:
    """Go through as many rows at a time as the plan says, in all tensors at once."""
    for parts in zip(*(x.split(plan.rows_at_once) for x in (*segments.tensors(), *others)), strict=True):
        yield _Segments(*parts[:5]), *parts[5:]


def _starts(segments: _Segments, plan: _Plan) -> Tensor:
    """States ``(segments, N, C)`` in which segments begin: what came out of those before, decayed."""
    starts = torch.zeros_like(segments.a)
    if plan.num_segments > 1:
        parts = _side_by_side(plan, segments, starts)
        ends = torch.cat([_advance(part, start, plan.chunk, None, None) for part, start in parts])
        _carry(starts, ends, _whole_decay(segments), plan.num_segments, range(1, plan.num_segments), -1)
    return starts


def _adjoints(segments: _Segments, dy: Tensor, plan: _Plan) -> Tensor:
    """What the states at the segments' ends are worth to the segments after them ``(segments, N, C)``."""
    adjoints = torch.zeros_like(segments.a)
    if plan.num_segments > 1:
        parts = _side_by_side(plan, segments, dy, adjoints)
        worth = torch.cat([_retreat(part, own, end, plan.chunk, None, None) for part, own, end in parts])
        order = range(plan.num_segments - 2, -1, -1)
        _carry(adjoints, worth, _whole_decay(segments), plan.num_segments, order, 1)
    return adjoints


def _whole_decay(segments: _Segments) -> Tensor:
    """How much of a state is left after a whole segment."""
    return torch.exp(segments.delta.sum(1, keepdim=True) * segments.a)


def _carry(into: Tensor, own: Tensor, decay: Tensor, num_segments: int, order: range, neighbour: int) -> None:
    """Hand over from neighbour to neighbour: its own part, and what was handed to it, decayed."""
    into, own, decay = (x.unflatten(0, (-1, num_segments)) for x in (into, own, decay))
    for index in order:
        near = index + neighbour
        into[:, index] = torch.addcmul(own[:, near], decay[:, near], into[:, near])


def _advance(part: _Segments, state: Tensor, chunk: int, y: Tensor | None, states: list[Tensor] | None) -> Tensor:
    """Scan rows from a state ``(R, N, C)`` to the one at the end.

    Args:
        part: The rows.
        state: Where they begin.
        chunk: Steps at once.
        y: Filled with the answers, if given.
        states: Gets the state before each chunk, if given.
    """
    buffers = _buffers(part, chunk)
    each_decay, each_state = (buffer.unbind(1) for buffer in buffers)
    for number, steps in enumerate(_chunks(part, chunk)):
        if states is not None:
            states.append(state)
        _, history = _fill(buffers, steps)
        _recur(each_decay, each_state[: history.shape[1]], state)
        state = history[:, -1].clone()
        if y is not None:
            y[:, number * chunk : (number + 1) * chunk] = (steps.c.unsqueeze(2) @ history).squeeze(2)
    return state


def _retreat(
    part: _Segments,
    dy: Tensor,
    adjoint: Tensor,
    chunk: int,
    states: list[Tensor] | None,
    into: _Segments | None,
) -> Tensor:
    """Go back through rows with the gradient of their answers, to what the state at their beginning is worth.

    Args:
        part: The rows.
        dy: Gradient of the answers.
        adjoint: What the state at the end is worth ``(R, N, C)``.
        chunk: As in `_advance`.
        states: As `_advance` filled it; needed with ``into``.
        into: Filled with gradients, if given.
    """
    buffers = _buffers(part, chunk)
    gradients = None if into is None else _chunks(into, chunk)
    for number, (steps, own_dy) in reversed(
        list(enumerate(zip(_chunks(part, chunk), dy.split(chunk, 1), strict=True)))
    ):
        decay, history = _fill(buffers, steps)
        worth = steps.c.unsqueeze(3) * own_dy.unsqueeze(2)
        worth[:, -1] += adjoint
        _recur(decay[:, 1:].unbind(1)[::-1], worth[:, :-1].unbind(1)[::-1], worth[:, -1])
        adjoint = decay[:, 0] * worth[:, 0]
        if states is None or gradients is None:
            continue
        _recur(decay.unbind(1), history.unbind(1), states[number])
        own = gradients[number]
        own.c.copy_((history @ own_dy.unsqueeze(3)).squeeze(3))
        own.b.copy_((worth @ steps.input.unsqueeze(3)).squeeze(3))
        own.input.copy_((steps.b.unsqueeze(2) @ worth).squeeze(2))
        # The exponent Δ a is worth what the state is worth, times its own factor: the state before, decayed.
        decay[:, 0] *= states[number]
        decay[:, 1:] *= history[:, :-1]
        worth *= decay
        own.delta.copy_((worth * steps.a.unsqueeze(1)).sum(2))
        own.a.add_((worth * steps.delta.unsqueeze(2)).sum(1))
    return adjoint


def _chunks(part: _Segments, chunk: int) -> list[_Segments]:
    """Cut rows into runs of steps."""
    pieces = (x.split(chunk, 1) for x in (part.delta, part.input, part.b, part.c))
    return [_Segments(delta, scaled, part.a, b, c) for delta, scaled, b, c in zip(*pieces, strict=True)]


def _buffers(part: _Segments, chunk: int) -> tuple[Tensor, Tensor]:
    """Space for the decays and the states of a chunk ``(R, T, N, C)``."""
    num_rows, num_states, num_channels = part.a.shape
    shape = (num_rows, min(chunk, part.delta.shape[1]), num_states, num_channels)
    return part.a.new_empty(shape), part.a.new_empty(shape)


def _fill(buffers: tuple[Tensor, Tensor], steps: _Segments) -> tuple[Tensor, Tensor]:
    """Fill buffers with the decay and with the input of every state in some steps."""
    decay, history = buffers
    num_steps = steps.delta.shape[1]
    if num_steps < decay.shape[1]:
        decay, history = decay[:, :num_steps], history[:, :num_steps]
    torch.mul(steps.delta.unsqueeze(2), steps.a.unsqueeze(1), out=decay)
    torch.mul(steps.input.unsqueeze(2), steps.b.unsqueeze(3), out=history)
    return decay.exp_(), history


def _recur(decays: Sequence[Tensor], states: Sequence[Tensor], state: Tensor) -> None:
    """Add to each state, in place, the one before it, decayed; there may be more decays than are needed."""
    for decay, own in zip(decays, states, strict=False):
        own.addcmul_(decay, state)
        state = own


def _installed_kernel() -> Callable[..., Tensor] | None:
    """The scan of ``mamba_ssm`` where that is installed."""
    try:
        return importlib.import_module("mamba_ssm.ops.selective_scan_interface").selective_scan_fn
    except ImportError:
        return None


def _scan_by_kernel(
    kernel: Callable[..., Tensor],
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    softplus: bool,
) -> Tensor:
    """Let the kernel scan, which has steps last and all scans' channels side by side."""
    num_scans = u.shape[1]

    def steps_last(x: Tensor) -> Tensor:
        return x.float().transpose(2, 3).flatten(1, 2).contiguous()

    y = kernel(
        steps_last(u),
        steps_last(delta),
        a.float().flatten(0, 1).contiguous(),
        b.float().transpose(2, 3).contiguous(),
        c.float().transpose(2, 3).contiguous(),
        None if d is None else d.float().flatten(),
        z=None if z is None else steps_last(z),
        delta_bias=None if delta_bias is None else delta_bias.float().flatten(),
        delta_softplus=softplus,
    )
    return y.unflatten(1, (num_scans, -1)).transpose(2, 3)

"""Scaled dot-product attention, and the attention unit of the mask decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.sam2.layers import apply_as_one
from surgvos.models.sam2.linear import wants_only_numbers

_MAX_SCORES = 2**22  # in the buffer of attention scores: 16 MiB


def attend(query: Tensor, key: Tensor, value: Tensor, *, bias: Tensor | None = None, dropout: float = 0.0) -> Tensor:
    """Compute softmax(query keyᵀ / √d + bias) value for ``(..., heads, tokens, d)``."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)


class Attention(nn.Module):
    """Multi-head attention with separate projections and an inner width of its own.

    Args:
        dim: Width of queries, keys, values and output.
        inner_dim: Width between the projections, over all heads.
        num_heads: Number of heads.
    """

    def __init__(self, dim: int, inner_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, inner_dim)
        self.k_proj = nn.Linear(dim, inner_dim)
        self.v_proj = nn.Linear(dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend from ``(B, Nq, dim)`` to ``(B, Nk, dim)``; a batch of 1 on either side is shared.

        Args:
            query: What attends.
            key: What is attended to.
            value: What is read of it.
            bias: Added to the scores, ``(B, 1, 1, Nk)`` or broadcastable to it, or None.
        """
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        num_objects = max(q.shape[0], k.shape[0])
        q, k, v = (self._split_heads(x).expand(num_objects, -1, -1, -1) for x in (q, k, v))
        return self.out_proj(attend(q, k, v, bias=bias).transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def attend_and_project(
    query: Tensor, key: Tensor, value: Tensor, v_proj: nn.Linear, out_proj: nn.Linear, *, dropout: float
) -> Tensor:
    """Attend with one wide head to projected values and project the result, in the cheapest order.

    Probabilities sum to 1, so that projecting the attended values is the same as attending to projected ones. There
    are fewer of the former, unprojected values are narrower, and both projections become one.

    Args:
        query: ``(B or 1, Nq, d)``.
        key: ``(B or 1, Nk, d)``.
        value: ``(B or 1, Nk, C)``, not yet projected.
        v_proj: Projection of the values, ``C`` to ``d``.
        out_proj: Projection of what was attended to, ``d`` to ``d``.
        dropout: Rate at which attention probabilities are dropped.

    Returns:
        ``(B, Nq, d)``.
    """
    num_objects = max(query.shape[0], key.shape[0])
    # Measured for one head of 256 channels: plain products take two thirds of the fused kernel's time.
    if wants_only_numbers(query):
        return apply_as_one(_attend_in_chunks(query, key, value, num_objects), v_proj, out_proj)
    q, k, v = (x.expand(num_objects, -1, -1).unsqueeze(1) for x in (query, key, v_proj(value)))
    return out_proj(attend(q, k, v, dropout=dropout).squeeze(1))


def _attend_in_chunks(query: Tensor, key: Tensor, value: Tensor, num_objects: int) -> Tensor:
    """Attend by matrix products over chunks of queries, in one buffer that is used again and again."""
    num_queries, num_keys = query.shape[1], key.shape[1]
    num_rows = min(num_queries, max(64, _MAX_SCORES // num_keys))
    query = query * query.shape[-1] ** -0.5
    scores = query.new_empty(num_rows, num_keys)
    attended = query.new_empty(num_objects, num_queries, value.shape[-1])
    for index in range(num_objects):
        q, k, v = (x[index if len(x) > 1 else 0] for x in (query, key, value))
        for rows, out in zip(q.split(num_rows), attended[index].split(num_rows), strict=True):
            chunk = scores[: len(rows)]
            torch.mm(rows, k.T, out=chunk)
            torch.softmax(chunk, dim=-1, out=chunk)
            torch.mm(chunk, v, out=out)
    return attended

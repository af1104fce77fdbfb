"""Scaled dot-product attention, and the attention unit of the mask decoder."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


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

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from ``(B, Nq, dim)`` to ``(B, Nk, dim)``; a batch of 1 on either side is shared."""
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        num_objects = max(q.shape[0], k.shape[0])
        q, k, v = (self._split_heads(x).expand(num_objects, -1, -1, -1) for x in (q, k, v))
        return self.out_proj(attend(q, k, v).transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def attend_and_project(query: Tensor, key: Tensor, value: Tensor, projection: nn.Linear, *, dropout: float) -> Tensor:
    """Attend with one head to projected values, in the cheapest order.

    Args:
        query: ``(B or 1, Nq, d)``.
        key: ``(B or 1, Nk, d)``.
        value: ``(B or 1, Nk, C)``, not yet projected.
        projection: From ``C`` to ``d``.
        dropout: Rate at which attention probabilities are dropped.

    Returns:
        ``(B, Nq, d)``.
    """
    num_objects = max(query.shape[0], key.shape[0])
    q, k, v = (x.expand(num_objects, -1, -1).unsqueeze(1) for x in (query, key, projection(value)))
    return attend(q, k, v, dropout=dropout).squeeze(1)

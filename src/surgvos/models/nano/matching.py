"""Reading memory by matching: where in the remembered frames does this place look alike?

Query and memory live in one key space made from the image alone. Every head has a reach of its own: a fixed penalty
on distance lets some heads follow motion from frame to frame, and others search the whole image.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.models.nano.config import NanoConfig

_OBJECTS_READ_TOGETHER = 4


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # A table made in inference mode could not be used in training later.
def distance_bias(
    grid_hw: tuple[int, int], num_memories: int, reach: tuple[float, ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Fixed penalty ``-d^2 / (2 reach^2)`` between places, ``(1, heads, h w, num_memories h w)``; reach 0: none."""
    height, width = grid_hw
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack((ys.flatten(), xs.flatten()), dim=1).float()
    squared = torch.cdist(places, places).square()
    heads = [squared * (-0.5 / r**2) if r > 0 else torch.zeros_like(squared) for r in reach]
    # Four dimensions, because the fused CPU kernel takes no other mask.
    return torch.stack(heads).repeat(1, 1, num_memories).to(device=device, dtype=dtype)[None]


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Read ``(B, heads, tokens, dim)`` values; queries and keys may be shared (a batch of 1)."""
    queries, keys = (x.expand(len(values), -1, -1, -1) for x in (queries, keys))
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, scale=1.0)


def _attend_together(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """The same where objects share queries and keys: their values side by side are read with one set of probabilities.

    The fused kernel wants queries as wide as values, so zeros widen them: four objects take half the time.
    """
    read = []
    for group in values.split(_OBJECTS_READ_TOGETHER):
        side_by_side = group.permute(1, 2, 0, 3).flatten(2)[None]
        widen = (0, side_by_side.shape[-1] - queries.shape[-1])
        out = _attend(F.pad(queries, widen), F.pad(keys, widen), side_by_side, bias)
        read.append(out[0].unflatten(2, (len(group), -1)).permute(2, 0, 1, 3))
    return torch.cat(read)


def _are_shared(queries: Tensor, keys: Tensor, values: Tensor) -> bool:
    """Whether several objects read with the same probabilities, on a device where that was found to be faster."""
    return len(queries) == len(keys) == 1 < len(values) and values.device.type == "cpu"


class Matching(nn.Module):
    """Multi-head matching with a learned temperature per head and a fixed reach per head."""

    def __init__(self, config: NanoConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.key = nn.Conv2d(config.widths[2], config.num_heads * config.head_dim, 3, padding=1)
        self.log_temperature = nn.Parameter(torch.linspace(math.log(14.0), math.log(25.0), config.num_heads))

    def keys(self, features: Tensor) -> Tensor:
        """Unit keys ``(N, heads * dim, h, w)`` of image features ``(N, C, h, w)``; each head's part has length 1."""
        raw = self.key(features).unflatten(1, (self.num_heads, self.head_dim))
        return F.normalize(raw, dim=2).flatten(1, 2)

    def read(self, query: Tensor, keys: Tensor, values: Tensor, reach: tuple[float, ...]) -> Tensor:
        """Read values where keys match the query.

        Args:
            query: Unit keys of the image, ``(1 or B, heads * dim, h, w)``.
            keys: Unit keys of ``M`` memories, ``(1 or B, M, heads * dim, h, w)``.
            values: ``(B, M, heads * dim, h, w)``.
            reach: Of each head; see `distance_bias`.

        Returns:
            ``(B, heads * dim, h, w)``.
        """
        num_objects, num_memories = values.shape[:2]
        grid_hw = (query.shape[-2], query.shape[-1])
        # Cosine similarity times temperature: attention with its scale set to 1.
        temperature = self.log_temperature.exp().to(query.dtype).repeat_interleave(self.head_dim)
        bias = distance_bias(grid_hw, num_memories, reach, query.device, values.dtype)
        queries = self._tokens(query * temperature[:, None, None]).to(values.dtype)
        own = (queries, self._memory_tokens(keys.to(values.dtype)), self._memory_tokens(values))
        out = _attend_together(*own, bias) if _are_shared(*own) else _attend(*own, bias)
        return out.transpose(2, 3).reshape(num_objects, -1, *grid_hw)

    def _tokens(self, x: Tensor) -> Tensor:
        """``(B, heads * dim, h, w)`` -> ``(B, heads, h w, dim)``."""
        # Contiguous, because the fused CPU kernel takes nothing else.
        return x.flatten(2).unflatten(1, (self.num_heads, self.head_dim)).transpose(2, 3).contiguous()

    def _memory_tokens(self, x: Tensor) -> Tensor:
        """``(B, M, heads * dim, h, w)`` -> ``(B, heads, M h w, dim)``."""
        split = x.flatten(3).unflatten(2, (self.num_heads, self.head_dim))
        return split.permute(0, 2, 1, 4, 3).contiguous().flatten(2, 3)

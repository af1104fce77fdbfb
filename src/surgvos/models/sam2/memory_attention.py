"""Let the image look at what is remembered."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.sam2.attention import attend_and_project
from surgvos.models.sam2.config import Sam2Config
from surgvos.models.sam2.linear import linear, wants_only_numbers
from surgvos.models.sam2.position import rotary_tables, rotations


class RotaryAttention(nn.Module):
    """Single-head attention whose queries and spatial keys are rotated by their position.

    Reference: Su et al., RoFormer, 2021; Ravi et al., SAM 2, 2024, appendix D.1.
    """

    def __init__(self, dim: int, memory_dim: int, dropout: float) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(memory_dim, dim)
        self.v_proj = nn.Linear(memory_dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self.dropout = dropout

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, grid_hw: tuple[int, int], num_unplaced: int = 0
    ) -> Tensor:
        """Attend from ``(B or 1, h * w, C)`` to ``(B or 1, tokens, C_m)``.

        Args:
            query: One token per cell of the grid.
            key: Whole grids of tokens one after the other, then tokens without a place.
            value: As many tokens.
            grid_hw: ``(h, w)``.
            num_unplaced: How many of the last keys have no place in the grid, and are not rotated.
        """
        q = _project_and_rotate(self.q_proj, query, grid_hw)
        k = _project_and_rotate(self.k_proj, key, grid_hw, num_unplaced)
        dropout = self.dropout if self.training else 0.0
        return attend_and_project(q, k, value, self.v_proj, self.out_proj, dropout=dropout)


def _project_and_rotate(projection: nn.Linear, x: Tensor, grid_hw: tuple[int, int], num_unplaced: int = 0) -> Tensor:
    """Project tokens, and rotate all but the last ``num_unplaced`` by their place."""
    num_placed = x.shape[1] - num_unplaced
    if wants_only_numbers(x):
        # Half the time of all cross-attention's keys went into copies: complex numbers turn in place, in one pass.
        projected = linear(x, projection.weight, projection.bias)
        turn = rotations(projected.shape[-1], *grid_hw, x.device)
        grids = projected[:, :num_placed].unflatten(1, (-1, turn.shape[0])).unflatten(-1, (-1, 2))
        torch.view_as_complex(grids).mul_(turn)
        return projected
    projected = _project_split(projection, x)
    rotated = _rotate(projected[:, :num_placed], grid_hw)
    return torch.cat([rotated, projected[:, num_placed:]], dim=1) if num_unplaced else rotated


def _project_split(projection: nn.Linear, x: Tensor) -> Tensor:
    """Project, and put the first channels of all pairs before the second ones.

    Attention does not ask in which order channels are, and halves are rotated faster than neighbours.
    """
    parameters = (projection.weight, projection.bias)
    weight, bias = (rows.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1) for rows in parameters)
    return F.linear(x, weight, bias)


def _rotate(x: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Rotate tokens ``(B, m * h * w, C)`` of ``m`` grids by their place; pairs are split into halves."""
    cos, sin = (table.to(x.dtype) for table in rotary_tables(x.shape[-1], *grid_hw, x.device))
    first, second = x.unflatten(1, (-1, cos.shape[0])).chunk(2, dim=-1)
    turned = [torch.addcmul(first * cos, second, sin, value=-1), torch.addcmul(second * cos, first, sin)]
    return torch.cat(turned, dim=-1).flatten(1, 2)


class MemoryAttentionLayer(nn.Module):
    """Self-attention, attention to memory, and a feed-forward network, each after a norm."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim, dropout = config.hidden_dim, config.memory_attention_dropout
        self.self_attn = RotaryAttention(dim, dim, dropout)
        self.cross_attn_image = RotaryAttention(dim, config.memory_dim, dropout)
        self.linear1 = nn.Linear(dim, config.memory_attention_ffn_dim)
        self.linear2 = nn.Linear(config.memory_attention_ffn_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def look_around(self, x: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Let the image's tokens ``(B or 1, N, C)`` attend to each other."""
        normed = self.norm1(x)
        return x + self.dropout(self.self_attn(normed, normed, normed, grid_hw))

    def recall(self, x: Tensor, key: Tensor, value: Tensor, grid_hw: tuple[int, int], num_unplaced: int) -> Tensor:
        """Let the image's tokens attend to memory ``(B, tokens, C_m)``, and think about it."""
        normed = self.norm2(x)
        x = x + self.dropout(self.cross_attn_image(normed, key, value, grid_hw, num_unplaced))
        first, second = self.linear1, self.linear2
        hidden = self.dropout(linear(self.norm3(x), first.weight, first.bias, activation=F.relu))
        if self.training:
            return x + self.dropout(linear(hidden, second.weight, second.bias))
        return linear(hidden, second.weight, second.bias, residual=x)


class MemoryAttention(nn.Module):
    """A stack of layers and a norm."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryAttentionLayer(config) for _ in range(config.num_memory_attention_layers))
        self.norm = nn.LayerNorm(config.hidden_dim)

    def forward(self, image: Tensor, positions: Tensor, key: Tensor, value: Tensor, num_unplaced: int) -> Tensor:
        """Condition an image on memory.

        The first look around depends on the image alone, and is shared by all objects where the image is.

        Args:
            image: ``(B or 1, C, h, w)``.
            positions: ``(C, h, w)``.
            key: ``(B, tokens, C_m)`` memory with positions; tokens without a place in the grid come last.
            value: ``(B, tokens, C_m)`` memory.
            num_unplaced: Number of tokens without a place.

        Returns:
            ``(B, C, h, w)``.
        """
        grid_hw = (image.shape[-2], image.shape[-1])
        x = (image + 0.1 * positions).flatten(2).transpose(1, 2)
        x = self._layers()[0].look_around(x, grid_hw)
        if x.device.type == "cpu" and len(key) > 1:
            # One object after another, so that what is in between stays in the cache.
            images = x.expand(len(key), -1, -1).split(1)
            each = zip(images, key.split(1), value.split(1), strict=True)
            x = torch.cat([self._recall(*own, grid_hw, num_unplaced) for own in each])
        else:
            x = self._recall(x, key, value, grid_hw, num_unplaced)
        return x.transpose(1, 2).unflatten(2, grid_hw)

    def _layers(self) -> list[MemoryAttentionLayer]:
        return cast(list[MemoryAttentionLayer], list(self.layers))

    def _recall(self, x: Tensor, key: Tensor, value: Tensor, grid_hw: tuple[int, int], num_unplaced: int) -> Tensor:
        """Go through all layers, but for the first one's look around."""
        for index, layer in enumerate(self._layers()):
            if index > 0:
                x = layer.look_around(x, grid_hw)
            x = layer.recall(x, key, value, grid_hw, num_unplaced)
        return self.norm(x)

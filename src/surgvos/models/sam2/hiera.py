"""Hiera, the hierarchical vision transformer that encodes images in SAM 2.

Reference: Ryali et al., Hiera, 2023; Bolya et al., Window Attention is Bugged, 2023 (the two position tables).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.sam2.attention import attend
from surgvos.models.sam2.config import Sam2Config
from surgvos.models.sam2.layers import MLP, DropPath


def _pool(x: Tensor) -> Tensor:
    """Maximum over cells of 2x2 in ``(N, H, W, C)``."""
    return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def _spans(size: int, window: int) -> Iterator[tuple[int, int, int]]:
    """Cut an axis into whole windows and what is left: (start, stop, side of the windows between them)."""
    whole = size - size % window
    if whole:
        yield 0, whole, window
    if whole < size:
        yield whole, size, size - whole


def _to_windows(x: Tensor, height: int, width: int, num_heads: int) -> Tensor:
    """Cut ``(N, H, W, C)`` into windows: ``(N * windows, heads, height * width, C / heads)``."""
    x = x.unflatten(2, (-1, width)).unflatten(1, (-1, height)).unflatten(-1, (num_heads, -1))
    return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(0, 2)


def _from_windows(x: Tensor, height: int, width: int, grid_hw: tuple[int, int]) -> Tensor:
    """Undo `_to_windows` for windows that fill a grid."""
    x = x.unflatten(2, (height, width)).unflatten(0, (-1, grid_hw[0] // height, grid_hw[1] // width))
    return x.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4).flatten(1, 2)


class WindowAttention(nn.Module):
    """Attention within windows, whose queries may be pooled 2x2.

    The published network pads the image to whole windows with zeros after the norm, so that a padded token's key and
    value are the projection's bias. All padded tokens of a window being equal, they are one key here that counts as
    many times; this is exact. Windows cut by the border become smaller instead of padded.

    Args:
        dim: Input width.
        out_dim: Output width.
        num_heads: Number of heads.
        window: Side of the windows; 0 attends to the whole image.
        pool: Whether queries are pooled.
    """

    def __init__(self, dim: int, out_dim: int, num_heads: int, window: int, *, pool: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.pool = pool
        self.qkv = nn.Linear(dim, 3 * out_dim)
        self.proj = nn.Linear(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, H, W, dim)`` to ``(N, H, W, out_dim)``, or to half the grid where queries are pooled."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        height, width = x.shape[1:3]
        # Windows and grids have even sides wherever queries are pooled, so no cell straddles two windows.
        q = _pool(q) if self.pool else q
        stride = 2 if self.pool else 1
        rows = []
        for top, bottom, side_h in _spans(height, self.window or height):
            columns = []
            for left, right, side_w in _spans(width, self.window or width):
                kv = (slice(None), slice(top, bottom), slice(left, right))
                at = (slice(None), slice(top // stride, bottom // stride), slice(left // stride, right // stride))
                columns.append(self._attend_tile(q[at], k[kv], v[kv], side_h, side_w, stride))
            rows.append(torch.cat(columns, dim=2) if len(columns) > 1 else columns[0])
        return self.proj(torch.cat(rows, dim=1) if len(rows) > 1 else rows[0])

    def _attend_tile(self, q: Tensor, k: Tensor, v: Tensor, side_h: int, side_w: int, stride: int) -> Tensor:
        """Attend in a part of the grid that windows of one size fill."""
        grid_hw = (q.shape[1], q.shape[2])
        query_h, query_w = side_h // stride, side_w // stride
        q = _to_windows(q, query_h, query_w, self.num_heads)
        k = _to_windows(k, side_h, side_w, self.num_heads)
        v = _to_windows(v, side_h, side_w, self.num_heads)
        num_padded = self.window**2 - side_h * side_w if self.window else 0
        bias = None
        if num_padded:
            _, pad_k, pad_v = self.qkv.bias.to(k.dtype).view(3, 1, self.num_heads, 1, -1)
            k = torch.cat([k, pad_k.expand(k.shape[0], -1, -1, -1)], dim=2)
            v = torch.cat([v, pad_v.expand(v.shape[0], -1, -1, -1)], dim=2)
            bias = q.new_zeros(k.shape[2])
            bias[-1] = math.log(num_padded)
            bias = bias.expand(1, 1, q.shape[2], -1)
        return _from_windows(attend(q, k, v, bias=bias), query_h, query_w, grid_hw)


class Block(nn.Module):
    """One transformer block; where it widens, it also halves the grid.

    Args:
        dim: Input width.
        out_dim: Output width.
        num_heads: Number of heads.
        window: Side of the windows; 0 attends to the whole image.
        pool: Whether the grid is halved.
        drop_path_rate: Rate at which a sample skips a branch in training.
    """

    def __init__(
        self, dim: int, out_dim: int, num_heads: int, window: int, *, pool: bool, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = WindowAttention(dim, out_dim, num_heads, window, pool=pool)
        self.norm2 = nn.LayerNorm(out_dim, eps=1e-6)
        self.mlp = MLP(out_dim, 4 * out_dim, out_dim, activation=F.gelu)
        self.proj = nn.Linear(dim, out_dim) if dim != out_dim else None
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        # A widening block carries on from the normed input, not from the input.
        shortcut = x if self.proj is None else _pool(self.proj(normed))
        x = shortcut + self.drop_path(self.attn(normed))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Overlapping patches of 7x7 pixels, every 4 pixels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=7, stride=4, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images.contiguous(memory_format=torch.channels_last)).permute(0, 2, 3, 1)


class Hiera(nn.Module):
    """The trunk: four stages of blocks at strides 4, 8, 16 and 32."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.embed_dim
        self.patch_embed = PatchEmbed(dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, dim, *config.background_hw))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, dim, config.windows[0], config.windows[0]))
        self.blocks = nn.ModuleList(_blocks(config))
        self.stage_ends = frozenset(end - 1 for end in accumulate(config.stages))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.pos_embed_window, std=0.02)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Encode ``(N, 3, H, W)`` into each stage's output ``(N, h, w, C)``, finest first."""
        x = self.patch_embed(images)
        x = x + self._positions(x.shape[1], x.shape[2])
        stages = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                stages.append(x)
        return stages

    def _positions(self, height: int, width: int) -> Tensor:
        """Coarse table, enlarged, plus window table, repeated: ``(1, height, width, C)``."""
        coarse = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        side = self.pos_embed_window.shape[-1]
        fine = self.pos_embed_window.repeat(1, 1, height // side, width // side)
        return (coarse + fine).permute(0, 2, 3, 1)


def _blocks(config: Sam2Config) -> Iterator[Block]:
    num_blocks = sum(config.stages)
    index = 0
    for stage, depth in enumerate(config.stages):
        for position in range(depth):
            enters = position == 0 and stage > 0
            # The window lags by one block: the block that enters a stage still cuts the previous stage's grid.
            window = config.windows[stage - 1 if enters else stage]
            out_dim = config.embed_dim * 2**stage
            yield Block(
                dim=out_dim // 2 if enters else out_dim,
                out_dim=out_dim,
                num_heads=config.num_heads * 2**stage,
                window=0 if index in config.global_blocks else window,
                pool=enters,
                drop_path_rate=config.drop_path_rate * index / max(num_blocks - 1, 1),
            )
            index += 1

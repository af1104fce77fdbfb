"""Hiera, the hierarchical vision transformer that encodes images in SAM 2.

Reference: Ryali et al., Hiera, 2023; Bolya et al., Window Attention is Bugged, 2023 (the two position tables).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.sam2.attention import attend
from surgvos.models.sam2.config import Sam2Config
from surgvos.models.sam2.layers import MLP, DropPath, without_autocast
from surgvos.models.sam2.linear import linear
from surgvos.models.sam2.position import memoised_table
from surgvos.models.sam2.windows import WindowLayout

_BAND_TOKENS = 4096


class WindowAttention(nn.Module):
    """Attention within windows, whose queries may be pooled 2x2.

    The published network pads the image to whole windows with zeros after the norm, so that a padded token's key and
    value are the projection's bias. All padded tokens of a window being equal, they are one key here that counts as
    many times; this is exact. Windows cut by the border become smaller instead of padded.

    Args:
        dim: Input width.
        out_dim: Output width.
        num_heads: Number of heads.
        pool: Whether queries are pooled.
    """

    def __init__(self, dim: int, out_dim: int, num_heads: int, *, pool: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.pool = pool
        self.qkv = nn.Linear(dim, 3 * out_dim)
        self.proj = nn.Linear(out_dim, out_dim)

    def forward(self, x: Tensor, layout: WindowLayout | None, residual: Tensor | None = None) -> Tensor:
        """Map tokens ``(N, T, dim)`` to ``(N, T, out_dim)``, or a quarter of them where queries are pooled.

        Args:
            x: Tokens in the layout's order.
            layout: Of the windows; None attends to all tokens, in whatever order they are.
            residual: Added to the result.
        """
        q, k, v = linear(x, self.qkv.weight, self.qkv.bias).chunk(3, dim=-1)
        if layout is None:
            return self._project(self._attend(q[:, None], k[:, None], v[:, None], num_missing=0), residual)
        query_layout = layout.halved() if self.pool else layout
        q = layout.pool(q) if self.pool else q
        attended = [
            self._attend(query_group.split(q), group.split(k), group.split(v), group.num_missing)
            for query_group, group in zip(query_layout.groups(), layout.groups(), strict=True)
        ]
        return self._project(torch.cat(attended, dim=1) if len(attended) > 1 else attended[0], residual)

    def _project(self, x: Tensor, residual: Tensor | None) -> Tensor:
        return linear(x, self.proj.weight, self.proj.bias, residual=residual)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, num_missing: int) -> Tensor:
        """Attend within windows ``(N, windows, tokens, out_dim)`` of one size: ``(N, windows * tokens, out_dim)``."""
        num_images = q.shape[0]
        q, k, v = (x.flatten(0, 1).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        bias = None
        if num_missing:
            _, pad_k, pad_v = self.qkv.bias.to(k.dtype).view(3, 1, self.num_heads, 1, -1)
            k = torch.cat([k, pad_k.expand(k.shape[0], -1, -1, -1)], dim=2)
            v = torch.cat([v, pad_v.expand(v.shape[0], -1, -1, -1)], dim=2)
            bias = F.pad(q.new_zeros(1, 1, q.shape[2], k.shape[2] - 1), (0, 1), value=math.log(num_missing))
        return attend(q, k, v, bias=bias).transpose(1, 2).flatten(2).unflatten(0, (num_images, -1)).flatten(1, 2)


class Block(nn.Module):
    """One transformer block; where it widens, it also halves the grid.

    Args:
        dim: Input width.
        out_dim: Output width.
        num_heads: Number of heads.
        window: Side of the windows; None attends to the whole image.
        pool: Whether the grid is halved.
        drop_path_rate: Rate at which a sample skips a branch in training.
    """

    def __init__(
        self, dim: int, out_dim: int, num_heads: int, window: int | None, *, pool: bool, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.window = window
        self.pool = pool
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = WindowAttention(dim, out_dim, num_heads, pool=pool)
        self.norm2 = nn.LayerNorm(out_dim, eps=1e-6)
        self.mlp = MLP(out_dim, 4 * out_dim, out_dim, activation=F.gelu)
        self.proj = nn.Linear(dim, out_dim) if pool else None
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, layout: WindowLayout) -> tuple[Tensor, WindowLayout]:
        """Update tokens ``(N, T, dim)``, and say in which order they are."""
        if self.window is not None and self.window != layout.window:
            wanted = WindowLayout(self.window, layout.height, layout.width)
            x, layout = layout.reorder(x, wanted), wanted
        normed = self.norm1(x)
        windows = None if self.window is None else layout
        # A widening block carries on from the normed input, not from the input.
        if self.proj is not None:
            x, layout = layout.pool(linear(normed, self.proj.weight, self.proj.bias)), layout.halved()
        if self.drop_path.is_active:
            x = x + self.drop_path(self.attn(normed, windows))
            return x + self.drop_path(self.mlp(self.norm2(x))), layout
        x = self.attn(normed, windows, residual=x)
        return self.mlp(self.norm2(x), residual=x), layout


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
        self.first_window = config.windows[0]
        self.depths = config.stages
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.pos_embed_window, std=0.02)

    def forward(self, images: Tensor) -> list[tuple[Tensor, WindowLayout]]:
        """Encode ``(N, 3, H, W)`` into each stage's tokens ``(N, T, C)`` and their order, finest first."""
        x = self.patch_embed(images)
        x = x + self._positions(x.shape[1], x.shape[2])
        layout = WindowLayout(self.first_window, x.shape[1], x.shape[2])
        x = layout.from_grid(x.flatten(1, 2))
        blocks = iter(cast(list[Block], self.blocks))
        stages = []
        for depth in self.depths:
            x, layout = _run_in_bands(list(islice(blocks, depth)), x, layout)
            stages.append((x, layout))
        return stages

    def _positions(self, height: int, width: int) -> Tensor:
        """Coarse table, enlarged, plus window table, repeated: float32 ``(height, width, C)``."""
        table = self.pos_embed[0].permute(1, 2, 0)
        # Bicubic enlargement is one small matrix per axis.
        with without_autocast(table.device):
            along_y = _bicubic(table.shape[0], height, 0, table.device)
            along_x = _bicubic(table.shape[1], width, 0, table.device)
            rows = (along_y @ table.flatten(1)).unflatten(1, table.shape[1:])
            coarse = along_x @ rows
        fine = self.pos_embed_window[0].permute(1, 2, 0)
        side = fine.shape[0]
        cells = coarse.unflatten(1, (-1, side)).unflatten(0, (-1, side)) + fine[:, None]
        return cells.flatten(2, 3).flatten(0, 1)


def _run(blocks: list[Block], x: Tensor, layout: WindowLayout) -> tuple[Tensor, WindowLayout]:
    for block in blocks:
        x, layout = block(x, layout)
    return x, layout


def _run_in_bands(blocks: list[Block], x: Tensor, layout: WindowLayout) -> tuple[Tensor, WindowLayout]:
    """Run a stage; on CPUs, where no block looks beyond its window, band after band of windows.

    What is in between then stays in the cache: a fourth less time for the stage at stride 4.
    """
    num_bands = layout.num_bands(_BAND_TOKENS) if x.device.type == "cpu" and _is_local(blocks, layout) else 1
    if num_bands == 1:
        return _run(blocks, x, layout)
    band = WindowLayout(layout.window, layout.height // num_bands, layout.width)
    outputs = [_run(blocks, part, band) for part in x.chunk(num_bands, dim=1)]
    done = outputs[0][1]
    whole = WindowLayout(done.window, done.height * num_bands, done.width)
    return torch.cat([tokens for tokens, _ in outputs], dim=1), whole


def _is_local(blocks: list[Block], layout: WindowLayout) -> bool:
    """Whether blocks attend within the layout's windows, pooled where they are."""
    window = layout.window
    for block in blocks:
        if block.window != window:
            return False
        window = window // 2 if block.pool else window
    return True


@memoised_table
def _bicubic(size: int, enlarged: int, _: int, device: torch.device) -> Tensor:
    """Matrix ``(enlarged, size)`` that enlarges one axis."""
    identity = torch.eye(size, device=device)[None, None]
    return F.interpolate(identity, size=(enlarged, size), mode="bicubic")[0, 0]


def _blocks(config: Sam2Config) -> Iterator[Block]:
    num_blocks = sum(config.stages)
    index = 0
    for stage, depth in enumerate(config.stages):
        for position in range(depth):
            enters = position == 0 and stage > 0
            # The window lags by one block: the block that enters a stage still cuts the previous stage's grid.
            window = None if index in config.global_blocks else config.windows[stage - 1 if enters else stage]
            out_dim = config.embed_dim * 2**stage
            yield Block(
                dim=out_dim // 2 if enters else out_dim,
                out_dim=out_dim,
                num_heads=config.num_heads * 2**stage,
                window=window,
                pool=enters,
                drop_path_rate=config.drop_path_rate * index / max(num_blocks - 1, 1),
            )
            index += 1

"""Where a pixel, a token or a moment is, as numbers a network can use.

The tables depend on sizes alone, so they are computed once per size and device, and never saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

import torch
from torch import Tensor

_Table = TypeVar("_Table")
_Build = Callable[[int, int, int, torch.device], _Table]


def memoised_table(build: _Build[_Table]) -> _Build[_Table]:
    """Keep the tables of a function of three sizes and a device, except while a graph is traced: constants there."""
    cached = lru_cache(maxsize=64)(build)

    @wraps(build)
    def table(first: int, second: int, third: int, device: torch.device) -> _Table:
        if torch.compiler.is_compiling():
            return build(first, second, third, device)
        # A table made in inference mode could not be used in training later.
        with torch.inference_mode(False):
            return cached(first, second, third, device)

    return table


@memoised_table
def sine_encoding(num_channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """Encode the cells of a grid by sines and cosines: float32 ``(num_channels, height, width)``.

    The first half of the channels tells the row and the second half the column; sines and cosines alternate.
    Positions count from 1 and span one full turn.
    """
    per_axis = num_channels // 2
    channel = torch.arange(per_axis, device=device, dtype=torch.float32)
    period = 10000 ** (2 * (channel // 2) / per_axis)

    def encode(size: int) -> Tensor:
        position = torch.arange(1, size + 1, device=device, dtype=torch.float32)
        angle = (position / (size + 1e-6) * 2 * math.pi) / period[:, None]
        return torch.where(channel[:, None] % 2 == 0, angle.sin(), angle.cos())

    rows = encode(height)[:, :, None].expand(-1, -1, width)
    columns = encode(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])


@memoised_table
def rotary_tables(num_channels: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotation of each token's pairs of channels: float32 ``(h * w, num_channels / 2)`` each.

    The first half of the pairs turns with the column, the second with the row.

    Reference: Su et al., RoFormer, 2021; axial form as in SAM 2 (Ravi et al., 2024).
    """
    num_pairs_per_axis = num_channels // 4
    pair = torch.arange(num_pairs_per_axis, device=device, dtype=torch.float32)
    frequency = 10000 ** (-4 * pair / num_channels)
    row, column = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32),
        torch.arange(width, device=device, dtype=torch.float32),
        indexing="ij",
    )
    angle = torch.cat([column.reshape(-1, 1) * frequency, row.reshape(-1, 1) * frequency], dim=1)
    return angle.cos(), angle.sin()


@memoised_table
def rotations(num_channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """The same as complex numbers of length 1: complex64 ``(h * w, num_channels / 2)``."""
    return torch.complex(*rotary_tables(num_channels, height, width, device))


def time_encoding(offsets: Tensor, num_channels: int) -> Tensor:
    """Encode offsets in time ``(...)`` as ``(..., num_channels)``: all sines, then all cosines."""
    half = num_channels // 2
    channel = torch.arange(half, device=offsets.device, dtype=torch.float32)
    angle = offsets.float().unsqueeze(-1) / 10000 ** (2 * (channel // 2) / half)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)

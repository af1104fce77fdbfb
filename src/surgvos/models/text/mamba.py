"""State-space layers over the pixels of a few frames.

Reference: Gu & Dao, Mamba, 2023; Zhu et al., Vision Mamba, 2024; Liu et al., ReSurgSAM2, 2025, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.sam2.layers import DropPath
from surgvos.models.text.selective_scan import selective_scan

FORWARD, BACKWARD, TUBES = "", "_b", "_s"
"""Orders in which tokens are scanned, by the ending of their parameters: as they come, reversed, and pixel by pixel
through all frames."""

_NUM_STATES = 16
_CONV_WIDTH = 4
_EXPANSION = 2


class Volume(NamedTuple):
    """How tokens fill frames: frame by frame, each row by row."""

    num_frames: int
    height: int
    width: int


class SelectiveStateSpace(nn.Module):
    """Mix tokens by selective scans in several orders, which share what goes in and what comes out.

    Args:
        dim: Width of the tokens.
        orders: Some of `FORWARD`, `BACKWARD` and `TUBES`.
        averages: Whether the scans' answers are averaged, or summed.
    """

    def __init__(self, dim: int, orders: Sequence[str], *, averages: bool) -> None:
        super().__init__()
        inner_dim, self.step_rank = _EXPANSION * dim, math.ceil(dim / 16)
        self.orders, self.averages = tuple(orders), averages
        self.in_proj = nn.Linear(dim, 2 * inner_dim, bias=False)
        self.out_proj = nn.Linear(inner_dim, dim, bias=False)
        for order in self.orders:
            rates = torch.arange(1, _NUM_STATES + 1, dtype=torch.float32).log().repeat(inner_dim, 1)
            self.register_parameter(f"A{order}_log", nn.Parameter(rates))
            self.register_parameter(f"D{order}", nn.Parameter(torch.ones(inner_dim)))
            convolution = nn.Conv1d(inner_dim, inner_dim, _CONV_WIDTH, groups=inner_dim, padding=_CONV_WIDTH - 1)
            self.add_module(f"conv1d{order}", convolution)
            self.add_module(f"x_proj{order}", nn.Linear(inner_dim, self.step_rank + 2 * _NUM_STATES, bias=False))
            self.add_module(f"dt_proj{order}", nn.Linear(self.step_rank, inner_dim))

    def forward(self, x: Tensor, volume: Volume) -> Tensor:
        """Mix ``(B, L, dim)``."""
        x, gate = self.in_proj(x).chunk(2, dim=-1)
        u = self._convolved(torch.stack([_put_in(order, x, volume) for order in self.orders], dim=1))
        steps, b, c = torch.split(
            u @ self._stacked("x_proj{}.weight").mT, [self.step_rank, _NUM_STATES, _NUM_STATES], dim=-1
        )
        y = selective_scan(
            u,
            steps @ self._stacked("dt_proj{}.weight").mT,
            -self._stacked("A{}_log").float().exp(),
            b,
            c,
            self._stacked("D{}"),
            delta_bias=self._stacked("dt_proj{}.bias"),
            softplus=True,
        )
        # The gate is the same for all orders, so it is applied to their sum.
        total = sum(_put_back(order, own, volume) for order, own in zip(self.orders, y.unbind(1), strict=True))
        assert isinstance(total, Tensor)
        if self.averages:
            total = total / len(self.orders)
        return self.out_proj(total * F.silu(gate))

    def _convolved(self, x: Tensor) -> Tensor:
        """Convolve along the steps of ``(B, S, L, C)``, each channel for itself and looking back only; then SiLU."""
        # Contiguous channels for the products; the last tap is for the current step.
        taps = self._stacked("conv1d{}.weight").permute(3, 0, 2, 1).contiguous()  # (width, S, 1, C)
        length = x.shape[2]
        x = F.pad(x, (0, 0, _CONV_WIDTH - 1, 0))
        total = self._stacked("conv1d{}.bias").unsqueeze(1)
        for start, tap in enumerate(taps):
            total = torch.addcmul(total, x[:, :, start : start + length], tap)
        return F.silu(total)

    def _stacked(self, name: str) -> Tensor:
        """Parameters of all orders ``(S, ...)``."""
        return torch.stack([self.get_parameter(name.format(order)) for order in self.orders])


def _put_in(order: str, x: Tensor, volume: Volume) -> Tensor:
    """Bring tokens ``(B, L, C)`` into an order."""
    if order == BACKWARD:
        return x.flip(1)
    return x.unflatten(1, (volume.num_frames, -1)).transpose(1, 2).flatten(1, 2) if order == TUBES else x


def _put_back(order: str, x: Tensor, volume: Volume) -> Tensor:
    """Undo `_put_in`."""
    if order == BACKWARD:
        return x.flip(1)
    return x.unflatten(1, (-1, volume.num_frames)).transpose(1, 2).flatten(1, 2) if order == TUBES else x


class ResponseNorm(nn.Module):
    """Global response normalisation as ReSurgSAM2 has it: the response of all tokens and channels together.

    Reference: Woo et al., ConvNeXt V2, 2023, section 4.
    Departs: The norm is taken over tokens and channels alike, so that it is divided by itself and the layer all but
        a scale and a shift; published weights were trained so (`test_resurg_modules.py`).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(B, L, dim)``."""
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True, dtype=torch.float32)
        return torch.addcmul(self.beta, x, 1 + self.gamma * (response / (response + 1e-6)))


class _Depthwise(nn.Module):
    """A 7x7 convolution within each channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)

    def forward(self, x: Tensor, volume: Volume) -> Tensor:
        """Convolve the frames of ``(B, L, dim)``."""
        maps = x.reshape(-1, volume.height, volume.width, x.shape[-1]).permute(0, 3, 1, 2)
        return self.dwconv(maps).permute(0, 2, 3, 1).reshape(x.shape)


class ConvolutionalMLP(nn.Module):
    """Look around in each frame, then think about each token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = _Depthwise(dim)
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.grn = ResponseNorm(4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, volume: Volume) -> Tensor:
        """Map ``(B, L, dim)`` to the same."""
        return self.fc2(self.grn(F.gelu(self.fc1(self.norm(self.dwconv(x, volume))))))


class MambaLayer(nn.Module):
    """Scans, then a convolutional MLP, each after a norm and beside what was there.

    Args:
        dim: Width of the tokens.
        drop_path: Rate at which a sample's branches are dropped in training.
    """

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mamba = SelectiveStateSpace(dim, (FORWARD, BACKWARD, TUBES), averages=True)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = ConvolutionalMLP(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, volume: Volume) -> Tensor:
        """Map ``(B, L, dim)`` to the same."""
        if x.device.type == "cpu" and len(x) > 1:
            # One after another, so that what is in between stays in the cache.
            return torch.cat([self.forward(own, volume) for own in x.split(1)])
        x = x + self.drop_path(self.mamba(self.norm1(x), volume))
        return x + self.drop_path(self.mlp(self.norm2(x), volume))

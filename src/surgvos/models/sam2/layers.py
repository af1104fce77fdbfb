"""Small layers that several parts of SAM 2 share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.sam2.linear import linear


class MLP(nn.Module):
    """Linear layers with an activation between them.

    Args:
        dims: Width before the first layer, after it, ..., after the last.
        activation: Applied between layers.
    """

    def __init__(self, *dims: int, activation: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in itertools.pairwise(dims))
        self.activation = activation

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        *hidden, last = cast(list[nn.Linear], list(self.layers))
        for layer in hidden:
            x = linear(x, layer.weight, layer.bias, activation=self.activation)
        return linear(x, last.weight, last.bias, residual=residual)


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of each pixel of ``(N, C, h, w)``."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class DropPath(nn.Module):
    """Drop a whole sample's residual branch in training; survivors are scaled up to keep the mean.

    Reference: Huang et al., Deep Networks with Stochastic Depth, 2016.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    @property
    def is_active(self) -> bool:
        """Whether anything is dropped."""
        return self.training and self.rate > 0.0

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_active:
            return x
        keep = 1.0 - self.rate
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * kept / keep


def apply_as_one(x: Tensor, first: nn.Linear | nn.Conv2d, second: nn.Linear | nn.Conv2d) -> Tensor:
    """Apply two linear layers, or 1x1 convolutions, as the one that they make, to channels that come last.

    Cheaper than one after the other wherever there are more tokens than channels.
    """
    assert first.bias is not None
    outer = second.weight.flatten(1)
    return linear(x, outer @ first.weight.flatten(1), F.linear(first.bias, outer, second.bias))


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Keep float32 products in float32, where autocast would round them."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()

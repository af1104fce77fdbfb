"""Small convolutional parts of `NanoModel`. ``C`` channels, ``h w`` the grid of a stride."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def norm(channels: int) -> nn.GroupNorm:
    """Normalise groups of 16 channels of each image by themselves, so that real light need not match training's."""
    return nn.GroupNorm(max(channels // 16, 1), channels)


class ConvUnit(nn.Sequential):
    """3x3 convolution, normalisation, ReLU; stride 2 halves the grid."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            norm(out_channels),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity, ``(B, C, h, w)`` in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.unit = ConvUnit(channels, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv(self.unit(x))))


def blocks(channels: int, depth: int) -> nn.Sequential:
    """A run of residual blocks."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(depth)))


def upsample_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear upsampling to the grid of another map."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)

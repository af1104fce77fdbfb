"""Join what a phrase says with what a few frames show.

Reference: Liu et al., ReSurgSAM2: Referring Segment Anything in Surgical Video via Credible Long-term Tracking, 2025,
section 2.2 (cross-modal spatial-temporal Mamba).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from surgvos.models.devices import upload
from surgvos.models.sam2.attention import Attention
from surgvos.models.sam2.layers import MLP
from surgvos.models.sam2.position import sine_encoding
from surgvos.models.text.mamba import MambaLayer, Volume

_NUM_HEADS = 8
_MAMBA_PER_BLOCK = 2


class FusionBlock(nn.Module):
    """Tokens attend to each other, pixels are scanned, and the two look at each other.

    Args:
        dim: Width of tokens and pixels.
        ffn_dim: Width inside the tokens' feed-forward network.
        dropout: Inside it, in training.
        drop_paths: Rates of the state-space layers.
        is_first: Whether tokens are their own positions, and are replaced by what they attend to.
    """

    def __init__(self, dim: int, ffn_dim: int, dropout: float, drop_paths: Sequence[float], *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(dim, dim, _NUM_HEADS)
        self.norm1 = nn.LayerNorm(dim)
        self.mamba_layers = nn.ModuleList(MambaLayer(dim, rate) for rate in drop_paths)
        self.cross_attn_token_to_image = Attention(dim, dim // 2, _NUM_HEADS)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, ffn_dim, dim, activation=nn.Sequential(nn.ReLU(), nn.Dropout(dropout)))
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, dim // 2, _NUM_HEADS)

    def forward(
        self, tokens: Tensor, image: Tensor, initial: Tensor, positions: Tensor, volume: Volume, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Update tokens ``(B, T, C)`` and pixels ``(B or 1, L, C)``; arguments as in `FusionTransformer.forward`.

        Pixels are scanned before they see a token: as long as all phrases share them, they are scanned once.
        """
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, tokens, bias)
        else:
            placed = tokens + initial
            tokens = tokens + self.self_attn(placed, placed, tokens, bias)
        tokens = self.norm1(tokens)
        for layer in self.mamba_layers:
            image = layer(image, volume)
        placed_image = image + positions
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + initial, placed_image, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        seen = self.cross_attn_image_to_token(placed_image, tokens + initial, tokens, bias)
        return tokens, self.norm4(image + seen)


class FusionTransformer(nn.Module):
    """Two blocks, and a last look of the tokens at the pixels."""

    def __init__(self, dim: int, ffn_dim: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        rates = [drop_path * index / (2 * _MAMBA_PER_BLOCK - 1) for index in range(2 * _MAMBA_PER_BLOCK)]
        halves = (rates[:_MAMBA_PER_BLOCK], rates[_MAMBA_PER_BLOCK:])
        self.layers = nn.ModuleList(
            FusionBlock(dim, ffn_dim, dropout, half, is_first=index == 0) for index, half in enumerate(halves)
        )
        self.final_attn_token_to_image = Attention(dim, dim // 2, _NUM_HEADS)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, image: Tensor, positions: Tensor, volume: Volume, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Join tokens ``(B, T, C)`` and pixels.

        Args:
            tokens: At the start; they also serve as the tokens' positions.
            image: ``(B or 1, L, C)`` pixels of all frames.
            positions: ``(1, L, C)`` where and when they are; attention sees it, scans do not.
            volume: How pixels fill the frames.
            bias: Of attention to tokens, ``(B, 1, 1, T)``, or None.

        Returns:
            Tokens ``(B, T, C)`` and pixels ``(B, L, C)``.
        """
        initial = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, initial, positions, volume, bias)
        seen = self.final_attn_token_to_image(tokens + initial, image + positions, image)
        return self.norm_final_attn(tokens + seen), image


class CrossModalFusion(nn.Module):
    """Find where in the current frame a phrase is meant.

    Args:
        dim: Width of tokens and of the frames' coarsest features.
        ffn_dim: Width inside the tokens' feed-forward networks.
        num_frames: Frames that are looked at together.
        dropout: Inside the networks, in training.
        drop_path: Rate of the last state-space layer, in training.
    """

    def __init__(self, dim: int, ffn_dim: int, num_frames: int, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.cls_token = nn.Embedding(1, dim)
        self.temporal_pos_embed = nn.Parameter(torch.zeros(1, num_frames, dim))
        self.transformer = FusionTransformer(dim, ffn_dim, dropout, drop_path)
        self.apply(_draw_weights)

    @property
    def num_frames(self) -> int:
        return self.temporal_pos_embed.shape[1]

    def forward(
        self, current: Tensor, previous: Sequence[Tensor], tokens: Tensor, is_token: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Fuse ``B`` phrases with frames.

        Args:
            current: ``(B or 1, C, h, w)``.
            previous: As many maps each, newest first; copies of the current frame stand in for missing ones.
            tokens: ``(B, T, C)`` the phrases' tokens.
            is_token: bool ``(B, T)``, False where padding is not to be attended to; None to attend to all.

        Returns:
            What the phrase means here ``(B, 1, C)``, and the current frame's features in its light ``(B, C, h, w)``.
        """
        return self.fuse(*self.filled(current, previous), tokens, is_token)

    def filled(self, current: Tensor, previous: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
        """Fill up frames with copies of the current one, right behind it, and say which moment each is taken for.

        Copies and real frames are counted apart, so that with one of each both are taken for moment 1: published
        weights were trained so.
        """
        num_missing = max(0, self.num_frames - 1 - len(previous))
        previous = previous[: self.num_frames - 1]
        moments = [*range(num_missing + 1), *range(1, len(previous) + 1)]
        return [current] * (num_missing + 1) + list(previous), moments

    def fuse(
        self, frames: Sequence[Tensor], moments: Sequence[int], tokens: Tensor, is_token: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Fuse phrases with frames as they are given; the first is the current one.

        Args:
            frames: ``(B or 1, C, h, w)`` each.
            moments: Row of the table of moments for each.
            tokens: As in `forward`.
            is_token: As in `forward`.
        """
        height, width = frames[0].shape[-2:]
        num_phrases, num_pixels = len(tokens), height * width
        image = torch.cat([frame.flatten(2).transpose(1, 2) for frame in frames], dim=1)
        where = sine_encoding(image.shape[-1], height, width, image.device).flatten(1).T
        when = self.temporal_pos_embed[0, upload(torch.tensor(moments), image.device)]
        positions = (when[:, None] + where).flatten(0, 1)[None]
        tokens = torch.cat([self.cls_token.weight.expand(num_phrases, 1, -1), tokens.to(image.dtype)], dim=1)
        bias = None if is_token is None else _bias_against_padding(is_token, image.dtype)
        tokens, image = self.transformer(tokens, image, positions, Volume(len(frames), height, width), bias)
        return tokens[:, :1], image[:, :num_pixels].transpose(1, 2).unflatten(2, (height, width))


def _bias_against_padding(is_token: Tensor, dtype: torch.dtype) -> Tensor:
    """Bias of attention to a class token and a phrase's tokens: ``(B, 1, 1, T + 1)``."""
    is_token = torch.cat([is_token.new_ones(len(is_token), 1), is_token], dim=1)
    bias = torch.zeros(is_token.shape, dtype=dtype, device=is_token.device)
    return bias.masked_fill(~is_token, float("-inf"))[:, None, None]


def _draw_weights(module: nn.Module) -> None:
    """Begin training as published."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] ** 2
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        nn.init.zeros_(cast(Tensor, module.bias))

"""Sizes and switches of a SAM 2 network, and the four published sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Self

from surgvos.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Sam2Config:
    """A SAM 2 network. No parameter's shape depends on ``image_size``.

    Attributes:
        image_size: Side of the square input, a multiple of 32.
        embed_dim: Width of the trunk's first stage; it doubles with each stage.
        num_heads: Attention heads of the first stage; they double with each stage.
        stages: Number of blocks in each of the four stages.
        windows: Window side of the blocks of each stage; the first block of a stage uses the previous one's.
        global_blocks: Indices of the blocks that attend to the whole image.
        background_hw: Grid of the coarse position table.
        drop_path_rate: Rate of the last block in training; it rises linearly from 0 at the first.
        hidden_dim: Width of image features, prompts, masks' tokens and pointers.
        memory_dim: Channels of a spatial memory.
        num_memory_slots: Temporal slots: the prompted one and the recent ones.
        num_memory_attention_layers: Layers of memory attention.
        memory_attention_ffn_dim: Width inside their feed-forward networks.
        memory_attention_dropout: Their dropout in training.
        decoder_ffn_dim: Width inside the mask decoder's feed-forward networks.
        iou_head_dim: Width inside the predicted-IoU head.
        pointer_time_encoding: SAM 2.1: pointers say how far away in time they are.
        absent_spatial_embedding: SAM 2.1: memories of absent objects are marked.
        stability_fallback: In evaluation, replace an unstable single mask by the best of the candidates.
        stability_delta: Half-width of the band of logits that makes a mask unstable.
        stability_threshold: Least share of the wider mask that must remain in the narrower one.
        binarize_prompted_memory: In evaluation, remember prompted masks as 0 and 1.
    """

    image_size: int = 1024
    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
    windows: tuple[int, ...] = (8, 4, 14, 7)
    global_blocks: tuple[int, ...] = (5, 7, 9)
    background_hw: tuple[int, int] = (7, 7)
    drop_path_rate: float = 0.0
    hidden_dim: int = 256
    memory_dim: int = 64
    num_memory_slots: int = 7
    num_memory_attention_layers: int = 4
    memory_attention_ffn_dim: int = 2048
    memory_attention_dropout: float = 0.1
    decoder_ffn_dim: int = 2048
    iou_head_dim: int = 256
    pointer_time_encoding: bool = True
    absent_spatial_embedding: bool = True
    stability_fallback: bool = True
    stability_delta: float = 0.05
    stability_threshold: float = 0.98
    binarize_prompted_memory: bool = True

    def __post_init__(self) -> None:
        if self.image_size <= 0 or self.image_size % 32:
            raise ConfigError(
                f"expected image_size to be a positive multiple of 32, got {self.image_size}, "
                f"try {max(32, round(self.image_size / 32) * 32)}"
            )
        if len(self.stages) != 4 or len(self.windows) != 4 or min(self.stages) < 1:
            raise ConfigError(
                f"expected four stages of at least one block and four windows, "
                f"got stages {self.stages} and windows {self.windows}, try one of the presets"
            )
        if self.embed_dim % self.num_heads:
            raise ConfigError(
                f"expected embed_dim to be a multiple of num_heads, got {self.embed_dim} and {self.num_heads}, "
                "try one of the presets"
            )
        if self.hidden_dim % 32 or self.hidden_dim % self.memory_dim:
            raise ConfigError(
                f"expected hidden_dim to be a multiple of 32 and of memory_dim, "
                f"got {self.hidden_dim} and {self.memory_dim}, try 256 and 64"
            )
        openers = set(accumulate(self.stages))
        if any(not 0 <= block < sum(self.stages) or block in openers for block in self.global_blocks):
            raise ConfigError(
                f"expected global_blocks among {sum(self.stages)} blocks and none that opens a stage, "
                f"got {self.global_blocks}, try one of the presets"
            )

    def with_image_size(self, image_size: int) -> Self:
        """The same network for inputs of this size.

        Raises:
            ConfigError: It is no multiple of 32.
        """
        return replace(self, image_size=image_size)

    @property
    def stage_dims(self) -> tuple[int, ...]:
        """Width of each stage, finest first."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.stages)))

    @property
    def tokens_per_pointer(self) -> int:
        """Memory tokens that one pointer is cut into."""
        return self.hidden_dim // self.memory_dim


def tiny(image_size: int = 1024) -> Sam2Config:
    """SAM 2.1 Hiera tiny (39 million parameters)."""
    return Sam2Config(image_size=image_size)


def small(image_size: int = 1024) -> Sam2Config:
    """SAM 2.1 Hiera small (46 million parameters)."""
    return Sam2Config(image_size=image_size, stages=(1, 2, 11, 2), global_blocks=(7, 10, 13))


def base_plus(image_size: int = 1024) -> Sam2Config:
    """SAM 2.1 Hiera base+ (81 million parameters)."""
    return Sam2Config(
        image_size=image_size,
        embed_dim=112,
        num_heads=2,
        stages=(2, 3, 16, 3),
        global_blocks=(12, 16, 20),
        background_hw=(14, 14),
    )


def large(image_size: int = 1024) -> Sam2Config:
    """SAM 2.1 Hiera large (224 million parameters)."""
    return Sam2Config(
        image_size=image_size,
        embed_dim=144,
        num_heads=2,
        stages=(2, 6, 36, 4),
        windows=(8, 4, 16, 8),
        global_blocks=(23, 33, 43),
    )

"""Sizes and switches of a ReSurgSAM2 network."""

from __future__ import annotations

from dataclasses import dataclass

from surgvos.errors import ConfigError
from surgvos.models.sam2 import Sam2Config
from surgvos.models.text.clip import PUBLISHED


@dataclass(frozen=True, kw_only=True, slots=True)
class ResurgConfig(Sam2Config):
    """A SAM 2 network that finds what a phrase says. What SAM 2 has as well is said in `Sam2Config`.

    Attributes:
        text_dim: Width of the text tower's states.
        language_model: The text tower: a name on the Hugging Face hub, or a folder.
        projection_dim: Width inside the projection of its states.
        fusion_ffn_dim: Width inside the feed-forward networks of the fusion's tokens.
        fusion_dropout: Dropout of projection and fusion in training.
        fusion_drop_path: Rate of the fusion's last state-space layer in training; it rises linearly from 0.
        prompt_dropout: Dropout of the phrase's own prompt token in training.
        num_fused_frames: Frames that a phrase is looked for in together, the current one among them.
        attend_padding_in_training: Whether phrases that are trained on together see each other's padding, as in the
            published training. Otherwise, and in evaluation always, a phrase means the same alone and among others.
    """

    image_size: int = 512
    binarize_prompted_memory: bool = False
    text_dim: int = 512
    language_model: str = PUBLISHED
    projection_dim: int = 2048
    fusion_ffn_dim: int = 2048
    fusion_dropout: float = 0.1
    fusion_drop_path: float = 0.2
    prompt_dropout: float = 0.2
    num_fused_frames: int = 3
    attend_padding_in_training: bool = False

    def __post_init__(self) -> None:
        # super() without arguments finds no cell in a class with slots.
        super(ResurgConfig, self).__post_init__()
        if self.num_fused_frames < 1:
            raise ConfigError(f"expected at least one fused frame, got {self.num_fused_frames}, try 3")


def resurg_small(image_size: int = 512) -> ResurgConfig:
    """ReSurgSAM2 on SAM 2.1 Hiera small (61 million parameters beside CLIP's)."""
    return ResurgConfig(image_size=image_size, stages=(1, 2, 11, 2), global_blocks=(7, 10, 13))

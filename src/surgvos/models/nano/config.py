"""The shape of a nano model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from surgvos.errors import ConfigError

_MIN_SIDE_PX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class NanoConfig:
    """Widths, depths and reach of `NanoModel`.

    Attributes:
        widths: Channels of the trunk at strides 2, 4, 8 and 16.
        depths: Residual blocks of the trunk at strides 4, 8 and 16.
        decoder_widths: Channels of the decoder at strides 2, 4, 8, 16 and 32.
        num_heads: Heads of the matching; each has a reach of its own.
        head_dim: Channels of a head's key and of its value.
        recent_reach: Standard deviation, in cells of stride 8, of each head's distance bias towards recent
            frames; 0 is unlimited.
        prompted_reach: The same towards prompted frames.
        input_area_px: The input keeps the video's proportions and has about this many pixels.
        num_recent: Recent frames read besides the prompted ones.
    """

    widths: tuple[int, int, int, int] = (16, 32, 64, 128)
    depths: tuple[int, int, int] = (2, 2, 3)
    decoder_widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 160)
    num_heads: int = 2
    head_dim: int = 64
    recent_reach: tuple[float, ...] = (0.0, 3.0)
    prompted_reach: tuple[float, ...] = (0.0, 12.0)
    input_area_px: int = 256 * 320
    num_recent: int = 1

    def __post_init__(self) -> None:
        if len(self.recent_reach) != self.num_heads or len(self.prompted_reach) != self.num_heads:
            raise ConfigError(
                f"expected one reach per head ({self.num_heads}), got {len(self.recent_reach)} and "
                f"{len(self.prompted_reach)}"
            )
        if self.input_area_px < _MIN_SIDE_PX**2 or self.num_recent < 1:
            raise ConfigError("expected input_area_px >= 4096 and num_recent >= 1")

    def with_image_size(self, image_size: int) -> Self:
        """The same network for inputs of as many pixels as a square of this side has.

        Raises:
            ConfigError: It is too small to see anything in.
        """
        if image_size < _MIN_SIDE_PX:
            raise ConfigError(f"expected an image size of at least {_MIN_SIDE_PX}, got {image_size}, try 286")
        return replace(self, input_area_px=image_size**2)


def hw_of_area(video_hw: tuple[int, int], area_px: int) -> tuple[int, int]:
    """The size of about this many pixels with a video's proportions, in multiples of 32.

    Example:
        >>> hw_of_area((1080, 1920), 256 * 320)
        (224, 384)
    """
    height, width = video_hw
    scale = (area_px / (height * width)) ** 0.5
    return max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)

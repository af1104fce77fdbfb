"""A small network that labels every pixel of an image: the trunk of a nano model under a head for classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from surgvos.errors import CheckpointError, ConfigError
from surgvos.models.nano.config import hw_of_area
from surgvos.models.nano.layers import ConvUnit
from surgvos.models.nano.pyramid import Pyramid
from surgvos.models.nano.trunk import Trunk


@dataclass(frozen=True, slots=True, kw_only=True)
class NanoSegmenterConfig:
    """Widths and depths of `NanoSegmenter`.

    Attributes:
        num_classes: Classes besides background.
        widths: Channels at strides 2, 4, 8 and 16, of trunk and head alike.
        depths: Residual blocks of the trunk at strides 4, 8 and 16.
        context_width: Channels of the head at stride 32.
        input_area_px: The input keeps the video's proportions and has about this many pixels.
    """

    num_classes: int = 6
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)
    depths: tuple[int, int, int] = (2, 2, 3)
    context_width: int = 160
    input_area_px: int = 256 * 320

    def __post_init__(self) -> None:
        if self.num_classes < 1 or self.input_area_px < 64 * 64:
            raise ConfigError(
                f"expected num_classes >= 1 and input_area_px >= 4096, got {self.num_classes} and {self.input_area_px}"
            )


def infer_segmenter_config(state: Mapping[str, Tensor]) -> NanoSegmenterConfig:
    """Read the size of a `NanoSegmenter` off its weights' names and shapes.

    Raises:
        CheckpointError: The weights are not of one.
    """
    try:
        two, four, eight, sixteen = (
            state[f"image_encoder.{name}.weight"].shape[0]
            for name in ("stem.0", "stages.0.0.0", "stages.1.0.0", "stages.2.0.0")
        )
        return NanoSegmenterConfig(
            num_classes=state["class_head.to_logits.weight"].shape[0] - 1,
            widths=(two, four, eight, sixteen),
            depths=(_num_blocks(state, 0), _num_blocks(state, 1), _num_blocks(state, 2)),
            context_width=state["class_head.down.0.0.weight"].shape[0],
        )
    except KeyError as missing:
        raise CheckpointError(
            f"expected the weights of a nano segmenter, got some without {missing}; try those in the box"
        ) from None


def _num_blocks(state: Mapping[str, Tensor], stage: int) -> int:
    """Residual blocks of a stage of the trunk."""
    return sum(re.fullmatch(rf"image_encoder\.stages\.{stage}\.1\.\d+\.conv\.weight", key) is not None for key in state)


class NanoSegmenter(nn.Module):
    """Logits of background and classes for every image by itself, at stride 2.

    Its trunk is that of a `NanoModel`, under the same names, so that one can start from the other's weights.
    """

    # As in `NanoModel`: all of it is small convolutions.
    memory_format = torch.channels_last

    def __init__(self, config: NanoSegmenterConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NanoSegmenterConfig()
        self.image_encoder = Trunk(config.widths, config.depths)
        self.class_head = ClassHead(config)

    def input_hw(self, video_hw: tuple[int, int]) -> tuple[int, int]:
        """Keep the proportions, at the configured area, in multiples of 32."""
        return hw_of_area(video_hw, self.config.input_area_px)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(N, 3, H, W)``, multiples of 32 -> logits ``(N, 1 + num_classes, H/2, W/2)``, background first."""
        return self.class_head(self.image_encoder(images.contiguous(memory_format=torch.channels_last)))


class ClassHead(Pyramid):
    """From the trunk's levels to logits: what the whole scene is at stride 32, then back up to outlines."""

    def __init__(self, config: NanoSegmenterConfig) -> None:
        super().__init__(config.widths, config.context_width)
        two = config.widths[0]
        self.merge[-1] = ConvUnit(two, two)  # the finest level has the most places
        self.to_logits = nn.Conv2d(two, 1 + config.num_classes, 3, padding=1)

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        """Levels at strides 2, 4, 8, 16 -> logits at stride 2."""
        return self.to_logits(self.climb(levels)[0])

"""What training consumes: an endless row of batches, each a function of its index alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from surgvos.errors import ConfigError

Self = TypeVar("Self", bound="Batch")


class Batch(Protocol):
    """Tensors that go through a model together: `ClipBatch`, `FrameBatch`."""

    def to(self: Self, device: torch.device | str) -> Self:
        """The same batch on a device."""
        ...

    def pin_memory(self: Self) -> Self:
        """The same batch in page-locked memory, from where it is copied sooner; data loaders call it."""
        ...


BatchT = TypeVar("BatchT", bound=Batch, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShape:
    """What every batch of a source looks like.

    Attributes:
        num_frames: Frames of a clip; 1 for single images.
        image_hw: Size of the images.
        batch_size: Clips of a batch.
    """

    num_frames: int = 1
    image_hw: tuple[int, int]
    batch_size: int

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.batch_size < 1 or min(self.image_hw) < 32:
            raise ConfigError(
                "expected num_frames >= 1, batch_size >= 1 and images of at least 32x32 pixels, got "
                f"{self.num_frames}, {self.batch_size} and {self.image_hw[1]}x{self.image_hw[0]}"
            )


class BatchSource(Protocol[BatchT]):
    """An endless row of batches, each a pure function of its index.

    That is all that a run needs to go on exactly where it stopped: it asks for the next index. It also lets any
    number of workers and machines share a source, each asking for indices of its own.
    """

    def __getitem__(self, index: int) -> BatchT: ...


class BatchSourceConfig(Protocol[BatchT]):
    """Where batches come from: a frozen dataclass that opens its source."""

    def open(self, shape: BatchShape, seed: int, num_streams: int = 1) -> BatchSource[BatchT]:
        """Make the source of batches of this shape; ``num_streams`` workers will ask it for indices in turn."""
        ...

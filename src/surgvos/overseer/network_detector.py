"""What detectors that are a network have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from surgvos.core.frame import Frame
from surgvos.core.labels import LabelSpace
from surgvos.overseer.detection import Detection
from surgvos.overseer.detector import DetectorOptions, classes_of_labels
from surgvos.overseer.network_weights import NO_NAME, State, load_strictly


class NetworkDetector(ABC):
    """A network of one kind, and what its labels mean.

    Args:
        state: Its weights.
        label_space: Of its classes.
        options: See `DetectorOptions`.
        device: Where it runs.
        dtype: Precision of products.

    Raises:
        CheckpointError: The weights are not of this kind of network, or of another label space.

    Attributes:
        kind: Of network, for messages.
        spare: How many labels of the head may come before the classes.
        optional: Matches names of weights that may be missing; see `load_strictly`.
    """

    kind: ClassVar[str]
    spare: ClassVar[tuple[int, ...]] = (1,)
    optional: ClassVar[str] = NO_NAME

    def __init__(
        self,
        state: State,
        label_space: LabelSpace,
        options: DetectorOptions | None = None,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        state = {self._rename(key): value for key, value in state.items()}
        network, num_labels = self._build(state)
        self.label_space = label_space
        self.options = options or DetectorOptions()
        self.classes = classes_of_labels(num_labels, label_space, self.spare)
        self.device = device or torch.device("cpu")
        self.dtype = dtype
        load_strictly(network, state, self.kind, rename=self._rename, optional=self.optional)
        self.network: Any = network.eval().to(self.device)

    @abstractmethod
    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        """Find what is in some frames of one size; see `Detector`."""

    @abstractmethod
    def _build(self, state: State) -> tuple[nn.Module, int]:
        """The network that weights belong to, still without them, and the number of its labels."""

    def _rename(self, key: str) -> str:
        """Turn the name of a weight in any version into that in one."""
        return key

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

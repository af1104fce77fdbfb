"""What the loop knows of a task: a batch goes in, losses come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, eq=False)
class BatchLosses:
    """Losses of a batch, summed over its items; and how well it went.

    Attributes:
        total: ``()`` the weighted sum.
        parts: Weighted parts of the total by name, without gradient.
        num_items: How many items (objects, images) were asked for. What is minimised is the total per item.
        scores: ``()`` how well it went by name, without gradient; nan where nothing could be scored.
    """

    total: Tensor
    parts: dict[str, Tensor]
    num_items: int
    scores: dict[str, Tensor]


class Task(Protocol):
    """What is learned: a frozen dataclass of settings."""

    def module(self, model: nn.Module) -> nn.Module:
        """What is run on each batch: ``(batch, generator) -> BatchLosses``, with the model as its part ``model``.

        A generator is there in training, on the CPU, for whatever is drawn. In evaluation there is none: nothing that
        matters is drawn, and nothing that is learned may change.
        """
        ...

"""Means of losses and scores over steps and processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from surgvos.training.task import BatchLosses

Sums = dict[str, tuple[float, float]]
"""By name: a sum of finite values, and how many there were."""


class Meter:
    """Sums of losses and scores since they were last read."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None  # totals, and how many made them
        self._parts: tuple[str, ...] = ()
        self._scores: tuple[str, ...] = ()
        self._num_steps = 0
        self._started = time.perf_counter()

    def add(self, losses: BatchLosses) -> None:
        """Take in a step; nothing is copied to the CPU yet."""
        parts = {name: value / losses.num_items for name, value in losses.parts.items()}
        values = torch.stack([*parts.values(), *losses.scores.values()]).float()
        known = values.isfinite()
        added = torch.stack((values.where(known, 0.0), known.float()))
        self._sums = added if self._sums is None else self._sums + added
        self._parts, self._scores = tuple(parts), tuple(losses.scores)
        self._num_steps += 1

    def read(self, gather: Callable[[list[Sums]], Sequence[Sums]]) -> dict[str, float]:
        """Means since the last reading over all processes, and seconds per step; then start again.

        Args:
            gather: Puts the lists of all processes together, in each of them.
        """
        names = (*self._parts, *self._scores)
        totals, counts = ([], []) if self._sums is None else self._sums.tolist()
        own = dict(zip(names, zip(totals, counts, strict=True), strict=True))
        means = _means(gather([own]))
        means["loss"] = sum(means[name] for name in self._parts)
        means["seconds_per_step"] = (time.perf_counter() - self._started) / max(self._num_steps, 1)
        self._sums, self._num_steps, self._started = None, 0, time.perf_counter()
        return means


def _means(gathered: Sequence[Sums]) -> dict[str, float]:
    names = dict.fromkeys(name for sums in gathered for name in sums)
    means = {}
    for name in names:
        found = [sums[name] for sums in gathered if name in sums]
        total, count = (sum(values) for values in zip(*found, strict=True))
        means[name] = total / count if count else math.nan
    return means

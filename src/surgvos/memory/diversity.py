"""ReSurgSAM2's memory: SAM 2's, and a few frames of long ago that differ from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from surgvos.errors import ConfigError
from surgvos.memory.bank import MemoryBank
from surgvos.memory.entry import MemoryEntry, MemoryQuery, MemorySelection
from surgvos.memory.recency import Recent


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverse:
    """Read what `Recent` reads, and besides it a few frames of long ago that resemble each other least.

    A followed frame whose predicted IoU is high becomes a candidate. When ``pool_size`` candidates are there, the one
    that resembles the newest long-term memory least (the newest prompted frame, while there is none) joins the
    long-term memory; the other candidates are let go, and so is the oldest long-term memory beyond
    ``max_long_term``. Long-term memories are read like prompted frames (temporal slot 0), give no pointers, and are
    passed over while they still lie among the recent frames.

    Reference: Liu et al., ReSurgSAM2 (arXiv 2505.08581), "Diversity-driven long-term memory".

    Departs: the published code breaks while time runs backward; here both directions are alike. Candidates and
    long-term memories that lie ahead are let go when a frame is followed: they stem from a pass that is over, be it
    for a correction (``tests/memory/test_diversity.py``).

    Attributes:
        recent: What is read besides.
        min_iou: A candidate's predicted IoU lies above it.
        min_presence: A candidate's presence is at least this. Published: 0, presence is not looked at.
        pool_size: So many candidates compete for one place.
        max_long_term: Most long-term memories held.
    """

    recent: Recent = field(default_factory=Recent)
    min_iou: float = 0.95
    min_presence: float = 0.0
    pool_size: int = 5
    max_long_term: int = 3

    def __post_init__(self) -> None:
        for name in ("min_iou", "min_presence"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"expected {name} in 0..1, got {getattr(self, name)}")
        for name, least in (("pool_size", 1), ("max_long_term", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"expected {name} >= {least}, got {getattr(self, name)}")

    @classmethod
    def reading(cls, num_recent: int = 6) -> Diverse:
        """The default settings, for a model that is used to so many recent frames."""
        return cls(recent=Recent(num_recent=num_recent))

    def select(self, bank: MemoryBank, query: MemoryQuery) -> MemorySelection:
        selection = self.recent.select(bank, query)
        read = {entry.frame_index for entry, _ in selection.spatial}
        long_ago = tuple(
            (entry, 0)
            for index, entry in bank.long_term.items()
            if query.distance(index) > self.recent.num_recent and index not in read
        )
        return replace(selection, spatial=selection.spatial + long_ago)

    def admit(self, bank: MemoryBank, entry: MemoryEntry, query: MemoryQuery) -> None:
        self.recent.admit(bank, entry, query)
        if entry.prompted:
            self._forget(bank, [entry.frame_index])
        elif entry.frame_index not in bank.prompted:
            self._forget(bank, [held.frame_index for held in bank if query.distance(held.frame_index) <= 0])
            if entry.iou > self.min_iou and entry.presence >= self.min_presence:
                bank.candidates.append(entry)
            if len(bank.candidates) >= self.pool_size:
                self._promote(bank, query)

    def _promote(self, bank: MemoryBank, query: MemoryQuery) -> None:
        """Let the candidate that resembles the reference least join, and clear the pool."""
        chosen = bank.candidates[0]
        reference = self._reference(bank, query)
        if reference is not None:
            chosen = bank.candidates[int(resemblance(bank.candidates, reference).argmin())]
        bank.long_term[chosen.frame_index] = chosen
        while len(bank.long_term) > self.max_long_term:
            del bank.long_term[next(iter(bank.long_term))]
        bank.candidates.clear()

    @staticmethod
    def _reference(bank: MemoryBank, query: MemoryQuery) -> MemoryEntry | None:
        """The newest long-term memory, else the prompted frame that lies farthest in the direction of travel."""
        if bank.long_term:
            return next(reversed(bank.long_term.values()))
        return min(bank.prompted.values(), key=lambda held: query.distance(held.frame_index), default=None)

    @staticmethod
    def _forget(bank: MemoryBank, frames: Sequence[int]) -> None:
        bank.candidates[:] = [held for held in bank.candidates if held.frame_index not in frames]
        for index in frames:
            bank.long_term.pop(index, None)


@torch.no_grad()
def resemblance(entries: Sequence[MemoryEntry], reference: MemoryEntry) -> Tensor:
    """How much each of ``M`` entries resembles another one.

    Returns:
        float32 ``(M,)``: the cosine between rows of a map, -1 to 1, summed over channels and rows.

    Reference: the published code; a cosine along the width, not one over the whole map.
    """
    if reference.features is None:
        raise AssertionError("a reference keeps its spatial memory")
    features = torch.stack([entry.features for entry in entries if entry.features is not None])
    return F.cosine_similarity(features.float(), reference.features.float().unsqueeze(0), dim=-1).sum(dim=(1, 2))

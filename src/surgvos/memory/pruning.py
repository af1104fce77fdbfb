"""Surgical SAM 2's memory: SAM 2's, without the frames that say again what the newest one says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from surgvos.errors import ConfigError
from surgvos.memory.bank import MemoryBank
from surgvos.memory.entry import MemoryEntry, MemoryQuery, MemorySelection
from surgvos.memory.recency import Recent

_TINY = 1e-8


class _Cut(NamedTuple):
    """What is cut out of a selection; selections that are cut alike are chosen from together."""

    num_entries: int
    candidates: tuple[int, ...]
    num_dropped: int
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """Read what `Recent` reads, but leave out the memories that resemble the newest one most.

    Resemblance is the cosine over channels at each place of the spatial memory, summed over all places. Nothing is
    forgotten: what is left out of one frame may be read in the next. Survivors keep their order and their temporal
    slots, and pointers are not pruned. The first and the newest entry always stay. The choice stays on the device,
    has no gradient, and its size does not depend on what is seen.

    Prompted frames always stay too, and do not count: of ``num_recent`` recent memories ``num_recent - num_pruned``
    are left, however many corrections there are. With one prompt these are the published ``num_recent + 1 -
    num_pruned`` entries. A model that reads one recent frame has nothing to prune.

    Reference: Liu et al., Surgical SAM 2 (arXiv 2408.07931), "Efficient Frame Pruning".

    Departs: both published releases prune prompted frames like any other but the first, so that a correction is lost
    when the newest frame resembles it (``tests/memory/test_pruning.py``). `published` and `first_release` do as they
    do (``tests/reference/test_ssam2_videos.py``).

    Attributes:
        recent: What there is to read.
        num_pruned: How many fewer memories are read than ``recent`` reads.
        protect_prompted: Keep all prompted frames, and do not count them. Otherwise they are counted, and only the
            first entry is safe.
        only_when_full: Prune nothing until as many memories are there as are ever read with one prompt, and exactly
            ``num_pruned`` from then on. Otherwise prune down to a fixed number.
        joint: Make one choice for all objects that remember the same frames, by the sum of their resemblances.
            Otherwise each object has its own.
    """

    recent: Recent = field(default_factory=Recent)
    num_pruned: int = 2
    protect_prompted: bool = True
    only_when_full: bool = False
    joint: bool = False

    def __post_init__(self) -> None:
        if self.num_pruned < 0:
            raise ConfigError(f"expected num_pruned >= 0, got {self.num_pruned}")

    @classmethod
    def reading(cls, num_recent: int = 6) -> Pruned:
        """The default settings, for a model that is used to so many recent frames."""
        return cls(recent=Recent(num_recent=num_recent))

    @classmethod
    def published(cls) -> Pruned:
        """As in the release that is based on SAM 2.1: five memories of seven, also where that costs a correction."""
        return cls(protect_prompted=False)

    @classmethod
    def first_release(cls) -> Pruned:
        """As in the release that is based on SAM 2.0: one choice for all objects, and none before seven memories."""
        return cls(protect_prompted=False, only_when_full=True, joint=True)

    def select(self, bank: MemoryBank, query: MemoryQuery) -> MemorySelection:
        return self.select_together([bank], query)[0]

    def select_together(self, banks: Sequence[MemoryBank], query: MemoryQuery) -> list[MemorySelection]:
        """Choose for several objects at once, in the order of their banks."""
        selections = [self.recent.select(bank, query) for bank in banks]
        members: dict[_Cut, list[int]] = defaultdict(list)
        for index, selection in enumerate(selections):
            members[self._cut(selection)].append(index)
        for cut, indices in members.items():
            if cut.num_dropped > 0:
                kept = self._choose([selections[index] for index in indices], cut)
                for index, own in zip(indices, kept, strict=True):
                    selections[index] = replace(selections[index], kept=own)
        return selections

    def admit(self, bank: MemoryBank, entry: MemoryEntry, query: MemoryQuery) -> None:
        self.recent.admit(bank, entry, query)

    def _counts(self, entry: MemoryEntry) -> bool:
        return not (entry.prompted and self.protect_prompted)

    def _cut(self, selection: MemorySelection) -> _Cut:
        num_entries = len(selection.spatial)
        counted = [position for position, (entry, _) in enumerate(selection.spatial) if self._counts(entry)]
        wanted = self._num_wanted(len(counted) - self.recent.num_recent - (not self.protect_prompted))
        candidates = tuple(position for position in counted if 0 < position < num_entries - 1)
        frames = selection.attended_frames if self.joint else ()
        return _Cut(num_entries, candidates, min(wanted, len(candidates)), frames)

    def _num_wanted(self, excess: int) -> int:
        """How many to leave out, where ``excess`` more are there than are ever read with one prompt."""
        if self.only_when_full:
            return self.num_pruned if excess >= 0 else 0
        return max(excess + self.num_pruned, 0)

    def _choose(self, selections: Sequence[MemorySelection], cut: _Cut) -> Sequence[Tensor]:
        """Positions that stay, int64 ``(num_entries - num_dropped,)`` of each selection."""
        compared = (*cut.candidates, cut.num_entries - 1)
        scores = resemblance_to_last([[s.spatial[position][0] for position in compared] for s in selections])
        if self.joint:
            scores = scores.sum(dim=0, keepdim=True).expand_as(scores)
        score_of = dict(zip(cut.candidates, scores.unbind(dim=1), strict=True))
        safe = torch.full_like(scores[:, 0], -torch.inf)
        in_order = torch.stack([score_of.get(position, safe) for position in range(cut.num_entries)], dim=1)
        # Stable: of two that resemble the newest equally, the older one goes.
        most_alike_first = in_order.argsort(dim=1, descending=True, stable=True)
        return most_alike_first[:, cut.num_dropped :].sort(dim=1).values.unbind()


@torch.no_grad()
def resemblance_to_last(memories: Sequence[Sequence[MemoryEntry]]) -> Tensor:
    """How much each of ``B`` objects' memories resembles the last one of its row.

    Args:
        memories: ``B`` rows of ``M + 1`` entries.

    Returns:
        float32 ``(B, M)``: cosine over the channels, between -1 and 1 at each place, summed over all places.
    """
    rows = [torch.stack([entry.features for entry in row if entry.features is not None]) for row in memories]
    # In lower precision a sum over a thousand places has ties that are none.
    features = torch.stack(rows).float()
    products = (features[:, :-1] * features[:, -1:]).sum(dim=2)
    # The length of each vector is computed once: half the time of `torch.cosine_similarity`.
    lengths = torch.linalg.vector_norm(features, dim=2)
    return (products / (lengths[:, :-1] * lengths[:, -1:]).clamp_min(_TINY)).sum(dim=(2, 3))

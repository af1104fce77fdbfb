"""What a memory policy is: the answer to "what is remembered, and what is read?"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from surgvos.memory.bank import MemoryBank
from surgvos.memory.entry import MemoryEntry, MemoryQuery, MemorySelection


class MemoryPolicy(Protocol):
    """A frozen dataclass whose fields are its hyper-parameters.

    `select` reads and never writes; `admit` is the only writer of a bank, and keeps it bounded: what no future
    `select` can return is dropped.
    """

    def select(self, bank: MemoryBank, query: MemoryQuery) -> MemorySelection:
        """Choose what is read at this moment."""
        ...

    def admit(self, bank: MemoryBank, entry: MemoryEntry, query: MemoryQuery) -> None:
        """Take in what was seen at this moment, and forget what is no longer needed."""
        ...


@runtime_checkable
class JointPolicy(MemoryPolicy, Protocol):
    """A policy that chooses for all objects of a call at once, be it together or only faster."""

    def select_together(self, banks: Sequence[MemoryBank], query: MemoryQuery) -> list[MemorySelection]:
        """Choose what each object reads at this moment, in the order of their banks."""
        ...


def select_all(policy: MemoryPolicy, banks: Sequence[MemoryBank], query: MemoryQuery) -> list[MemorySelection]:
    """What each object reads at this moment, in the order of their banks."""
    if isinstance(policy, JointPolicy):
        return policy.select_together(banks, query)
    return [policy.select(bank, query) for bank in banks]

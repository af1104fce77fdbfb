"""What a memory policy is: the answer to "what is remembered, and what is read?"."""

from __future__ import annotations

from typing import Protocol

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

"""Where one object's memories are held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from surgvos.memory.entry import MemoryEntry


@dataclass(slots=True)
class MemoryBank:
    """The memories of one object, in bounded tiers; only a `MemoryPolicy` writes to it.

    Attributes:
        prompted: Frames in which a prompt made the mask, by frame index, in the order admitted.
        recent: Frames followed lately, by frame index.
        candidates: Entries that may become long-term memory.
        long_term: Entries kept for as long as the policy wants, by frame index, in the order admitted.
    """

    prompted: dict[int, MemoryEntry] = field(default_factory=dict)
    recent: dict[int, MemoryEntry] = field(default_factory=dict)
    candidates: list[MemoryEntry] = field(default_factory=list)
    long_term: dict[int, MemoryEntry] = field(default_factory=dict)

    def __iter__(self) -> Iterator[MemoryEntry]:
        yield from self.prompted.values()
        yield from self.recent.values()
        yield from self.candidates
        yield from self.long_term.values()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered."""
        return not (self.prompted or self.recent or self.long_term)

    def storages(self) -> dict[int, int]:
        """Address -> bytes of every distinct storage that the entries keep alive."""
        held = [tensor.untyped_storage() for entry in self for tensor in entry.tensors()]
        return {storage.data_ptr(): storage.nbytes() for storage in held}

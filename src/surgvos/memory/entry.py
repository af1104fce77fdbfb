"""What is remembered of one object in one frame, and what is read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class MemoryEntry:
    """One object in one frame.

    Attributes:
        frame_index: Which frame.
        features: ``(C_m, h, w)`` spatial memory, or None once only the pointer is still needed.
        keys: What spatial memory is matched by, where the model computes it once; may be shared between objects.
        pointer: ``(C,)`` object pointer, or None for models without pointers.
        presence: Probability in [0, 1] that the object is visible.
        iou: Predicted IoU in [0, 1].
        prompted: Whether a prompt made the mask.
        logits: ``(h, w)`` mask logits, kept for prompted frames only: passed again, they are answered unchanged.
    """

    frame_index: int
    features: Tensor | None
    pointer: Tensor | None
    presence: float
    iou: float
    prompted: bool
    keys: Tensor | None = None
    logits: Tensor | None = None

    def pointer_only(self) -> MemoryEntry:
        """The same entry without its spatial part."""
        return replace(self, features=None, keys=None, logits=None)

    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors that the entry keeps alive."""
        held = (self.features, self.keys, self.pointer, self.logits)
        return tuple(tensor for tensor in held if tensor is not None)


@dataclass(frozen=True, slots=True)
class MemoryQuery:
    """The moment at which memory is read or written.

    Attributes:
        frame_index: The frame being worked on.
        direction: 1 while time runs forward, -1 while it runs backward.
    """

    frame_index: int
    direction: Literal[1, -1] = 1

    def distance(self, frame_index: int) -> int:
        """Steps from that frame to this one in the direction of travel; negative if it lies ahead."""
        return (self.frame_index - frame_index) * self.direction


@dataclass(frozen=True, slots=True, eq=False)
class MemorySelection:
    """What one object reads in one frame.

    Attributes:
        spatial: (entry, temporal slot) pairs in the order attended. Slot 0: prompted, or treated as such;
            slot r: r steps back. Pruned survivors keep their slots.
        pointers: (pointer ``(C,)``, offset) pairs; the offset is a fraction of the pointers' span in time.
        pointer_frames: Frame index of each pointer.
        kept: int64 ``(M',)`` ascending positions in ``spatial``, on the memory's device, where the choice depends on
            what the memories hold: only these are attended. None attends all.
    """

    spatial: tuple[tuple[MemoryEntry, int], ...] = ()
    pointers: tuple[tuple[Tensor, float], ...] = ()
    pointer_frames: tuple[int, ...] = ()
    kept: Tensor | None = None

    @property
    def num_attended(self) -> int:
        """How many spatial memories are read."""
        return len(self.spatial) if self.kept is None else len(self.kept)

    @property
    def attended_frames(self) -> tuple[int, ...]:
        """Frame index of each spatial memory that is read. Waits for the device where there is ``kept``."""
        return tuple(entry.frame_index for entry, _ in resolved([self])[0].spatial)


def resolved(selections: Sequence[MemorySelection]) -> list[MemorySelection]:
    """The same selections without what is not attended; waits for the device, once for all of them."""
    choices = [selection.kept for selection in selections if selection.kept is not None]
    positions = iter(torch.cat(choices).tolist() if choices else ())
    return [
        selection
        if selection.kept is None
        else replace(
            selection, spatial=tuple(selection.spatial[i] for i in islice(positions, len(selection.kept))), kept=None
        )
        for selection in selections
    ]

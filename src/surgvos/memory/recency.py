"""SAM 2's memory: every prompted frame, the last few frames, and the pointers of some more."""

from __future__ import annotations

from dataclasses import dataclass

from surgvos.errors import ConfigError
from surgvos.memory.bank import MemoryBank
from surgvos.memory.entry import MemoryEntry, MemoryQuery, MemorySelection


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """Read all prompted frames and the most recent ones.

    Reference: Ravi et al., SAM 2 (arXiv 2408.00714), section 4 "Memory attention" and "Memory bank".

    Departs: the published predictor keeps every frame for ever, and divides a pointer's distance by the length of
    a clip that is shorter than 16 frames. Here memory is bounded unless ``keep_history``, and the divisor is
    fixed, so that the start of a video gives the same masks whether or not its end is known
    (``tests/memory/test_recency.py``; ``tests/reference/test_sam2_videos.py`` sets both to the published values).

    Attributes:
        num_recent: Number of recent frames whose spatial memory is read.
        max_attended_prompted: Most prompted frames read at once; None reads all that are held.
        max_pointers: Pointers come from the last ``max_pointers - 1`` frames, and from prompted frames.
        pointer_span: Distance in frames that counts as 1 in a pointer's time code.
        stride: Step between recent frames beyond the nearest one.
        max_prompted: Most prompted frames held. Beyond it the one farthest in time goes, never the first.
            None holds all.
        keep_history: Hold every frame ever followed, as published; memory then grows with the video.
    """

    num_recent: int = 6
    max_attended_prompted: int | None = None
    max_pointers: int = 16
    pointer_span: float = 15.0
    stride: int = 1
    max_prompted: int | None = 16
    keep_history: bool = False

    def __post_init__(self) -> None:
        if self.num_recent < 0 or self.max_pointers < 0 or self.stride < 1 or not self.pointer_span > 0:
            raise ConfigError(
                "expected num_recent >= 0, max_pointers >= 0, stride >= 1 and pointer_span > 0, "
                f"got {self.num_recent}, {self.max_pointers}, {self.stride}, {self.pointer_span}"
            )
        for name in ("max_attended_prompted", "max_prompted"):
            limit = getattr(self, name)
            if limit is not None and limit < 2:
                raise ConfigError(f"expected {name} >= 2 or None, got {limit}")

    def select(self, bank: MemoryBank, query: MemoryQuery) -> MemorySelection:
        prompted = self._attended_prompted(bank, query)
        spatial = [(entry, 0) for entry in prompted.values()]
        spatial += [(entry, slot) for slot, entry in self._recent(bank, query, prompted)]
        pointers = self._pointers(bank, query, prompted)
        return MemorySelection(
            spatial=tuple(spatial),
            pointers=tuple((e.pointer, d / self.pointer_span) for d, e in pointers if e.pointer is not None),
            pointer_frames=tuple(e.frame_index for _, e in pointers if e.pointer is not None),
        )

    def admit(self, bank: MemoryBank, entry: MemoryEntry, query: MemoryQuery) -> None:
        if entry.prompted:
            bank.recent.pop(entry.frame_index, None)
            bank.prompted[entry.frame_index] = entry
            self._forget_prompted(bank, query)
        elif entry.frame_index not in bank.prompted:
            bank.recent[entry.frame_index] = entry
            # Not after a prompt: one given far away must not cost what is remembered here.
            if not self.keep_history:
                self._forget_recent(bank, query.frame_index)

    def _attended_prompted(self, bank: MemoryBank, query: MemoryQuery) -> dict[int, MemoryEntry]:
        """Prompted frames to read: nearest behind, nearest ahead, then the closest of the rest."""
        limit = self.max_attended_prompted
        if limit is None or len(bank.prompted) <= limit:
            return dict(bank.prompted)
        now = query.frame_index
        behind = [i for i in bank.prompted if i < now]
        ahead = [i for i in bank.prompted if i >= now]
        chosen = ([max(behind)] if behind else []) + ([min(ahead)] if ahead else [])
        rest = sorted((i for i in bank.prompted if i not in chosen), key=lambda i: abs(i - now))
        return {i: bank.prompted[i] for i in chosen + rest[: limit - len(chosen)]}

    def _recent(
        self, bank: MemoryBank, query: MemoryQuery, attended: dict[int, MemoryEntry]
    ) -> list[tuple[int, MemoryEntry]]:
        """(slot, entry) of recent frames, oldest first; a prompted frame not attended as such counts as one."""
        found = []
        for slot in range(self.num_recent, 0, -1):
            frame = self._frame_at_slot(query, slot)
            entry = bank.recent.get(frame)
            if entry is None and frame not in attended:
                entry = bank.prompted.get(frame)
            if entry is not None and entry.features is not None:
                found.append((slot, entry))
        return found

    def _frame_at_slot(self, query: MemoryQuery, slot: int) -> int:
        now, step, stride = query.frame_index, query.direction, self.stride
        if slot == 1 or stride == 1:
            return now - step * slot
        # Frames beyond the nearest lie on a grid of the stride, so that neighbours in time share them.
        grid = (now - 2) // stride if step > 0 else -(-(now + 2) // stride)
        return (grid - step * (slot - 2)) * stride

    def _pointers(
        self, bank: MemoryBank, query: MemoryQuery, attended: dict[int, MemoryEntry]
    ) -> list[tuple[int, MemoryEntry]]:
        """(distance, entry): attended prompted frames that are not ahead, then the last frames one by one."""
        if self.max_pointers == 0:
            return []
        found = [(query.distance(i), entry) for i, entry in attended.items() if query.distance(i) >= 0]
        for distance in range(1, self.max_pointers):
            frame = query.frame_index - query.direction * distance
            entry = bank.recent.get(frame)
            if entry is None and frame not in attended:
                entry = bank.prompted.get(frame)
            if entry is not None:
                found.append((distance, entry))
        return found

    def _forget_prompted(self, bank: MemoryBank, query: MemoryQuery) -> None:
        if self.max_prompted is None or len(bank.prompted) <= self.max_prompted:
            return
        first = next(iter(bank.prompted))
        farthest = max((i for i in bank.prompted if i != first), key=lambda i: abs(query.distance(i)))
        del bank.prompted[farthest]

    def _forget_recent(self, bank: MemoryBank, frame_index: int) -> None:
        """Hold what is read when the video goes on from here, in either direction."""
        next_moments = (MemoryQuery(frame_index + 1, 1), MemoryQuery(frame_index - 1, -1))
        for index, entry in list(bank.recent.items()):
            if any(self._reads_features_from(query, index) for query in next_moments):
                continue
            if any(1 <= query.distance(index) < self.max_pointers for query in next_moments):
                bank.recent[index] = entry.pointer_only()
            else:
                del bank.recent[index]

    def _reads_features_from(self, query: MemoryQuery, index: int) -> bool:
        """Whether a frame's spatial memory is read at this moment or at one that follows it."""
        distance = query.distance(index)
        if self.num_recent == 0 or distance < 1:
            return False
        oldest = self._frame_at_slot(query, self.num_recent)
        return distance == 1 or (index % self.stride == 0 and distance <= query.distance(oldest))

"""The search for one object by its phrases: what is known so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from surgvos.memory import MemoryEntry
from surgvos.referring.start import Run, Sighting, StartPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A credible sighting, encoded when it was seen, so that no old frame has to be looked at again.

    Attributes:
        sighting: Its scores.
        entry: What it would leave in memory.
        phrase: The phrase by which it was found.
    """

    sighting: Sighting
    entry: MemoryEntry
    phrase: str


@dataclass(slots=True)
class Search:
    """How far the search for one object has come.

    Attributes:
        phrases: What the object is called; any of them may find it.
        asked_at: The first frame for which a phrase was given.
        is_on: Whether the object is being looked for.
        since: First frame of the stretch that is being looked through, or None before the first look.
        candidates: The run of credible sightings, oldest first; bounded by the start policy.
        phrase: The phrase by which the object was found last, or None.
        num_poor: Frames in a row in which the object was followed poorly.
        unconfirmed: ``(first, stop)`` frames that passed before the first start, until a pass fills them in.
        found_at: The frame from which the object was first followed, or None.
    """

    phrases: tuple[str, ...]
    asked_at: int
    is_on: bool = True
    since: int | None = None
    candidates: tuple[Candidate, ...] = ()
    phrase: str | None = None
    num_poor: int = 0
    unconfirmed: tuple[int, int] | None = None
    found_at: int | None = None

    @property
    def run(self) -> Run:
        """The sightings of the candidates."""
        return tuple(candidate.sighting for candidate in self.candidates)

    @property
    def followed_phrase(self) -> str:
        """What the object is called while it is followed: by what it was found, else what was said last."""
        return self.phrase or self.phrases[-1]

    def add(self, phrases: Sequence[str]) -> None:
        """Look for further phrases too."""
        self.phrases = tuple(dict.fromkeys((*self.phrases, *phrases)))

    def reach(self, frame_index: int, direction: int) -> int:
        """Take note that a frame is looked at; returns the first frame of the stretch."""
        if self.since is None or (frame_index - self.since) * direction < 0:
            self.since = frame_index
        return self.since

    def keep(self, run: Run, newest: Candidate | None) -> None:
        """Hold the candidates that belong to a run."""
        held = self.candidates if newest is None else (*self.candidates, newest)
        self.candidates = tuple(candidate for candidate in held if candidate.sighting in run)

    def anchors(self, policy: StartPolicy) -> list[Candidate]:
        """The candidates from which to follow; none while it is not certain."""
        chosen = policy.anchors(self.run)
        return [candidate for candidate in self.candidates if candidate.sighting in chosen]

    def begin(self) -> None:
        """Look for the object (again)."""
        self.is_on, self.since, self.candidates, self.num_poor = True, None, (), 0

    def end(self, frame_index: int, anchor_frame: int) -> None:
        """The object is followed after this frame, from that one on."""
        if self.found_at is None:
            self.found_at = anchor_frame
            if self.since is not None:
                first, last = sorted((self.since, frame_index))
                # The frame itself is confirmed.
                self.unconfirmed = (first, last) if self.since == first else (first + 1, last + 1)
        self.stop()

    def stop(self) -> None:
        """Look for the object no longer."""
        self.is_on, self.since, self.candidates, self.num_poor = False, None, (), 0

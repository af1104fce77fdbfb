"""Every edit as one line in a file, before it counts: that is autosave, undo and safety from kills in one.

A line is a step of an edit, ``{"step": 7, "edit": "track", "frame": 12, "set": [...]}``, or ``{"undo": 7}``, or
``{"redo": 7}``. Lines of one step belong to one edit: tracking writes one for every frame and is taken back as a whole.
Of a long history the oldest edits become the first line, ``{"base": [...]}``, and can no longer be taken back.

A line is with the system before its edit counts, so that no kill of this process loses it; `Journal.sync` waits until
it is on the disk itself, safe from a failure of power.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surgvos.errors import InputError
from surgvos.io.files import cannot_write, replacing
from surgvos.server.label.labels import Change, Labels, changes_from_plain, changes_to_plain

NUM_KEPT_STEPS = 500


@dataclass(slots=True)
class Step:
    """One edit as a person sees it.

    Attributes:
        number: Of the step.
        edit: What was done, such as ``click``.
        frame: Where.
        changes: What it changed.
        inverse: The changes that take it back.
    """

    number: int
    edit: str
    frame: int
    changes: list[Change] = field(default_factory=list)
    inverse: list[Change] = field(default_factory=list)


class Journal:
    """Labels and their history, in one file that only grows.

    Attributes:
        labels: What holds now; changed by the journal alone.
        done: Edits that can be taken back, the last one last.
        undone: Edits that can be done again, the next one last.

    Args:
        path: The file; made where it is missing. What a kill left of a last line is dropped.
        hw: Size of the video.

    Raises:
        InputError: A line in the middle of the file is damaged.
        SurgvosError: The file cannot be written.
    """

    def __init__(self, path: Path, hw: tuple[int, int]) -> None:
        self.path = path
        self.labels = Labels()
        self.done: list[Step] = []
        self.undone: list[Step] = []
        self._hw = hw
        self._next_number = 1
        self._is_synced = True
        self._read()
        if len(self.done) > 2 * NUM_KEPT_STEPS:
            self._make_short()
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error

    def new_step(self) -> int:
        """The number of an edit about to begin."""
        self._next_number += 1
        return self._next_number - 1

    def do(self, edit: str, frame: int, changes: Iterable[Change], step: int | None = None) -> list[Change]:
        """Make changes, once they are written.

        Args:
            edit: What is done.
            frame: Where.
            changes: What changes.
            step: The edit that this goes on with; a new one by default.

        Returns:
            The changes.

        Raises:
            SurgvosError: The disk is full; nothing is changed.
        """
        made = list(changes)
        number = self.new_step() if step is None else step
        self._write({"step": number, "edit": edit, "frame": frame, "set": changes_to_plain(made)})
        self._do(number, edit, frame, made)
        return made

    def undo(self) -> Step | None:
        """Take the last edit back; None where there is none."""
        if not self.done:
            return None
        self._write({"undo": self.done[-1].number})
        return self._undo()

    def redo(self) -> Step | None:
        """Do again what was taken back last; None where there is nothing."""
        if not self.undone:
            return None
        self._write({"redo": self.undone[-1].number})
        return self._redo()

    def sync(self) -> None:
        """Wait until all that was written is on the disk itself.

        Raises:
            SurgvosError: The disk fails.
        """
        if self._is_synced:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._is_synced = True

    def close(self) -> None:
        """Close the file."""
        self.sync()
        self._file.close()

    def _do(self, number: int, edit: str, frame: int, changes: list[Change]) -> None:
        inverse = self.labels.apply(changes)
        self.undone.clear()
        if not self.done or self.done[-1].number != number:
            self.done.append(Step(number, edit, frame))
        step = self.done[-1]
        step.changes += changes
        step.inverse[:0] = inverse

    def _undo(self) -> Step:
        step = self.done.pop()
        self.labels.apply(step.inverse)
        self.undone.append(step)
        return step

    def _redo(self) -> Step:
        step = self.undone.pop()
        self.labels.apply(step.changes)
        self.done.append(step)
        return step

    def _write(self, line: dict[str, Any]) -> None:
        content = json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        start = self._file.tell()
        try:
            if self._file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            # Half a line in the middle would make the file unreadable.
            self._file.truncate(start)
            self._file.seek(start)
            raise cannot_write(self.path, error) from error
        self._is_synced = False

    def _read(self) -> None:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                self._replay(json.loads(line))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise InputError(
                    f"expected an edit in line {number} of {str(self.path)!r}, got {line[:60]!r} ({error}); "
                    "try a copy of the project from before it was damaged"
                ) from error

    def _replay(self, line: dict[str, Any]) -> None:
        if "base" in line:
            self.labels.apply(changes_from_plain(line["base"], self._hw))
        elif "undo" in line:
            self._undo()
        elif "redo" in line:
            self._redo()
        else:
            self._do(line["step"], line["edit"], line["frame"], changes_from_plain(line["set"], self._hw))
            self._next_number = max(self._next_number, line["step"] + 1)

    def _make_short(self) -> None:
        """Write the file anew: older edits as the base, the last ones as they are."""
        kept = self.done[-NUM_KEPT_STEPS:]
        base = Labels()
        base.apply(self.labels.all())
        for step in reversed(kept):
            base.apply(step.inverse)
        with replacing(self.path) as part, part.open("wb") as file:
            for line in self._lines(base, kept + self.undone[::-1], len(self.undone)):
                file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.done = kept

    @staticmethod
    def _lines(base: Labels, steps: list[Step], num_undone: int) -> Iterator[dict[str, Any]]:
        yield {"base": changes_to_plain(base.all())}
        for step in steps:
            plain = changes_to_plain(step.changes)
            yield {"step": step.number, "edit": step.edit, "frame": step.frame, "set": plain}
        yield from ({"undo": step.number} for step in steps[len(steps) - num_undone :][::-1])

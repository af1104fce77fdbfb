"""The ledger of a batch: what became of which video, line by line, so that a batch can be gone on with.

``ledger.jsonl`` is only ever appended to, one line of JSON for each thing that happened: ``{"time": ..., "video": ...,
"state": "started" | "lost" | "failed" | "finished", ...}``. The last line of a video is what is known of it. Only the
process that shares out the work writes, and it holds the file's lock for as long as it does: a second one is refused,
and a killed one leaves no lock behind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from surgvos.batch.events import Event, Failed, Finished, Lost, Started
from surgvos.batch.job import VideoTask
from surgvos.batch.segmented import Segmented
from surgvos.errors import InputError
from surgvos.io.files import cannot_write
from surgvos.io.locks import try_lock
from surgvos.tracking.run import RUN, RunSummary

LEDGER = "ledger.jsonl"


class Ledger:
    """The ledger of an output folder, open for writing. Use it as a context manager.

    Args:
        out: The folder; made where it is missing.

    Raises:
        InputError: Another process is at work in this folder.
        SurgvosError: The file cannot be written.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / LEDGER
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab+", buffering=0)
            if not try_lock(self._file):
                self._file.close()
                raise InputError(
                    f"expected a folder in which nobody else is at work, got {str(out)!r}; try waiting for the other "
                    "surgvos, or another --out"
                )
            self._drop_half_a_line()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._last = {line["video"]: line for line in read_ledger(self.path)}

    def finished_before(self, task: VideoTask, fingerprint: str) -> Segmented | None:
        """What became of a video, where just this was asked for, and done, and is still there."""
        line = self._last.get(task.name)
        if line is None or line["state"] != "finished" or line["fingerprint"] != fingerprint:
            return None
        if not _is_done(task.out / RUN):
            return None
        not_found = {int(object_id): tuple(phrases) for object_id, phrases in line["not_found"].items()}
        summary = RunSummary(line["num_frames"], line["seconds"], num_frames_now=0, not_found=not_found)
        return Segmented(summary, line["num_objects"])

    def note(self, event: Event, fingerprint: str) -> None:
        """Append what happened, where it is worth a line.

        Args:
            event: What happened.
            fingerprint: Of the video's task.

        Raises:
            SurgvosError: The disk is full.
        """
        match event:
            case Started():
                self._append("started", **asdict(event))
            case Lost():
                self._append("lost", **asdict(event))
            case Failed():
                self._append("failed", **asdict(event))
            case Finished(video, worker, Segmented(summary, num_objects)) if worker is not None:
                self._append(
                    "finished",
                    video=video,
                    worker=worker,
                    fingerprint=fingerprint,
                    num_objects=num_objects,
                    num_frames=summary.num_frames,
                    seconds=round(summary.seconds, 3),
                    not_found=summary.not_found,
                )

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _append(self, state: str, **known: Any) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "state": state, **known}
        try:
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _drop_half_a_line(self) -> None:
        """A kill may have left a last line cut short."""
        self._file.seek(0)
        self._file.truncate(self._file.read().rfind(b"\n") + 1)


def read_ledger(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines of a ledger, oldest first; the last one may be cut short while a batch goes on.

    Raises:
        InputError: The file is missing, or a line in its middle is damaged.
    """
    path = Path(path)
    try:
        *lines, _unfinished = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise InputError(f"expected a ledger, got {str(path)!r} ({error.strerror})") from error
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
            line["video"], line["state"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"expected JSON of a video and a state in line {number} of {str(path)!r}, got {text[:60]!r}; try "
                "removing the line"
            ) from error
        yield line


def _is_done(record: Path) -> bool:
    try:
        return bool(json.loads(record.read_text(encoding="utf-8"))["status"] == "done")
    except (OSError, ValueError, KeyError, TypeError):
        return False

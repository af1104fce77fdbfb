"""The log of a run, one line of JSON per frame, and JSON files that are whole or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from surgvos.core import FrameResult, ObjectResult, Phase, mask_to_box_xyxy
from surgvos.errors import InputError
from surgvos.io.files import cannot_write, replacing


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One object in one line of the log.

    Attributes:
        result: What the engine said.
        area_px: Pixels of the mask.
        box_xyxy: Tight box of the mask, last row and column excluded; None when it is empty.
    """

    result: ObjectResult
    area_px: int
    box_xyxy: tuple[int, int, int, int] | None


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One line of the log.

    Attributes:
        index: Index of the frame in its source.
        name: Stem under which its results are written.
        time_s: Presentation time in seconds, or None.
        objects: Object id -> what is known of it.
        out_of_body: The frame was left out, as it does not show the inside of a body.
    """

    index: int
    name: str
    time_s: float | None
    objects: dict[int, ObjectRecord]
    out_of_body: bool = False


class FrameLog:
    """Append frame results to ``frames.jsonl``; every line reaches the file system before the next frame.

    Use it as a context manager.

    Args:
        path: The file.
        resume: Keep the complete lines that are there and drop what a kill left of a last one. Without it the
            log begins anew.

    Raises:
        SurgvosError: The file cannot be written.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if resume and self.path.exists():
                content = self.path.read_bytes()
                with self.path.open("r+b") as existing:
                    existing.truncate(content.rfind(b"\n") + 1)
            self._file = self.path.open("a" if resume else "w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def write(self, result: FrameResult, time_s: float | None = None) -> None:
        """Append one frame.

        Raises:
            SurgvosError: The disk is full.
        """
        try:
            self._file.write(frame_line(result, time_s) + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> FrameLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_frame_log(path: str | Path) -> Iterator[FrameRecord]:
    """Yield the complete lines of a log in the order in which they were written.

    The last line may be cut short, as a killed run leaves it; the last frame yielded is the last complete one.

    Raises:
        InputError: The file is missing, or a line in its middle is damaged.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"expected a frame log, got {str(path)!r} ({error.strerror}); try its folder") from error
    *lines, _unfinished = content.split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield _from_json(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"expected one frame as JSON in line {number} of {str(path)!r}, got {line[:60]!r}; "
                "try removing the line"
            ) from error


def write_json_atomic(path: str | Path, content: Any) -> None:
    """Write indented JSON, whole or not at all.

    Raises:
        SurgvosError: The disk is full or the folder not writable.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with replacing(Path(path)) as part:
        part.write_text(text, encoding="utf-8")


def frame_line(result: FrameResult, time_s: float | None = None) -> str:
    """One frame as a line of the log, without its end."""
    return json.dumps(_to_json(result, time_s), separators=(",", ":"), allow_nan=False)


def _to_json(result: FrameResult, time_s: float | None) -> dict[str, Any]:
    objects = {}
    for object_id, known in result.objects.items():
        mask = result.masks[object_id]
        objects[str(object_id)] = {
            "phase": known.phase.value,
            "presence": round(float(known.presence), 5),
            "predicted_iou": round(float(known.predicted_iou), 5),
            "prompted": bool(known.prompted),
            "attended_frames": [int(index) for index in known.attended_frames],
            "area_px": int(mask.sum()),
            "box_xyxy": mask_to_box_xyxy(mask),
        }
    marks = {"out_of_body": True} if result.out_of_body else {}
    return {"index": result.frame_index, "name": result.frame_name, "time_s": time_s, **marks, "objects": objects}


def _from_json(line: dict[str, Any]) -> FrameRecord:
    objects = {}
    for object_id, known in line["objects"].items():
        box = known["box_xyxy"]
        objects[int(object_id)] = ObjectRecord(
            result=ObjectResult(
                phase=Phase(known["phase"]),
                presence=known["presence"],
                predicted_iou=known["predicted_iou"],
                prompted=known["prompted"],
                attended_frames=tuple(known["attended_frames"]),
            ),
            area_px=known["area_px"],
            box_xyxy=None if box is None else (box[0], box[1], box[2], box[3]),
        )
    return FrameRecord(line["index"], line["name"], line["time_s"], objects, line.get("out_of_body", False))

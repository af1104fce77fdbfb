"""Prompts in files: a JSON list of any kind of prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from surgvos.core.masks import RunLength, decode_run_length, encode_run_length
from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, TextPrompt
from surgvos.data.prompt_protocols import PlacedPrompt
from surgvos.errors import InputError
from surgvos.io.files import replacing
from surgvos.io.masks import read_binary_mask


def read_prompt_file(path: str | Path, video: str | None = None) -> list[PlacedPrompt]:
    """Read a JSON list of prompts.

    Each is ``{"frame": 0, "object": 1, ...}`` with one or more of ``"points": [[x, y], ...]`` (and ``"labels":
    [1, 0, ...]``), ``"box": [x0, y0, x1, y1]``, ``"text"``: a phrase, and ``"mask"``: a file beside the JSON, or
    uncompressed COCO run lengths. ``"video"`` may say which video it belongs to.

    Args:
        path: The file.
        video: Name of the video that is about to be prompted; None does not compare.

    Raises:
        InputError: The file is missing, not of this form, or of another video.
    """
    path = Path(path)
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected a JSON list of prompts, got {str(path)!r} ({error})") from error
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise InputError(f"expected a JSON list of prompts in {str(path)!r}, got something else")
    others = {str(item["video"]) for item in listed if "video" in item} - {video}
    if video is not None and others:
        raise InputError(f"expected prompts of video {video!r} in {str(path)!r}, got those of {min(others)!r}")
    return [placed for item in listed for placed in _read_item(item, path)]


def write_prompt_file(path: Path, placed: Sequence[PlacedPrompt], video: str) -> None:
    """Write prompts so that `read_prompt_file` gives exactly these, whole or not at all.

    Raises:
        SurgvosError: The disk is full or the folder not writable.
    """
    lines = (json.dumps({"video": video, **describe_prompt(*prompt)}) for prompt in placed)
    text = "[\n" + ",\n".join(lines) + "\n]\n"
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def describe_prompt(frame_index: int, object_id: int, prompt: Prompt) -> dict[str, Any]:
    """A prompt as `read_prompt_file` takes it."""
    described: dict[str, Any] = {"frame": frame_index, "object": object_id}
    if isinstance(prompt, MaskPrompt):
        described["mask"] = encode_run_length(prompt.mask)
    if isinstance(prompt, BoxPrompt):
        described["box"] = prompt.box_xyxy.tolist()
    if isinstance(prompt, PointPrompt):
        described |= {"points": prompt.points_xy.tolist(), "labels": prompt.labels.tolist()}
    if isinstance(prompt, TextPrompt):
        described["text"] = prompt.phrase
    return described


def _read_item(item: dict[str, Any], path: Path) -> Iterator[PlacedPrompt]:
    try:
        frame, object_id = int(item["frame"]), int(item["object"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'expected "frame" and "object" numbers in {str(path)!r}, got {json.dumps(item)[:80]}'
        ) from error
    if not item.keys() & {"points", "box", "mask", "text"}:
        raise InputError(f'expected "points", "box", "mask" or "text" in {str(path)!r}, got {json.dumps(item)[:80]}')
    if "mask" in item:
        yield frame, object_id, MaskPrompt(_read_mask(item["mask"], path))
    if "box" in item:
        yield frame, object_id, BoxPrompt(item["box"])
    if "points" in item:
        yield frame, object_id, PointPrompt(item["points"], item.get("labels", 1))
    if "text" in item:
        yield frame, object_id, TextPrompt(str(item["text"]))


def _read_mask(value: str | RunLength, path: Path) -> Any:
    if isinstance(value, str):
        return read_binary_mask(path.parent / value)
    try:
        return decode_run_length(value)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f'expected a file or run lengths as "mask" in {str(path)!r}, got something else') from error

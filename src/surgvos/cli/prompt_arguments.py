"""Prompts as they are written on a command line, or in a JSON file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from surgvos.core.masks import RunLength, decode_run_length, encode_run_length, label_map_to_masks
from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, TextPrompt
from surgvos.data.prompt_protocols import PlacedPrompt
from surgvos.errors import InputError
from surgvos.io.files import replacing
from surgvos.io.masks import read_binary_mask, read_label_map

_MASK = re.compile(r"(?:(\d+)@)?(\d+):(.+)")
_PLACED = re.compile(r"(\d+)@(\d+):(.+)")
_TEXT = re.compile(r"(?:(\d+)(?:@(\d+))?=)?(.+)", re.DOTALL)


def parse_mask(text: str) -> list[PlacedPrompt]:
    """``[OBJ@]FRAME:FILE.png``: with an object id, every pixel above 0 is it; without, every id is an object."""
    match = _MASK.fullmatch(text)
    if match is None:
        raise InputError(f"expected --mask as [OBJ@]FRAME:FILE.png, got {text!r}; try --mask 1@0:first.png")
    object_id, frame, path = match.groups()
    if object_id is not None:
        return [(int(frame), int(object_id), MaskPrompt(read_binary_mask(path)))]
    masks = label_map_to_masks(read_label_map(path))
    if not masks:
        raise InputError(f"expected a mask with at least one object, got {path!r} with none")
    return [(int(frame), found, MaskPrompt(mask)) for found, mask in masks.items()]


def parse_point(text: str) -> PlacedPrompt:
    """``OBJ@FRAME:x,y[,+|-]``: a click on the object, or with ``-`` beside it."""
    object_id, frame, rest = _placed("--point", "OBJ@FRAME:x,y[,+|-]", "--point 1@0:320,240", text)
    *numbers, sign = rest.split(",") if rest.endswith((",+", ",-")) else (*rest.split(","), "+")
    x, y = _numbers("--point", text, numbers, 2)
    return frame, object_id, PointPrompt((x, y), 1 if sign == "+" else 0)


def parse_box(text: str) -> PlacedPrompt:
    """``OBJ@FRAME:x0,y0,x1,y1``."""
    object_id, frame, rest = _placed("--box", "OBJ@FRAME:x0,y0,x1,y1", "--box 1@0:10,20,200,180", text)
    return frame, object_id, BoxPrompt(_numbers("--box", text, rest.split(","), 4))


def parse_texts(texts: Sequence[str], shown: Sequence[PlacedPrompt], first_frame: int) -> list[PlacedPrompt]:
    """``[OBJ[@FRAME]=]PHRASE``: without an object id, each phrase says an object that has no other prompt.

    Args:
        texts: As they were written.
        shown: The other prompts.
        first_frame: Where phrases without a frame are looked for first.
    """
    matches = [_TEXT.fullmatch(text) for text in texts]
    parts = [match.groups() if match is not None else (None, None, "") for match in matches]
    taken = {object_id for _, object_id, _ in shown} | {int(object_id) for object_id, _, _ in parts if object_id}
    free = (object_id for object_id in range(1, 65536) if object_id not in taken)
    return [
        (int(frame or first_frame), int(object_id) if object_id else next(free), TextPrompt(phrase))
        for object_id, frame, phrase in parts
    ]


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


def _placed(option: str, form: str, example: str, text: str) -> tuple[int, int, str]:
    match = _PLACED.fullmatch(text)
    if match is None:
        raise InputError(f"expected {option} as {form}, got {text!r}; try {example}")
    object_id, frame, rest = match.groups()
    return int(object_id), int(frame), rest


def _numbers(option: str, text: str, parts: list[str], count: int) -> list[float]:
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise InputError(f"expected {count} numbers in {option}, got {text!r}")
    return numbers

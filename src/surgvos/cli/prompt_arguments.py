"""Prompts as they are written on a command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from surgvos.core.masks import label_map_to_masks
from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, TextPrompt
from surgvos.data.prompt_protocols import PlacedPrompt
from surgvos.errors import InputError
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

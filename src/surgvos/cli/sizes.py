"""Read sizes from the words of a command line."""

from __future__ import annotations

from surgvos.errors import InputError


def parse_size(text: str) -> tuple[int, int]:
    """Read ``1280x720``, width and height in pixels, as (height, width).

    Raises:
        InputError: It is no size.
    """
    width, separator, height = text.partition("x")
    if not (separator and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"expected a size such as 1280x720, got {text!r}")
    return int(height), int(width)

"""Clicks, boxes and texts as pages send them. A wild number or an unreadable text is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from surgvos.core.prompts import BoxPrompt, PointPrompt
from surgvos.errors import ConfigError

MAX_TEXT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """A click on an object, or beside it, in the picture that was seen; in pixels of the video."""

    frame: int
    object: int
    x: float
    y: float
    is_on: bool = True

    def __post_init__(self) -> None:
        check_numbers((self.x, self.y))

    @property
    def prompt(self) -> PointPrompt:
        """What it tells a model."""
        return PointPrompt((self.x, self.y), int(self.is_on))


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box around an object in the picture that was seen: ``x0, y0, x1, y1``."""

    frame: int
    object: int
    box_xyxy: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        check_numbers(self.box_xyxy)

    @property
    def prompt(self) -> BoxPrompt:
        """What it tells a model."""
        return BoxPrompt(self.box_xyxy)


def check_numbers(values: Iterable[float]) -> None:
    """Check coordinates.

    Raises:
        ConfigError: One is no number, or beyond any picture.
    """
    if not all(math.isfinite(value) and abs(value) < 1e6 for value in values):
        raise ConfigError("expected coordinates in pixels, got a number that is none")


def check_text(text: str) -> None:
    """Check a name or a phrase.

    Raises:
        ConfigError: It is empty, too long, or holds what cannot be printed.
    """
    if not text.strip() or len(text) > MAX_TEXT or not text.isprintable():
        raise ConfigError(f"expected a text of 1 to {MAX_TEXT} printable letters, got {text[:20]!r}")

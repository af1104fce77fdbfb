"""What a page may ask for. Messages are read strictly: an unknown name, a wrong type or a wild number is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from surgvos.config.load import from_plain
from surgvos.errors import ConfigError
from surgvos.server.pointing import Box, Click, check_numbers, check_text

MAX_STROKE_POINTS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """A stroke of the brush, or of the eraser, through some points."""

    frame: int
    object: int
    points_xy: tuple[tuple[float, float], ...]
    radius_px: float
    erases: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.points_xy) <= MAX_STROKE_POINTS:
            raise ConfigError(f"expected 1 to {MAX_STROKE_POINTS} points in a stroke, got {len(self.points_xy)}")
        check_numbers(value for point in self.points_xy for value in point)
        if not 0.5 <= self.radius_px <= 500:
            raise ConfigError(f"expected a radius of 0.5 to 500 pixels, got {self.radius_px}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """What an object is called; it is looked for in one frame."""

    frame: int
    object: int
    text: str

    def __post_init__(self) -> None:
        check_text(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggest:
    """Ask the overseer what is in a frame."""

    frame: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """An object is not visible in a frame."""

    frame: int
    object: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Follow objects from a frame to the next locked one; without objects, all that the frame shows."""

    frame: int
    objects: tuple[int, ...] = ()
    direction: Literal["forward", "backward"] = "forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop tracking; what was tracked stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A frame is final, or no longer."""

    frame: int
    is_locked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NameObject:
    """Name an object: a new one without an id. With a label of the label space, it has that name and colour."""

    object: int | None = None
    name: str = ""
    label: str | None = None
    color: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.name:
            check_text(self.name)
        if self.color is not None and not all(0 <= value <= 255 for value in self.color):
            raise ConfigError(f"expected a colour of three numbers in 0..255, got {list(self.color)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveObject:
    """Take an object out of the project, with all its masks but those of locked frames."""

    object: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """Take the last edit back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redo:
    """Do again what was taken back last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Say where the person is."""

    frame: int
    object: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindDoubt:
    """Ask for the next frame that should be looked at."""

    frame: int
    direction: Literal["forward", "backward"] = "forward"


Edit: TypeAlias = (
    Click | Box | Stroke | Phrase | Suggest | Absent | Track | Lock | NameObject | RemoveObject | Undo | Redo
)
Command: TypeAlias = Edit | Stop | Look | FindDoubt


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message of a page.

    Attributes:
        id: By which the answer is recognised.
        do: What is asked for.
    """

    id: int
    do: Command


def read_request(message: dict[str, Any]) -> Request:
    """Read a message, such as ``{"id": 3, "do": {"kind": "click", "frame": 0, "object": 1, "x": 8, "y": 9}}``.

    Raises:
        ConfigError: It is something else.
    """
    return from_plain(Request, message)

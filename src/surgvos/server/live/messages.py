"""What the page may say while it watches. Messages are read strictly: what is not expected is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from surgvos.config.load import from_plain
from surgvos.core.prompts import TextPrompt
from surgvos.server.pointing import Box, Click, check_text
from surgvos.server.security import read_message

MAX_MESSAGE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """What an object is called; it is looked for from now on."""

    object: int
    text: str

    def __post_init__(self) -> None:
        check_text(self.text)

    @property
    def prompt(self) -> TextPrompt:
        """What it tells a model."""
        return TextPrompt(self.text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Forget an object."""

    object: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A picture has reached the eye: the page is ready for another one."""

    frame: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The mouse is down on a picture: it is to be kept until a prompt for it comes."""

    frame: int


Wish: TypeAlias = Click | Box | Phrase | Remove
Said: TypeAlias = Wish | Seen | Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    said: Said


def read_said(content: str | bytes) -> Said:
    """Read a message of the page: ``{"kind": "click", "frame": 17, "object": 1, "x": 320, "y": 240}``.

    Raises:
        InputError: It is no message, or too long.
        ConfigError: It says something else than what may be said.
    """
    return from_plain(_Message, {"said": read_message(content, MAX_MESSAGE_BYTES)}).said

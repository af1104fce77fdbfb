"""What the README and the pages tell a reader to type."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SUBSTITUTION = r"\$\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Command:
    """A command line of a page.

    Attributes:
        page: Where it stands.
        environment: What is set before it.
        launcher: What starts it, such as ``torchrun``; empty where nothing else does.
        words: What follows ``surgvos``.
    """

    page: str
    environment: tuple[str, ...]
    launcher: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def is_server(self) -> bool:
        """Whether it serves until it is stopped."""
        return re.search(r"^label (?!.*--export)|^live (?!--soak)", self.text) is not None

    @property
    def is_of_processes(self) -> bool:
        """Whether it is the work of several processes."""
        return bool(self.launcher) or re.search(r"^segment .*--(workers|ray) ", self.text) is not None

    @property
    def text(self) -> str:
        """As it is typed, without what is set before it."""
        return " ".join((*self.launcher, *self.words))

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, block) of one language."""
    return [
        (str(page.relative_to(ROOT)), block)
        for page in PAGES
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    ]


def lines() -> list[tuple[str, str]]:
    """(page, line) of everything that is typed into a shell, without remarks."""
    return [
        (page, text)
        for page, block in blocks("bash")
        for line in block.replace("\\\n", " ").splitlines()
        if (text := re.sub(r"(^|\s)#.*", "", line).strip())
    ]


def commands() -> list[Command]:
    """Every ``surgvos ...``, and those inside another, before it."""
    found = []
    for page, line in lines():
        inner = [text for text in re.findall(_SUBSTITUTION, line) if text.startswith("surgvos ")]
        for text in (*inner, re.sub(_SUBSTITUTION, "value", line).replace(" $resume", "")):
            spoken = re.search(r"^(.*?)(?:^| )surgvos (.*)$", text)
            if spoken:
                before = shlex.split(spoken[1].rpartition("&&")[2])
                environment = tuple(word for word in before if re.match(r"[A-Z_]+=", word))
                launcher = tuple(word for word in before if word not in environment)
                found.append(Command(page, environment, launcher, tuple(shlex.split(spoken[2]))))
    return found


COMMANDS = commands()

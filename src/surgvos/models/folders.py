"""Where weights lie on this machine, and what they are by their content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

MODELS_VARIABLE = "SURGVOS_MODELS"
"""Environment variable that names the folder of fetched weights."""

MIRROR_VARIABLE = "SURGVOS_MIRROR"
"""Environment variable that names a folder of weights to look in before any network is asked."""

CHECKSUMS = "SHA256SUMS"
"""File beside weights that were taken in: what they were then."""


def models_folder() -> Path:
    """Where fetched weights are kept: what `SURGVOS_MODELS` names, or a folder of the user's cache."""
    if chosen := os.environ.get(MODELS_VARIABLE):
        return Path(chosen)
    return cache_folder() / "models"


def cache_folder() -> Path:
    """Where this package keeps what it can fetch or make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surgvos"


def find_mirrored(name: str, file_name: str = "") -> Path | None:
    """Find a model's file, or the model's folder, in the mirror; None where it is not, or where there is no mirror."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return None
    places = (Path(mirror) / name / file_name, *((Path(mirror) / file_name,) if file_name else ()))
    return next((place for place in places if (place.is_file() if file_name else place.is_dir())), None)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def noted_sha256(path: Path) -> str | None:
    """What `CHECKSUMS` beside a file says of it, or None."""
    sums = path.with_name(CHECKSUMS)
    if not sums.is_file():
        return None
    rows = (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines() if line.strip())
    return next((row[0] for row in rows if row[-1].lstrip("*") == path.name), None)

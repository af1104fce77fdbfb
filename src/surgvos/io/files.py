"""Write files so that a reader, or a resumed run, never meets half of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from surgvos.errors import InputError, SurgvosError
from surgvos.io.locks import try_lock

PART_SUFFIX = ".part"

_LOCK, _LOCKED = "lock", b"locked"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it takes the place of ``path`` when the block succeeds.

    When the block fails, what it wrote is removed and ``path`` stays as it was. Missing folders are made.

    Raises:
        SurgvosError: The file system refuses, for example because the disk is full.
    """
    part = path.with_name(f"{path.stem}{PART_SUFFIX}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove_if_there(part)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside ``path`` to write to; it becomes ``path`` when the block succeeds.

    When the block fails, what it wrote is removed. What a killed process has left of an earlier block is removed too.

    Raises:
        InputError: ``path`` is there already and holds something: nothing is overwritten.
        SurgvosError: The file system refuses, for example because the disk is full.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"expected a new or empty folder, got {str(path)!r}, which holds something; try another --out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{path.name}-"
        for folder in path.parent.glob(f".*{PART_SUFFIX}"):
            if folder.name.startswith(prefix) and (folder / path.name).is_dir() and _is_left_behind(folder):
                shutil.rmtree(folder, ignore_errors=True)
        with TemporaryDirectory(prefix=prefix, suffix=PART_SUFFIX, dir=path.parent) as made, _locked(Path(made)):
            part = Path(made) / path.name
            part.mkdir()
            yield part
            os.replace(part, path)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> SurgvosError:
    """The error for a file that cannot be written."""
    reason = error.strerror or str(error)
    return SurgvosError(f"expected to write {str(path)!r}, got: {reason}; try freeing space or another folder")


def is_part(path: Path) -> bool:
    """Whether a file is what an interrupted writer left behind."""
    return path.stem.endswith(PART_SUFFIX)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder while somebody writes in it, and leave word in it of having had the lock."""
    with (folder / _LOCK).open("wb", buffering=0) as file:
        with suppress(OSError):  # a file system without locks: nobody will take this folder for left behind
            if try_lock(file):
                file.write(_LOCKED)
        yield


def _is_left_behind(folder: Path) -> bool:
    """Whether somebody had the lock of a folder and nobody has it any more."""
    try:
        with (folder / _LOCK).open("rb+") as file:
            return try_lock(file) and file.read() == _LOCKED
    except OSError:
        return False


def _remove_if_there(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return

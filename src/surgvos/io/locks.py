"""Locks of files, which keep other processes out and end with the process that holds them, however it ends."""

from __future__ import annotations

from typing import IO, Any

_FAR_BEHIND = 2**30
"""Where Windows locks a byte: behind all that is ever written, as nobody else can read a locked one."""


def try_lock(file: IO[Any]) -> bool:
    """Take the lock of an open file, until it is closed.

    Args:
        file: Open for writing.

    Returns:
        Whether nobody else had it.
    """
    try:
        import fcntl
    except ImportError:
        return _try_lock_on_windows(file)
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_lock_on_windows(file: IO[Any]) -> bool:
    import msvcrt
    import os

    descriptor = file.fileno()
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _FAR_BEHIND, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except OSError:
        return False
    finally:
        os.lseek(descriptor, place, os.SEEK_SET)
    return True

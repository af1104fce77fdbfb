"""A place for one thing, where the newest wins."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hands the newest thing from one thread to another; neither waits for the other to be done.

    Example:
        >>> box = Mailbox()
        >>> box.put("old"), box.put("new"), box.take()
        (True, False, 'new')
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._thing: T | None = None

    def put(self, thing: T) -> bool:
        """Leave something; False where it took the place of something that was never taken."""
        with self._changed:
            was_empty = self._thing is None
            self._thing = thing
            self._changed.notify()
            return was_empty

    def take(self, timeout_s: float | None = 0.0) -> T | None:
        """Take what is there, waiting so long for it; None where nothing came."""
        with self._changed:
            self._changed.wait_for(lambda: self._thing is not None, timeout_s)
            thing, self._thing = self._thing, None
            return thing

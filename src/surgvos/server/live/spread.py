"""Carry the newest pictures and answers from the threads of a run to any number of viewers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import cv2

from surgvos.live.moments import Picture

JPEG_QUALITY = 80

T = TypeVar("T")


class Spread(Generic[T]):
    """Gives each viewer the newest thing when the viewer is ready for it; a slow one costs nobody anything.

    Lives in the event loop; `offer` may be called in any thread.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._newest: T | None = None

    def offer(self, thing: T) -> None:
        """Take in what is newer; must not wait."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take_in, thing)

    async def newer(self, than: T | None) -> T:
        """Wait for what is not the thing that was seen before."""
        while self._newest is None or self._newest is than:
            await self._changed.wait()
        return self._newest

    def _take_in(self, thing: T) -> None:
        self._newest = thing
        self._changed.set()
        self._changed = asyncio.Event()


class JpegEncoder:
    """Encodes each picture once, in a thread, for as many viewers as want it."""

    def __init__(self, encode: Callable[[Picture], bytes] | None = None) -> None:
        self._encode = encode or encode_jpeg
        self._picture: Picture | None = None
        self._encoding: asyncio.Task[bytes] | None = None

    async def jpeg(self, picture: Picture) -> bytes:
        """The picture as JPEG."""
        if self._encoding is None or self._picture is not picture:
            self._picture = picture
            self._encoding = asyncio.create_task(asyncio.to_thread(self._encode, picture))
        # A viewer that leaves must not take the picture from the others.
        return await asyncio.shield(self._encoding)


def encode_jpeg(picture: Picture) -> bytes:
    """A picture as JPEG."""
    _, encoded = cv2.imencode(".jpg", picture.image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return encoded.tobytes()

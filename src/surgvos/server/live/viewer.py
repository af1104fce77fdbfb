"""One page that watches: pictures to it, wishes from it."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from surgvos.core.labels import object_palette
from surgvos.errors import SurgvosError
from surgvos.live.engine import LiveEngine
from surgvos.live.moments import Picture
from surgvos.server.live.messages import Hold, Remove, Seen, Wish, read_said
from surgvos.server.live.spread import JpegEncoder, Spread

MAX_UNDER_WAY = 2
_MAX_REPLIES = 64


class Viewer:
    """Sends the newest picture whenever the page is ready for one, and answers its wishes.

    A picture is one binary message: the length of its description (4 bytes, big-endian), the description in JSON, the
    JPEG. At most two are under way: without that, a slow browser would have a queue of pictures in front of it, and
    show what is long past as if it were now. A reply is a text message in JSON.

    Args:
        page: An accepted socket.
        engine: What is watched.
        pictures: Its newest picture.
        encoder: Shared by all viewers.
    """

    def __init__(self, page: WebSocket, engine: LiveEngine, pictures: Spread[Picture], encoder: JpegEncoder) -> None:
        self._page, self._engine, self._pictures, self._encoder = page, engine, pictures, encoder
        self._loop = asyncio.get_running_loop()
        self._replies: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MAX_REPLIES)
        self._may_send = asyncio.BoundedSemaphore(MAX_UNDER_WAY)

    async def run(self) -> None:
        """Serve the page until it leaves."""
        sending = [asyncio.create_task(send()) for send in (self._send_pictures, self._send_replies)]
        try:
            while (message := await self._page.receive())["type"] != "websocket.disconnect":
                self._take_in(message.get("text") or message.get("bytes") or "")
        except (WebSocketDisconnect, RuntimeError):
            pass  # it left while we were about to listen
        finally:
            for task in sending:
                task.cancel()

    async def _send_pictures(self) -> None:
        seen: Picture | None = None
        with suppress(WebSocketDisconnect, RuntimeError):
            while await self._may_send.acquire():
                seen = await self._pictures.newer(seen)
                content = await self._encoder.jpeg(seen)
                description = json.dumps(describe(seen)).encode()
                await self._page.send_bytes(len(description).to_bytes(4, "big") + description + content)

    async def _send_replies(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                await self._page.send_json(await self._replies.get())

    def _take_in(self, content: str | bytes) -> None:
        try:
            said = read_said(content)
            if isinstance(said, Seen):
                with suppress(ValueError):  # it was told more than once
                    self._may_send.release()
                return
            if isinstance(said, Hold):
                self._engine.hold(said.frame)
                return
            asked = self._ask(said)
        except SurgvosError as error:
            self._reply({"kind": "refused", "reason": str(error)})
            return
        asked.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._reply, _outcome(said, done)))

    def _ask(self, wish: Wish) -> Future[int]:
        if isinstance(wish, Remove):
            return self._engine.remove(wish.object)
        return self._engine.prompt(wish.object, wish.prompt, getattr(wish, "frame", None))

    def _reply(self, reply: dict[str, Any]) -> None:
        with suppress(asyncio.QueueFull):  # who asks faster than it listens misses replies
            self._replies.put_nowait(reply)


def _outcome(wish: Wish, done: Future[int]) -> dict[str, Any]:
    refusal = done.exception()
    if refusal is not None:
        return {"kind": "refused", "object": wish.object, "reason": str(refusal)}
    return {"kind": "applied", "object": wish.object, "frame": done.result()}


def describe(picture: Picture) -> dict[str, Any]:
    """A picture in words: its frame, how old its masks are, and what is known of each object."""
    answer, age_s = picture.answer, picture.mask_age_s
    return {
        "frame": picture.arrived.frame.index,
        "time_s": picture.arrived.frame.time_s,
        "stamp": picture.stamp,
        "mask_frame": None if answer is None else answer.result.frame_index,
        "mask_age_ms": None if age_s is None else round(1000 * age_s, 1),
        "objects": []
        if answer is None
        else [
            {
                "id": object_id,
                "name": answer.names.get(object_id),
                "color": _color(object_id),
                "phase": known.phase.value,
                "presence": round(known.presence, 3),
            }
            for object_id, known in answer.result.objects.items()
        ],
    }


def _color(object_id: int) -> list[int]:
    palette = object_palette()
    return palette[object_id if object_id < len(palette) else 1 + (object_id - 1) % (len(palette) - 1)].tolist()

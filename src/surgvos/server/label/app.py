"""The page of `surgvos label`, its pictures, and the socket over which it asks and is told.

Imported where the server's packages are known to be installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TypeAlias

from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect

from surgvos.errors import ConfigError, InputError, SurgvosError
from surgvos.server.label.commands import read_request
from surgvos.server.label.engine import Engine, Tell, Told
from surgvos.server.label.pictures import Pictures
from surgvos.server.security import read_message
from surgvos.server.static_files import static_file

MAX_PAGES = 32
MAX_UNSENT = 1000

_Queue: TypeAlias = "asyncio.Queue[Told | None]"


class Pages:
    """All pages that are open: what one changes, all are told."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queues: set[_Queue] = set()

    def begin(self) -> None:
        """Take note of the loop that pages are told in."""
        self._loop = asyncio.get_running_loop()

    def open(self) -> _Queue | None:
        """What a new page is told, in order, until None; None where there are too many pages."""
        if len(self._queues) >= MAX_PAGES:
            return None
        queue: _Queue = asyncio.Queue()
        self._queues.add(queue)
        return queue

    def close(self, queue: _Queue) -> None:
        """Tell a page no more."""
        self._queues.discard(queue)

    def publish(self, told: Told) -> None:
        """Tell all pages; from any thread."""
        self._in_loop(self._put_all, told)

    def tell(self, queue: _Queue, told: Told) -> None:
        """Tell one page; from any thread."""
        self._in_loop(self._put, queue, told)

    def _in_loop(self, call: Callable[..., None], *arguments: object) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _put_all(self, told: Told) -> None:
        for queue in self._queues:
            self._put(queue, told)

    def _put(self, queue: _Queue, told: Told) -> None:
        # A page that does not listen is closed; it asks for everything when it comes back.
        queue.put_nowait(told if queue.qsize() < MAX_UNSENT else None)


class LabelServer:
    """What is answered at which address.

    Args:
        make_engine: Makes the engine from what publishes to all pages.
        pictures: Of the video.
    """

    def __init__(self, make_engine: Callable[[Tell], Engine], pictures: Pictures) -> None:
        self._pages = Pages()
        self._engine = make_engine(self._pages.publish)
        self._pictures = pictures
        self._num_frames = len(self._engine.project.video)

    def app(self) -> FastAPI:
        """The application."""
        app = FastAPI(lifespan=self._life, docs_url=None, redoc_url=None, openapi_url=None)
        app.add_api_route("/", self.page)
        app.add_api_route("/static/{name:path}", self.static_file)
        app.add_api_route("/frames/{index}.jpg", self.frame)
        app.add_api_route("/thumbnails/{index}.jpg", self.thumbnail)
        app.add_api_route("/masks/{index}.json", self.masks, response_model=None)
        app.add_api_route("/before/{index}.json", self.before, response_model=None)
        app.add_api_websocket_route("/socket", self.socket)
        return app

    async def page(self) -> Response:
        """The page."""
        return static_file("label", "index.html")

    async def static_file(self, name: str) -> Response:
        """What the page is made of."""
        return static_file("label", name)

    async def frame(self, index: int) -> Response:
        """A frame, at the size of the video."""
        return await self._jpeg(index, self._pictures.picture)

    async def thumbnail(self, index: int) -> Response:
        """A frame, small."""
        return await self._jpeg(index, self._pictures.thumbnail)

    async def masks(self, index: int) -> Response | Told:
        """The masks of a frame."""
        return self._engine.masks_of(index) if self._is_frame(index) else _nothing()

    async def before(self, index: int) -> Response | Told:
        """The masks of a frame before it was last changed."""
        return self._engine.before(index) if self._is_frame(index) else _nothing()

    async def socket(self, page: WebSocket) -> None:
        """Everything once, then what changes; and what the page asks for."""
        queue = self._pages.open()
        if queue is None:
            await page.close(1013, "too many pages are open")
            return
        await page.accept()
        sending = asyncio.create_task(self._send(page, queue))
        try:
            while True:
                message = await page.receive()
                if message["type"] == "websocket.disconnect":
                    break
                self._ask(message.get("text") or message.get("bytes") or "", queue)
        except (WebSocketDisconnect, RuntimeError):
            pass  # it left while we were about to listen
        finally:
            self._pages.close(queue)
            sending.cancel()

    async def _send(self, page: WebSocket, queue: _Queue) -> None:
        try:
            # What changes from here on waits in the queue already; to hear of a change twice is no harm.
            await page.send_json(self._engine.overview())
            while (told := await queue.get()) is not None:
                await page.send_json(told)
            await page.close(1013, "the page did not listen")
        except (WebSocketDisconnect, RuntimeError):
            pass

    def _ask(self, content: str | bytes, queue: _Queue) -> None:
        """Pass a request on; what cannot be read is refused at once."""
        try:
            request = read_request(read_message(content))
        except (InputError, ConfigError) as error:
            self._pages.tell(queue, {"kind": "refused", "id": None, "reason": str(error)})
            return

        def reply(told: Told) -> None:
            self._pictures.resume()
            self._pages.tell(queue, told)

        # Whoever asks waits for the model; pictures that nobody asked for can wait.
        self._pictures.pause()
        self._engine.ask(request, reply)

    async def _jpeg(self, index: int, make: Callable[[int], Future[bytes]]) -> Response:
        if not self._is_frame(index):
            return _nothing()
        try:
            content = await asyncio.wrap_future(make(index))
        except SurgvosError as error:
            return Response(str(error), 500)
        return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def _is_frame(self, index: int) -> bool:
        return 0 <= index < self._num_frames

    @asynccontextmanager
    async def _life(self, _: FastAPI) -> AsyncIterator[None]:
        self._pages.begin()
        self._engine.start()
        yield
        await asyncio.to_thread(self._engine.close)
        await asyncio.to_thread(self._pictures.close)


def _nothing() -> Response:
    return Response("no such thing", 404)

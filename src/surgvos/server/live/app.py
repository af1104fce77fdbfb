"""The page of `surgvos live`, its sockets, and what monitors ask for.

Imported where the server's packages are known to be installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

from surgvos.io.results import frame_line
from surgvos.live.engine import LiveEngine
from surgvos.live.moments import Answer, Picture
from surgvos.live.status import status_of
from surgvos.server.live.metrics import metrics_text
from surgvos.server.live.spread import JpegEncoder, Spread
from surgvos.server.live.viewer import Viewer
from surgvos.server.static_files import static_file

MAX_VIEWERS = 16


class LiveServer:
    """What is answered at which address.

    Args:
        engine: What is watched; runs already.
    """

    def __init__(self, engine: LiveEngine) -> None:
        self._engine = engine
        self._num_viewers = 0

    def app(self) -> FastAPI:
        """The application."""
        app = FastAPI(lifespan=self._life, docs_url=None, redoc_url=None, openapi_url=None)
        app.add_api_route("/", self.page)
        app.add_api_route("/static/{name:path}", self.static_file)
        app.add_api_route("/healthz", self.health)
        app.add_api_route("/status", self.status)
        app.add_api_route("/metrics", self.metrics)
        app.add_api_websocket_route("/pictures", self.pictures)
        app.add_api_websocket_route("/objects", self.objects)
        return app

    async def page(self) -> Response:
        """The page."""
        return static_file("live", "index.html")

    async def static_file(self, name: str) -> Response:
        """What the page is made of."""
        return static_file("live", name)

    async def health(self) -> Response:
        """200 while pictures come and are segmented, else 503."""
        status = status_of(self._engine)
        said = {"ok": status.is_healthy, "source": status.state, "failure": status.failure}
        return JSONResponse(said, 200 if status.is_healthy else 503)

    async def status(self) -> Response:
        """How the run is doing, in numbers."""
        return JSONResponse({**asdict(status_of(self._engine)), "num_viewers": self._num_viewers})

    async def metrics(self) -> Response:
        """The same for Prometheus."""
        text = metrics_text(status_of(self._engine), self._num_viewers)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def pictures(self, page: WebSocket) -> None:
        """Pictures to a page, and its wishes."""
        await self._serve(page, Viewer(page, self._engine, self._pictures, self._encoder).run)

    async def objects(self, listener: WebSocket) -> None:
        """A line of JSON for every segmented frame, as in ``frames.jsonl``; who is slow misses some."""

        async def run() -> None:
            sending = asyncio.create_task(self._send_objects(listener))
            try:
                while (await listener.receive())["type"] != "websocket.disconnect":
                    pass  # what is said here is not listened to
            except (WebSocketDisconnect, RuntimeError):
                pass
            finally:
                sending.cancel()

        await self._serve(listener, run)

    async def _send_objects(self, listener: WebSocket) -> None:
        seen: Answer | None = None
        try:
            while True:
                seen = await self._answers.newer(seen)
                await listener.send_text(frame_line(seen.result, seen.arrived.frame.time_s))
        except (WebSocketDisconnect, RuntimeError):
            pass

    async def _serve(self, page: WebSocket, run: Callable[[], Awaitable[Any]]) -> None:
        if self._num_viewers >= MAX_VIEWERS:
            await page.close(1013, "too many pages are open")
            return
        self._num_viewers += 1
        try:
            await page.accept()
            await run()
        finally:
            self._num_viewers -= 1

    @asynccontextmanager
    async def _life(self, _: FastAPI) -> AsyncIterator[None]:
        self._pictures: Spread[Picture] = Spread()
        self._answers: Spread[Answer] = Spread()
        self._encoder = JpegEncoder()
        self._engine.on_picture.append(self._pictures.offer)
        self._engine.on_answer.append(self._answers.offer)
        yield
        self._engine.on_picture.remove(self._pictures.offer)
        self._engine.on_answer.remove(self._answers.offer)

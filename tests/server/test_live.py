"""The page of a live run: what it is sent, what it may say, and what it cannot do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from live.scripted import HW, Recorded, picture, red_mask, until
from surgvos.core import BoxPrompt, PointPrompt, TextPrompt
from surgvos.errors import ConfigError, InputError
from surgvos.io.results import frame_line
from surgvos.live.moments import Arrived, Picture
from surgvos.server.live.messages import MAX_MESSAGE_BYTES, read_said
from surgvos.server.security import Access, Guard

pytest.importorskip("fastapi", reason="the packages of a server are not installed: pip install 'surgvos[server]'")

from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from surgvos.server.live.app import MAX_VIEWERS, LiveServer
from surgvos.server.live.spread import JpegEncoder, Spread
from surgvos.server.live.viewer import MAX_UNDER_WAY

OWN = {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}


@pytest.fixture
def run() -> Iterator[Recorded]:
    with Recorded([(0, 1, PointPrompt((1, 5)))]) as recorded:
        yield recorded


@pytest.fixture
def client(run: Recorded) -> Iterator[TestClient]:
    guarded = Guard(LiveServer(run.engine).app(), Access(port=8000))
    with TestClient(guarded, base_url="http://127.0.0.1:8000") as opened:
        yield opened


def watch(client: TestClient) -> WebSocketTestSession:
    return client.websocket_connect("/pictures", headers=OWN)


def read_picture(content: bytes) -> tuple[dict[str, Any], np.ndarray]:
    length = int.from_bytes(content[:4], "big")
    jpeg = np.frombuffer(content[4 + length :], dtype=np.uint8)
    return json.loads(content[4 : 4 + length]), cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1]


def next_picture(page: WebSocketTestSession, frame: int) -> tuple[dict[str, Any], np.ndarray]:
    """Look until this frame is shown, as a page does."""
    while True:
        message = page.receive()
        if message.get("bytes"):
            description, image = read_picture(message["bytes"])
            page.send_json({"kind": "seen", "frame": description["frame"]})
            if description["frame"] >= frame:
                return description, image


def reply_to(page: WebSocketTestSession, wish: Any) -> dict[str, Any]:
    page.send_text(wish if isinstance(wish, str) else json.dumps(wish))
    while True:
        message = page.receive()
        if message.get("text"):
            return json.loads(message["text"])


# --- what is sent --------------------------------------------------------------------------------------------------


def test_the_page_is_made_of_our_own_files_alone(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "not a medical device" in page.text
    for name in ("live.js", "live.css", "stage.js", "objects.js", "numbers.js", "socket.js"):
        content = client.get(f"/static/{name}")
        assert content.status_code == 200
        assert not re.search(r"https?:|url\(|@import", content.text), name
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/%2e%2e/security.py").status_code == 404


def test_a_page_is_sent_pictures_with_what_is_known(client: TestClient, run: Recorded) -> None:
    with watch(client) as page:
        run.send(0, 1)
        description, image = next_picture(page, 0)
        run.send(2)
        description, image = next_picture(page, 2)
    assert image.shape == (*HW, 3)
    assert description["mask_frame"] in (1, 2)
    assert description["mask_age_ms"] > 0
    [known] = description["objects"]
    assert (known["id"], known["phase"], known["name"]) == (1, "tracking", None)
    assert len(known["color"]) == 3


def test_a_program_is_sent_a_line_per_answer(client: TestClient, run: Recorded) -> None:
    with client.websocket_connect("/objects", headers=OWN) as program:
        lines = []
        for index in range(3):
            run.send(index)
            lines.append(program.receive_text())
    assert lines == [frame_line(answer.result, answer.arrived.frame.time_s) for answer in run.answers]


def test_health_follows_the_source(client: TestClient, run: Recorded) -> None:
    assert client.get("/healthz").status_code == 503
    run.send_shown(0)
    healthy = client.get("/healthz")
    assert (healthy.status_code, healthy.json()["ok"]) == (200, True)
    run.source.send(None)
    until(lambda: client.get("/healthz").status_code == 503)


def test_metrics_are_in_the_format_of_prometheus(client: TestClient, run: Recorded) -> None:
    run.send(0, 1, 2)
    text = client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values["surgvos_frames_received_total"] == "3"
    assert values["surgvos_frames_segmented_total"] == "3"
    assert values["surgvos_mask_latency_seconds_count"] == "3"
    assert float(values['surgvos_mask_latency_seconds{quantile="0.95"}']) > 0
    assert float(values["surgvos_resident_memory_bytes"]) > 1e6
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert all(name.partition("{")[0].removesuffix("_sum").removesuffix("_count") in named for name in values)


def test_a_slow_viewer_gets_the_newest_picture_and_keeps_nobody_waiting() -> None:
    async def check() -> list[int]:
        spread: Spread[int] = Spread()
        seen = []
        for number in range(1, 101):
            spread.offer(number)
        await asyncio.sleep(0)
        newest = await spread.newer(None)
        seen.append(newest)
        waiting = asyncio.create_task(spread.newer(newest))
        await asyncio.sleep(0)
        assert not waiting.done()
        spread.offer(101)
        seen.append(await waiting)
        return seen

    assert asyncio.run(check()) == [100, 101]


def test_a_page_that_is_slow_has_no_queue_of_old_pictures(client: TestClient, run: Recorded) -> None:
    with watch(client) as page:
        run.send_shown(*range(20))
        received = [read_picture(page.receive_bytes())[0]["frame"] for _ in range(MAX_UNDER_WAY)]
        run.send_shown(20, 21)
        for _ in range(5):  # to say it more than once is no use
            page.send_json({"kind": "seen", "frame": received[0]})
        # What was under way was old; what comes once the page is ready is not.
        assert read_picture(page.receive_bytes())[0]["frame"] == 21
    assert max(received) < 20


def test_a_picture_is_encoded_once_for_all_who_watch() -> None:
    encoded = []

    def encode(shown: Picture) -> bytes:
        encoded.append(shown)
        return b"jpeg"

    async def check() -> None:
        encoder = JpegEncoder(encode)
        frame = picture(0)
        shown = Picture(Arrived(frame, 0.0), frame.image, None, False, None, 0.0)
        first = asyncio.create_task(encoder.jpeg(shown))
        await asyncio.sleep(0)
        second = asyncio.create_task(encoder.jpeg(shown))
        await asyncio.sleep(0)
        first.cancel()  # one viewer leaves
        assert await second == b"jpeg"

    asyncio.run(check())
    assert len(encoded) == 1


# --- what may be said ----------------------------------------------------------------------------------------------


def test_wishes_become_prompts() -> None:
    click = read_said('{"kind": "click", "frame": 3, "object": 2, "x": 1.5, "y": 2, "is_on": false}')
    box = read_said('{"kind": "box", "frame": 3, "object": 2, "box_xyxy": [1, 2, 3, 4]}')
    phrase = read_said('{"kind": "phrase", "object": 2, "text": "needle driver"}')
    assert isinstance(click.prompt, PointPrompt)
    assert click.prompt.points_xy.tolist() == [[1.5, 2.0]]
    assert click.prompt.labels.tolist() == [0]
    assert isinstance(box.prompt, BoxPrompt)
    assert box.prompt.box_xyxy.tolist() == [1, 2, 3, 4]
    assert phrase.prompt == TextPrompt("needle driver")
    assert read_said('{"kind": "remove", "object": 7}').object == 7


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello",
        "[]",
        "{}",
        '{"kind": "explode"}',
        '{"kind": "click", "frame": 1, "object": 1, "x": NaN, "y": 1}',
        '{"kind": "click", "frame": 1, "object": 1, "x": 1}',
        '{"kind": "click", "frame": 1, "object": 1, "x": 1, "y": 1, "more": 1}',
        '{"kind": "click", "frame": "1", "object": 1, "x": 1, "y": 1}',
        '{"kind": "box", "frame": 1, "object": 1, "box_xyxy": [1, 2, 3]}',
        '{"kind": "phrase", "object": 1, "text": "' + "a" * 201 + '"}',
        '{"kind": "phrase", "object": 1, "text": "' + "a" * MAX_MESSAGE_BYTES + '"}',
        "[" * 4000,
        b"\xff\xd8\xff",
        b"\x00" * 5000,
    ],
)
def test_what_may_not_be_said_is_refused(content: str | bytes) -> None:
    with pytest.raises((InputError, ConfigError)):
        read_said(content).prompt  # noqa: B018


def test_a_click_is_answered_with_the_frame_that_it_went_to(client: TestClient, run: Recorded) -> None:
    with watch(client) as page:
        run.send(*range(11))
        next_picture(page, 10)
        reply = reply_to(page, {"kind": "click", "frame": 3, "object": 4, "x": 8, "y": 6})
        assert reply == {"kind": "applied", "frame": 3, "object": 4}
        run.send(11)
        assert reply_to(page, {"kind": "remove", "object": 1})["kind"] == "applied"
        run.send(12)
    assert list(run.answers[-1].result.masks) == [4]
    np.testing.assert_array_equal(run.answers[-1].result.masks[4], red_mask(12))


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"kind": "click", "frame": 0, "object": 1, "x": 9e5, "y": 1}, "inside the 60x24 image"),
        ({"kind": "click", "frame": 0, "object": 70000, "x": 1, "y": 1}, "object id"),
        ({"kind": "box", "frame": 0, "object": 1, "box_xyxy": [5, 5, 1, 1]}, "x0 < x1"),
        ({"kind": "phrase", "object": 1, "text": "  "}, "printable"),
        ({"kind": "remove", "object": 9}, "one of the objects"),
        ("{" * 100, "JSON"),
        ("x" * 100_000, "message of up to"),
    ],
)
def test_a_bad_wish_is_refused_and_the_picture_goes_on(
    client: TestClient, run: Recorded, wish: Any, reason: str
) -> None:
    with watch(client) as page:
        run.send(0)
        refused = reply_to(page, wish)
        assert refused["kind"] == "refused"
        assert reason in refused["reason"]
        run.send(1)
        assert next_picture(page, 1)[0]["frame"] == 1
    assert run.engine.segmenting.failure is None


def test_a_phrase_to_a_model_that_reads_none_is_refused(client: TestClient, run: Recorded) -> None:
    with watch(client) as page:
        run.send(0)
        page.send_json({"kind": "phrase", "object": 2, "text": "needle driver"})
        until(lambda: not run.engine.segmenting._asked.empty() or run.engine.segmenting._waiting)
        run.send(1)
        while not (message := page.receive()).get("text"):
            pass
    assert "cannot read" in json.loads(message["text"])["reason"]


# --- what is none of ours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/pictures", "/objects"])
@pytest.mark.parametrize(
    "foreign", [{"origin": "http://evil.example"}, {"origin": "null"}, {"host": "evil.example:8000"}]
)
def test_a_socket_of_another_site_is_refused(client: TestClient, path: str, foreign: dict[str, str]) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(path, headers={**OWN, **foreign}):
        pass


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/healthz"])
def test_another_site_reads_nothing(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"origin": "http://evil.example"}).status_code == 403


def test_a_hundred_connections_come_and_go(client: TestClient, run: Recorded) -> None:
    run.send(0)
    for index in range(100):
        with watch(client) as page:
            if index % 10 == 0:
                page.send_text("nonsense")
    assert client.get("/status").json()["num_viewers"] == 0
    assert len(run.engine.on_picture) == 2
    with watch(client) as page:
        run.send(1)
        assert next_picture(page, 1)[0]["frame"] == 1


def test_viewers_are_bounded(client: TestClient) -> None:
    pages = [watch(client) for _ in range(MAX_VIEWERS)]
    for page in pages:
        page.__enter__()
    with pytest.raises(WebSocketDisconnect), watch(client):
        pass
    for page in pages:
        page.__exit__(None, None, None)
    with watch(client):
        pass

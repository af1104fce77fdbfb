"""The label server as programs meet it: what it answers, and that hostile use is refused or harmless."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from label_miniatures import NUM_FRAMES, center, square
from surgvos.core.masks import decode_run_length
from surgvos.io.masks import read_label_map
from surgvos.server.security import MAX_MESSAGE_BYTES, Access

pytest.importorskip("websockets", reason="the packages of a server are not installed: pip install 'surgvos[server]'")

ServeLabels = Callable[..., Any]


class Page:
    """A page without a browser."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.project = self.hear()
        self.heard: list[dict[str, Any]] = []

    def hear(self) -> dict[str, Any]:
        """The next message."""
        return json.loads(self._socket.recv(timeout=60))

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Ask, and wait for the answer; what is heard meanwhile is kept."""
        self._socket.send(json.dumps({"id": 7, "do": {"kind": kind, **fields}}))
        return self.answer()

    def answer(self) -> dict[str, Any]:
        while (message := self.hear())["kind"] not in ("done", "refused"):
            self.heard.append(message)
        return message

    def wait_for(self, edit: str) -> dict[str, Any]:
        """The next change of a kind."""
        while (message := self.hear()).get("edit") != edit:
            pass
        return message


@contextmanager
def open_page(server: Any, **headers: str) -> Iterator[Page]:
    from websockets.sync.client import connect

    origin = headers.pop("origin", server.url.rstrip("/"))
    address = f"ws://127.0.0.1:{server.access.port}/socket"
    with connect(address, additional_headers=headers, origin=origin or None, max_size=None) as opened:  # type: ignore[arg-type]
        yield Page(opened)


def get(server: Any, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and content. The path goes out as it is."""
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.access.port}\r\nConnection: close\r\n"
    request += "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    with socket.create_connection(("127.0.0.1", server.access.port), timeout=60) as connection:
        connection.sendall(request.encode())
        content = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def with_red(page: Page) -> None:
    assert page.ask("name_object", name="red")["kind"] == "done"
    assert page.ask("click", frame=0, object=1, **center(0, "red"))["kind"] == "done"


# --- what it is for ------------------------------------------------------------------------------------------------


def test_what_a_page_is_told_is_what_is_on_disk(serve_labels: ServeLabels) -> None:
    server = serve_labels()
    with open_page(server) as page:
        with_red(page)
        kind, frame, object_id, told = page.heard[-1]["changes"][0]
        assert (kind, frame, object_id) == ("mask", 0, 1)
        np.testing.assert_array_equal(decode_run_length({"size": [48, 64], **told}), square(0, "red"))
        page.ask("track", frame=0)
        page.wait_for("stop")
        assert page.ask("lock", frame=3, is_locked=True)["kind"] == "done"
        masks = {frame: json.loads(get(server, f"/masks/{frame}.json")[1]) for frame in range(NUM_FRAMES)}
    server.stop()
    for frame in range(NUM_FRAMES):
        on_disk = read_label_map(server.project.folder / "masks" / f"{frame:05d}.png")
        shown = decode_run_length({"size": [48, 64], "counts": masks[frame]["1"]["counts"]})
        np.testing.assert_array_equal(on_disk, shown.astype(np.uint8))
        np.testing.assert_array_equal(shown, square(frame, "red"))


def test_a_mask_is_shown_before_the_disk_has_it_and_saved_is_said_after(
    serve_labels: ServeLabels, monkeypatch: pytest.MonkeyPatch
) -> None:
    from surgvos.server.label import journal

    on_disk = threading.Event()
    server = serve_labels()
    with open_page(server) as page:
        page.ask("name_object", name="red")
        monkeypatch.setattr(journal.os, "fsync", lambda _: on_disk.wait(60))
        page._socket.send(json.dumps({"id": 8, "do": {"kind": "click", "frame": 0, "object": 1, **center(0, "red")}}))
        assert page.wait_for("click")["changes"][0][:3] == ["mask", 0, 1]
        written = (server.project.folder / "journal.jsonl").read_text()
        assert '"edit":"click"' in written  # a killed server has it
        with pytest.raises(TimeoutError):
            page._socket.recv(timeout=0.2)
        on_disk.set()
        assert page.answer()["id"] == 8


def test_a_page_comes_back_to_where_it_was(serve_labels: ServeLabels) -> None:
    server = serve_labels()
    with open_page(server) as page:
        with_red(page)
        page.ask("look", frame=5, object=1)
        page.ask("undo")
    server.stop()
    with open_page(serve_labels()) as page:
        assert page.project["place"] == {"frame": 5, "object": 1}
        assert page.project["redo"] == {"edit": "click", "frame": 0}
        assert page.project["masks"] == []
        assert page.ask("redo")["step"] == {"edit": "click", "frame": 0}
        assert page.heard[-1]["changes"][0][:3] == ["mask", 0, 1]


def test_undoing_much_sends_no_pixels_that_nobody_asked_for(serve_labels: ServeLabels) -> None:
    server = serve_labels()
    with open_page(server) as page:
        with_red(page)
        page.ask("track", frame=0)
        page.wait_for("stop")
        page.ask("undo")
        page.ask("redo")
        changes = page.heard[-1]["changes"]
        assert len(changes) == NUM_FRAMES - 1
        assert all("counts" not in change[3] for change in changes)


def test_before_is_what_a_frame_was_before_its_last_correction(serve_labels: ServeLabels) -> None:
    server = serve_labels()
    with open_page(server) as page:
        with_red(page)
        page.ask("track", frame=0)
        page.wait_for("stop")
        for _ in range(2):
            page.ask("click", frame=4, object=1, **center(4, "green"))
        before = json.loads(get(server, "/before/4.json")[1])
        assert before["1"]["origin"] == "tracked"
        np.testing.assert_array_equal(decode_run_length({"size": [48, 64], **before["1"]}), square(4, "red"))


def test_a_doubtful_frame_is_found(serve_labels: ServeLabels) -> None:
    server = serve_labels()
    with open_page(server) as page:
        with_red(page)
        assert page.ask("find_doubt", frame=0)["found"] is None


def test_pictures_are_those_of_the_frames(untouched: Any) -> None:
    import cv2

    for path, height in (("/frames/3.jpg", 48), ("/thumbnails/3.jpg", 54)):
        status, content = get(untouched, path)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert status == 200
        assert image.shape[0] == height
        at = {name: value * height / 48 for name, value in center(3, "red").items()}
        assert image[int(at["y"]), int(at["x"]), 2] > 180


# --- hostile use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2f..%2fsecurity.py",
        "/static/%2e%2e/%2e%2e/security.py",
        "/static//etc/passwd",
        "/static/..%5c..%5csecurity.py",
        "/static/%00",
        "/frames/-1.jpg",
        "/frames/12.jpg",
        "/frames/99999999999999999999.jpg",
        "/frames/x.jpg",
        "/masks/..%2fproject.json",
        "/before/-1.json",
        "/project.json",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_path_leads_elsewhere(untouched: Any, path: str) -> None:
    status, content = get(untouched, path)
    assert status in (404, 422)
    assert len(content) < 500
    assert b"import" not in content
    assert b"root:" not in content


def test_other_sites_and_names_are_refused(untouched: Any) -> None:
    from websockets.exceptions import InvalidStatus

    assert get(untouched, "/", Origin="http://evil.example")[0] == 403
    assert get(untouched, "/frames/0.jpg", Sec_Fetch_Site="cross-site")[0] == 403
    with socket.create_connection(("127.0.0.1", untouched.access.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert b" 403 " in connection.recv(4096)
    for origin in ("http://evil.example", "null", "http://localhost:1"):
        with pytest.raises(InvalidStatus), open_page(untouched, origin=origin):
            pass
    assert get(untouched, "/")[0] == 200


def test_a_token_is_asked_for(serve_labels: ServeLabels) -> None:
    from websockets.exceptions import InvalidStatus

    server = serve_labels(access=Access(port=0, token="a-long-enough-token"))
    assert get(server, "/")[0] == 401
    assert get(server, "/masks/0.json")[0] == 401
    with pytest.raises(InvalidStatus), open_page(server):
        pass
    with open_page(server, Authorization="Bearer a-long-enough-token") as page:
        assert page.project["kind"] == "project"


MALFORMED = [
    "",
    "null",
    "[]",
    "nonsense",
    "{}",
    '{"id": 1}',
    '{"id": "1", "do": {"kind": "undo"}}',
    '{"id": 1, "do": {"kind": "rm -rf"}}',
    '{"id": 1, "do": {"kind": "click", "frame": 0, "object": 1, "x": NaN, "y": 1}}',
    '{"id": 1, "do": {"kind": "click", "frame": 0, "object": 1, "x": "nan", "y": 1}}',
    '{"id": 1, "do": {"kind": "click", "frame": 0, "object": 1, "x": 1e300, "y": 1}}',
    '{"id": 1, "do": {"kind": "click", "frame": 1.5, "object": 1, "x": 1, "y": 1}}',
    '{"id": 1, "do": {"kind": "click", "frame": 0, "object": 1, "x": 1, "y": 1, "also": 1}}',
    '{"id": 1, "do": {"kind": "stroke", "frame": 0, "object": 1, "points_xy": [], "radius_px": 3}}',
    '{"id": 1, "do": {"kind": "stroke", "frame": 0, "object": 1, "points_xy": [[1, 2, 3]], "radius_px": 3}}',
    '{"id": 1, "do": {"kind": "stroke", "frame": 0, "object": 1, "points_xy": [[1, 2]], "radius_px": 1e9}}',
    '{"id": 1, "do": {"kind": "name_object", "name": "' + "x" * 300 + '"}}',
    '{"id": 1, "do": {"kind": "name_object", "name": "a\\u0000b"}}',
    '{"id": 1, "do": {"kind": "name_object", "color": [0, 0, 999]}}',
    "[" * 100_000,
]


def test_malformed_messages_are_refused_one_by_one(serve_labels: ServeLabels) -> None:
    server = serve_labels()
    with open_page(server) as page:
        for content in MALFORMED:
            page._socket.send(content)
            assert page.answer()["kind"] == "refused", content
        page._socket.send(b"\xff\xfe\x00")
        assert page.answer()["kind"] == "refused"
        with_red(page)


WILD = [
    {"kind": "click", "frame": 10**9, "object": 1, "x": 1, "y": 1},
    {"kind": "click", "frame": -1, "object": 1, "x": 1, "y": 1},
    {"kind": "click", "frame": 0, "object": 2**70, "x": 1, "y": 1},
    {"kind": "click", "frame": 0, "object": 1, "x": -5, "y": 99999},
    {"kind": "box", "frame": 0, "object": 1, "box_xyxy": [9, 9, 1, 1]},
    {"kind": "track", "frame": 0, "objects": [77]},
    {"kind": "lock", "frame": 500, "is_locked": True},
    {"kind": "remove_object", "object": 12},
    {"kind": "name_object", "object": 12, "name": "x"},
]


def test_wild_requests_change_nothing(serve_labels: ServeLabels) -> None:
    server = serve_labels()
    with open_page(server) as page:
        page.ask("name_object", name="red")
        for fields in WILD:
            assert page.ask(**fields)["kind"] == "refused", fields
        assert len(server.project.steps) == 1
        assert page.ask("look", frame=10**12)["kind"] == "done"
        assert server.project.place.frame == 0


def test_an_oversized_message_ends_its_own_page_alone(serve_labels: ServeLabels) -> None:
    from websockets.exceptions import ConnectionClosed

    server = serve_labels()
    with open_page(server) as other:
        with open_page(server) as page:
            page._socket.send("x" * (MAX_MESSAGE_BYTES + 1))
            with pytest.raises(ConnectionClosed):
                page.answer()
        with_red(other)
    request = urllib.request.Request(server.url, data=b"x" * 100, headers={"content-length": str(10**10)})
    with pytest.raises(urllib.error.HTTPError, match="413"):
        urllib.request.urlopen(request, timeout=60)


def test_two_pages_see_the_same_and_share_one_history(serve_labels: ServeLabels) -> None:
    server = serve_labels()
    with open_page(server) as one, open_page(server) as other:
        with_red(one)
        assert other.wait_for("click")["changes"] == one.heard[-1]["changes"]
        other.ask("track", frame=0)
        one.ask("click", frame=0, object=1, **center(0, "green"))  # an edit stops tracking
        other.ask("undo")
        assert one.wait_for("undo")["changes"][0][:3] == ["mask", 0, 1]
        np.testing.assert_array_equal(server.project.labels.masks[0][1].mask, square(0, "red"))


def test_a_hundred_reconnects_are_harmless(serve_labels: ServeLabels) -> None:
    server = serve_labels()
    for _ in range(100):
        with open_page(server) as page:
            page._socket.send('{"id": 1, "do": {"kind": "stop"}}')
    with open_page(server) as page:
        with_red(page)


def test_too_many_pages_are_turned_away(serve_labels: ServeLabels) -> None:
    from contextlib import ExitStack

    from websockets.exceptions import WebSocketException

    from surgvos.server.label.app import MAX_PAGES

    server = serve_labels()
    with ExitStack() as stack:
        pages = [stack.enter_context(open_page(server)) for _ in range(MAX_PAGES)]
        with pytest.raises(WebSocketException), open_page(server):
            pass
        with_red(pages[0])


def test_a_project_is_open_once(serve_labels: ServeLabels, tmp_path: Path) -> None:
    from label_miniatures import open_project

    serve_labels()
    with pytest.raises(ValueError, match="nobody has open"):
        open_project(tmp_path)

"""Files by plain address, from a server of this machine that breaks off, moves, refuses and lies."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from surgvos.errors import CheckpointError
from surgvos.models import downloads
from surgvos.models.downloads import download

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Gives CONTENT at /file, and does at other addresses what their names say."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag: str | None = '"1"'
        self.knows_ranges = True
        self.breaks_after: list[int] = []
        self.ranges: list[str | None] = []
        self.num_errors = 0

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
        elif self.path == "/page":
            self._send(200, b"<html>Quota exceeded</html>", {"Content-Type": "text/html; charset=utf-8"})
        elif self.path == "/busy" and self.server.num_errors > 0:
            self.server.num_errors -= 1
            self.send_error(503)
        elif self.path in ("/file", "/busy"):
            self._give()
        else:
            self.send_error(int(self.path[1:]))

    def _give(self) -> None:
        server, content = self.server, self.server.content
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        headers = {"Content-Type": "application/octet-stream"} | ({"ETag": server.etag} if server.etag else {})
        if asked and server.knows_ranges and self.headers.get("If-Range") == server.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], headers)
        else:
            self._send(200, content, headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        num_bytes = self.server.breaks_after.pop(0) if self.server.breaks_after and status < 300 else len(body)
        self.wfile.write(body[:num_bytes])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads, "_PAUSE_S", 0.0)
    monkeypatch.setattr(downloads, "_CHUNK_BYTES", 1 << 16)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with Server() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("path", ["file", "moved"])
def test_a_file_comes_whole_and_checked(server: Server, tmp_path: Path, path: str) -> None:
    told: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "weights.pt"
    assert download(server.address(path), target, sha256=SHA256, progress=lambda *how: told.append(how)) == target
    assert target.read_bytes() == CONTENT
    assert files_in(target.parent) == ["weights.pt"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_broken_connection_is_gone_on_from_in_the_same_call(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [300_000, 100_000]
    assert download(server.address("moved"), tmp_path / "w.pt", sha256=SHA256).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=400000-"]


def test_a_later_call_goes_on_from_what_is_there(server: Server, tmp_path: Path) -> None:
    server.breaks_after = [200_000] + [1000] * 4
    with pytest.raises(CheckpointError, match=r"got 0\.2 MB and then: .*; try again, it goes on from there"):
        download(server.address("file"), tmp_path / "w.pt")
    assert not (tmp_path / "w.pt").exists()
    server.ranges.clear()
    download(server.address("file"), tmp_path / "w.pt", sha256=SHA256)
    assert server.ranges == ["bytes=204000-"]
    assert files_in(tmp_path) == ["w.pt"]


def test_what_is_complete_but_was_not_renamed_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.pt.part").write_bytes(CONTENT)
    (tmp_path / "w.pt.part-version").write_text('"1"')
    download(server.address("file"), tmp_path / "w.pt", sha256=SHA256)
    assert server.ranges == [f"bytes={len(CONTENT)}-"]
    assert (tmp_path / "w.pt").read_bytes() == CONTENT


@pytest.mark.parametrize("change", ["other content", "no ranges", "no version"])
def test_a_rest_that_does_not_fit_is_never_joined(server: Server, tmp_path: Path, change: str) -> None:
    if change == "no version":
        server.etag = None
    server.breaks_after = [100_000] * 5
    with pytest.raises(CheckpointError):
        download(server.address("file"), tmp_path / "w.pt")
    if change == "other content":
        server.content, server.etag = CONTENT[::-1], '"2"'
    if change == "no ranges":
        server.knows_ranges = False
    assert download(server.address("file"), tmp_path / "w.pt").read_bytes() == server.content


def test_another_content_than_expected_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"got one with {SHA256[:12]}.*not kept"):
        download(server.address("file"), tmp_path / "w.pt", sha256="0" * 64)
    assert files_in(tmp_path) == []


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.num_errors = 2
    assert download(server.address("busy"), tmp_path / "w.pt").read_bytes() == CONTENT
    server.num_errors = 99
    with pytest.raises(CheckpointError, match="503 Service Unavailable, try again later"):
        download(server.address("busy"), tmp_path / "other.pt")


@pytest.mark.parametrize(("code", "advice"), [(404, "has moved"), (403, "in a browser"), (401, "in a browser")])
def test_a_refusal_is_one_sentence(server: Server, tmp_path: Path, code: int, advice: str) -> None:
    with pytest.raises(CheckpointError, match=f"got {code} .*{advice}"):
        download(server.address(str(code)), tmp_path / "w.pt")
    assert files_in(tmp_path) == []


def test_a_page_in_place_of_a_file_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="got a web page, try the address in a browser"):
        download(server.address("page"), tmp_path / "w.pt")
    assert files_in(tmp_path) == []


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_PAUSE_S", 0.0)
    with Server() as closed:
        address = closed.address("file")
    with pytest.raises(CheckpointError, match=r"got 0\.0 MB and then: .*refused"):
        download(address, tmp_path / "w.pt")


def test_a_full_disk_is_no_broken_connection(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.pt.part").mkdir()
    with pytest.raises(OSError, match=r"w\.pt\.part"):
        download(server.address("file"), tmp_path / "w.pt")

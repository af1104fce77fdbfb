"""Who may talk to a server, and what may be said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from surgvos.errors import ConfigError, InputError
from surgvos.server.security import (
    Access,
    Guard,
    check_body,
    check_request,
    confined,
    is_loopback,
    read_message,
)

TOKEN = "a-long-enough-token-0123"
LOCAL = Access(port=8000)
OPEN = Access(host="0.0.0.0", port=8000, token=TOKEN)


# --- where it listens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "127.0.0.1.example.org"])
def test_an_address_that_others_can_reach_needs_a_token(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="token"):
        Access(host=host)
    assert Access(host=host, token=TOKEN).token == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_this_machine_alone_needs_none(host: str) -> None:
    assert Access(host=host).token is None


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "with space with space", "semi;colon;semi;colon"])
def test_a_token_is_long_and_plain(token: str) -> None:
    with pytest.raises(ConfigError, match="at least 16 letters"):
        Access(token=token)


def test_the_printed_address_carries_the_token() -> None:
    assert LOCAL.url() == "http://127.0.0.1:8000/"
    assert Access(host="::1", port=80, token=TOKEN).url() == f"http://[::1]:80/?token={TOKEN}"
    assert TOKEN not in OPEN.url(with_token=False)


# --- who asks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000"])
def test_our_own_names_are_answered(host: str) -> None:
    assert check_request(LOCAL, {"host": host}) is None


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "127.0.0.1.evil.example:8000", "127.0.0.1", "127.0.0.1:9", "", "x@127.0.0.1:8000"]
)
def test_a_name_that_was_pointed_here_is_refused(host: str) -> None:
    refusal = check_request(LOCAL, {"host": host})
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(
    "foreign",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"origin": "http://localhost:8000"},  # another name than the one asked for is another page
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
)
def test_another_site_is_refused(foreign: dict[str, str]) -> None:
    for access, token in ((LOCAL, None), (OPEN, TOKEN)):
        refusal = check_request(access, {"host": "127.0.0.1:8000", **foreign}, token)
        assert refusal is not None
        assert refusal.status == 403


def test_our_own_page_and_a_link_to_it_are_answered() -> None:
    own = {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert check_request(LOCAL, own) is None
    assert check_request(LOCAL, {"host": "127.0.0.1:8000", **link}) is None


def test_the_token_comes_by_address_header_or_cookie() -> None:
    host = {"host": "ward-3.example:8000"}
    assert check_request(OPEN, host, TOKEN) is None
    assert check_request(OPEN, {**host, "authorization": f"Bearer {TOKEN}"}) is None
    assert check_request(OPEN, {**host, "cookie": f"odd cookie; {OPEN.cookie}={TOKEN}; a=b"}) is None


@pytest.mark.parametrize(
    ("headers", "given"),
    [
        ({}, None),
        ({}, ""),
        ({}, TOKEN + "x"),
        ({"authorization": "Bearer "}, None),
        ({"authorization": f"Basic {TOKEN}"}, None),
        ({"cookie": f"surgvos_token_9={TOKEN}"}, None),
        ({"authorization": f"Bearer {TOKEN}"}, "wrong-token-in-address"),
        ({"authorization": "Bearer \u00e9\u00e9"}, None),
    ],
)
def test_no_token_or_another_is_refused(headers: dict[str, str], given: str | None) -> None:
    refusal = check_request(OPEN, {"host": "ward-3:8000", **headers}, given)
    assert refusal is not None
    assert refusal.status == 401


# --- what is said --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "..", "../secret", "a/../../secret", "/etc/passwd", "a//b", "./a", "a\\..\\b", "a\0b", "C:/x", "link/secret"],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="name of a file in the folder"):
        confined(root, name)


def test_a_name_inside_is_found(tmp_path: Path) -> None:
    assert confined(tmp_path, "a/b.js") == (tmp_path / "a" / "b.js").resolve()


@pytest.mark.parametrize(
    "content",
    ["", "nonsense", "[1]", '"text"', "{", '{"x": NaN}', '{"x": Infinity}', "[" * 100_000, b"\xff\xfe", '{"a": "\x00'],
)
def test_only_objects_of_finite_numbers_are_messages(content: str | bytes) -> None:
    with pytest.raises(InputError, match="JSON"):
        read_message(content)


def test_messages_are_bounded() -> None:
    content = json.dumps({"kind": "click", "text": "é" * 10})
    assert read_message(content)["kind"] == "click"
    with pytest.raises(InputError, match="up to 40 bytes"):
        read_message('{"text": "' + "é" * 20 + '"}', max_bytes=40)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-length": "11"}, 413),
        ({"content-length": "-1"}, 413),
        ({"content-length": "1e3"}, 413),
        ({"transfer-encoding": "chunked"}, 411),
    ],
)
def test_bodies_are_announced_and_bounded(headers: dict[str, str], status: int) -> None:
    refusal = check_body(headers, max_bytes=10)
    assert refusal is not None
    assert refusal.status == status
    assert check_body({"content-length": "10"}, max_bytes=10) is None
    assert check_body({}) is None


# --- the middleware ------------------------------------------------------------------------------------------------


def ask(guard: Guard, *, kind: str = "http", path: str = "/", query: str = "", **headers: str) -> list[dict[str, Any]]:
    """What a guarded application sends for one request."""
    sent: list[dict[str, Any]] = []
    named = {"host": "127.0.0.1:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": kind,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.{'connect' if kind == 'websocket' else 'request'}"}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    asyncio.run(guard(scope, receive, send))
    return sent


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


def fields_of(sent: list[dict[str, Any]]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_what_is_let_through_carries_the_rules_for_browsers() -> None:
    sent = ask(Guard(hello, LOCAL))
    assert sent[0]["status"] == 200
    assert "frame-ancestors 'none'" in fields_of(sent)["content-security-policy"]
    assert fields_of(sent)["cross-origin-resource-policy"] == "same-origin"


def test_a_refused_request_never_reaches_the_application() -> None:
    for sent in (
        ask(Guard(hello, LOCAL), origin="http://evil.example"),
        ask(Guard(hello, LOCAL), host="evil.example:8000"),
        ask(Guard(hello, LOCAL, max_body_bytes=10), content_length="11"),
        ask(Guard(hello, OPEN)),
    ):
        assert sent[0]["status"] in (401, 403, 413)
        assert b"hello" not in sent[1]["body"]


def test_a_web_socket_of_another_site_is_closed_before_it_opens() -> None:
    refused = ask(Guard(hello, LOCAL), kind="websocket", origin="http://evil.example")
    assert refused == [{"type": "websocket.close", "code": 1008, "reason": refused[0]["reason"]}]
    assert ask(Guard(hello, OPEN), kind="websocket")[0]["type"] == "websocket.close"
    own = ask(Guard(hello, LOCAL), kind="websocket", origin="http://127.0.0.1:8000")
    assert own == [{"type": "websocket.accept"}]


def test_a_token_in_the_address_becomes_a_cookie_and_leaves_the_address() -> None:
    sent = ask(Guard(hello, OPEN), path="//evil.example/x", query=f"token={TOKEN}&frame=3")
    fields = fields_of(sent)
    assert sent[0]["status"] == 303
    assert fields["location"] == "/evil.example/x?frame=3"
    assert {"HttpOnly", "SameSite=Strict"} <= set(fields["set-cookie"].split("; "))
    again = ask(Guard(hello, OPEN), cookie=fields["set-cookie"].partition(";")[0])
    assert again[0]["status"] == 200


def test_other_kinds_of_traffic_pass() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    ask(Guard(app, OPEN), kind="lifespan")
    assert seen == ["lifespan"]

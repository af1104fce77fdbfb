"""Who may talk to a server of this house, and what may be said: pure rules, and one middleware that applies them.

A page that another web site opens in the same browser can reach ``127.0.0.1`` too. So a request has to name one of our
own addresses (a name that was pointed at 127.0.0.1 is refused), has to come from our own page where the browser says
where it comes from, and carries a token wherever the server can be reached from another machine.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from surgvos.errors import ConfigError, InputError

MIN_TOKEN_LENGTH = 16
MAX_MESSAGE_BYTES = 4 * 2**20
MAX_BODY_BYTES = 4 * 2**20
_TOKEN = "token"

HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""Said with every answer: nothing is loaded from elsewhere, and no other site may embed or read what we send."""

_Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where a server listens and who may use it.

    Attributes:
        host: Address to listen at; a name other than ``localhost`` counts as one that others can reach.
        port: In 0..65535; 0 lets the system choose.
        token: What every request has to carry, or None, which only 127.0.0.1 and its like allow.

    Raises:
        ConfigError: Others could reach the server without a token, the token can be guessed, or the port is none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"expected a port in 0..65535, got {self.port}; try 8000")
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"expected a token for {self.host!r}, which other machines can reach, got none; "
                "try --token with a long random text, or --host 127.0.0.1"
            )
        if self.token is not None and (len(self.token) < MIN_TOKEN_LENGTH or not _is_plain(self.token)):
            raise ConfigError(
                f"expected a token of at least {MIN_TOKEN_LENGTH} letters, digits, - or _, got {len(self.token)} "
                "characters; try python -c 'import secrets; print(secrets.token_urlsafe())'"
            )

    @property
    def cookie(self) -> str:
        """Name of the cookie that carries the token; cookies are shared between ports, names keep them apart."""
        return f"surgvos_{_TOKEN}_{self.port}"

    def url(self, *, with_token: bool = True) -> str:
        """The address to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = f"?{urlencode({_TOKEN: self.token})}" if with_token and self.token is not None else ""
        return f"http://{host}:{self.port}/{query}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered.

    Attributes:
        status: Of HTTP.
        reason: For whoever asked.
    """

    status: int
    reason: str


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_request(access: Access, headers: Mapping[str, str], given_token: str | None = None) -> Refusal | None:
    """Say why a request is refused, or None.

    Args:
        access: Of the server.
        headers: By lower-case name.
        given_token: The token in the address, if any; otherwise that of the header or the cookie counts.
    """
    host = headers.get("host", "")
    if access.token is None and not _names_this_machine(host, access.port):
        return Refusal(403, f"expected the host {access.host}:{access.port}, got another; open the printed address")
    if not _is_own_page(host, headers):
        return Refusal(403, "expected a request of our own page, got one of another site")
    if access.token is not None:
        token = given_token if given_token is not None else token_of(access, headers)
        if token is None or not hmac.compare_digest(token.encode(), access.token.encode()):
            return Refusal(401, "expected the token, got none or another; open the printed address")
    return None


def check_body(headers: Mapping[str, str], max_bytes: int = MAX_BODY_BYTES) -> Refusal | None:
    """Say why the body of a request is not taken in, or None. The server holds a client to what it announces.

    Args:
        headers: By lower-case name.
        max_bytes: Most that is taken in.
    """
    if "transfer-encoding" in headers:
        return Refusal(411, "expected the length of the body to be announced")
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > max_bytes:
        return Refusal(413, f"expected at most {max_bytes} bytes, got {announced[:20]}")
    return None


def token_of(access: Access, headers: Mapping[str, str]) -> str | None:
    """The token that the headers carry: ``Authorization: Bearer``, or our cookie."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value:
        return value.strip()
    cookies = (cookie.strip().partition("=") for cookie in headers.get("cookie", "").split(";"))
    return next((value for name, _, value in cookies if name == access.cookie), None)


def confined(root: Path, name: str) -> Path:
    """The file of a folder that a request names, and never one outside it, also not through a link.

    Args:
        root: The folder.
        name: Relative, with ``/`` between its parts.

    Raises:
        InputError: The name leads out of the folder, or is none.

    Example:
        >>> confined(Path("static"), "label/page.js").name
        'page.js'
    """
    parts = name.split("/")
    is_strange = any(character in name for character in "\\\0:") or any(part in ("", ".", "..") for part in parts)
    if not is_strange:
        base = root.resolve()
        path = base.joinpath(*parts).resolve()
        if path.is_relative_to(base):
            return path
    raise InputError(f"expected the name of a file in the folder, got {name[:80]!r}")


def read_message(content: str | bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> dict[str, Any]:
    """Read one message of a client: a JSON object of bounded size and depth, all its numbers finite.

    Raises:
        InputError: It is something else.
    """
    size = len(content if isinstance(content, bytes) else content.encode("utf-8", errors="replace"))
    if size > max_bytes:
        raise InputError(f"expected a message of up to {max_bytes} bytes, got {size}")
    try:
        message = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InputError("expected a message in JSON, got something else") from None
    if not isinstance(message, dict):
        raise InputError(f"expected a JSON object, got {type(message).__name__}")
    return message


class Guard:
    """ASGI middleware that lets a request through only if `check_request` does, and bounds what it carries.

    A token in the address becomes a cookie of the browser, and the address loses it: it does not stay in the history.

    Args:
        app: What is guarded.
        access: Who may use it.
        max_body_bytes: Of an HTTP request.
    """

    def __init__(self, app: _App, access: Access, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._app, self._access, self._max_body_bytes = app, access, max_body_bytes

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        given = next((value for name, value in query if name == _TOKEN), None)
        refusal = check_request(self._access, headers, given) or check_body(headers, self._max_body_bytes)
        if refusal is not None:
            await _refuse(scope, receive, send, refusal)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        elif given is not None and self._access.token is not None:
            await _answer(send, 303, b"", self._remembering(scope["path"], query))
        else:
            await self._answer_http(scope, receive, send)

    async def _answer_http(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        async def send_with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_encoded(HEADERS)]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _remembering(self, path: str, query: list[tuple[str, str]]) -> dict[str, str]:
        rest = urlencode([(name, value) for name, value in query if name != _TOKEN])
        cookie = f"{self._access.cookie}={self._access.token}; Path=/; HttpOnly; SameSite=Strict"
        # A path of two slashes would lead to another host.
        return {"location": f"/{path.lstrip('/')}{'?' if rest else ''}{rest}", "set-cookie": cookie}


async def _refuse(scope: _Scope, receive: _Receive, send: _Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason[:120]})
        return
    await _answer(send, refusal.status, refusal.reason.encode(), {"content-type": "text/plain; charset=utf-8"})


async def _answer(send: _Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    lines = {**HEADERS, **headers, "content-length": str(len(body))}
    await send({"type": "http.response.start", "status": status, "headers": _encoded(lines)})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1", errors="replace")) for name, value in headers.items()]


def _names_this_machine(host: str, port: int) -> bool:
    """Whether a Host header names a loopback address, and our port where it is known."""
    try:
        parts = urlsplit(f"//{host}")
        name, given_port = parts.hostname or "", parts.port
    except ValueError:
        return False
    return is_loopback(name) and port in (0, given_port or 80) and parts.username is None


def _is_own_page(host: str, headers: Mapping[str, str]) -> bool:
    """Whether a request comes from our own page, as far as the browser says; programs say nothing."""
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        return False
    is_foreign = headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
    # Following a link to the page is no harm: nothing is done by opening it.
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not is_foreign or is_link


def _is_plain(token: str) -> bool:
    return token.isascii() and token.replace("-", "").replace("_", "").isalnum()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no finite number")

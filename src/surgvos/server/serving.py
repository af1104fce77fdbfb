"""Run an application under its guard until it is stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from surgvos.errors import InputError, MissingExtraError
from surgvos.server.security import MAX_MESSAGE_BYTES, Access, Guard

if TYPE_CHECKING:
    import uvicorn


def check_server_extra() -> None:
    """Check that what servers need is installed.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"expected the packages of a server, got no {error.name}; try pip install 'surgvos[server]'"
        ) from error


def serve(make_app: Callable[[], Any], access: Access, on_ready: Callable[[Access], None]) -> None:
    """Serve an application until it is stopped (Ctrl-C, or a signal).

    Args:
        make_app: Makes the ASGI application; it is put behind a `Guard`.
        access: Where to listen and who may use it; port 0 lets the system choose one.
        on_ready: Told the access with the real port once requests are taken in.

    Raises:
        InputError: The address is taken, or is none of this machine's.
        MissingExtraError: The packages of a server are not installed.
    """
    check_server_extra()
    listening = listen(access)
    found = replace(access, port=listening.getsockname()[1])
    with listening:
        server = guarded_server(make_app(), found)
        on_ready(found)
        server.run(sockets=[listening])


def guarded_server(app: Any, access: Access) -> uvicorn.Server:
    """An application behind its guard, ready to run on a socket of `listen`."""
    import uvicorn

    config = uvicorn.Config(
        Guard(app, access),
        log_level="warning",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_max_queue=8,
        timeout_graceful_shutdown=2,
        # The addresses of those who ask are not believed from headers: there is no proxy.
        proxy_headers=False,
        server_header=False,
    )
    return uvicorn.Server(config)


def listen(access: Access) -> socket.socket:
    """Take the address, so that it is known to be free before anything is loaded.

    Raises:
        InputError: It is taken, or is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((access.host, access.port))
    except OSError as error:
        listening.close()
        raise InputError(
            f"expected to listen at {access.host}:{access.port}, got: {error.strerror or error}; try another --port"
        ) from error
    listening.listen(64)
    return listening

"""What commands that show a page have in common: where it is, and who may open it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from surgvos.server.security import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """Where the page is, and who may open it."""

    host: Annotated[str, typer.Option(help="Address to listen at; all but 127.0.0.1 need a token")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 lets the system choose")] = 8000
    token: Annotated[
        str | None, typer.Option(envvar="SURGVOS_TOKEN", help="What a browser has to know, 16 letters or more")
    ] = None
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser")] = True

    def parse(self) -> Access:
        """Who may open it; checks that it can be served at all."""
        from surgvos.server.security import Access
        from surgvos.server.serving import check_server_extra

        access = Access(host=self.host, port=self.port, token=self.token)
        check_server_extra()
        return access

    def serve(self, make_app: Callable[[], object], access: Access, name: str) -> None:
        """Serve until Ctrl-C, and say where."""
        import webbrowser

        from surgvos.server.serving import serve

        def on_ready(found: Access) -> None:
            typer.echo(f"{name}: {found.url()}")
            typer.echo("research use, not a medical device; Ctrl-C ends")
            if self.browser:
                webbrowser.open(found.url())

        with suppress(KeyboardInterrupt):  # the way to end what has no end
            serve(make_app, access, on_ready)

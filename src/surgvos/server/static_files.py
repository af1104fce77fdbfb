"""What pages are made of, as it lies in the package."""

from __future__ import annotations

from pathlib import Path

from fastapi import Response

from surgvos.errors import InputError
from surgvos.server.security import confined

STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def static_file(page: str, name: str) -> Response:
    """Answer with a file of a page, or that there is none."""
    try:
        path = confined(STATIC / page, name)
        content = path.read_bytes()
    except (InputError, OSError):
        return Response("no such thing", 404)
    kind = _TYPES.get(path.suffix, "application/octet-stream")
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

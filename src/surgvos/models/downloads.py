"""Files by their plain address: gone on with after a broken connection, checked, whole or not at all."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surgvos.errors import CheckpointError
from surgvos.models.folders import sha256_of

Progress = Callable[[int, int | None], None]
"""Called with bytes done and bytes in all, where these are known."""

_CHUNK_BYTES = 1 << 20
_MAX_ATTEMPTS = 5
_PAUSE_S = 0.5
_TIMEOUT_S = 30.0
_PART, _VERSION = ".part", ".part-version"
_RANGE_DONE = 416


def download(address: str, target: Path, *, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """Fetch a file; what an earlier call left unfinished is gone on from, where the server can.

    Args:
        address: Of the file; redirections are followed.
        target: Where to put it.
        sha256: What its content must be, where that is known.
        progress: Told how far it is.

    Raises:
        CheckpointError: The server does not give it, the connection broke too often, or it is another file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + _PART)
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        try:
            _fetch_rest(address, part, progress)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == _MAX_ATTEMPTS:
                raise _refused(address, error) from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # of the disk, not of the network
            if attempt == _MAX_ATTEMPTS:
                raise _broken(address, part, error) from error
        time.sleep(_PAUSE_S * attempt)
    if sha256 is not None and (found := sha256_of(part)) != sha256:
        _forget(part)
        raise CheckpointError(
            f"expected a file with SHA-256 {sha256[:12]}... at {address}, got one with {found[:12]}..., which was not "
            "kept; try again, or another network: something on the way may have replaced it"
        )
    os.replace(part, target)
    _forget(part)
    return target


def _fetch_rest(address: str, part: Path, progress: Progress | None) -> None:
    """Fetch what is not there yet.

    Raises:
        OSError, http.client.HTTPException: The connection could not be made, or broke.
    """
    request = urllib.request.Request(address, headers=_what_is_missing(part))
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != _RANGE_DONE:
            raise
        if error.headers.get("Content-Range") != f"bytes */{part.stat().st_size}":
            _forget(part)
            raise ConnectionError("the server has another file than before") from error
        return
    with response:
        if response.headers.get_content_type() == "text/html":
            raise CheckpointError(
                f"expected a file at {address}, got a web page, try the address in a browser: a person may be asked "
                "to log in or to agree to something"
            )
        _append(response, part, progress)


def _what_is_missing(part: Path) -> dict[str, str]:
    """Headers that ask for the rest of a file, or for all of it if it is no longer the same."""
    version = part.with_suffix(_VERSION)
    if not (part.is_file() and version.is_file()):
        return {}
    return {"Range": f"bytes={part.stat().st_size}-", "If-Range": version.read_text(encoding="utf-8")}


def _append(response: Any, part: Path, progress: Progress | None) -> None:
    """Write what comes behind what is there, or in its place where the server sends all of it."""
    start = 0
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        start = int(re.fullmatch(r"bytes (\d+)-.*", response.headers["Content-Range"])[1])  # type: ignore[index]
    length = response.headers.get("Content-Length")
    in_all = None if length is None else start + int(length)
    # Only a server that names the version of a file can be asked for its rest.
    version = response.headers.get("ETag", "")
    if start == 0:
        _forget(part)
        if version and not version.startswith("W/"):
            part.with_suffix(_VERSION).write_text(version, encoding="utf-8")
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            if progress is not None:
                progress(file.tell(), in_all)
        if in_all is not None and file.tell() < in_all:
            raise ConnectionError(f"the connection ended after {file.tell()} of {in_all} bytes")


def _forget(part: Path) -> None:
    for path in (part, part.with_suffix(_VERSION)):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _refused(address: str, error: urllib.error.HTTPError) -> CheckpointError:
    what_to_try = {
        401: "try the address in a browser: it asks who you are",
        403: "try the address in a browser: it asks who you are, or is closed to this network",
        404: "try the list of models of a newer version: the file has moved",
    }.get(error.code, "try again later")
    return CheckpointError(f"expected a file at {address}, got {error.code} {error.reason}, {what_to_try}")


def _broken(address: str, part: Path, error: Exception) -> CheckpointError:
    num_bytes = part.stat().st_size if part.is_file() else 0
    reason = str(getattr(error, "reason", error)) or type(error).__name__
    return CheckpointError(
        f"expected to fetch {address}, got {num_bytes / 1e6:.1f} MB and then: {reason}; "
        "try again, it goes on from there"
    )

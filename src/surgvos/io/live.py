"""Cameras and network streams as streams of frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from surgvos.core import Frame
from surgvos.errors import InputError
from surgvos.io.decoding import decode_packets, open_container, read_packets, to_rgb

_TIMEOUT_S = 10.0


class LiveStream:
    """A camera or an address as a `FrameStream`: frames come once, in order, without a known end.

    The source is opened at once, so that a missing camera is reported before a model is loaded; iterating ends
    by closing it, and iterating again opens it again. Frames are counted as they arrive: what is lost or
    damaged on the way leaves no gap in the count, but one in ``time_s``.

    Attributes:
        name: Name under which results of this stream are written.
        hw: None: known with the first frame only.
        fps: None: live sources keep no promise.
    """

    hw: tuple[int, int] | None = None
    fps: float | None = None

    def __init__(self, address: str, *, name: str, **options: Any) -> None:
        self.name = name
        self._address = address
        self._options = options
        self._waiting: tuple[Any, Any] | None = open_container(address, **options)

    def __iter__(self) -> Iterator[Frame]:
        container, stream = self._waiting or open_container(self._address, **self._options)
        self._waiting = None
        with container:
            packets = ((packet.pts or 0, packet) for packet in read_packets(container, stream))
            arrived = ((ticks, picture) for ticks, picture in decode_packets(stream, packets) if picture is not None)
            first_ticks: int | None = None
            for index, (ticks, picture) in enumerate(arrived):
                first_ticks = ticks if first_ticks is None else first_ticks
                time_s = float((ticks - first_ticks) * (stream.time_base or 0))
                yield Frame(index, f"{index:05d}", to_rgb(picture), time_s)

    def close(self) -> None:
        """Release the source if it was opened and never iterated."""
        if self._waiting is not None:
            self._waiting[0].close()
            self._waiting = None


def open_camera(camera: str, *, name: str | None = None) -> LiveStream:
    """Open a camera by number, or by device name or path.

    Raises:
        InputError: There is no such camera.
    """
    device, options = _camera_device(camera)
    label = name or f"camera-{camera.strip('/').replace('/', '-')}"
    try:
        return LiveStream(device, name=label, **options)
    except InputError as error:
        raise InputError(
            f"expected a camera at 'camera:{camera}', got none that can be opened as {device!r}; "
            "try another number, and check that it is connected, permitted and not in use"
        ) from error


def open_address(address: str, *, name: str | None = None) -> LiveStream:
    """Open a network stream such as ``rtsp://host/path``; RTSP travels over TCP, which loses nothing.

    Raises:
        InputError: Nothing answers there within ten seconds, or what answers is no video.
    """
    options = {"rtsp_transport": "tcp"} if address.lower().startswith("rtsp") else {}
    return LiveStream(address, name=name or "live", options=options, timeout=(_TIMEOUT_S, _TIMEOUT_S))


def _camera_device(camera: str) -> tuple[str, dict[str, Any]]:
    """What FFmpeg calls a camera on this platform, and the options to open it with."""
    if sys.platform.startswith("linux"):
        return f"/dev/video{camera}" if camera.isdecimal() else camera, {"format": "v4l2"}
    if sys.platform == "darwin":
        return camera, {"format": "avfoundation", "options": {"framerate": "30"}}
    if camera.isdecimal():
        raise InputError(
            f"expected a camera's name on this platform, got 'camera:{camera}'; try 'camera:Integrated Webcam'"
        )
    return f"video={camera}", {"format": "dshow"}

"""Open, demux and decode through PyAV: the only file that knows how FFmpeg reports trouble."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from surgvos.errors import InputError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream


def open_container(path: str | Path, **options: Any) -> tuple[InputContainer, VideoStream]:
    """Open a file, device or address and pick its main video stream.

    Args:
        path: Whatever FFmpeg opens.
        options: Passed to `av.open`, such as ``format`` or ``timeout``.

    Raises:
        InputError: FFmpeg cannot open it, or there is no video in it.
    """
    import av

    try:
        container = av.open(str(path), metadata_errors="replace", **options)
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"expected a video that FFmpeg can open, got {str(path)!r} ({_reason(error)}); "
            "try playing it elsewhere, or copy or export it again if it is incomplete"
        ) from error
    if not container.streams.video:
        container.close()
        raise InputError(
            f"expected a file with a video stream, got {str(path)!r}, which has none; "
            "try another file, or a folder of images"
        )
    stream = container.streams.best("video") or container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        raise InputError(
            f"expected a video in a format that FFmpeg can decode, got {str(path)!r} in an unknown one; "
            "try exporting it as H.264 mp4"
        )
    stream.thread_type = "AUTO"
    return container, stream


def read_packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Yield packets with content in file order; end quietly where the file stops being readable."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError):
            return
        if packet is None:
            return
        if packet.size > 0:
            yield packet


def decode_packets(
    stream: VideoStream, packets: Iterator[tuple[int, av.Packet]]
) -> Iterator[tuple[int, av.VideoFrame | None]]:
    """Decode numbered packets into pictures, in the order in which they are shown; consumes the packets.

    A packet that cannot be decoded yields no picture; that the decoder complained is passed on as
    ``(-1, None)`` (threads report late, so the complaint does not say which packet it was).

    Yields:
        The number of the packet a picture came from, and the picture.
    """
    import av

    def decode(packet: av.Packet | None) -> Iterator[tuple[int, av.VideoFrame | None]]:
        try:
            pictures = stream.codec_context.decode(packet)
        except av.EOFError:
            return
        except av.FFmpegError:
            yield -1, None
            return
        for picture in pictures:
            yield cast(int, picture.pts), picture

    for number, packet in packets:
        # Decoders hand a packet's timestamp on to its picture unchanged, so the number travels as one: real
        # timestamps may be missing, repeated or wrong. (PyAV's `opaque` would do too, but can deadlock: decoder
        # threads need the interpreter's lock to free it.)
        packet.pts = packet.dts = number
        yield from decode(packet)
    yield from decode(None)


def to_rgb(picture: av.VideoFrame) -> np.ndarray:
    """Convert a decoded picture to upright RGB, honouring its colour space, range and display rotation.

    Returns:
        uint8 ``(h, w, 3)``, contiguous.
    """
    image = picture.to_ndarray(format="rgb24")
    quarter_turns = round(picture.rotation / 90) % 4
    if quarter_turns:
        image = np.rot90(image, quarter_turns)
    return np.ascontiguousarray(image)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

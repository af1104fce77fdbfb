"""Open anything that yields frames: files, folders of images, cameras and network streams."""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterable
from pathlib import Path
from queue import SimpleQueue

from surgvos.core import Frame
from surgvos.errors import InputError
from surgvos.io.dicom_video import DicomVideo, is_dicom
from surgvos.io.image_folder import IMAGE_SUFFIXES, ImageSequence, list_images
from surgvos.io.live import LiveStream, open_address, open_camera
from surgvos.io.video_file import VideoFile

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv"}
)


def open_video(source: str | Path, *, name: str | None = None) -> VideoFile | ImageSequence | DicomVideo | LiveStream:
    """Open a source of frames.

    Args:
        source: A video file, a folder of jpg, png, bmp or tif images (natural order, frame name = file stem), one
            image, a DICOM file, ``camera:0``, or an address such as ``rtsp://host/path``.
        name: Name of the video; by default the stem of the file or folder.

    Returns:
        A `VideoSource` for files and folders, a `FrameStream` without a length for cameras and addresses.
        Frames are decoded when they are asked for. All have ``name``, ``hw`` and ``fps``.

    Raises:
        InputError: The source is missing, damaged beyond use, or not made of frames.

    Example:
        >>> for frame in open_video("case.mp4"):  # doctest: +SKIP
        ...     print(frame.name, frame.image.shape)
    """
    text = str(source)
    if text.startswith("camera:"):
        return open_camera(text.removeprefix("camera:"), name=name)
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", text):
        return open_address(text, name=name)
    path = Path(source)
    if not path.exists():
        raise InputError(
            f"expected a video file, a folder of images, camera:0 or rtsp://..., got {text!r}, which does not "
            "exist; try checking the path"
        )
    if path.is_dir():
        return ImageSequence(_images_of(path), name=path.resolve().name if name is None else name)
    if path.stat().st_size == 0:
        raise InputError(f"expected a video, got {text!r} with 0 bytes; try copying it again")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSequence([path], name=path.stem if name is None else name)
    if is_dicom(path):
        return DicomVideo(path, name=name)
    return VideoFile(path, name=name)


def prefetch(stream: Iterable[Frame], depth: int = 4) -> Generator[Frame, None, None]:
    """Iterate over a stream in a background thread, so that decoding overlaps with what the caller does.

    At most ``depth`` frames wait. An exception in the stream is raised here, after the frames in front of it.
    The thread ends when the iterator is exhausted, closed or dropped.

    Args:
        stream: Read once, in the other thread.
        depth: Frames to read ahead, at least 1.

    Raises:
        InputError: ``depth`` is below 1.
    """
    if depth < 1:
        raise InputError(f"expected a prefetch depth of at least 1, got {depth}")
    return _prefetch(stream, depth)


def _prefetch(stream: Iterable[Frame], depth: int) -> Generator[Frame, None, None]:
    free = threading.Semaphore(depth)
    ready: SimpleQueue[Frame | BaseException | None] = SimpleQueue()
    stopped = threading.Event()

    def read() -> None:
        try:
            for frame in stream:
                free.acquire()
                if stopped.is_set():
                    return
                ready.put(frame)
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    reader = threading.Thread(target=read, name="surgvos-prefetch", daemon=True)
    reader.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            free.release()
            yield item
    finally:
        stopped.set()
        free.release()
        reader.join()


def _images_of(folder: Path) -> list[Path]:
    files = [p for p in folder.iterdir() if p.is_file()]
    videos = sorted(p for p in files if p.suffix.lower() in VIDEO_SUFFIXES)
    if videos and not any(p.suffix.lower() in IMAGE_SUFFIXES for p in files):
        raise InputError(
            f"expected a folder of images, got {str(folder)!r} with {len(videos)} video file(s); "
            f"try one of them, such as {str(videos[0])!r}"
        )
    return list_images(folder)

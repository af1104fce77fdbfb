"""Frames as JPEG, decoded ahead of where a person looks: scrubbing waits for nothing that can be known before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

import cv2
import numpy as np

from surgvos.core.frame import VideoSource
from surgvos.errors import SurgvosError

THUMBNAIL_HEIGHT_PX = 54
NUM_AHEAD = 64
_QUALITY = 88


class Pictures:
    """JPEGs of one video, made by one thread and kept up to a number of bytes.

    Asked-for frames come first, the newest of them in front, then asked-for thumbnails, in order; then frames that come
    behind (and before) the last one asked for; then, frame by frame, thumbnails of the whole video. What nobody asked
    for waits for the first frame that is, and for whatever `pause` was called for.

    Args:
        video: Read by this thread alone.
        thumbnails: Frames of which a thumbnail is made.
        max_bytes: Of the pictures kept.
    """

    def __init__(self, video: VideoSource, thumbnails: range, max_bytes: int = 256 * 2**20) -> None:
        self._video, self._max_bytes = video, max_bytes
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._thumbnails: dict[int, bytes] = {}
        self._thumbnails_left = list(thumbnails)[::-1]
        self._asked: dict[tuple[int, bool], list[Future[bytes]]] = {}
        self._looked_at: int | None = None
        self._num_pauses = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="surgvos-pictures", daemon=True)
        self._thread.start()

    def picture(self, index: int) -> Future[bytes]:
        """The JPEG of a frame, at the size of the video."""
        return self._ask(index, is_thumbnail=False)

    def thumbnail(self, index: int) -> Future[bytes]:
        """A small JPEG of a frame."""
        return self._ask(index, is_thumbnail=True)

    def pause(self) -> None:
        """Make only what is asked for until `resume`, once for each pause."""
        with self._changed:
            self._num_pauses += 1

    def resume(self) -> None:
        """Go on as before `pause`."""
        with self._changed:
            self._num_pauses -= 1
            self._changed.notify()

    def close(self) -> None:
        """Stop the thread; those who still wait are told."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()
        for waiting in self._asked.values():
            for future in waiting:
                future.set_exception(SurgvosError("expected a frame, got the end of the server"))

    def _ask(self, index: int, *, is_thumbnail: bool) -> Future[bytes]:
        future: Future[bytes] = Future()
        with self._changed:
            if not is_thumbnail:
                self._looked_at = index
            found = self._thumbnails.get(index) if is_thumbnail else self._kept.get(index)
            if found is None:
                self._asked.setdefault((index, is_thumbnail), []).append(future)
            elif not is_thumbnail:
                self._kept.move_to_end(index)
            self._changed.notify()
        if found is not None:
            future.set_result(found)
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                while (wanted := self._next()) is None and not self._is_closed:
                    self._changed.wait()
                if self._is_closed or wanted is None:
                    return
            self._make(*wanted)

    def _next(self) -> tuple[int, bool] | None:
        """What to make next: frame, and whether its thumbnail is meant."""
        if self._asked:
            frames = (asked for asked in reversed(self._asked) if not asked[1])
            return next(frames, next(iter(self._asked)))
        if self._looked_at is None or self._num_pauses:
            return None
        first, last = self._looked_at, len(self._video) - 1
        for index in (
            *range(first, min(first + NUM_AHEAD, last) + 1),
            *range(first, max(first - NUM_AHEAD, 0) - 1, -1),
        ):
            if index not in self._kept:
                return index, False
        while self._thumbnails_left and self._thumbnails_left[-1] in self._thumbnails:
            self._thumbnails_left.pop()
        return (self._thumbnails_left[-1], True) if self._thumbnails_left else None

    def _make(self, index: int, is_thumbnail: bool) -> None:
        try:
            image = self._video[index].image
            small = _shrink(image, THUMBNAIL_HEIGHT_PX)
            thumbnail = _encode(small)
            picture = None if is_thumbnail else _encode(image)
        except Exception as error:
            self._fail(index, error)
            return
        with self._changed:
            self._thumbnails[index] = thumbnail
            waiting = [(future, thumbnail) for future in self._asked.pop((index, True), [])]
            if picture is not None:
                self._keep(index, picture)
                waiting += [(future, picture) for future in self._asked.pop((index, False), [])]
        for future, content in waiting:
            future.set_result(content)

    def _fail(self, index: int, error: Exception) -> None:
        with self._changed:
            waiting = [*self._asked.pop((index, True), []), *self._asked.pop((index, False), [])]
            # A frame that cannot be read is not tried again and again by the thread itself.
            self._kept.setdefault(index, b"")
            self._thumbnails.setdefault(index, b"")
        for future in waiting:
            future.set_exception(error)

    def _keep(self, index: int, picture: bytes) -> None:
        self._kept_bytes += len(picture) - len(self._kept.pop(index, b""))
        self._kept[index] = picture
        while self._kept_bytes > self._max_bytes and len(self._kept) > 2 * NUM_AHEAD:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)


def _shrink(image: np.ndarray, height_px: int) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.resize(image, (max(1, round(width * height_px / height)), height_px), interpolation=cv2.INTER_AREA)


def _encode(image: np.ndarray) -> bytes:
    _, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return content.tobytes()

"""Video files as sequences of frames: lazy, frame-exact, and honest about damage."""

from __future__ import annotations

import operator
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surgvos.core import Frame
from surgvos.errors import InputError
from surgvos.io.decoding import decode_packets, open_container, read_packets, to_rgb
from surgvos.io.frame_table import FrameTable, build_frame_table

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

_MAX_KEPT_BYTES = 96 * 2**20
_KEPT_IN_ORDER = 4


class VideoFile:
    """A video file as a `VideoSource`.

    Iterating decodes from start to end and keeps nothing. ``video[i]`` seeks to the key frame in front of ``i``
    and decodes forward; in an intact file it returns exactly the pixels that iterating gives. Pictures passed on the
    way are kept (up to 96 MiB), so that reading backwards decodes each group of pictures once or a few times, not
    once per frame; reading in order keeps a few. Iterators are independent of each other and ``video[i]`` is locked:
    threads may share a video.

    Frame ``i`` is the ``i``-th frame of the file in order of presentation. A frame that is damaged beyond
    decoding keeps its index and shows the picture in front of it (the first readable one at the very start),
    with one warning per video, so that masks named by frame index stay aligned with the file. A damaged frame
    that the decoder patches up instead counts as readable: how it looks, and the frames up to the next key frame
    with it, may depend on where decoding began, and nothing reports it.

    Attributes:
        path: The file.
        name: Name under which results of this video are written; by default the file's stem.
        hw: Height and width of the upright frames in pixels.
        fps: Average frames per second, or None where the file does not say.
    """

    def __init__(self, path: str | Path, *, name: str | None = None) -> None:
        self.path = Path(path)
        self.name = self.path.stem if name is None else name
        self.hw, self.fps = _read_header(self.path)
        self._lock = threading.Lock()
        self._reader: _RandomReader | None = None
        self._has_warned_damage = False

    @cached_property
    def _table(self) -> FrameTable:
        table = build_frame_table(self.path)
        if table.num_announced is not None:
            warnings.warn(
                f"expected {table.num_announced} frames in {str(self.path)!r} as its header says, "
                f"got {len(table)} readable ones; using those",
                stacklevel=3,
            )
        if table.first_skip is not None:
            warnings.warn(
                f"expected a steady clock in {str(self.path)!r}, got a leap in front of frame {table.first_skip}; "
                "frames are numbered as the file holds them, so if some were lost there, later ones moved up",
                stacklevel=3,
            )
        return table

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Frame]:
        container, stream = open_container(self.path)
        with container:
            decoded = decode_packets(stream, enumerate(read_packets(container, stream)))
            pictures = _with_slots(decoded, self._table)
            for slot, picture, is_damaged in _hold_over_gaps(pictures, len(self._table)):
                if is_damaged:
                    self._warn_damage(slot)
                yield self._frame(slot, self._to_image(picture, slot))

    def __getitem__(self, index: int) -> Frame:
        slot = operator.index(index)
        if not -len(self) <= slot < len(self):
            raise IndexError(f"expected a frame index below {len(self)}, got {index}")
        slot %= len(self)
        with self._lock:
            if self._reader is None:
                self._reader = _RandomReader(self.path, self._table)
            picture, is_damaged = self._reader.read(slot)
            image = self._to_image(picture, slot)  # PyAV's conversion is not safe on a shared picture
        if is_damaged:
            self._warn_damage(slot)
        return self._frame(slot, image)

    def _frame(self, slot: int, image: np.ndarray) -> Frame:
        times_s = self._table.times_s
        return Frame(slot, f"{slot:05d}", image, None if times_s is None else float(times_s[slot]))

    def _to_image(self, picture: av.VideoFrame, slot: int) -> np.ndarray:
        image = to_rgb(picture)
        if image.shape[:2] != self.hw:
            raise InputError(
                f"expected frames of {self.hw[1]}x{self.hw[0]} pixels throughout {str(self.path)!r}, got "
                f"{image.shape[1]}x{image.shape[0]} at frame {slot}; try re-encoding the video at one size"
            )
        return image

    def _warn_damage(self, slot: int) -> None:
        if not self._has_warned_damage:
            self._has_warned_damage = True
            warnings.warn(
                f"expected {str(self.path)!r} to be intact, got damage at frame {slot}; frames that cannot be "
                "decoded repeat the picture in front of them and keep their index",
                stacklevel=3,
            )


class _RandomReader:
    """One open decoder that jumps to where it is needed and remembers what it passed."""

    def __init__(self, path: Path, table: FrameTable) -> None:
        self._path, self._table = path, table
        self._container: InputContainer | None = None
        self._pictures: Iterator[tuple[int, av.VideoFrame, bool]] = iter(())
        self._next_slot: int | None = None
        self._kept: OrderedDict[int, tuple[av.VideoFrame, bool]] = OrderedDict()
        self._max_kept = 1
        self._in_order = False

    def read(self, slot: int) -> tuple[av.VideoFrame, bool]:
        """Return the picture of a slot and whether it stands in for a damaged one."""
        if slot in self._kept:
            return self._kept[slot]
        self._in_order = slot == self._next_slot
        starts = self._table.starts_for(slot)
        nearest = next(starts)
        is_ahead = self._next_slot is not None and self._table.slots[nearest] <= self._next_slot <= slot
        if is_ahead and self._walk_to(slot):
            return self._kept[slot]
        for start in chain([nearest], starts):
            if self._jump_to(start) and self._walk_to(slot):
                return self._kept[slot]
        raise _unreadable(self._path)

    def _jump_to(self, start: int) -> bool:
        """Begin decoding at a packet; False where its own picture is damaged and an earlier start is needed."""
        packets = self._packets_from(start)
        stream = self._stream
        pictures = _with_slots(decode_packets(stream, packets), self._table)
        first = next(pictures, None)
        self._next_slot = None
        if first is None or (start > 0 and first[0] != self._table.slots[start]):
            return False
        first_slot = int(self._table.slots[start]) if start > 0 else 0
        self._next_slot = first_slot
        self._pictures = _hold_over_gaps(chain([first], pictures), len(self._table), first_slot)
        return True

    def _walk_to(self, slot: int) -> bool:
        for passed, picture, is_damaged in self._pictures:
            self._next_slot = passed + 1
            self._keep(passed, picture, is_damaged)
            if passed == slot:
                return True
        self._next_slot = None
        return False

    def _keep(self, slot: int, picture: av.VideoFrame, is_damaged: bool) -> None:
        if not self._kept:
            num_bytes = sum(plane.buffer_size for plane in picture.planes)
            self._max_kept = max(2, _MAX_KEPT_BYTES // max(1, num_bytes))
        self._kept[slot] = picture, is_damaged
        self._kept.move_to_end(slot)
        # Whoever reads in order does not come back, so that playing a video does not fill the memory.
        limit = min(self._max_kept, _KEPT_IN_ORDER) if self._in_order else self._max_kept
        while len(self._kept) > limit:
            self._kept.popitem(last=False)

    def _packets_from(self, start: int) -> Iterator[tuple[int, av.Packet]]:
        """Yield numbered packets from an ordinal on: by seeking, else by skipping from the file's start."""
        if start > 0 and self._container is not None:
            found = self._seek(start)
            if found is not None:
                return found
        if self._container is not None:
            self._container.close()
        self._container, self._stream = open_container(self._path)
        numbered = enumerate(read_packets(self._container, self._stream))
        return ((ordinal, packet) for ordinal, packet in numbered if ordinal >= start)

    def _seek(self, start: int) -> Iterator[tuple[int, av.Packet]] | None:
        import av

        packets = self._table.packets
        timestamp = int(packets.dts[start]) if packets.clock() is not None else None
        if timestamp is None or self._container is None:
            return None
        try:
            self._container.seek(timestamp, stream=self._stream)
        except (av.FFmpegError, OSError):
            return None
        arriving = read_packets(self._container, self._stream)
        landed = next(arriving, None)
        ordinal = None if landed is None else self._table.find(landed)
        if landed is None or ordinal is None or ordinal > start:
            return None
        numbered = enumerate(chain([landed], arriving), start=ordinal)
        return ((ordinal, packet) for ordinal, packet in numbered if ordinal >= start)


def _with_slots(
    decoded: Iterator[tuple[int, av.VideoFrame | None]], table: FrameTable
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Replace packet ordinals by frame indices; drop what is not a frame of the video."""
    for ordinal, picture in decoded:
        if picture is not None and ordinal < len(table.slots) and table.slots[ordinal] >= 0:
            yield int(table.slots[ordinal]), picture


def _hold_over_gaps(
    pictures: Iterator[tuple[int, av.VideoFrame]], num_frames: int, first_slot: int = 0
) -> Iterator[tuple[int, av.VideoFrame, bool]]:
    """Yield every slot once, in order, and whether its picture stands in for a damaged one.

    A damaged slot shows the picture in front of it; those in front of the first picture show that one.
    """
    expected, held = first_slot, None
    for slot, picture in pictures:
        while expected < slot:
            yield expected, picture if held is None else held, True
            expected += 1
        if slot == expected:
            yield slot, picture, False
            expected += 1
        held = picture
    while held is not None and expected < num_frames:
        yield expected, held, True
        expected += 1


def _read_header(path: Path) -> tuple[tuple[int, int], float | None]:
    """Decode the first picture: the upright size, and the average frame rate."""
    container, stream = open_container(path)
    with container:
        decoded = decode_packets(stream, enumerate(read_packets(container, stream)))
        picture = next((picture for _, picture in decoded if picture is not None), None)
        if picture is None:
            raise _unreadable(path)
        height, width = to_rgb(picture).shape[:2]
        fps = stream.average_rate
    return (height, width), None if not fps else float(fps)


def _unreadable(path: Path) -> InputError:
    return InputError(
        f"expected a video with readable frames, got {str(path)!r}, in which not one can be decoded; "
        "try copying or exporting it again"
    )

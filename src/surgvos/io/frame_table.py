"""Which packet of a video file is frame number i, and where decoding must start to get it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from surgvos.errors import InputError
from surgvos.io.decoding import decode_packets, open_container, read_packets

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

_NUM_PROBED_FRAMES = 32
# Streams that are recorded from any point on: what cannot be decoded at their start was never part of them.
_CUTTABLE_FORMATS = frozenset({"mpegts", "mpeg", "mpegvideo", "h264", "hevc", "m4v"})
_NO_VALUE = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, eq=False)
class PacketList:
    """The video packets of a file, in file order, as columns; a missing value is the smallest int64.

    Attributes:
        pts, dts: Timestamps in units of the stream's time base.
        position: Byte position in the file.
        is_key: Whether decoding can begin here.
        is_shown: Whether the packet is meant to be shown; False for what an edit list cuts away.
    """

    pts: np.ndarray
    dts: np.ndarray
    position: np.ndarray
    is_key: np.ndarray
    is_shown: np.ndarray

    def __len__(self) -> int:
        return len(self.pts)

    def clock(self) -> np.ndarray | None:
        """The timestamps that every packet has: pts, else dts, else None."""
        for column in (self.pts, self.dts):
            if len(column) and (column != _NO_VALUE).all():
                return column
        return None


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable:
    """The frames of a video file in the order in which they are shown.

    A *slot* is a frame's index; an *ordinal* is a packet's place in the file. Every packet that should show a
    picture has a slot, whether or not it can be decoded, so damage never shifts the frames behind it.

    Attributes:
        packets: All packets of the stream.
        ordinals: int64 ``(num_frames,)``: slot -> ordinal.
        slots: int64 ``(num_packets,)``: ordinal -> slot, -1 where a packet shows nothing.
        times_s: float64 ``(num_frames,)``: seconds since the first frame, or None where there is no clock.
        num_announced: Frames that the container announces where that is more than there are, else None.
        first_skip: Slot of the first frame in front of which an otherwise steady clock leaps, as it does where
            damage made packets unfindable; None without a leap.
    """

    packets: PacketList
    ordinals: np.ndarray
    slots: np.ndarray
    times_s: np.ndarray | None
    num_announced: int | None
    first_skip: int | None

    def __len__(self) -> int:
        return len(self.ordinals)

    def starts_for(self, slot: int) -> Iterator[int]:
        """Ordinals at which decoding can begin to reach a slot, nearest first, the file's start last.

        A key packet serves the frames that are both stored and shown after it: pictures that are stored after
        an open group's key packet but shown before it lean on the group in front.
        """
        for ordinal in np.flatnonzero(self.packets.is_key[: self.ordinals[slot] + 1])[::-1]:
            if ordinal > 0 and 0 <= self.slots[ordinal] <= slot:
                yield int(ordinal)
        yield 0

    def find(self, packet: av.Packet) -> int | None:
        """Ordinal of a packet met after a seek, or None where nothing identifies it."""
        for column, value in ((self.packets.position, packet.pos), (self.packets.pts, packet.pts)):
            matches = np.flatnonzero(column == (_NO_VALUE if value is None else value))
            if len(matches) == 1:
                return int(matches[0])
        return None


def build_frame_table(path: Path) -> FrameTable:
    """Index a video file: read every packet once, decode only as much as it takes to trust the timestamps.

    Raises:
        InputError: Nothing in the file can be decoded.
    """
    container, stream = open_container(path)
    with container:
        packets, is_cut = _list_packets(container, stream)
        ordinals = _order_by_timestamps(path, packets, is_cut)
        if ordinals is None:
            ordinals = _order_by_decoding(path, packets, is_cut)
        if container.format.name in _CUTTABLE_FORMATS:
            first_decoded, _ = _decoded_ordinals(path, limit=1)
            ordinals = ordinals[np.flatnonzero(np.isin(ordinals, first_decoded)).max(initial=0) :]
        if len(ordinals) == 0:
            raise InputError(
                f"expected a video with readable frames, got {str(path)!r}, in which not one can be decoded; "
                "try copying or exporting it again"
            )
        slots = np.full(len(packets), -1, dtype=np.int64)
        slots[ordinals] = np.arange(len(ordinals))
        clock = packets.clock()
        ticks = None if clock is None else np.sort(clock[ordinals])
        times_s = None if ticks is None else (ticks - ticks[0]) * float(stream.time_base or 0)
        num_announced = _num_announced(container, stream, ticks)
        if not is_cut and num_announced is not None and num_announced <= len(ordinals):
            num_announced = None
        return FrameTable(packets, ordinals, slots, times_s, num_announced, _first_skip(ticks))


def _list_packets(container: InputContainer, stream: VideoStream) -> tuple[PacketList, bool]:
    """Read all packets; a last one that the container marks as cut short is left out, and that is reported."""
    rows = [
        (
            _NO_VALUE if p.pts is None else p.pts,
            _NO_VALUE if p.dts is None else p.dts,
            _NO_VALUE if p.pos is None else p.pos,
            p.is_keyframe,
            not p.is_discard,
            p.is_corrupt,
        )
        for p in read_packets(container, stream)
    ]
    is_cut = bool(rows) and bool(rows[-1][-1])
    if is_cut:
        rows.pop()
    pts, dts, position, is_key, is_shown, _ = np.array(rows, dtype=np.int64).reshape(-1, 6).T
    return PacketList(pts, dts, position, is_key.astype(bool), is_shown.astype(bool)), is_cut


def _decoded_ordinals(path: Path, limit: int | None = None) -> tuple[np.ndarray, bool]:
    """Decode from the file's start: the ordinals of the pictures as they are shown, and whether any packet failed."""
    container, stream = open_container(path)
    with container:
        decoded = decode_packets(stream, enumerate(read_packets(container, stream)))
        shown, failed = [], False
        for ordinal, picture in decoded:
            if picture is None:
                failed = True
            else:
                shown.append(ordinal)
            if len(shown) == limit:
                break
    return np.array(shown, dtype=np.int64), failed


def _order_by_timestamps(path: Path, packets: PacketList, is_cut: bool) -> np.ndarray | None:
    """Sort packets by presentation time; None where the first decoded frames contradict that order."""
    shown = np.flatnonzero(packets.is_shown)
    pts = packets.pts[shown]
    if len(shown) == 0 or (pts == _NO_VALUE).any() or len(np.unique(pts)) < len(pts):
        return None
    ordinals = shown[np.argsort(pts)]
    if is_cut and (packets.dts != _NO_VALUE).all():
        # What the cut took away may have been shown between the last frames: everything up to the last decoding
        # time is surely complete.
        ordinals = ordinals[packets.pts[ordinals] <= packets.dts[-1]]
    slots = np.full(len(packets), -1, dtype=np.int64)
    slots[ordinals] = np.arange(len(ordinals))

    probed, failed = _decoded_ordinals(path, _NUM_PROBED_FRAMES)
    probed = probed[probed < len(packets)]
    steps = np.diff(slots[probed])
    if len(probed) == 0 or (slots[probed] < 0).any() or (steps < 1).any() or ((steps > 1).any() and not failed):
        return None
    return ordinals


def _order_by_decoding(path: Path, packets: PacketList, is_cut: bool) -> np.ndarray:
    """Decode everything once to learn the order; packets that fail are put behind what was stored before them."""
    ordinals, failed = _decoded_ordinals(path)
    ordinals = ordinals[ordinals < len(packets)]
    if len(ordinals) == 0:
        return ordinals
    if failed:
        missing = np.setdiff1d(np.flatnonzero(packets.is_shown), ordinals)
        ordinals = np.insert(ordinals, np.searchsorted(np.sort(ordinals), missing), missing)
    if is_cut:
        # As above: a frame waits for at most as many others as any frame was seen to wait for.
        longest_wait = int((np.arange(len(ordinals)) - ordinals).max())
        ordinals = ordinals[: len(ordinals) - max(0, longest_wait)]
    return ordinals


def _first_skip(ticks: np.ndarray | None) -> int | None:
    """The first slot in front of which a clock leaps that is steady elsewhere.

    A clock that repeats itself was guessed by the demuxer (MPEG program streams) and proves nothing.
    """
    if ticks is None or len(ticks) < 3:
        return None
    steps = np.diff(ticks)
    usual = np.median(steps)
    leaps = steps > 1.6 * usual
    is_steady = leaps.mean() < 0.1 and (np.abs(steps - usual) <= 0.1 * usual + 1).mean() > 0.8
    return int(np.argmax(leaps)) + 1 if steps.min() > 0 and is_steady and leaps.any() else None


def _num_announced(container: InputContainer, stream: VideoStream, ticks: np.ndarray | None) -> int | None:
    """How many frames the header promises, by count or else by duration; None where it does not say."""
    if stream.frames > 0:
        return int(stream.frames)
    duration_s = _announced_duration_s(container, stream)
    if duration_s is None or ticks is None or len(ticks) < 2 or stream.time_base is None:
        return None
    # Some muxers count the duration from zero and some from the first frame; the later end is the safe one.
    ends_s = np.array([ticks[-1], ticks[-1] - ticks[0]]).max() * float(stream.time_base)
    steps_s = np.diff(ticks) * float(stream.time_base)
    missing_s = duration_s - ends_s - np.median(steps_s)
    if missing_s < max(0.5, 2 * steps_s.max()):
        return None
    return len(ticks) + round(missing_s / np.median(steps_s))


def _announced_duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Duration of the video in the header. Matroska writes it per stream as text ``hh:mm:ss.fraction``."""
    text = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if text is not None:
        hours, minutes, seconds = (float(part) for part in text.groups())
        return hours * 3600 + minutes * 60 + seconds
    if container.duration is None or len(container.streams) > 1:
        return None
    return container.duration / 1_000_000

"""Miniature videos and masks that tests make for themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest


def samples_dir() -> Path:
    """The folder of real footage, from ``SURGVOS_SAMPLES`` or beside the checkout; skips the test without it."""
    beside_checkout = Path(__file__).resolve().parents[2] / "shared" / "samples"
    folder = Path(os.environ.get("SURGVOS_SAMPLES", beside_checkout))
    if not folder.is_dir():
        pytest.skip("real footage is absent: set SURGVOS_SAMPLES to its folder")
    return folder


def moving_square_frames(
    num_frames: int = 20, *, hw: tuple[int, int] = (96, 128), side_px: int = 24, step_px: int = 2, seed: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A bright square that moves to the right over a blocky, drifting background.

    Returns:
        Frames, uint8 ``(h, w, 3)`` RGB, and the square's masks, bool ``(h, w)``.
    """
    height, width = hw
    rng = np.random.default_rng(seed)
    blocks = rng.integers(20, 160, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    background = blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    frames, masks = [], []
    for index in range(num_frames):
        top, left = height // 3, (8 + index * step_px) % max(1, width - side_px)
        mask = np.zeros(hw, dtype=bool)
        mask[top : top + side_px, left : left + side_px] = True
        frame = np.roll(background, index, axis=1)
        frame[mask] = (250, 220, 40)
        frames.append(frame)
        masks.append(mask)
    return frames, masks


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    fps: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    gop_size: int = 10,
    max_b_frames: int | None = None,
    rotate: int = 0,
    pts: Sequence[int] | None = None,
    colorspace: int | None = None,
    color_range: int | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode RGB frames; the suffix chooses the container.

    Args:
        path: Where to write.
        frames: uint8 ``(h, w, 3)``.
        fps: Frames per second.
        codec: FFmpeg's name of the encoder.
        pix_fmt: Pixel format that is stored.
        gop_size: Frames from one key frame to the next, at most.
        max_b_frames: As FFmpeg has it; None for the encoder's default.
        rotate: Display rotation in degrees, counter-clockwise.
        pts: Presentation time of each frame in units of ``1 / fps`` seconds, for variable frame rates.
        colorspace: Matrix to convert with and to write into the header (1: BT.709, 5: BT.601).
        color_range: Range to convert with and to write into the header (1: limited, 2: full).
        options: Options of the encoder.
        container_options: Options of the container.

    Returns:
        ``path``.
    """
    import av

    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.time_base = Fraction(1, fps)
        context.gop_size = gop_size
        if max_b_frames is not None:
            context.max_b_frames = max_b_frames
        if colorspace is not None:
            context.colorspace = colorspace
        if color_range is not None:
            context.color_range = color_range
        if rotate:
            stream.set_display_rotation(rotate)
        for index, image in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format=pix_fmt, dst_colorspace=colorspace, dst_color_range=color_range
            )
            picture.pts = index if pts is None else pts[index]
            picture.time_base = Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def packet_spans(path: Path) -> list[tuple[int, int, bool]]:
    """Byte position, size and key flag of every video packet, in file order."""
    import av

    with av.open(str(path)) as container:
        return [(p.pos, p.size, p.is_keyframe) for p in container.demux(video=0) if p.size]


def scramble_packets(path: Path, packets: Sequence[int], seed: int = 0) -> Path:
    """Overwrite the contents of some packets with noise, in place."""
    rng = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    spans = packet_spans(path)
    for number in packets:
        position, size, _ = spans[number]
        content[position + 4 : position + size] = rng.integers(0, 256, size - 4, dtype=np.uint8).tobytes()
    path.write_bytes(content)
    return path

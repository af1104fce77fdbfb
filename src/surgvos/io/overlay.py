"""Masks drawn over frames: translucent fills, crisp contours, small labels; and videos of them."""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from surgvos.core import Frame, ObjectResult, object_palette
from surgvos.errors import InputError, SurgvosError
from surgvos.io.files import replacing
from surgvos.io.video import prefetch

if TYPE_CHECKING:
    import av

_CHIP_COLOR = (20, 22, 26)
_CHIP_OPACITY = 0.78
_TEXT_COLOR = (245, 245, 245)
_SUBPIXEL_BITS = 4
_CURVE_STEP_PX = 3
_SMOOTHING = np.array([1, 2, 3, 2, 1], dtype=np.float32) / 9
_BT709 = 1
_LIMITED_RANGE = 1
_FRAGMENTED = {"movflags": "+frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
_FRAGMENT_S = 2.0

Box = tuple[int, int, int, int]


def draw_overlay(
    image: np.ndarray,
    masks: Mapping[int, np.ndarray],
    objects: Mapping[int, ObjectResult] | None = None,
    labels: Mapping[int, str] | None = None,
    *,
    palette: np.ndarray | None = None,
    opacity: float = 0.4,
) -> np.ndarray:
    """Draw masks over a frame: a translucent fill, a contour and a label for each object.

    Pixels outside masks, contours and labels stay as they are. Line width and text follow the image's size.

    Args:
        image: uint8 ``(h, w, 3)`` RGB; not changed.
        masks: Object id -> bool ``(h, w)``. Empty masks draw nothing.
        objects: Object id -> what the engine said; adds the presence to the label.
        labels: Object id -> name; objects without one are labelled with their id.
        palette: uint8 ``(n, 3)`` colours by object id; by default `surgvos.core.object_palette`.
        opacity: Of the fill, in [0, 1].

    Returns:
        A new image of the same shape.

    Raises:
        InputError: A mask has another size than the image.
    """
    colors = _default_palette() if palette is None else palette
    canvas = np.ascontiguousarray(image).copy()
    line_px = max(1, round(min(image.shape[:2]) / 360))
    chips: list[tuple[np.ndarray, np.ndarray]] = []
    for object_id in sorted(masks):
        mask = masks[object_id]
        if mask.shape != image.shape[:2]:
            raise InputError(
                f"expected masks of {image.shape[1]}x{image.shape[0]} pixels like the image, got "
                f"{mask.shape[1]}x{mask.shape[0]} for object {object_id}"
            )
        stencil = np.ascontiguousarray(mask).view(np.uint8)
        left, top, width, height = cv2.boundingRect(stencil)
        if width == 0:
            continue
        color = tuple(int(c) for c in colors[_color_index(object_id, len(colors))])
        _draw_mask(canvas, stencil, (left, top, left + width, top + height), color, opacity, line_px)
        text = _label_text(object_id, objects, labels)
        top_columns = np.flatnonzero(stencil[top, left : left + width])
        anchor_xy = np.array([left + int(np.median(top_columns)), top])
        chips.append((_chip(text, color, _font_px(image.shape)), anchor_xy))
    _draw_chips(canvas, chips, line_px)
    return canvas


def _draw_mask(
    canvas: np.ndarray, stencil: np.ndarray, box: Box, color: tuple[int, ...], opacity: float, line_px: int
) -> None:
    """Fill and outline one mask in place, touching no more than its box and the width of the line."""
    margin = line_px + 3
    left, top = max(0, box[0] - margin), max(0, box[1] - margin)
    right, bottom = box[2] + margin, box[3] + margin
    region, shape = canvas[top:bottom, left:right], stencil[top:bottom, left:right]
    cv2.copyTo(cv2.LUT(region, _tint_table(color, opacity)), shape, region)
    contours, _ = cv2.findContours(shape, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = [_smooth(contour[:, 0]) for contour in contours]
    drawn = np.ascontiguousarray(region)
    shadow = tuple(int(0.25 * c) for c in color)
    faint = drawn.copy()
    cv2.polylines(faint, lines, True, shadow, line_px + 2, cv2.LINE_AA, _SUBPIXEL_BITS)
    drawn = cv2.addWeighted(drawn, 0.5, faint, 0.5, 0)
    bright = tuple(int(c + 0.25 * (255 - c)) for c in color)
    cv2.polylines(drawn, lines, True, bright, line_px, cv2.LINE_AA, _SUBPIXEL_BITS)
    region[:] = drawn


@lru_cache(maxsize=64)
def _tint_table(color: tuple[int, ...], opacity: float) -> np.ndarray:
    """What each value of each channel becomes under a translucent colour; uint8 ``(256, 1, 3)`` for `cv2.LUT`."""
    values = np.arange(256, dtype=np.float32)[:, None, None]
    return np.round(values * (1 - opacity) + np.array(color, dtype=np.float32) * opacity).astype(np.uint8)


def _smooth(points: np.ndarray) -> np.ndarray:
    """Round off the staircase of a pixel contour; fixed-point coordinates for drawing."""
    curve = points.astype(np.float32)
    reach = len(_SMOOTHING) // 2
    if len(curve) > 4 * len(_SMOOTHING):
        closed = np.concatenate([curve[-reach:], curve, curve[:reach]])
        curve = np.stack([np.convolve(closed[:, axis], _SMOOTHING, mode="valid") for axis in (0, 1)], axis=1)
        curve = curve[::_CURVE_STEP_PX]
    return np.round(curve * 2**_SUBPIXEL_BITS).astype(np.int32)


def _label_text(object_id: int, objects: Mapping[int, ObjectResult] | None, labels: Mapping[int, str] | None) -> str:
    name = (labels or {}).get(object_id, str(object_id))
    if objects is None or object_id not in objects:
        return name
    return f"{name}  {objects[object_id].presence:.0%}"


def _font_px(image_shape: tuple[int, ...]) -> int:
    return max(10, round(min(image_shape[:2]) / 40))


@lru_cache(maxsize=512)
def _chip(text: str, color: tuple[int, ...], font_px: int) -> np.ndarray:
    """Render a label: a dark rounded plate with a dot in the object's colour.

    Returns:
        float32 ``(h, w, 4)``: RGB in [0, 255] and alpha in [0, 1].
    """
    font = ImageFont.load_default(font_px)
    left, _, right, _ = font.getbbox(text)
    height, dot_px, gap = round(font_px * 1.7), round(font_px * 0.6), round(font_px * 0.5)
    width = round(gap + dot_px + gap * 0.8 + right - left + gap * 1.2)
    scale = 4
    plate = Image.new("L", (width * scale, height * scale))
    ImageDraw.Draw(plate).rounded_rectangle(
        (0, 0, width * scale - 1, height * scale - 1), radius=height * scale * 0.32, fill=round(255 * _CHIP_OPACITY)
    )
    dot = Image.new("L", plate.size)
    top = (height - dot_px) * scale // 2
    ImageDraw.Draw(dot).ellipse((gap * scale, top, (gap + dot_px) * scale - 1, top + dot_px * scale - 1), fill=255)
    plate, dot = (layer.resize((width, height), Image.Resampling.LANCZOS) for layer in (plate, dot))
    chip = Image.new("RGB", (width, height), _CHIP_COLOR)
    chip.paste(color, mask=dot)
    text_x = gap + dot_px + gap * 0.8 - left
    ImageDraw.Draw(chip).text((text_x, height / 2), text, fill=_TEXT_COLOR, font=font, anchor="lm")
    alpha = np.maximum(np.asarray(plate), np.asarray(dot)).astype(np.float32) / 255
    return np.dstack([np.asarray(chip, dtype=np.float32), alpha])


def _draw_chips(canvas: np.ndarray, chips: Sequence[tuple[np.ndarray, np.ndarray]], line_px: int) -> None:
    """Blend labels near their anchors, inside the image and, while there is room, clear of each other."""
    height, width = canvas.shape[:2]
    placed: list[Box] = []
    for chip, (anchor_x, anchor_y) in chips:
        chip = chip[:height, :width]
        chip_height, chip_width = chip.shape[:2]
        left = int(np.clip(anchor_x - chip_width // 2, 0, width - chip_width))
        above = anchor_y - chip_height - 2 * line_px
        step = chip_height + line_px
        wishes = [above, anchor_y + 2 * line_px, *(above + step * k for k in (-1, 2, -2, 3, 4, 5))]
        tops = [int(np.clip(wish, 0, height - chip_height)) for wish in wishes]
        boxes = [(left, top, left + chip_width, top + chip_height) for top in tops]
        free = (box for box in boxes if not any(_overlap(box, other) for other in placed))
        box = next(free, boxes[0])
        placed.append(box)
        region = canvas[box[1] : box[3], box[0] : box[2]]
        alpha = chip[..., 3:]
        region[:] = np.round(region + (chip[..., :3] - region) * alpha).astype(np.uint8)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _color_index(object_id: int, num_colors: int) -> int:
    """Ids beyond the palette begin again behind the background's colour."""
    return object_id if object_id < num_colors else 1 + (object_id - 1) % (num_colors - 1)


@lru_cache(maxsize=1)
def _default_palette() -> np.ndarray:
    return object_palette()


class OverlayWriter:
    """Encode RGB frames as an H.264 mp4 in a background thread.

    Use it as a context manager. Frames go to ``<name>.part.mp4``, which takes its final name when the block
    succeeds, so that an interrupted run leaves no broken video. Odd sizes are padded by one pixel. Where FFmpeg
    has no libx264, MPEG-4 is used with one warning.

    Args:
        path: Where the video goes.
        fps: Frames per second, above 0.
        hw: Height and width of the frames.
        in_place: Write to ``path`` itself, in fragments of two seconds: for recordings without a known end, which
            can be played while they grow and whatever ends them.

    Raises:
        InputError: ``fps`` is not above 0.
        SurgvosError: The file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, hw: tuple[int, int], *, in_place: bool = False) -> None:
        if not fps > 0:
            raise InputError(f"expected fps above 0, got {fps}; try 25")
        self.path, self.fps, self.hw = Path(path), fps, hw
        self._in_place = in_place
        self._exit = ExitStack()
        self._place = -1
        self._images: queue.Queue[tuple[np.ndarray, int] | None] = queue.Queue(maxsize=4)
        self._error: Exception | None = None

    def __enter__(self) -> OverlayWriter:
        part = self.path if self._in_place else self._exit.enter_context(replacing(self.path))
        self._thread = threading.Thread(target=self._encode, args=(part,), name="surgvos-overlay", daemon=True)
        self._thread.start()
        return self

    def write(self, image: np.ndarray, place: int | None = None) -> None:
        """Queue a frame.

        Args:
            image: uint8 ``(h, w, 3)`` RGB; must not be changed afterwards.
            place: When it is shown, counted in frames; above that of the frame before, which is shown until then. By
                default the next one.

        Raises:
            InputError: The frame has another size.
            SurgvosError: An earlier frame could not be written.
        """
        if image.shape != (*self.hw, 3):
            raise InputError(f"expected frames of shape {(*self.hw, 3)}, got {image.shape}")
        if self._error is not None:
            raise self._failure(self._error) from self._error
        self._place = self._place + 1 if place is None else place
        self._images.put((image, self._place))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._images.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            failure = self._failure(self._error)
            self._exit.__exit__(type(failure), failure, None)
            raise failure from self._error
        self._exit.__exit__(kind, error, trace)

    def _failure(self, error: Exception) -> SurgvosError:
        return SurgvosError(f"expected to write {str(self.path)!r}, got: {error}; try freeing space or another folder")

    def _encode(self, part: Path) -> None:
        try:
            self._encode_all(part)
        except Exception as error:
            self._error = error
            while self._images.get() is not None:
                pass

    def _encode_all(self, part: Path) -> None:
        import av

        options = _FRAGMENTED if self._in_place else {"movflags": "+faststart"}
        with av.open(str(part), "w", format="mp4", options=options) as container:
            stream = _add_stream(container, self.fps, (self.hw[0] + self.hw[0] % 2, self.hw[1] + self.hw[1] % 2))
            if self._in_place:
                stream.codec_context.gop_size = max(1, round(_FRAGMENT_S * self.fps))
            while (placed := self._images.get()) is not None:
                container.mux(stream.encode(_to_picture(*placed)))
            container.mux(stream.encode(None))


def _add_stream(container: Any, fps: float, even_hw: tuple[int, int]) -> Any:
    import av

    rate = Fraction(fps).limit_denominator(1001)
    if "libx264" in av.codecs_available:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
    else:
        warnings.warn("expected FFmpeg with libx264, got one without; overlays are MPEG-4", stacklevel=2)
        stream = container.add_stream("mpeg4", rate=rate, options={"q": "3"})
    stream.height, stream.width = even_hw
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    return stream


def _to_picture(image: np.ndarray, place: int) -> av.VideoFrame:
    import av

    odd_rows, odd_columns = image.shape[0] % 2, image.shape[1] % 2
    padded = np.pad(image, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
    picture = av.VideoFrame.from_ndarray(padded, format="rgb24")
    picture = picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED_RANGE)
    picture.pts = place
    return picture


def render_overlay(
    video: Iterable[Frame],
    masks: Mapping[str, Mapping[int, np.ndarray]],
    path: str | Path,
    *,
    fps: float,
    objects: Mapping[str, Mapping[int, ObjectResult]] | None = None,
    labels: Mapping[int, str] | None = None,
    palette: np.ndarray | None = None,
) -> int:
    """Draw written masks over a video, for example after a resumed run.

    Args:
        video: Frames to draw on.
        masks: Frame name -> masks by object id, such as `surgvos.io.masks.read_mask_folder` gives; frames
            without an entry are shown as they are.
        path: Where the mp4 goes.
        fps: Frames per second.
        objects: Frame name -> what the engine said by object id.
        labels: Object id -> name.
        palette: uint8 ``(n, 3)`` RGB colours by object id; by default those of mask files.

    Returns:
        The number of frames written.

    Raises:
        InputError: The video has no frames, or a mask has another size.
        SurgvosError: The file cannot be written.
    """
    num_frames = 0
    with ExitStack() as stack:
        for frame in prefetch(video):
            if num_frames == 0:
                writer = stack.enter_context(OverlayWriter(path, fps, frame.hw))
            known = None if objects is None else objects.get(frame.name)
            writer.write(draw_overlay(frame.image, masks.get(frame.name, {}), known, labels, palette=palette))
            num_frames += 1
    if num_frames == 0:
        raise InputError("expected a video with frames to draw on, got none")
    return num_frames

"""Synthetic clips as folders in the layout of DAVIS."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from surgvos.core import object_palette
from surgvos.data.synthetic.scene import SyntheticClip
from surgvos.errors import InputError


def write_clip(clip: SyntheticClip, folder: str | Path, video: str = "clip_00000") -> None:
    """Add one clip to a data set in the layout of DAVIS.

    Writes ``JPEGImages/<video>/00000.jpg`` and palette images ``Annotations/<video>/00000.png`` (pixel = object
    id), and enters the objects (id, category, kind, phrases) under the video's name in ``objects.json``.

    Args:
        clip: What to write.
        folder: Of the data set; made where needed.
        video: Name of the clip in it.

    Raises:
        InputError: The data set already has a video of this name.
    """
    root = Path(folder)
    images, annotations = root / "JPEGImages" / video, root / "Annotations" / video
    if images.exists() or annotations.exists():
        raise InputError(f"expected a new video, got {video!r}, which exists in {root}; try another name")
    images.mkdir(parents=True)
    annotations.mkdir(parents=True)
    for index, (frame, instances) in enumerate(zip(clip.frames, clip.instances, strict=True)):
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        (images / f"{index:05d}.jpg").write_bytes(jpeg.tobytes())
        _write_palette_png(annotations / f"{index:05d}.png", instances)
    listing = root / "objects.json"
    videos = json.loads(listing.read_text(encoding="utf-8")) if listing.exists() else {}
    videos[video] = [
        {"id": item.id, "category": item.category, "kind": item.kind, "phrases": list(item.phrases)}
        for item in clip.objects
    ]
    listing.write_text(json.dumps(videos, indent=1) + "\n", encoding="utf-8")


def _write_palette_png(path: Path, instances: np.ndarray) -> None:
    from PIL import Image  # OpenCV writes no palettes, and workers that only generate need not load this

    image = Image.fromarray(instances)
    image.putpalette(object_palette(256).ravel().tolist())
    image.save(path)

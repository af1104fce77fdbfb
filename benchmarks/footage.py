"""A long synthetic operation as a video file, for the other scripts of this folder."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from surgvos.data.synthetic import SceneConfig, generate_clip
from surgvos.io.masks import write_label_map

FPS = 25


def write_operation(
    folder: Path, num_frames: int, image_hw: tuple[int, int] = (720, 1280), num_objects: int = 1
) -> tuple[Path, Path]:
    """Write ``video.mp4`` and ``first.png``, the label map of its first frame.

    One clip of 100 frames is played to and fro, so that a long video costs little and nothing jumps.
    """
    config = SceneConfig(
        image_hw=image_hw, num_frames=100, surgical_share=1.0, num_instruments=(4, 5), late_entry=0.0, camera_jerk=0.0
    )
    clip = next(
        c for c in (generate_clip(seed, config) for seed in range(100)) if _num_visible(c.instances[0]) >= num_objects
    )
    folder.mkdir(parents=True, exist_ok=True)
    to_and_fro = [*range(100), *range(98, 0, -1)]
    with av.open(str(folder / "video.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS), options={"preset": "veryfast", "crf": "20"})
        stream.height, stream.width = image_hw
        stream.pix_fmt = "yuv420p"
        for index in range(num_frames):
            picture = av.VideoFrame.from_ndarray(clip.frames[to_and_fro[index % len(to_and_fro)]], format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    first = clip.instances[0].copy()
    largest = np.argsort(-np.bincount(first[first > 0], minlength=256))[:num_objects]
    first[~np.isin(first, largest)] = 0
    write_label_map(folder / "first.png", first)
    return folder / "video.mp4", folder / "first.png"


def _num_visible(instances: np.ndarray) -> int:
    return int((np.bincount(instances[instances > 0], minlength=256) >= 500).sum())

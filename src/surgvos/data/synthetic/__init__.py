"""Endless procedural surgical clips with exact masks, parts and referring phrases.

What is here: `generate_clip` draws one clip from a seed, `iterate_clips` an endless stream, `write_clip` puts one
on disk. About half of the clips look surgical (robotic, laparoscopic, ex vivo, ophthalmic, colonoscopic); the
others are domain randomisation: any shape with any texture over any background. Only numpy and OpenCV are used, so
that data-loader workers start quickly.
"""

from surgvos.data.synthetic.config import SceneConfig
from surgvos.data.synthetic.instruments import Part
from surgvos.data.synthetic.scene import (
    SyntheticClip,
    SyntheticObject,
    generate_clip,
    iterate_clips,
    use_one_thread,
)
from surgvos.data.synthetic.writer import write_clip

__all__ = [
    "Part",
    "SceneConfig",
    "SyntheticClip",
    "SyntheticObject",
    "generate_clip",
    "iterate_clips",
    "use_one_thread",
    "write_clip",
]

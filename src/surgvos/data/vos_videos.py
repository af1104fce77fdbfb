"""The videos of a folder in the layout of DAVIS, to be prompted by their label maps and followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from surgvos.data.prepared import ANNOTATIONS, FRAMES, PROMPTS
from surgvos.errors import InputError
from surgvos.io.image_folder import list_images, natural_key
from surgvos.io.masks import read_label_map


@dataclass(frozen=True, slots=True)
class VosVideo:
    """One video.

    Attributes:
        name: Of its folders.
        images: Folder of its frames.
        annotations: Folder of label maps (pixel = object id), named like their frames; frames may be missing.
    """

    name: str
    images: Path
    annotations: Path

    def label_maps(self) -> Iterator[tuple[int, np.ndarray]]:
        """Index among the frames, and label map ``(h, w)``, in order.

        Raises:
            InputError: There are none, or one belongs to no frame.
        """
        if not self.annotations.is_dir():
            raise InputError(f"expected label maps in {str(self.annotations)!r}, got no such folder")
        index_of = {path.stem: index for index, path in enumerate(list_images(self.images))}
        for path in list_images(self.annotations):
            if path.stem not in index_of:
                raise InputError(
                    f"expected a frame {path.stem!r} of video {self.name!r} for its label map {str(path)!r}, got none"
                )
            yield index_of[path.stem], read_label_map(path)


def find_vos_videos(root: str | Path, *, names: Sequence[str] = (), annotations: str | None = None) -> list[VosVideo]:
    """Find the videos of ``root/JPEGImages/<video>``.

    Args:
        root: Holds ``JPEGImages`` and folders of label maps.
        names: Videos to use, in this order; empty uses all.
        annotations: Folder in ``root`` with ``<video>/<frame>.png``. By default that of first appearances,
            ``VOS/Annotations_vos_instrument``, where there is one, and otherwise ``Annotations``.

    Raises:
        InputError: There are no such folders, or no such video.
    """
    root = Path(root)
    if annotations is None:
        annotations = PROMPTS if (root / PROMPTS).is_dir() else ANNOTATIONS
    for folder in (FRAMES, annotations):
        if not (root / folder).is_dir():
            raise InputError(f"expected folders {FRAMES} and {annotations} in {str(root)!r}, got no {folder}")
    found = [path.name for path in sorted((root / FRAMES).iterdir(), key=natural_key) if path.is_dir()]
    if not found:
        raise InputError(f"expected a folder per video in {str(root / FRAMES)!r}, got none")
    missing = sorted(set(names) - set(found))
    if missing:
        raise InputError(f"expected videos of {', '.join(found[:8])} in {str(root)!r}, got {missing[0]!r}")
    return [VosVideo(name, root / FRAMES / name, root / annotations / name) for name in names or found]

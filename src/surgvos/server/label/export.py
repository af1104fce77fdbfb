"""Take labelled frames out of a project, in the layout of DAVIS that training and scoring read."""

from __future__ import annotations

from pathlib import Path

import cv2

from surgvos.data.prepared import write_bytes, write_objects
from surgvos.errors import InputError
from surgvos.io.masks import write_label_map
from surgvos.server.label.project import Project, frame_name, open_labelled_video, video_path

_QUALITY = 95


def export_project(folder: Path, root: Path) -> int:
    """Add the labelled frames of a project to a data set.

    Writes ``JPEGImages/<video>/<frame>.jpg`` and ``Annotations/<video>/<frame>.png`` (pixel = object id), and enters
    the objects into ``objects.json``. A frame is labelled when something is said of it, or when it is locked.

    Args:
        folder: The project.
        root: Of the data set; made where it is missing.

    Returns:
        How many frames were written.

    Raises:
        InputError: Nothing is labelled, the data set has a video of this name, or a page has the project open.
    """
    video = open_labelled_video(video_path(folder))
    project = Project(folder, video)
    try:
        name, labels = project.file.video.name, project.labels
        images, annotations = root / "JPEGImages" / name, root / "Annotations" / name
        if images.exists() or annotations.exists():
            raise InputError(f"expected a new video, got {name!r}, which exists in {root}; try another folder")
        frames = sorted({*labels.masks, *labels.locked})
        if not frames:
            raise InputError(f"expected labelled frames in {str(folder)!r}, got none")
        for index in frames:
            stem = frame_name(video, index)
            image = cv2.cvtColor(video[index].image, cv2.COLOR_RGB2BGR)
            jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
            write_bytes(images / f"{stem}.jpg", jpeg.tobytes())
            write_label_map(annotations / f"{stem}.png", project.label_map(index))
        called: list[dict[str, object]] = [
            {"id": i, "category": value.label or value.name} for i, value in labels.objects.items()
        ]
        write_objects(root, {name: called})
        return len(frames)
    finally:
        project.close()

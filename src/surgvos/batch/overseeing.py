"""What is asked of an overseer, in plain values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from surgvos.io.run_record import file_sha256
from surgvos.overseer.alone import RecordingDetector
from surgvos.overseer.annotations import AnnotatedDetector
from surgvos.overseer.detector import Detector
from surgvos.overseer.instances import ConnectedInstances
from surgvos.overseer.mask_folder import MaskFolderDetector
from surgvos.overseer.nnunet import NnunetDetector
from surgvos.overseer.out_of_body import OutOfBodyDetector
from surgvos.overseer.voting import VotingDetector

DETECTIONS = "overseer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overseeing:
    """What is asked of an overseer.

    Attributes:
        detector: Weights, or a folder of label maps.
        label_space: Name or YAML file; None: the one that a detector in the box has of its own.
        rules: By name; None uses the detector alone.
        annotations: Folder of annotated frames, or None.
        keeps_detections: Whether the detector's own masks are written as well.
        instances: Whether the objects of a class are told apart.
        skips_out_of_body: Whether frames outside the body are left out.
        voter: A second detector, which decides between two names for one thing, or None.
        by_video: Folders hold a folder for each video, of its name.
    """

    detector: str
    label_space: str | None
    rules: str | None
    annotations: Path | None
    keeps_detections: bool
    instances: bool = False
    skips_out_of_body: bool = False
    voter: str | None = None
    by_video: bool = False

    def open(self, video: str, out: Path, load: Callable[[str], Detector]) -> Detector:
        """The detector of one video.

        Args:
            video: Its name.
            out: Folder of its results.
            load: Gives the detector of a path.
        """
        detector = load(self._folder_of(video, self.detector))
        if self.instances and isinstance(detector, MaskFolderDetector | NnunetDetector):
            detector = ConnectedInstances(detector)
        if self.voter is not None:
            detector = VotingDetector(detector, load(self._folder_of(video, self.voter)))
        if self.skips_out_of_body:
            detector = OutOfBodyDetector(detector)
        if self.keeps_detections:
            detector = RecordingDetector(detector, out / DETECTIONS)
        if self.annotations is None:
            return detector
        return AnnotatedDetector(detector, self._folder_of(video, str(self.annotations)))

    def record(self) -> dict[str, Any]:
        """What ``run.json`` says of it."""
        path = Path(self.detector)
        chosen = asdict(self) | {"annotations": None if self.annotations is None else str(self.annotations)}
        return chosen | ({"sha256": file_sha256(path)} if path.is_file() else {})

    def _folder_of(self, video: str, path: str) -> str:
        return str(Path(path) / video) if self.by_video and Path(path).is_dir() else path

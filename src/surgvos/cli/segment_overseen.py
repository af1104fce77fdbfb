"""``surgvos segment --overseer``: a detector says what is there, a tracker keeps it steady."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from surgvos.cli.progress import progress_bar
from surgvos.errors import InputError

if TYPE_CHECKING:
    from surgvos.cli.segmenter import Segmenter
    from surgvos.core.labels import LabelSpace
    from surgvos.overseer.detector import Detector
    from surgvos.tracking.run import RunSettings, Tracker

DETECTIONS = "overseer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overseeing:
    """What was asked of the overseer.

    Attributes:
        detector: Weights, or a folder of label maps.
        label_space: Name or YAML file.
        rules: By name; None uses the detector alone.
        annotations: Folder of annotated frames, or None.
        keeps_detections: Whether the detector's own masks are written as well.
        device: Of the detector.
    """

    detector: str
    label_space: str
    rules: str | None
    annotations: Path | None
    keeps_detections: bool
    device: str

    def open(self, out: Path) -> Detector:
        """Load the detector."""
        from surgvos.overseer.alone import RecordingDetector
        from surgvos.overseer.annotations import AnnotatedDetector
        from surgvos.overseer.load import load_detector

        detector = load_detector(self.detector, self.label_space, device=self.device)
        if self.keeps_detections:
            detector = RecordingDetector(detector, out / DETECTIONS)
        return detector if self.annotations is None else AnnotatedDetector(detector, self.annotations)

    def record(self) -> dict[str, Any]:
        """What ``run.json`` says of it."""
        from surgvos.io.run_record import file_sha256

        path = Path(self.detector)
        chosen = asdict(self) | {"annotations": None if self.annotations is None else str(self.annotations)}
        return chosen | ({"sha256": file_sha256(path)} if path.is_file() else {})


def segment_overseen(
    loaded: Callable[[], Segmenter], settings: RunSettings, source: str, out: Path, asked: Overseeing, *, resume: bool
) -> None:
    """Label every frame of a video with the classes of a detector."""
    from surgvos.io.run_record import package_versions
    from surgvos.io.video import open_video
    from surgvos.overseer.alone import DetectorAlone
    from surgvos.overseer.oversee import OverseenSession
    from surgvos.overseer.rules import rules_by_name
    from surgvos.tracking.run import segment_video

    rules = None if asked.rules is None else rules_by_name(asked.rules)
    video = open_video(source)
    detector = asked.open(out)
    record: dict[str, Any] = {"source": source, "overseer": asked.record(), "versions": package_versions()}
    tracker: Tracker
    if rules is None:
        tracker = DetectorAlone(detector)
    else:
        segmenter = loaded()
        tracker = OverseenSession(segmenter.new_session(), detector, rules)
        record |= segmenter.record() | {"rules": asdict(rules)}  # type: ignore[call-overload]
    settings = replace(settings, fps=getattr(video, "fps", None) or settings.fps)
    record["run"] = asdict(settings)
    space: LabelSpace = detector.label_space
    with progress_bar("frames") as progress:
        summary = segment_video(
            tracker, video, out, settings, record, label_space=space, resume=resume, progress=progress
        )
    speed = f" at {summary.num_frames_now / summary.seconds:.1f} frames/s" if summary.num_frames_now else ""
    typer.echo(f"{summary.num_frames} frames in {out}{speed}; pixels are ids of {space.name or 'the label space'}")


def parse_overseeing(
    detector: str,
    label_space: str | None,
    rules: str | None,
    annotations: Path | None,
    *,
    no_tracker: bool,
    keeps_detections: bool,
    device: str,
) -> Overseeing:
    """Check that the options belong together.

    Raises:
        InputError: They do not.
    """
    if label_space is None:
        raise InputError(
            "expected --label-space with --overseer, which says what its classes mean, got none; try --label-space "
            "cadis-2, or a YAML file"
        )
    if no_tracker and (rules is not None or annotations is not None):
        raise InputError("expected --no-tracker without --rules and --annotated, got both; there is nothing to decide")
    return Overseeing(
        detector=detector,
        label_space=label_space,
        rules=None if no_tracker else rules or "sasvi",
        annotations=annotations,
        keeps_detections=keeps_detections,
        device=device,
    )

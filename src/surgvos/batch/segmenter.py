"""A job with its networks loaded, for any number of videos."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from surgvos.batch.job import SegmentJob, VideoTask
from surgvos.batch.overseeing import Overseeing
from surgvos.batch.prompt_sources import PROMPTS
from surgvos.batch.segmented import Segmented
from surgvos.data.prompt_files import describe_prompt, write_prompt_file
from surgvos.data.prompt_protocols import PlacedPrompt
from surgvos.io.run_record import file_sha256, package_versions
from surgvos.io.video import open_video
from surgvos.models.backends import use_backend
from surgvos.models.registry import find_weights, load_model
from surgvos.overseer.alone import DetectorAlone
from surgvos.overseer.load import load_detector
from surgvos.overseer.oversee import OverseenSession
from surgvos.overseer.rules import rules_by_name
from surgvos.tracking.run import RUN, Progress, Tracker, segment_video
from surgvos.tracking.session import Session

if TYPE_CHECKING:
    from surgvos.models.interface import VideoModel
    from surgvos.overseer.detector import Detector


class _Network(NamedTuple):
    """A model, and what ``run.json`` says of it."""

    model: VideoModel
    record: dict[str, Any]


class Segmenter:
    """Does a job to one video after the other; networks are loaded when they are first needed.

    Args:
        job: What is done.
    """

    def __init__(self, job: SegmentJob) -> None:
        self.job = job

    def load(self) -> None:
        """Load now what can be loaded before a video is known.

        Raises:
            ConfigError: The model, the memory policy, the device or the precision is not known.
            CheckpointError: The weights cannot be read.
        """
        if self.job.needs_model:
            self._new_session()  # a wrong name of a policy is said before any video is opened

    def segment(self, task: VideoTask, *, resume: bool, progress: Progress | None = None) -> Segmented:
        """Segment one video into its folder; see `segment_video`.

        Raises:
            InputError: The video, its prompts or what is in the folder are not as expected.
            SurgvosError: The disk is full.
        """
        video = open_video(task.source)
        placed = [] if task.prompts is None else task.prompts.placed(video)
        settings = replace(self.job.settings, fps=getattr(video, "fps", None) or self.job.settings.fps)
        record: dict[str, Any] = {"source": task.source, "run": asdict(settings), "versions": package_versions()}
        tracker: Tracker
        label_space = None
        if self.job.overseeing is None:
            tracker = self._prompted_session(placed)
            record |= self._record() | {"prompts": [describe_prompt(*prompt) for prompt in placed]}
            if self.job.keeps_prompts and not (task.out / RUN).exists():
                write_prompt_file(task.out / PROMPTS, placed, task.name)
        else:
            detector = self.job.overseeing.open(task.name, task.out, self._detector)
            label_space = detector.label_space
            tracker, of_overseer = self._overseen(self.job.overseeing, detector)
            record |= of_overseer
        summary = segment_video(
            tracker,
            video,
            task.out,
            settings,
            record,
            label_space=label_space,
            instances=self.job.overseeing is not None and self.job.overseeing.instances,
            resume=resume,
            progress=progress,
        )
        return Segmented(summary, len({i for _, i, _ in placed}) if self.job.overseeing is None else None)

    def _prompted_session(self, placed: list[PlacedPrompt]) -> Session:
        session = self._new_session()
        for prompt in placed:
            session.add_prompt(*prompt)
        return session

    def _overseen(self, asked: Overseeing, detector: Detector) -> tuple[Tracker, dict[str, Any]]:
        record = {"overseer": self._overseer_record}
        if asked.rules is None:
            return DetectorAlone(detector), record
        rules = rules_by_name(asked.rules)
        record |= self._record() | {"rules": asdict(rules)}  # type: ignore[call-overload]
        return OverseenSession(self._new_session(), detector, rules, instances=asked.instances), record

    def _new_session(self) -> Session:
        return Session(self._network.model, self.job.memory, self.job.options, self.job.search)

    def _record(self) -> dict[str, Any]:
        """What ``run.json`` says of the model, the memory and the session."""
        session = self._new_session()
        return {
            "model": self._network.record,
            "memory": {"policy": self.job.memory, **asdict(session.policy)},  # type: ignore[call-overload]
            "session": asdict(session.options),
            "search": asdict(session.search_options),
        }

    @cached_property
    def _network(self) -> _Network:
        job = self.job
        weights = find_weights(job.model)
        model = load_model(weights, device=job.device, dtype=job.dtype, image_size=job.size)
        use_backend(model, job.backend)
        record = {"name": job.model, "dtype": str(model.compute_dtype), "sha256": file_sha256(weights)}
        record |= {} if job.size is None else {"size": str(job.size)}
        record |= {} if job.backend == "torch" else {"backend": job.backend}
        return _Network(model, record)

    @cached_property
    def _overseer_record(self) -> dict[str, Any]:
        return {} if self.job.overseeing is None else self.job.overseeing.record()

    @cached_property
    def _detector(self) -> Any:
        """Path -> detector; the last ones stay loaded, which are the only ones where they are networks."""
        asked = self.job.overseeing
        assert asked is not None
        return lru_cache(maxsize=2)(lambda path: load_detector(path, asked.label_space, device=self.job.device))

"""What ``surgvos segment`` does to every video, be it one or a whole data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgvos.cli.prompt_arguments import describe_prompt
from surgvos.data.prompt_protocols import PlacedPrompt

if TYPE_CHECKING:
    from surgvos.core.frame import FrameStream
    from surgvos.models.interface import VideoModel
    from surgvos.tracking.run import Progress, RunSettings, RunSummary
    from surgvos.tracking.searching import SearchOptions
    from surgvos.tracking.session import Session, SessionOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """A loaded model and the settings that all videos share.

    Attributes:
        model: The model.
        model_record: What ``run.json`` says of it.
        memory: Name of the memory policy.
        options: Of every session.
        search: Of every session: how phrases are looked for.
        settings: Of every run, but for the frame rate.
    """

    model: VideoModel
    model_record: dict[str, Any]
    memory: str
    options: SessionOptions
    search: SearchOptions
    settings: RunSettings

    def new_session(self) -> Session:
        """A session for one video."""
        from surgvos.tracking.session import Session

        return Session(self.model, self.memory, self.options, self.search)

    def record(self) -> dict[str, Any]:
        """What ``run.json`` says of the model, the memory and the session."""
        session = self.new_session()
        return {
            "model": self.model_record,
            "memory": {"policy": self.memory, **asdict(session.policy)},  # type: ignore[call-overload]
            "session": asdict(session.options),
            "search": asdict(session.search_options),
        }

    def segment(
        self,
        video: FrameStream,
        placed: Sequence[PlacedPrompt],
        out: Path,
        *,
        source: str,
        resume: bool,
        progress: Progress,
    ) -> RunSummary:
        """Follow prompted objects through a video into a folder; see `segment_video`."""
        from surgvos.io.run_record import package_versions
        from surgvos.tracking.run import segment_video

        session = self.new_session()
        for placed_prompt in placed:
            session.add_prompt(*placed_prompt)
        settings = replace(self.settings, fps=getattr(video, "fps", None) or self.settings.fps)
        record = {
            "source": source,
            **self.record(),
            "run": asdict(settings),
            "prompts": [describe_prompt(*placed_prompt) for placed_prompt in placed],
            "versions": package_versions(),
        }
        return segment_video(session, video, out, settings, record, resume=resume, progress=progress)


def open_segmenter(
    model: str,
    *,
    size: int | None,
    device: str,
    dtype: str,
    memory: str,
    options: SessionOptions,
    search: SearchOptions,
    settings: RunSettings,
) -> Segmenter:
    """Load a model for any number of videos.

    Raises:
        ConfigError: The model, the memory policy, the device or the precision is not known.
        CheckpointError: The weights cannot be read.
    """
    from surgvos.io.run_record import file_sha256
    from surgvos.models.registry import find_weights, load_model
    from surgvos.tracking.session import Session

    weights = find_weights(model)
    loaded = load_model(weights, device=device, dtype=dtype, image_size=size)
    Session(loaded, memory, options)  # a wrong name of a policy is said before any video is opened
    record = {"name": model, "dtype": str(loaded.compute_dtype), "sha256": file_sha256(weights)}
    record |= {} if size is None else {"size": str(size)}
    return Segmenter(
        model=loaded, model_record=record, memory=memory, options=options, search=search, settings=settings
    )

"""What is done to videos, in plain values: a job can be sent to any process of any machine that sees the files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgvos.batch.overseeing import Overseeing
from surgvos.batch.prompt_sources import PromptSource
from surgvos.io.label_spaces import find_label_space
from surgvos.io.run_record import file_sha256, package_versions
from surgvos.memory import policy_by_name
from surgvos.models.backends import check_backend
from surgvos.models.devices import resolve_device, resolve_dtype
from surgvos.models.registry import find_weights
from surgvos.overseer.rules import rules_by_name
from surgvos.tracking.answering import SessionOptions
from surgvos.tracking.run import RunSettings
from surgvos.tracking.searching import SearchOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentJob:
    """What all videos have in common.

    Attributes:
        model: Name of a model, or its weights.
        size: Input size of a SAM 2 model; None is its own.
        device: Where it runs, by name.
        dtype: Its precision, by name.
        backend: Engine of its image encoder, one of `BACKENDS`.
        memory: Name of the memory policy.
        options: Of every session.
        search: Of every session: how phrases are looked for.
        settings: Of every run, but for the frame rate.
        overseeing: A detector that says what is there; None follows what is prompted.
        keeps_prompts: Write the prompts of every video beside its masks.
    """

    model: str
    size: int | None
    device: str
    dtype: str
    backend: str = "torch"
    memory: str
    options: SessionOptions
    search: SearchOptions
    settings: RunSettings
    overseeing: Overseeing | None = None
    keeps_prompts: bool = False

    @property
    def needs_model(self) -> bool:
        """Whether anything is followed; a detector alone follows nothing."""
        return self.overseeing is None or self.overseeing.rules is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTask:
    """One video of a job.

    Attributes:
        name: Under which its results are known.
        source: As `open_video` takes it.
        out: Folder of its results.
        prompts: What is shown of it; None where an overseer says what is there.
    """

    name: str
    source: str
    out: Path
    prompts: PromptSource | None


def check_job(job: SegmentJob) -> None:
    """Find out what is wrong for every video before any is opened.

    Raises:
        ConfigError, InputError: A name means nothing.
        CheckpointError: There are no such weights.
    """
    resolve_dtype(job.dtype, resolve_device(job.device))
    check_backend(job.backend)
    if job.needs_model:
        find_weights(job.model)
        policy_by_name(job.memory, num_recent=1)
    if job.overseeing is not None:
        if job.overseeing.label_space is not None:
            find_label_space(job.overseeing.label_space)
        if job.overseeing.rules is not None:
            rules_by_name(job.overseeing.rules)


def identity_of(job: SegmentJob) -> str:
    """Hash of all that the results of a job depend on: settings, weights by their content, versions. Not the device."""
    files = [find_weights(job.model)] if job.needs_model else []
    if job.overseeing is not None and Path(job.overseeing.detector).is_file():
        files.append(Path(job.overseeing.detector))
    settings = {name: value for name, value in asdict(job).items() if name != "device"}
    return _hash_of({"job": settings, "files": [file_sha256(path) for path in files], "versions": package_versions()})


def fingerprint(identity: str, task: VideoTask) -> str:
    """Hash by which a finished video is known to be just what is asked for again; ``identity`` is that of its job."""
    return _hash_of({"job": identity, "kind": type(task.prompts).__name__, "task": asdict(task)})


def _hash_of(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=_to_plain).encode()).hexdigest()


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, frozenset):
        return sorted(value)
    return str(value)

"""Everything that determines a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from surgvos.data.batches import BatchShape
from surgvos.data.labelled_folder import LabelledFolderConfig
from surgvos.data.synthetic_classes import SyntheticClassesConfig
from surgvos.data.synthetic_clips import SyntheticClipsConfig
from surgvos.data.synthetic_objects import SyntheticObjectsConfig
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.data.vos_phrases import VosPhrasesConfig
from surgvos.errors import ConfigError
from surgvos.models.nano import NanoConfig, ReferringNanoConfig
from surgvos.models.nano.segmenter import NanoSegmenterConfig
from surgvos.models.resurg import ResurgConfig
from surgvos.models.sam2 import Sam2Config
from surgvos.training.clip import ClipSettings
from surgvos.training.detection import DetectionSettings
from surgvos.training.detector_weights import DetectorConfig
from surgvos.training.matching import MatchSettings
from surgvos.training.objects import ObjectSettings
from surgvos.training.optim import OptimiserSettings
from surgvos.training.referring import ReferringSettings
from surgvos.training.segmenting import SegmentingSettings

AnyModel = NanoConfig | ReferringNanoConfig | Sam2Config | ResurgConfig | DetectorConfig
AnyData = (
    LabelledFolderConfig
    | SyntheticClassesConfig
    | SyntheticClipsConfig
    | SyntheticObjectsConfig
    | SyntheticPhrasesConfig
    | VosFolderConfig
    | VosPhrasesConfig
)
AnyTask = ClipSettings | DetectionSettings | SegmentingSettings | ObjectSettings | MatchSettings | ReferringSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Part of a run.

    Attributes:
        steps: How many batches.
        batch: Their shape.
        other_batches: Further shapes; every step draws one of all of them, each with the same chance.
        freeze: Beginnings of the names of parameters that are not trained in this part, beside those of
            `TrainConfig.freeze`. Nothing is known of them when they join: their averages of gradients start then.
    """

    steps: int
    batch: BatchShape
    other_batches: tuple[BatchShape, ...] = ()
    freeze: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"expected steps >= 1, got {self.steps}")

    def shape_of(self, step: int, seed: int) -> BatchShape:
        """The shape of the batch of a step of the run; it depends on nothing else, so that a run can be resumed."""
        shapes = (self.batch, *self.other_batches)
        return shapes[int(np.random.default_rng((seed, 6, step)).integers(len(shapes)))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Batches that are scored now and then, with the average of the weights where there is one.

    Attributes:
        data: Where they come from.
        batch: Shape of the batches.
        num_batches: How many are scored; the same ones each time.
        every: Steps from one scoring to the next.
    """

    data: AnyData
    batch: BatchShape
    num_batches: int = 8
    every: int = 500

    def __post_init__(self) -> None:
        if self.num_batches < 1 or self.every < 1:
            raise ConfigError(f"expected num_batches >= 1 and every >= 1, got {self.num_batches} and {self.every}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that determines a run.

    Attributes:
        model: The network.
        data: Where batches come from.
        stages: Parts of the run, one after the other; the learning rate runs over all of them.
        task: What is learned, and how a batch becomes losses.
        optimiser: How weights move.
        validation: What is scored now and then; None scores nothing.
        init_from: Name or file of weights to start from; None starts from random ones.
        init_parts: Beginning of the names of some weights -> ``FILE:BEGINNING`` of those in another file that they all
            start from instead; what else the file holds is left.
        freeze: Beginnings of the names of parameters that are not trained, such as ``image_encoder`` and
            ``sam_prompt_encoder``; no gradient is computed where none is needed.
        recompute: Names of modules whose activations are computed again in the backward pass instead of being kept,
            such as ``image_encoder.trunk.blocks`` and ``memory_attention``; see `recompute_activations`.
        average_decay: Decay of the running average of weights, which is what is saved in the end; None saves the
            last weights.
        precision: Of matrix products.
        seed: Of everything drawn.
        num_workers: Processes that prepare batches; 0 prepares them in between.
        num_threads: Threads of the CPU; None leaves them as they are.
        checkpoint_every: Steps from one checkpoint to the next.
        log_every: Steps from one line of the log to the next.
    """

    model: AnyModel
    data: AnyData
    stages: tuple[Stage, ...]
    task: AnyTask = field(default_factory=ClipSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    validation: Validation | None = None
    init_from: str | None = None
    init_parts: dict[str, str] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()
    recompute: tuple[str, ...] = ()
    average_decay: float | None = None
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: int = 0
    num_workers: int = 1
    num_threads: int | None = None
    checkpoint_every: int = 500
    log_every: int = 20

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("expected at least one stage, got none")
        if self.checkpoint_every < 1 or self.log_every < 1 or self.num_workers < 0:
            raise ConfigError("expected checkpoint_every >= 1, log_every >= 1 and num_workers >= 0")
        if self.average_decay is not None and not 0 < self.average_decay < 1:
            raise ConfigError(f"expected average_decay between 0 and 1, got {self.average_decay}")
        if isinstance(self.data, VosPhrasesConfig) and isinstance(self.task, ReferringSettings):
            wanted, given = self.task.num_referring, self.data.num_referring
            if wanted != given:
                raise ConfigError(f"expected the same num_referring of task and data, got {wanted} and {given}")
        of_detection = {
            "model": isinstance(self.model, DetectorConfig),
            "data": isinstance(self.data, LabelledFolderConfig | SyntheticClassesConfig),
            "task": isinstance(self.task, DetectionSettings | SegmentingSettings),
        }
        if len(set(of_detection.values())) > 1:
            raise ConfigError(
                "expected model, data and task to be all three for detectors, or none of them, got "
                f"{' and '.join(name for name, is_one in of_detection.items() if is_one)} alone"
            )
        if isinstance(self.model, NanoSegmenterConfig) != isinstance(self.task, SegmentingSettings):
            raise ConfigError("expected segmenting as the task of a nano segmenter and of no other model, got another")

    @property
    def num_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

"""The training loop: on a CPU, one accelerator or many, and over interruptions."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from surgvos.config.load import to_plain
from surgvos.data.clips import BatchShape, ClipBatch
from surgvos.data.synthetic import use_one_thread
from surgvos.data.synthetic_clips import SyntheticClipsConfig
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig
from surgvos.data.vos_folder import VosFolderConfig
from surgvos.data.vos_phrases import VosPhrasesConfig
from surgvos.errors import CheckpointError, ConfigError, TrainingError
from surgvos.memory import Diverse, Pruned, Recent
from surgvos.models.checkpoints import save_model
from surgvos.models.families import FAMILIES
from surgvos.models.nano import NanoConfig, ReferringNanoConfig
from surgvos.models.registry import load_model
from surgvos.models.resurg import ResurgConfig
from surgvos.models.sam2 import Sam2Config
from surgvos.training.checkpoint import CheckpointFolder
from surgvos.training.clip import ClipLosses, ClipSettings
from surgvos.training.log import RunLog, write_run_file
from surgvos.training.optim import (
    AveragedWeights,
    OptimiserSettings,
    build_optimiser,
    names_beginning,
    set_learning_rate,
    train_all_but,
)
from surgvos.training.recompute import recompute_activations
from surgvos.training.referring import ReferringSettings

AnyModel = NanoConfig | ReferringNanoConfig | Sam2Config | ResurgConfig
AnyData = SyntheticClipsConfig | SyntheticPhrasesConfig | VosFolderConfig | VosPhrasesConfig

WEIGHTS_FILE = "model.safetensors"

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
    """Clips that are scored now and then, with the average of the weights where there is one.

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
        data: Where clips come from.
        stages: Parts of the run, one after the other; the learning rate runs over all of them.
        memory: What is remembered and read.
        clip: How a clip is gone through.
        optimiser: How weights move.
        validation: What is scored now and then; None scores nothing.
        init_from: Name or file of weights to start from; None starts from random ones.
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
    memory: Recent | Pruned | Diverse = field(default_factory=Recent)
    clip: ClipSettings | ReferringSettings = field(default_factory=ClipSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    validation: Validation | None = None
    init_from: str | None = None
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
        if isinstance(self.data, VosPhrasesConfig) and isinstance(self.clip, ReferringSettings):
            wanted, given = self.clip.num_referring, self.data.num_referring
            if wanted != given:
                raise ConfigError(f"expected the same num_referring of clip and data, got {wanted} and {given}")

    @property
    def num_steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: Steps done.
        finished: Whether they are all; False when the run was asked to stop.
        weights: The final weights, or None before the end.
    """

    step: int
    finished: bool
    weights: Path | None


Report = Callable[[int, dict[str, float]], None]


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    device: Literal["auto", "cpu"] = "auto",
    report: Report | None = None,
) -> TrainResult:
    """Run or resume a training.

    ``out`` receives ``run.json``, ``log.jsonl``, ``tensorboard/``, ``checkpoints/`` and, in the end,
    ``model.safetensors``. SIGINT or SIGTERM ends the run after the present step, with a checkpoint. A resumed run
    does what the uninterrupted one would have done: batches and draws depend on the step alone.

    Args:
        config: What to do.
        out: Folder of the run.
        resume: Go on from the last checkpoint in ``out``.
        device: ``"cpu"`` stays off accelerators.
        report: Called with the step and its numbers, on the main process only.

    Raises:
        ConfigError: ``out`` already holds a run and ``resume`` is not asked for, or the settings do not fit.
        CheckpointError: There is nothing to resume from, or it is of another model.
        TrainingError: The loss is no longer finite.
    """
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    checkpoints = CheckpointFolder(Path(out) / "checkpoints")
    if checkpoints.paths() and not resume:
        raise ConfigError(f"expected an empty folder, got {out} with a run in it; try --resume or another folder")
    trainer = Trainer(config, Path(out), checkpoints, device, report)
    if resume:
        trainer.restore(checkpoints.load_last())
    with _stop_on_signals() as stop:
        return trainer.run(stop)


def build_model(config: AnyModel) -> nn.Module:
    """A model with random weights."""
    family = next(family for family in FAMILIES.values() if family.config_class is type(config))
    return family.model_class(config)


class Trainer:
    """One run: model, optimiser, average and the steps done."""

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        checkpoints: CheckpointFolder,
        device: Literal["auto", "cpu"],
        report: Report | None,
    ) -> None:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        self.config, self.out, self.checkpoints, self.report = config, out, checkpoints, report
        # Which parts of a model are used depends on the prompts drawn. Autocast is ours, because an Accelerator
        # fixes its precision for the life of the process.
        parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(mixed_precision="no", cpu=device == "cpu", kwargs_handlers=[parallel])
        torch.manual_seed(config.seed)
        self.model = _initial_model(config).to(memory_format=torch.channels_last).to(self.accelerator.device)
        self._frozen = [names_beginning(self.model, config.freeze + stage.freeze) for stage in config.stages]
        for frozen in (*self._frozen, names_beginning(self.model, config.freeze)):
            train_all_but(self.model, frozen)
        recompute_activations(self.model, config.recompute)
        module = config.clip.module(self.model, config.memory).train()
        self.module, self.optimiser = self.accelerator.prepare(module, build_optimiser(self.model, config.optimiser))
        self.average = None
        if config.average_decay is not None:
            self.average = AveragedWeights(self.model, config.average_decay)
        self.step = 0

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: It is of another model, or keeps no average where one is asked for.
        """
        if state["config"]["model"] != to_plain(self.config)["model"]:
            raise CheckpointError("expected a checkpoint of the configured model, got one of another size or kind")
        if (state["average"] is None) != (self.average is None):
            raise CheckpointError("expected a checkpoint with the same use of average_decay, got another")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.step = state["step"]

    def run(self, stop: threading.Event) -> TrainResult:
        """Do the remaining steps, or those until ``stop`` is set."""
        main = self.accelerator.is_main_process
        log = RunLog(self.out, self.step) if main else None
        if main:
            write_run_file(self.out / "run.json", self.config)
        meter = Meter(self.accelerator.device)
        try:
            for batch in self._batches():
                norm = self._train_step(batch, meter)
                if self.step % self.config.log_every == 0:
                    self._log(log, meter, norm)
                if self.config.validation is not None and self.step % self.config.validation.every == 0:
                    self._validate(log, self.config.validation)
                stopping = self._agreed(stop)
                if self.step % self.config.checkpoint_every == 0 or stopping:
                    self._save()
                if stopping:
                    return TrainResult(self.step, finished=self.step >= self.config.num_steps, weights=None)
        finally:
            if log is not None:
                log.close()
        return TrainResult(self.step, finished=True, weights=self._finish())

    def _batches(self) -> Iterator[ClipBatch]:
        """The batches of all steps that are left, stage by stage."""
        start = 0
        for stage, frozen in zip(self.config.stages, self._frozen, strict=True):
            stop = start + stage.steps
            if stop > self.step:
                # After everything was wrapped: what the wrappers of modules do not know yet, they would never learn of.
                train_all_but(self.model, frozen)
                shapes = [stage.shape_of(step, self.config.seed) for step in range(max(start, self.step), stop)]
                yield from self._mixed(shapes)
            start = stop

    def _mixed(self, shapes: list[BatchShape]) -> Iterator[ClipBatch]:
        """The batches of the next steps, given their shapes; each shape has a loader of its own."""
        steps: dict[BatchShape, list[int]] = {}
        for step, shape in enumerate(shapes, start=self.step):
            steps.setdefault(shape, []).append(step)
        loaders = {shape: self._loader(shape, chosen) for shape, chosen in steps.items()}
        for shape in shapes:
            yield next(loaders[shape])

    def _loader(self, shape: BatchShape, steps: Sequence[int]) -> Iterator[ClipBatch]:
        config, ranks = self.config, self.accelerator.num_processes
        source = config.data.open(shape, config.seed, ranks * max(config.num_workers, 1))
        # A forked worker waits for ever for threads that OpenCV had in this process.
        use_one_thread()
        loader: DataLoader[ClipBatch] = DataLoader(
            source,  # type: ignore[arg-type]  # a loader asks only for items
            batch_size=None,
            sampler=[step * ranks + self.accelerator.process_index for step in steps],
            num_workers=config.num_workers,
            worker_init_fn=_start_worker,
            prefetch_factor=4 if config.num_workers else None,
            pin_memory=self.accelerator.device.type != "cpu",
        )
        return iter(loader)

    def _train_step(self, batch: ClipBatch, meter: Meter) -> Tensor:
        """One step; returns the norm of the gradient."""
        config = self.config
        set_learning_rate(self.optimiser, self.step, config.num_steps, config.optimiser)
        # Draws depend on the step alone, so that a resumed run repeats none and skips none.
        seed = (config.seed * 1_000_003 + self.step) * self.accelerator.num_processes
        seed += self.accelerator.process_index
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        with self._autocast():
            losses = self.module(batch.to(self.accelerator.device), generator)
        loss = losses.total / self._mean_objects(losses.num_objects)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"expected a finite loss, got {loss.item()} in step {self.step + 1}; try a lower "
                "optimiser.learning_rate, or precision=fp32"
            )
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), config.optimiser.max_grad_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.model)
        self.step += 1
        meter.add(losses)
        return norm

    def _autocast(self) -> torch.autocast:
        enabled = self.config.precision == "bf16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=enabled)

    @torch.no_grad()
    def _validate(self, log: RunLog | None, validation: Validation) -> None:
        """Score the same clips as ever; each process takes its share of them."""
        # A seed of its own: a synthetic source then gives clips that are not trained on.
        source = validation.data.open(validation.batch, self.config.seed + 1)
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        if self.average is not None:
            self.model.load_state_dict(self.average.values())
        module = self.config.clip.module(self.model, self.config.memory).eval()
        meter = Meter(self.accelerator.device)
        for index in range(self.accelerator.process_index, validation.num_batches, self.accelerator.num_processes):
            with self._autocast():
                meter.add(module(source[index].to(self.accelerator.device), None))
        self.model.load_state_dict(weights)
        self.model.train()
        values = meter.read(lambda x: self.accelerator.reduce(x, reduction="sum"))
        self._write(log, {f"validation_{name}": value for name, value in values.items()})

    def _mean_objects(self, num_objects: int) -> Tensor:
        count = torch.tensor(float(num_objects), device=self.accelerator.device)
        return self.accelerator.reduce(count, reduction="mean")

    def _log(self, log: RunLog | None, meter: Meter, norm: Tensor) -> None:
        values = meter.read(lambda x: self.accelerator.reduce(x, reduction="sum"))
        values["gradient_norm"] = float(norm)
        values["learning_rate"] = max(group["lr"] for group in self.optimiser.param_groups)
        self._write(log, values)

    def _write(self, log: RunLog | None, values: dict[str, float]) -> None:
        if log is not None:
            log.write(self.step, values)
            if self.report is not None:
                self.report(self.step, values)

    def _agreed(self, stop: threading.Event) -> bool:
        """Whether any process was asked to stop, so that all do so after the same step."""
        if self.accelerator.num_processes == 1:
            return stop.is_set()
        asked = torch.tensor(float(stop.is_set()), device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum") > 0)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            state = {
                "step": self.step,
                "model": self.model.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "config": to_plain(self.config),
            }
            self.checkpoints.save(self.step, state)
        self.accelerator.wait_for_everyone()

    def _finish(self) -> Path:
        """Save a last checkpoint, and the weights that the run was for."""
        self._save()
        path = self.out / WEIGHTS_FILE
        if self.accelerator.is_main_process:
            model = build_model(self.config.model)
            model.load_state_dict(self.model.state_dict() if self.average is None else self.average.values())
            save_model(path, model)
        self.accelerator.wait_for_everyone()
        return path


_LOSSES = ("mask", "iou", "presence")
_MEASURED = (*_LOSSES, "tracked_iou", "presence_accuracy")


class Meter:
    """Sums of losses and scores since they were last read."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._restart()

    def add(self, losses: ClipLosses) -> None:
        """Take in a step."""
        parts = [losses.parts[name] / losses.num_objects for name in _LOSSES]
        values = torch.stack([*parts, losses.tracked_iou, losses.presence_accuracy]).float()
        known = values.isfinite()
        self._sums += torch.stack((values.where(known, 0.0), known.float()))
        self._num_steps += 1

    def read(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Means since the last reading over all processes, and seconds per step; then start again."""
        totals, counts = reduce(self._sums).tolist()
        means = {
            name: total / count if count else math.nan
            for name, total, count in zip(_MEASURED, totals, counts, strict=True)
        }
        means["loss"] = sum(means[name] for name in _LOSSES)
        means["seconds_per_step"] = (time.perf_counter() - self._started) / max(self._num_steps, 1)
        self._restart()
        return means

    def _restart(self) -> None:
        self._sums = torch.zeros(2, len(_MEASURED), device=self._device)  # totals, and how many made them
        self._num_steps = 0
        self._started = time.perf_counter()


def _initial_model(config: TrainConfig) -> nn.Module:
    model = build_model(config.model)
    if config.init_from is None:
        return model
    found = load_model(config.init_from, device="cpu", dtype="fp32")
    assert isinstance(found, nn.Module)
    # What a model adds to the kind that it builds on starts at random: nano weights for one that also reads phrases.
    builds_on = isinstance(model, type(found)) and type(model) is not type(found)
    try:
        left = model.load_state_dict(found.state_dict(), strict=not builds_on)
        if left.unexpected_keys:
            raise RuntimeError
    except RuntimeError:
        raise CheckpointError(
            f"expected weights of the configured model in init_from, got {config.init_from}, which is of another "
            "size or kind"
        ) from None
    return model


def _start_worker(worker: int) -> None:
    use_one_thread()
    # Signals often go to the whole group; what they mean is for the main process to decide.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that is set when the process is asked to end; outside the main thread it never is."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in _STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The training loop: on a CPU, one accelerator or many, and over interruptions."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from surgvos.config.load import to_plain
from surgvos.data.batches import Batch, BatchShape
from surgvos.data.synthetic import use_one_thread
from surgvos.errors import CheckpointError, ConfigError, TrainingError
from surgvos.training.checkpoint import CheckpointFolder
from surgvos.training.config import TrainConfig, Validation
from surgvos.training.log import RunLog, write_run_file
from surgvos.training.meter import Meter
from surgvos.training.networks import initial_model, write_model
from surgvos.training.optim import (
    AveragedWeights,
    build_optimiser,
    names_beginning,
    set_learning_rate,
    train_all_but,
)
from surgvos.training.recompute import recompute_activations

WEIGHTS_FILE = "model.safetensors"

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: Steps done.
        finished: Whether they are all; False when the run was asked to stop.
        weights: The final weights, or None before the end.
        is_main: Whether this process is the one of the run that writes.
    """

    step: int
    finished: bool
    weights: Path | None
    is_main: bool


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
        from accelerate.utils import DistributedDataParallelKwargs, gather_object

        self.config, self.out, self.checkpoints, self.report = config, out, checkpoints, report
        # Which parts of a model are used depends on the prompts drawn. Autocast is ours, because an Accelerator
        # fixes its precision for the life of the process.
        parallel = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(mixed_precision="no", cpu=device == "cpu", kwargs_handlers=[parallel])
        torch.manual_seed(config.seed)
        model = initial_model(config.model, config.init_from, config.init_parts)
        self.model = model.to(memory_format=torch.channels_last).to(self.accelerator.device)
        self._frozen = [names_beginning(self.model, config.freeze + stage.freeze) for stage in config.stages]
        for frozen in (*self._frozen, names_beginning(self.model, config.freeze)):
            train_all_but(self.model, frozen)
        recompute_activations(self.model, config.recompute)
        module = config.task.module(self.model).train()
        self.module, self.optimiser = self.accelerator.prepare(module, build_optimiser(self.model, config.optimiser))
        self._gather = gather_object
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
        meter = Meter()
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
                    return TrainResult(self.step, self.step >= self.config.num_steps, weights=None, is_main=main)
        finally:
            if log is not None:
                log.close()
        return TrainResult(self.step, finished=True, weights=self._finish(), is_main=main)

    def _batches(self) -> Iterator[Batch]:
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

    def _mixed(self, shapes: list[BatchShape]) -> Iterator[Batch]:
        """The batches of the next steps, given their shapes; each shape has a loader of its own."""
        steps: dict[BatchShape, list[int]] = {}
        for step, shape in enumerate(shapes, start=self.step):
            steps.setdefault(shape, []).append(step)
        loaders = {shape: self._loader(shape, chosen) for shape, chosen in steps.items()}
        for shape in shapes:
            yield next(loaders[shape])

    def _loader(self, shape: BatchShape, steps: Sequence[int]) -> Iterator[Batch]:
        config, ranks = self.config, self.accelerator.num_processes
        source = config.data.open(shape, config.seed, ranks * max(config.num_workers, 1))
        # A forked worker waits for ever for threads that OpenCV had in this process.
        use_one_thread()
        loader: DataLoader[Batch] = DataLoader(
            source,  # type: ignore[arg-type]  # a loader asks only for items
            batch_size=None,
            sampler=[step * ranks + self.accelerator.process_index for step in steps],
            num_workers=config.num_workers,
            worker_init_fn=_start_worker,
            prefetch_factor=4 if config.num_workers else None,
            pin_memory=self.accelerator.device.type != "cpu",
        )
        return iter(loader)

    def _train_step(self, batch: Batch, meter: Meter) -> Tensor:
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
        loss = losses.total / self._mean_items(losses.num_items)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"expected a finite loss, got {loss.item()} in step {self.step + 1}; try a lower "
                "optimiser.learning_rate, or precision=fp32"
            )
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), config.optimiser.max_grad_norm or math.inf)
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
        """Score the same batches as ever; each process takes its share of them."""
        # A seed of its own: a synthetic source then gives batches that are not trained on.
        source = validation.data.open(validation.batch, self.config.seed + 1)
        weights = {name: value.clone() for name, value in self.model.state_dict().items()}
        if self.average is not None:
            self.model.load_state_dict(self.average.values())
        module = self.config.task.module(self.model).eval()
        meter = Meter()
        for index in range(self.accelerator.process_index, validation.num_batches, self.accelerator.num_processes):
            # A model may draw within itself; it then draws the same each time.
            torch.manual_seed(index)
            with self._autocast():
                meter.add(module(source[index].to(self.accelerator.device), None))
        self.model.load_state_dict(weights)
        self.model.train()
        values = meter.read(self._gather)
        self._write(log, {f"validation_{name}": value for name, value in values.items()})

    def _mean_items(self, num_items: int) -> Tensor:
        count = torch.tensor(float(num_items), device=self.accelerator.device)
        return self.accelerator.reduce(count, reduction="mean")

    def _log(self, log: RunLog | None, meter: Meter, norm: Tensor) -> None:
        values = meter.read(self._gather)
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
            state = self.model.state_dict() if self.average is None else self.average.values()
            write_model(path, self.config.model, state)
        self.accelerator.wait_for_everyone()
        return path


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

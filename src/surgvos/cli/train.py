"""``surgvos train``: run a recipe."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgvos.errors import ConfigError

if TYPE_CHECKING:
    from surgvos.training.config import TrainConfig

_SCORES = {"tracked_iou": "IoU", "mean_dice": "Dice"}
"""Scores that the progress bar shows, and what it calls them."""


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML or JSON file with a configuration.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, such as optimiser.learning_rate=1e-4.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto or cpu.")] = "auto",
) -> None:
    """Train a model. Ctrl-C saves a checkpoint and ends the run; --resume goes on from there."""
    if device not in ("auto", "cpu"):
        raise ConfigError(f"expected --device auto or cpu, got {device!r}")
    config = resolve(recipe, set_ or [])
    from surgvos.training.trainer import train as run

    with _Progress(config.num_steps) as progress:
        result = run(config, out, resume=resume, device="cpu" if device == "cpu" else "auto", report=progress.show)
    if not result.is_main:
        return
    if result.finished:
        typer.echo(f"{result.weights}")
    else:
        typer.echo(f"stopped after step {result.step} of {config.num_steps}; go on with --resume")


def resolve(recipe: str, assignments: list[str]) -> TrainConfig:
    """The configuration that a recipe's name or file and some assignments describe.

    Raises:
        ConfigError: There is no such recipe, or its settings do not fit.
    """
    from surgvos.config.load import apply_overrides, load_file
    from surgvos.config.presets import RECIPES
    from surgvos.training.config import TrainConfig

    if recipe in RECIPES:
        config = RECIPES[recipe]()
    elif Path(recipe).suffix in (".yaml", ".yml", ".json"):
        config = load_file(TrainConfig, recipe)
    else:
        nearest = difflib.get_close_matches(recipe, RECIPES, n=1, cutoff=0.0)[0]
        raise ConfigError(f"expected a recipe or a YAML file, got {recipe!r}; try {nearest!r}")
    return apply_overrides(config, assignments)


def _scores(values: dict[str, float], beginning: str = "") -> str:
    """Scores of a step in the words of the progress bar."""
    found = {f"{beginning}{key}": f"{beginning}{name}".replace("_", " ") for key, name in _SCORES.items()}
    return "".join(f"  {name} {values[key]:.3f}" for key, name in found.items() if key in values)


class _Progress:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, num_steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task("", total=num_steps)
        self._training = self._validation = ""

    def show(self, step: int, values: dict[str, float]) -> None:
        """Show the numbers of a step."""
        if "loss" in values:
            self._training = f"loss {values['loss']:.3f}{_scores(values)}  {values['seconds_per_step']:.2f} s/step"
        if "validation_loss" in values:
            self._validation = _scores(values, "validation_")
        self._progress.update(self._task, completed=step, description=self._training + self._validation)

    def __enter__(self) -> _Progress:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

"""How weights move: parameter groups, the learning rate over time, and the running average of weights."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from surgvos.errors import ConfigError

IMAGE_ENCODER = "image_encoder."
TRUNK = "image_encoder.trunk."

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Learning rate of some parameters.

    Attributes:
        highest: At its highest.
        final_fraction: Share of it at the end of a cosine; None is that of all others.
    """

    highest: float
    final_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.highest <= 0:
            raise ConfigError(f"expected highest > 0, got {self.highest}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserSettings:
    """AdamW and its learning rates.

    Attributes:
        learning_rate: Highest rate of everything but the image encoder.
        image_encoder_rate: Highest rate of the image encoder; None is `learning_rate`.
        rates: Beginning of parameters' names -> their own rate, such as that of parts which start at random.
        layer_decay: Factor per block of a transformer trunk, counted from its end; None treats all blocks alike.
        weight_decay: Of matrices and tables; biases and norms have none.
        decay_vectors: Whether parameters of one dimension that are neither biases nor norms decay.
        betas: Of AdamW.
        max_grad_norm: The gradient is shortened to this norm; None leaves it as it is.
        schedule: Shape of the rate over time.
        num_halvings: How often the rate is halved, at equal distances.
        final_fraction: Share of the highest rate at the end of a cosine.
        warmup_steps: Steps over which the rate rises in a line.
        warmup_fraction: Share of the highest rate from which it rises.
    """

    learning_rate: float = 5e-6
    image_encoder_rate: float | None = None
    rates: Mapping[str, Rate] = field(default_factory=dict)
    layer_decay: float | None = None
    weight_decay: float = 0.1
    decay_vectors: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float | None = 0.1
    schedule: Literal["cosine", "constant", "halving"] = "cosine"
    num_halvings: int = 4
    final_fraction: float = 0.1
    warmup_steps: int = 0
    warmup_fraction: float = 0.0

    def __post_init__(self) -> None:
        max_norm = math.inf if self.max_grad_norm is None else self.max_grad_norm
        if self.learning_rate <= 0 or max_norm <= 0 or self.weight_decay < 0 or self.num_halvings < 0:
            raise ConfigError(
                "expected learning_rate > 0, max_grad_norm > 0, weight_decay >= 0 and num_halvings >= 0, got "
                f"{self.learning_rate}, {self.max_grad_norm}, {self.weight_decay} and {self.num_halvings}"
            )


def build_optimiser(model: nn.Module, settings: OptimiserSettings) -> torch.optim.AdamW:
    """Make AdamW over a model's trainable parameters; each group keeps its highest rate as ``peak``.

    Raises:
        ConfigError: Nothing is left to train, or ``rates`` names a parameter that is not there.
    """
    for prefix in settings.rates:
        names_beginning(model, (prefix,))
    groups = parameter_groups(model, settings)
    if not groups:
        raise ConfigError("expected at least one parameter to train, got none; try freezing less")
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def parameter_groups(model: nn.Module, settings: OptimiserSettings) -> list[dict[str, Any]]:
    """Group parameters by rate and weight decay; a group also holds the ``names`` of its parameters."""
    undecayed = set(_undecayed(model, settings))
    num_blocks = num_trunk_blocks(name for name, _ in model.named_parameters())
    groups: dict[tuple[float, float | None, float], list[tuple[str, nn.Parameter]]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = 0.0 if name in undecayed else settings.weight_decay
            own = _own_rate(name, settings)
            final = None if own is None else own.final_fraction
            groups[_peak_rate(name, num_blocks, settings), final, decay].append((name, parameter))
    return [
        {
            "params": [parameter for _, parameter in members],
            "names": [name for name, _ in members],
            "peak": rate,
            "lr": rate,
            "final_fraction": final,
            "weight_decay": decay,
        }
        for (rate, final, decay), members in groups.items()
    ]


def num_trunk_blocks(names: Iterable[str]) -> int:
    """Number of transformer blocks in the trunk of a model with these parameters."""
    found = [re.match(re.escape(TRUNK) + r"blocks\.(\d+)\.", name) for name in names]
    return max((int(match[1]) + 1 for match in found if match), default=0)


def layer_scale(name: str, num_blocks: int, decay: float) -> float:
    """Factor of a parameter's learning rate under layer-wise decay.

    Patch embedding is layer 0, block ``i`` is layer ``i + 1``; position tables are left at 1, as is everything
    outside the trunk.

    Reference: Clark et al., ELECTRA (ICLR 2020), and SAM 2's published training code.
    """
    if not name.startswith(TRUNK) or "pos_embed" in name:
        return 1.0
    block = re.match(re.escape(TRUNK) + r"blocks\.(\d+)\.", name)
    layer = int(block[1]) + 1 if block else 0
    return decay ** (num_blocks + 1 - layer)


def learning_rate_factor(
    step: int, num_steps: int, settings: OptimiserSettings, final_fraction: float | None = None
) -> float:
    """Share of the highest rate to use in step ``step`` of ``num_steps``, counted from 0.

    Args:
        step: Which step.
        num_steps: How many there are.
        settings: The schedule.
        final_fraction: In place of that of the settings, for parameters with a rate of their own.
    """
    if step < settings.warmup_steps:
        return settings.warmup_fraction + (1 - settings.warmup_fraction) * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return 1.0
    progress = (step - settings.warmup_steps) / max(num_steps - settings.warmup_steps, 1)
    if settings.schedule == "halving":
        return 0.5 ** min(int(progress * (settings.num_halvings + 1)), settings.num_halvings)
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    final = settings.final_fraction if final_fraction is None else final_fraction
    return final + (1 - final) * cosine


def set_learning_rate(optimiser: torch.optim.Optimizer, step: int, num_steps: int, settings: OptimiserSettings) -> None:
    """Set the rate of every group to its share of its highest one; see `learning_rate_factor`."""
    for group in optimiser.param_groups:
        # Checkpoints of earlier versions have groups without it.
        group["lr"] = group["peak"] * learning_rate_factor(step, num_steps, settings, group.get("final_fraction"))


class AveragedWeights:
    """Exponential moving average of a model's weights; buffers are taken over as they are.

    The average forgets its beginning sooner: the decay is at most ``(1 + n) / (10 + n)`` after ``n`` updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.num_updates = 0
        self._values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's present weights."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        parameters = {name for name, _ in model.named_parameters()}
        for name, value in model.state_dict().items():
            if name in parameters and value.is_floating_point():
                self._values[name].lerp_(value, 1 - decay)
            else:
                self._values[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The average and how many updates made it."""
        return {"num_updates": self.num_updates, "values": self._values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved average."""
        self.num_updates = state["num_updates"]
        for name, value in state["values"].items():
            self._values[name].copy_(value)

    def values(self) -> dict[str, Tensor]:
        """The averaged weights, as a state dict."""
        return self._values


def names_beginning(model: nn.Module, prefixes: tuple[str, ...]) -> set[str]:
    """Names of the parameters that begin in one of these ways.

    Raises:
        ConfigError: No parameter begins in one of them.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            known = sorted({name.split(".")[0] for name in names})
            raise ConfigError(f"expected the beginning of a parameter's name, got {prefix!r}; try one of {known}")
    return {name for name in names if name.startswith(prefixes)}


def train_all_but(model: nn.Module, frozen: Collection[str]) -> None:
    """Leave these parameters out of training, and train all others.

    Raises:
        ConfigError: Nothing is left to train.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("expected at least one parameter to train, got none; try freezing less")


def _own_rate(name: str, settings: OptimiserSettings) -> Rate | None:
    """The rate of the longest beginning that fits."""
    fitting = [prefix for prefix in settings.rates if name.startswith(prefix)]
    return settings.rates[max(fitting, key=len)] if fitting else None


def _peak_rate(name: str, num_blocks: int, settings: OptimiserSettings) -> float:
    own = _own_rate(name, settings)
    if own is not None:
        return own.highest
    rate = settings.learning_rate
    if name.startswith(IMAGE_ENCODER) and settings.image_encoder_rate is not None:
        rate = settings.image_encoder_rate
    if settings.layer_decay is None or num_blocks == 0:
        return rate
    return rate * layer_scale(name, num_blocks, settings.layer_decay)


def _undecayed(model: nn.Module, settings: OptimiserSettings) -> Iterator[str]:
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            vector = parameter.ndim <= 1 and not settings.decay_vectors
            if name.endswith("bias") or isinstance(module, _NORMS) or vector:
                yield f"{prefix}.{name}" if prefix else name

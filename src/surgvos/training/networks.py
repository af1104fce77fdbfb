"""What is trained: a network from its configuration, the weights it starts from, the file it ends in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from surgvos.errors import CheckpointError
from surgvos.models.checkpoints import read_state_dict, save_model
from surgvos.models.families import FAMILIES
from surgvos.models.registry import find_weights, load_model
from surgvos.training.config import AnyModel
from surgvos.training.detector_weights import DetectorConfig, begin_from, build_detector, save_detector


def build_model(config: AnyModel) -> nn.Module:
    """A model with random weights."""
    if isinstance(config, DetectorConfig):
        return build_detector(config)
    family = next(family for family in FAMILIES.values() if family.config_class is type(config))
    return family.model_class(config)


def initial_model(config: AnyModel, init_from: str | None, init_parts: Mapping[str, str] | None = None) -> nn.Module:
    """A model with the weights that a run starts from: those of a name or file, or random ones.

    Args:
        config: Of the model.
        init_from: See `TrainConfig`.
        init_parts: The same.

    Raises:
        CheckpointError: The weights are of another model.
    """
    model = _begin_whole(config, init_from)
    for beginning, source in (init_parts or {}).items():
        _begin_part(model, beginning, source)
    return model


def _begin_whole(config: AnyModel, init_from: str | None) -> nn.Module:
    model = build_model(config)
    if init_from is None:
        return model
    if isinstance(config, DetectorConfig):
        begin_from(model, config, init_from)
        return model
    found = load_model(init_from, device="cpu", dtype="fp32")
    assert isinstance(found, nn.Module)
    # What a model adds to the kind that it builds on starts at random: nano weights for one that also reads phrases.
    builds_on = isinstance(model, type(found)) and type(model) is not type(found)
    try:
        left = model.load_state_dict(found.state_dict(), strict=not builds_on)
        if left.unexpected_keys:
            raise RuntimeError
    except RuntimeError:
        raise CheckpointError(
            f"expected weights of the configured model in init_from, got {init_from}, which is of another size or kind"
        ) from None
    return model


def _begin_part(model: nn.Module, beginning: str, source: str) -> None:
    """Take over the weights of one part of a model from part of another file."""
    file, _, theirs = source.rpartition(":")
    if not file:
        raise CheckpointError(f"expected FILE:BEGINNING in init_parts.{beginning}, got {source!r}")
    found, own = read_state_dict(find_weights(file)), model.state_dict()
    names = {name: theirs + name[len(beginning) :] for name in own if name.startswith(beginning)}
    if not names or any(other not in found or found[other].shape != own[name].shape for name, other in names.items()):
        raise CheckpointError(
            f"expected weights in {file} under {theirs!r} for all of {beginning!r}, got others; "
            "try the beginnings of names as they stand in both"
        )
    model.load_state_dict(own | {name: found[other] for name, other in names.items()})


def write_model(path: Path, config: AnyModel, state: dict[str, Tensor]) -> None:
    """Write what a run was for, so that it can be loaded by its path: a model, or a detector for the overseer."""
    if isinstance(config, DetectorConfig):
        save_detector(path, config, state)
        return
    model = build_model(config)
    model.load_state_dict(state)
    save_model(path, model)

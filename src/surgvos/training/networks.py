"""What is trained: a network from its configuration, the weights it starts from, the file it ends in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from surgvos.errors import CheckpointError
from surgvos.models.checkpoints import save_model
from surgvos.models.families import FAMILIES
from surgvos.models.nano import ReferringNano
from surgvos.models.registry import load_model
from surgvos.training.config import AnyModel
from surgvos.training.detector_weights import DetectorConfig, begin_from, build_detector, save_detector


def build_model(config: AnyModel) -> nn.Module:
    """A model with random weights."""
    if isinstance(config, DetectorConfig):
        return build_detector(config)
    family = next(family for family in FAMILIES.values() if family.config_class is type(config))
    return family.model_class(config)


def initial_model(config: AnyModel, init_from: str | None) -> nn.Module:
    """A model with the weights that a run starts from: those of a name or file, or random ones.

    Raises:
        CheckpointError: The weights are of another model.
    """
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
        left = model.load_state_dict(found.state_dict(), strict=not (builds_on or _learns_more(model, found)))
        if left.unexpected_keys:
            raise RuntimeError
    except RuntimeError:
        raise CheckpointError(
            f"expected weights of the configured model in init_from, got {init_from}, which is of another size or kind"
        ) from None
    if builds_on and isinstance(model, ReferringNano):
        model.see_as_it_follows()
    return model


def _learns_more(model: nn.Module, found: nn.Module) -> bool:
    """Whether a reader differs from one that was found by having learnt more, and by nothing else."""
    if not (isinstance(model, ReferringNano) and isinstance(found, ReferringNano)):
        return False
    sees_motion = model.config.sees_motion or found.config.sees_motion
    judges = model.config.judges_outlines or found.config.judges_outlines
    return model.config == replace(found.config, sees_motion=sees_motion, judges_outlines=judges)


def write_model(path: Path, config: AnyModel, state: dict[str, Tensor]) -> None:
    """Write what a run was for, so that it can be loaded by its path: a model, or a detector for the overseer."""
    if isinstance(config, DetectorConfig):
        save_detector(path, config, state)
        return
    model = build_model(config)
    model.load_state_dict(state)
    save_model(path, model)

"""What is trained: a network from its configuration, the weights it starts from, the file it ends in."""

from __future__ import annotations

from torch import nn

from surgvos.errors import CheckpointError
from surgvos.models.families import FAMILIES
from surgvos.models.registry import load_model
from surgvos.training.config import AnyModel


def build_model(config: AnyModel) -> nn.Module:
    """A model with random weights."""
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

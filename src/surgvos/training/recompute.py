"""Activations that are computed a second time instead of being kept: less memory, more time, the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from surgvos.errors import ConfigError


def recompute_activations(model: nn.Module, names: tuple[str, ...]) -> None:
    """Let modules of a model forget their activations, and compute them again in the backward pass; in place.

    What goes into such a module is kept, what happens within is not. Weights and their names stay as they are, and
    dropout draws the same again.

    Reference: Chen et al., Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174).

    Args:
        model: The model.
        names: Of modules, such as ``memory_attention``; a list of modules, such as ``image_encoder.trunk.blocks``,
            stands for each of its members.

    Raises:
        ConfigError: No module has this name.
    """
    for name in names:
        found = _module(model, name)
        for module in found if isinstance(found, nn.ModuleList) else [found]:
            module.forward = _forgetful(module.forward)


def _module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        known = sorted(child for child, _ in model.named_children())
        raise ConfigError(f"expected the name of a module to recompute, got {name!r}; try one of {known}") from None


def _forgetful(forward: Callable[..., Any]) -> Callable[..., Any]:
    def forward_and_forget(*arguments: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments)
        return checkpoint(forward, *arguments, use_reentrant=False)

    return forward_and_forget

"""Linear layers together with what follows them.

oneDNN multiplies narrow float32 matrices faster than PyTorch's usual library, and applies an activation or adds a
residual while a product is still in the cache. PyTorch keeps these products for its compiler; they are called here
where nothing but numbers is wanted, and mean the same as the usual ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_MIN_TOKENS = 256  # for fewer, bringing the weights into oneDNN's order costs more than is gained
_FUSED: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_FUSED_ACTIVATIONS = {None: ("none", ""), F.relu: ("relu", ""), F.gelu: ("gelu", "none")}


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """Compute activation(x weightᵀ + bias), or residual + x weightᵀ + bias.

    Args:
        x: ``(..., C)``.
        weight: ``(C', C)``.
        bias: ``(C',)``.
        activation: Of the product; not together with a residual.
        residual: ``(..., C')``, of the product's shape.
    """
    if not _is_fused_faster(x) or activation not in _FUSED_ACTIVATIONS:
        y = F.linear(x, weight, bias)
        if residual is not None:
            return residual + y
        return y if activation is None else activation(y)
    if residual is not None:
        return _FUSED.binary(x, residual, weight, bias, "add")
    name, variant = _FUSED_ACTIVATIONS[activation]
    return _FUSED(x, weight, bias, name, [], variant)


def _is_fused_faster(x: Tensor) -> bool:
    return _FUSED is not None and x.shape[:-1].numel() >= _MIN_TOKENS and wants_only_numbers(x)


def wants_only_numbers(x: Tensor) -> bool:
    """Whether float32 on a CPU is computed with as it is: no gradient, no autocast, no graph."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
    )

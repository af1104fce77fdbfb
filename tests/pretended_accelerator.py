"""An accelerator that is not there: tensors that say they are on one, computed on the CPU.

What breaks on a GPU first is a tensor on the wrong device, and that shows without one: an operation on tensors of two
devices fails here as it does with CUDA, and float64 as it does with MPS. Numbers are those of the CPU. The precision,
speed and memory of real hardware do not show here, nor do gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torchgen
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda:0")
"""What the tensors say. CUDA's name, so that PyTorch treats them as it treats those of a GPU."""

operations_seen: set[str] = set()
"""Names of all that was asked of the accelerator."""

waits: list[str] = []
"""What let the CPU wait until all was done that it had asked of the accelerator, one after the other."""

_CPU = torch.device("cpu")
_POOLS = "aten::_adaptive_avg_pool2d"
_MAY_COPY = "aten::copy_"
_MAY_INDEX = ("aten::index", "aten::index_put", "aten::index_put_")
"""An accelerator's tensor may be indexed by one of the CPU."""


def without_mps_kernel(operations: Collection[str]) -> set[str]:
    """Those for which PyTorch's own table of kernels names none for Apple's GPUs, and none that serves every device."""
    table = Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml"
    entries = {entry["func"].split("(")[0]: entry for entry in yaml.safe_load(table.read_text("utf-8"))}

    def serves(name: str) -> bool:
        entry = entries[name]
        if "structured_delegate" in entry and serves(entry["structured_delegate"]):
            return True
        kernels = ", ".join(entry.get("dispatch", {"CompositeImplicitAutograd": ""}))
        return "MPS" in kernels or "Composite" in kernels

    own = {name.removeprefix("aten::") for name in operations if name.startswith("aten::")}
    return {name for name in own if not serves(name)}


class WrongDeviceError(RuntimeError):
    """What a GPU would have refused."""


class OnAccelerator(Tensor):
    """A tensor that says it is on the accelerator; ``held`` is what is computed with."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnAccelerator:
        if held.dtype == torch.float64:
            raise WrongDeviceError("float64, which MPS has not")
        tensor: OnAccelerator = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        tensor.held = held.detach()
        return tensor

    def __repr__(self, **_: Any) -> str:
        return f"OnAccelerator({self.held!r})"

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, again=lambda: func(*args, **(kwargs or {})))


class _Pretence(TorchDispatchMode):
    """Sees all operations, those that make a tensor out of nothing too."""

    # So that PyTorch does not look for a driver before it asks.
    _mode_key = torch._C._TorchDispatchModeKey.FAKE

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def again() -> Any:
            with self:
                return func.decompose(*args, **(kwargs or {}))

        return _run(func, args, kwargs or {}, again)


@contextmanager
def pretended_accelerator() -> Iterator[torch.device]:
    """Let there be an accelerator; modules are moved to it with ``module.to(device)``, for good."""
    torch._C._ensureCUDADeviceGuardSet()
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Pretence():
            yield DEVICE
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        torch._C._set_only_lift_cpu_tensors(False)


def _run(func: Any, args: Any, kwargs: dict[str, Any], again: Callable[[], Any]) -> Any:
    """Run an operation on the CPU and say where its answer is; what is made of others is taken apart first."""
    implicit = torch._C.DispatchKey.CompositeImplicitAutograd
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), implicit):
        return again()
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    targets = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    name = func.overloadpacket._qualified_op_name
    _check_devices(name, tensors)
    if name == _POOLS and any(size % into for size, into in zip(args[0].shape[-2:], args[1], strict=True)):
        raise WrongDeviceError(f"{name} of {tuple(args[0].shape)} into {args[1]}, which MPS does not divide")
    if kwargs.get("pin_memory"):  # which CUDA's driver does
        kwargs = kwargs | {"pin_memory": False}
    if targets:
        is_there = targets[0].type != "cpu"
    elif name == _MAY_COPY:
        is_there = isinstance(tensors[0], OnAccelerator)
    else:
        is_there = any(isinstance(tensor, OnAccelerator) for tensor in tensors)
    if _waits(func.name(), args, tensors, targets, kwargs):
        waits.append(func.name())
    if is_there:
        operations_seen.add(func.name())
    with torch.inference_mode(False), torch.no_grad():
        found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        # An operation in place answers with what it was given.
        given = {id(_held(tensor)): tensor for tensor in tensors}

        def placed(answer: Any) -> Any:
            if not isinstance(answer, Tensor):
                return answer
            if id(answer) in given:
                return given[id(answer)]
            return OnAccelerator(answer) if is_there else answer

        return tree_map(placed, found)


def _waits(name: str, args: Any, tensors: list[Tensor], targets: list[torch.device], kwargs: dict[str, Any]) -> bool:
    """Whether CUDA's stream is waited for: for what is to be known on the CPU, and for copies that nobody said need not
    be waited for. How many elements a mask picks is to be known, too.
    """
    is_there = any(isinstance(tensor, OnAccelerator) for tensor in tensors)
    if name == "aten::_to_copy" and targets:
        return is_there != (targets[0].type != "cpu") and not kwargs.get("non_blocking")
    if name == _MAY_COPY:
        is_between = len({isinstance(tensor, OnAccelerator) for tensor in tensors}) == 2
        return is_between and not kwargs.get("non_blocking") and args[2:] != (True,)
    picks = name == "aten::index.Tensor" and any(tensor.dtype == torch.bool for tensor in tensors[1:])
    return is_there and (picks or name in ("aten::_local_scalar_dense", "aten::nonzero"))


def _check_devices(name: str, tensors: list[Tensor]) -> None:
    """Refuse what a GPU refuses; a single number of the CPU goes with everything."""
    if name == _MAY_COPY:
        return
    there = [tensor for tensor in tensors if isinstance(tensor, OnAccelerator)]
    here = [tensor for tensor in tensors if not isinstance(tensor, OnAccelerator) and tensor.ndim > 0]
    if there and here and not (name in _MAY_INDEX and isinstance(tensors[0], OnAccelerator)):
        shapes = ", ".join(f"{tuple(tensor.shape)} on {tensor.device}" for tensor in tensors)
        raise WrongDeviceError(f"{name} of {shapes}")


def _held(value: Any) -> Any:
    """A tensor as it is on the CPU, or the CPU for a device."""
    if isinstance(value, torch.device):
        return _CPU
    return value.held if isinstance(value, OnAccelerator) else value

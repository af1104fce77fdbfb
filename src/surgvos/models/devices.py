"""Where a model runs, and with what precision."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from surgvos.errors import ConfigError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Turn a device's name into a device that is there; ``"auto"`` takes the accelerator, else the CPU.

    Raises:
        ConfigError: There is no such device.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device == "auto":
        return accelerator or torch.device("cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"expected a device, got {device!r}, try 'auto' or 'cpu'") from None
    if resolved.type in ("cpu", "meta"):
        return resolved
    if accelerator is None or resolved.type != accelerator.type or (resolved.index or 0) >= _num_accelerators():
        raise ConfigError(f"expected a device of this machine, got {str(device)!r}, try 'auto' or 'cpu'")
    return resolved


def resolve_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Turn a precision's name into a type; ``"auto"`` takes bfloat16 where the device computes with it, else float32.

    Raises:
        ConfigError: There is no such precision.
    """
    if dtype == "auto":
        return torch.bfloat16 if _multiplies_bfloat16(device) else torch.float32
    resolved = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if resolved is None or resolved not in _DTYPES.values():
        raise ConfigError(f"expected a precision, one of auto, {', '.join(_DTYPES)}, got {dtype!r}, try 'auto'")
    return resolved


def upload(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Bring a tensor of the CPU to a device; it may be dropped afterwards, and written over unless it is page-locked.

    The device is not waited for if it is CUDA, which has read ordinary memory when the call returns and keeps locked
    memory for as long as it reads. Apple's GPUs read later what may be gone by then (PyTorch issues 139550 and 189690).
    """
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda")


def spare_a_core(device: torch.device) -> None:
    """Let a model on the CPU leave one core to what goes on beside it, unless ``OMP_NUM_THREADS`` says how many it has.

    Threads of a model wait for each other: one that has to share its core holds up all of them.
    """
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def spread_over_devices(device: str, num_workers: int) -> list[str]:
    """Name the device of each of several processes: they go round the accelerators, unless one of them is named.

    Raises:
        ConfigError: There is no such device.
    """
    resolved = resolve_device(device)
    is_named = device != "auto" and resolved.index is not None
    if is_named or resolved.type in ("cpu", "meta"):
        return [device] * num_workers
    return [f"{resolved.type}:{number % _num_accelerators()}" for number in range(num_workers)]


def _num_accelerators() -> int:
    return torch.accelerator.device_count()


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16, so that they are faster than float32."""
    if device.type == "cpu":
        checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
    if device.type == "meta":
        return False
    supported = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    return supported is not None and supported(including_emulation=False)

"""How large and how fast a network is that looks at single frames, such as an overseer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Size and speed of a network.

    Attributes:
        num_parameters: Of all its weights.
        images_per_second: Median over timed batches, after warm-up, with an accelerator's work done.
        published_fps: One divided by the seconds of the very first batch, as if a batch were an image.
    """

    num_parameters: int
    images_per_second: float
    published_fps: float


@torch.inference_mode()
def measure_efficiency(
    network: nn.Module,
    images: torch.Tensor,
    *,
    call: Callable[[torch.Tensor], Any] | None = None,
    num_warm_up: int = 2,
    num_timed: int = 10,
) -> Efficiency:
    """Count a network's parameters and time it on one batch.

    Args:
        network: Any network; it is put into evaluation mode.
        images: One batch ``(B, C, H, W)`` on the network's device.
        call: Runs the network on the batch; by default the network itself.
        num_warm_up: Batches before the timed ones.
        num_timed: Batches that are timed.

    Reference: Sivakumar et al., SASVi, IPCAI 2025: parameters and one forward pass of a batch of 8.
    Departs: the published FPS is one over the time of a whole batch without warm-up; it is given beside the images
        per second. Unlike there, an accelerator's work is waited for.
    """
    network.eval()
    run = network if call is None else call
    published_seconds = _seconds(run, images)
    for _ in range(num_warm_up):
        run(images)
    seconds = statistics.median(_seconds(run, images) for _ in range(num_timed))
    return Efficiency(
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        images_per_second=len(images) / seconds,
        published_fps=1 / published_seconds,
    )


def _seconds(run: Callable[[torch.Tensor], Any], images: torch.Tensor) -> float:
    start = time.perf_counter()
    run(images)
    if images.device.type != "cpu":
        torch.accelerator.synchronize(images.device)
    return time.perf_counter() - start

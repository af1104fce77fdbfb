"""What finding a phrase costs in a frame, beside the published order of operations.

Random weights of ReSurgSAM2 small at 512, one thread, the same process, in turn. The time is the processor's, so that
waiting for others on a shared machine does not count.

python benchmarks/referring.py --rounds 7
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from types import MethodType

import torch
from torch import Tensor
from torch.nn import functional as F

from surgvos.models.interface import TextFeatures
from surgvos.models.random_weights import build_with_random_weights
from surgvos.models.text.mamba import BACKWARD, TUBES, SelectiveStateSpace, Volume
from surgvos.models.text.selective_scan import selective_scan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=512)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    ours = build_with_random_weights("resurgsam2", device="cpu", dtype="fp32", image_size=chosen.size)
    plain = copy.deepcopy(ours)
    for module in plain.modules():
        if isinstance(module, SelectiveStateSpace):
            module.forward = MethodType(_scan_one_order_after_the_other, module)
    generator = torch.Generator().manual_seed(0)
    _compare_scans(generator, chosen.rounds)
    images = torch.randn(3, 3, chosen.size, chosen.size, generator=generator).split(1)
    with torch.inference_mode():
        current, *previous = (ours.encode_image(image) for image in images)
        one, four = _phrases(1, generator), _phrases(4, generator)
        found, expected = (model.refer(current, previous, one).logits for model in (ours, plain))
        scale = expected.abs().max()
        print(f"largest difference of logits: {(found - expected).abs().max() / scale:.1e} of the largest logit")
        _report(
            {
                "image encoder": lambda: ours.encode_image(images[0]),
                "one phrase": lambda: ours.refer(current, previous, one),
                "four phrases": lambda: ours.refer(current, previous, four),
                "one phrase, published order": lambda: plain.refer(current, previous, one),
            },
            chosen.rounds,
        )


def _compare_scans(generator: torch.Generator, num_rounds: int) -> None:
    """Three orders of 3072 steps, 512 channels and 16 states: in one call, and by three plain recurrences."""
    u, delta = (torch.randn(1, 3, 3072, 512, generator=generator) for _ in range(2))
    b, c = (torch.randn(1, 3, 3072, 16, generator=generator) for _ in range(2))
    delta, rates = F.softplus(delta - 4), -torch.rand(3, 512, 16, generator=generator) - 0.5

    def plain() -> None:
        for order in range(3):
            _plain_recurrence(u[:, order], delta[:, order], rates[order].T, b[:, order], c[:, order])

    with torch.inference_mode():
        seconds = _time({"scan": lambda: selective_scan(u, delta, rates, b, c), "three recurrences": plain}, num_rounds)
    pairs = zip(seconds["three recurrences"], seconds["scan"], strict=True)
    print(f"three recurrences / scan: {statistics.median(a / b for a, b in pairs):.2f}")


def _time(tasks: dict[str, Callable[[], object]], num_rounds: int) -> dict[str, list[float]]:
    """Run tasks in turn; print and return processor seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(num_rounds):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            seconds[name].append(time.process_time() - start)
    for name, times in seconds.items():
        print(f"{name:28} {statistics.median(times):.3f} s  ({min(times):.3f} to {max(times):.3f})")
    return seconds


def _report(tasks: dict[str, Callable[[], object]], num_rounds: int) -> None:
    seconds = _time(tasks, num_rounds)
    encoder = seconds["image encoder"]
    for above, below in (("one phrase, published order", "one phrase"), ("four phrases", "one phrase")):
        pairs = list(zip(seconds[above], seconds[below], encoder, strict=True))
        beyond = statistics.median(a / b for a, b, _ in pairs)
        whole = statistics.median((a + e) / (b + e) for a, b, e in pairs)
        print(f"{above} / {below}: {beyond:.2f} beyond the encoder, {whole:.2f} with it")


def _phrases(num_phrases: int, generator: torch.Generator) -> TextFeatures:
    tokens = torch.randn(num_phrases, 9, 256, generator=generator)
    return TextFeatures(tokens, torch.ones(num_phrases, 9, dtype=torch.bool), tokens[:, -1])


def _scan_one_order_after_the_other(self: SelectiveStateSpace, x: Tensor, volume: Volume) -> Tensor:
    """The published order of operations, with a plain recurrence for each order."""
    x, gate = self.in_proj(x).transpose(1, 2).chunk(2, dim=1)
    total = torch.zeros_like(x)
    for order in self.orders:
        index = torch.arange(x.shape[2])
        if order == BACKWARD:
            index = index.flip(0)
        if order == TUBES:
            index = index.view(volume.num_frames, -1).T.flatten()
        own, own_gate = x[:, :, index], gate[:, :, index]
        convolution = getattr(self, f"conv1d{order}")
        own = F.silu(convolution(own)[..., : own.shape[2]])
        projected = getattr(self, f"x_proj{order}")(own.transpose(1, 2))
        steps, b, c = projected.split([self.step_rank, 16, 16], dim=-1)
        delta = F.softplus(getattr(self, f"dt_proj{order}")(steps))
        u = own.transpose(1, 2)
        rates = -self.get_parameter(f"A{order}_log").exp().T
        y = _plain_recurrence(u, delta, rates, b, c) + u * self.get_parameter(f"D{order}")
        y = y.transpose(1, 2) * F.silu(own_gate)
        total[:, :, index] += y
    return self.out_proj((total / len(self.orders)).transpose(1, 2))


def _plain_recurrence(u: Tensor, delta: Tensor, rates: Tensor, b: Tensor, c: Tensor) -> Tensor:
    state = torch.zeros(len(u), *rates.shape)
    answers = []
    for step in range(u.shape[1]):
        size = delta[:, step, None]
        state = torch.exp(size * rates) * state + (size * u[:, step, None]) * b[:, step, :, None]
        answers.append((state * c[:, step, :, None]).sum(1))
    return torch.stack(answers, dim=1)


if __name__ == "__main__":
    main()

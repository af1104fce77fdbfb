"""Milliseconds of one image encoder by every backend, in turn, in the processor's time of one thread.

    python benchmarks/backends.py
    python benchmarks/backends.py --model sam2.1-hiera-tiny --size 512 --rounds 10

Models have random weights; an encoder's time does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from surgvos.models.backends import use_backend
from surgvos.models.random_weights import build_with_random_weights

SIDES = (("fp32", "torch"), ("fp32", "compile"), ("fp32", "onnx"), ("bf16", "torch"), ("bf16", "compile"))


def main() -> None:
    """Print medians, and the median over rounds of PyTorch's time divided by each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="surgvos-nano")
    parser.add_argument("--size", type=int, help="side of SAM 2's input")
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = {}
    for dtype, backend in SIDES:
        model = build_with_random_weights(arguments.model, device="cpu", dtype=dtype, image_size=arguments.size)
        models[dtype, backend] = use_backend(model, backend)
    height, width = model.input_hw((256, 320))
    images = torch.randn(1, 3, height, width).contiguous(memory_format=torch.channels_last)
    seconds: dict[tuple[str, str], list[float]] = {side: [] for side in SIDES}
    for _ in range(arguments.rounds + 1):
        for side, model in models.items():
            is_half = model.compute_dtype != torch.float32
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                start = time.process_time()
                model.encode_image(images)
                seconds[side].append(time.process_time() - start)
    print(f"{arguments.model}, {width}x{height}, one thread, {arguments.rounds} rounds")
    for (dtype, backend), taken in seconds.items():
        # The first call builds and compares.
        ratios = [a / b for a, b in zip(seconds[dtype, "torch"][1:], taken[1:], strict=True)]
        median_ms = 1e3 * statistics.median(taken[1:])
        print(f"{dtype} {backend:<8} {median_ms:8.1f} ms   torch / this {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()

"""Two processes that train together, over gloo, against one that takes both their batches at each step."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from surgvos.config.load import to_plain
from surgvos.training.checkpoint import CheckpointFolder
from surgvos.training.optim import set_learning_rate
from surgvos.training.trainer import Trainer
from training.tiny import tiny_run

NUM_PROCESSES, NUM_STEPS = 2, 4


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_from_both_batches(tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.json", tmp_path / "two"
    recipe.write_text(json.dumps(to_plain(tiny_run(steps=NUM_STEPS))))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={NUM_PROCESSES}"]
    words = [*launch, "-m", "surgvos", "train", str(recipe), "--out", str(out), "--device", "cpu"]
    said = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True)
    assert said.stdout.decode().split() == [str(out / "model.safetensors")]  # once, not by each process
    together = load_file(out / "model.safetensors")
    expected = learn_from_both_batches(tmp_path / "one")
    assert together.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(together[name].float(), value.float(), rtol=0, atol=5e-6)


def learn_from_both_batches(out: Path) -> dict[str, torch.Tensor]:
    """The average of the weights after steps over the batches of all processes, scaled by all their objects."""
    config = tiny_run(steps=NUM_STEPS)
    alone = Trainer(config, out, CheckpointFolder(out / "checkpoints"), "cpu", None)
    shapes = [stage.batch for stage in config.stages for _ in range(stage.steps)]
    for step, shape in enumerate(shapes):
        set_learning_rate(alone.optimiser, step, config.num_steps, config.optimiser)
        source = config.data.open(shape, config.seed, NUM_PROCESSES)
        losses = []
        for rank in range(NUM_PROCESSES):
            seed = (config.seed * 1_000_003 + step) * NUM_PROCESSES + rank
            torch.manual_seed(seed)
            batch = source[step * NUM_PROCESSES + rank]
            losses.append(alone.module(batch, torch.Generator().manual_seed(seed)))
        (sum(found.total for found in losses) / sum(float(found.num_items) for found in losses)).backward()
        torch.nn.utils.clip_grad_norm_(alone.model.parameters(), config.optimiser.max_grad_norm or math.inf)
        alone.optimiser.step()
        alone.optimiser.zero_grad(set_to_none=True)
        assert alone.average is not None
        alone.average.update(alone.model)
    assert alone.average is not None
    return alone.average.values()

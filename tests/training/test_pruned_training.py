"""Pruning while learning: off as published, possible where it is wanted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from surgvos.data.clips import Clip, collate_clips
from surgvos.memory import Pruned, Recent
from surgvos.models.nano import NanoModel
from surgvos.training.clip import ClipSettings, forward_clip
from surgvos.training.losses import LossSettings
from surgvos.training.prompts import PromptSettings
from training.tiny import TINY_NANO

SIDE, NUM_FRAMES = 64, 6


def batch_of_moving_squares() -> object:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (NUM_FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    masks = np.zeros((NUM_FRAMES, 1, SIDE, SIDE), dtype=bool)
    for t in range(NUM_FRAMES):
        masks[t, 0, 10 + 4 * t : 30 + 4 * t, 12:36] = True
        images[t][masks[t, 0]] = (200, 180, 40)
    return collate_clips([Clip(images, masks)])


def gradients(policy: Recent | Pruned) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = NanoModel(replace(TINY_NANO, num_recent=4)).train()
    settings = ClipSettings(
        memory=policy,
        prompts=PromptSettings(point_probability=0.0, num_corrections=0),
        losses=LossSettings(bce=1.0, at_logits_resolution=True),
    )
    losses = forward_clip(model, batch_of_moving_squares(), settings, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    losses.total.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return losses.total.item(), found


def test_a_clip_learns_from_the_memories_that_are_left() -> None:
    recent = Recent(num_recent=4, max_pointers=0)
    total, with_pruning = gradients(Pruned(recent=recent, num_pruned=2))
    plain_total, plain = gradients(recent)
    assert np.isfinite(total)
    assert total != plain_total  # something was pruned
    assert with_pruning.keys() == plain.keys()
    assert all(gradient.isfinite().all() for gradient in with_pruning.values())
    assert with_pruning["memory_encoder.shape.weight"].abs().sum() > 0


def test_nothing_to_prune_changes_nothing() -> None:
    recent = Recent(num_recent=4, max_pointers=0)
    total, pruned = gradients(Pruned(recent=recent, num_pruned=0))
    plain_total, plain = gradients(recent)
    assert total == plain_total
    for name, gradient in plain.items():
        torch.testing.assert_close(pruned[name], gradient, rtol=0, atol=0)

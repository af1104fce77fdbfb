"""Networks with random weights."""

from __future__ import annotations

import torch

from models.test_checkpoints import TOY
from surgvos.models.random_weights import fill_with_random_weights
from surgvos.models.sam2 import Sam2Model


def test_a_seed_determines_every_weight() -> None:
    """Nothing is left of what the network happened to be built with."""
    states = []
    for other in range(2):
        torch.manual_seed(other)
        model = Sam2Model(TOY)
        fill_with_random_weights(model, seed=0)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])

"""Products with what follows them: the fast ways on a CPU mean the same as the plain ones."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from models.test_sam2 import assert_same, random_features, random_memory, toy_model, track
from surgvos.models.sam2.linear import linear


@pytest.mark.parametrize("num_tokens", [3, 300])
@torch.inference_mode()
def test_what_follows_a_product(num_tokens: int) -> None:
    torch.manual_seed(0)
    # A part of wider rows, as queries are of the projection that makes queries, keys and values together.
    x = torch.randn(2, num_tokens, 48)[..., 8:40]
    weight, bias, residual = torch.randn(24, 32), torch.randn(24), torch.randn(2, num_tokens, 24)
    product = F.linear(x.double(), weight.double(), bias.double())
    wanted = {None: product, F.relu: product.relu(), F.gelu: F.gelu(product), torch.sigmoid: product.sigmoid()}
    kept = residual.clone()
    for activation, expected in wanted.items():
        torch.testing.assert_close(linear(x, weight, bias, activation=activation).double(), expected, rtol=0, atol=1e-5)
    added = linear(x, weight, bias, residual=residual)
    torch.testing.assert_close(added.double(), residual + product, rtol=0, atol=1e-5)
    assert torch.equal(residual, kept)


def test_with_and_without_gradients_alike() -> None:
    """Gradients take the plain way through every layer; without them, products are fused and keys turn in place."""
    model = toy_model(image_size=256)
    memory = random_memory(2, model.config)
    plain = track(model, random_features(model), memory)
    assert plain.logits.requires_grad
    with torch.inference_mode():
        assert_same(track(model, random_features(model), memory), plain)

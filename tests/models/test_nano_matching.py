"""Objects that share keys read together, and read what they read alone."""

from __future__ import annotations

import pytest
import torch

from surgvos.models.nano import NanoConfig
from surgvos.models.nano.matching import Matching


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("num_objects", [2, 5])
@torch.no_grad()
def test_objects_read_together_as_they_read_alone(num_objects: int, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    config = NanoConfig()
    matching = Matching(config)
    features = torch.randn(3, config.widths[2], 4, 6)
    query, *remembered = matching.keys(features).split(1)
    keys = torch.stack(remembered, dim=1)
    values = torch.randn(num_objects, 2, query.shape[1], 4, 6).to(dtype)
    together = matching.read(query, keys, values, config.recent_reach)
    assert together.shape == (num_objects, query.shape[1], 4, 6)
    for index, own in enumerate(values.split(1)):
        alone = matching.read(query, keys, own, config.recent_reach)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=tolerance, atol=tolerance)

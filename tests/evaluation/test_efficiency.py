import time

import pytest
import torch
from torch import nn

from surgvos.evaluation.efficiency import measure_efficiency


class Slow(nn.Module):
    """Takes 20 ms, and 200 ms the first time."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 5)
        self.calls = 0

    def forward(self, images):
        assert not self.training
        time.sleep(0.02 if self.calls else 0.2)
        self.calls += 1
        return self.layer(images.mean(dim=(2, 3)))


def test_parameters_and_speed_of_a_batch():
    network = Slow()
    found = measure_efficiency(network, torch.zeros(8, 3, 4, 4), num_timed=5)
    assert found.num_parameters == 3 * 5 + 5
    assert network.calls == 1 + 2 + 5
    # 8 images in a little over 20 ms; the published figure sees one cold batch of 200 ms, and counts it as a frame.
    assert 100 < found.images_per_second <= 400
    assert 1 < found.published_fps <= 5


def test_a_network_that_wants_to_be_called_otherwise():
    network = Slow()
    with pytest.raises(ZeroDivisionError):
        measure_efficiency(network, torch.zeros(1, 3, 4, 4), call=lambda images: 1 / 0)
    assert network.calls == 0

"""Timing, with a model that has no network."""

from __future__ import annotations

import numpy as np
import pytest

from surgvos.evaluation import timing
from surgvos.evaluation.timing import Scene, measure
from tracking.fake_model import ColorModel


def test_a_measurement_accounts_for_every_stage() -> None:
    found = measure(ColorModel(), num_objects=3, num_frames=4, image_hw=(48, 64))
    assert found.seconds_per_frame > 0
    assert set(found.stages) == {
        "image_encoder",
        "memory_attention",
        "mask_decoder",
        "memory_encoder",
        "pre_and_post_processing",
    }
    assert min(found.stages.values()) > 0
    assert found.peak_memory_bytes > 10 * 2**20
    assert found.peak_device_memory_bytes is None
    assert found.session_bytes > 0
    assert found.peer is None


def test_progress_counts_the_timed_frames_alone() -> None:
    seen: list[tuple[int, int | None]] = []
    measure(ColorModel(), num_objects=1, num_frames=3, image_hw=(48, 64), progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]


class EchoPeer:
    """A peer that answers a constant."""

    def __init__(self, logit: float) -> None:
        self.logit = logit
        self.prompted: list[tuple[int, int]] = []

    def add_points(self, frame_index: int, object_id: int, points_xy: list[np.ndarray], labels: list[int]) -> None:
        self.prompted.append((frame_index, object_id))

    def step(self, image: np.ndarray, frame_index: int) -> object:
        import torch

        return torch.full((len(self.prompted), *image.shape[:2]), self.logit)


def test_a_peer_sees_the_same_frames_and_prompts() -> None:
    peer = EchoPeer(logit=1e6)
    found = measure(ColorModel(), num_objects=2, num_frames=3, image_hw=(48, 64), make_peer=lambda: peer)  # type: ignore[arg-type,return-value]
    assert peer.prompted == [(0, 1), (0, 2)]
    assert found.peer is not None
    assert found.peer.max_logit_difference == pytest.approx(1e6, rel=1e-3)
    assert found.peer.ratio > 0


def test_the_ratio_is_the_median_over_frames() -> None:
    compared = timing._compare([1.0, 1.0, 2.0], [2.0, 3.0, 100.0], 0.0)
    assert compared.ratio == 3.0
    assert compared.seconds_per_frame == 3.0


def test_the_discs_are_where_they_are_clicked() -> None:
    scene = Scene((96, 128), num_objects=5)
    image = scene.frame(7).image
    colors = {tuple(image[int(y), int(x)]) for x, y in scene.centers_xy(7)}
    assert len(colors) == 5
    assert all(color[2] == 200 for color in colors)

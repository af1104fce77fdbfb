"""What is judged by samples is judged as by all pixels."""

from __future__ import annotations

import numpy as np
import pytest

from surgvos.overseer.detection import Detection
from surgvos.overseer.scene import SampledMask, Scene, covered_shares


def box(hw: tuple[int, int], top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(hw, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def naive_iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize(("hw", "tolerance"), [((96, 128), 0.0), ((1080, 1920), 0.01)])
def test_the_share_of_instances_that_a_mask_covers(hw: tuple[int, int], tolerance: float) -> None:
    height, width = hw
    large = box(hw, height // 4, width // 4, height // 2, width // 2)
    small = box(hw, height // 4 + 3, 10, height // 4 + 10, 21)
    far = box(hw, height - 9, width - 9, height, width)
    detection = Detection.from_masks(np.array([large, small, far]), [6, 6, 7])
    for mask in (large, small, np.roll(large, width // 16, axis=1), np.roll(small, 5, axis=1), np.zeros(hw, bool)):
        naive = [(instance & mask).sum() / instance.sum() for instance in (large, small)] + [0.0]
        shares = covered_shares(detection, {6: SampledMask(mask), 8: SampledMask(far)})
        assert shares[0] == pytest.approx(naive[0], abs=tolerance)
        # Small masks are not sampled; a small instance may fall between the samples of a large one.
        if not tolerance or mask.sum() < 1000:
            np.testing.assert_allclose(shares, naive)


@pytest.mark.parametrize("hw", [(96, 128), (1080, 1920)])
@pytest.mark.parametrize("size_px", [9, 60])
def test_ious_with_masks_and_other_scenes(hw: tuple[int, int], size_px: int) -> None:
    one, other = box(hw, 20, 20, 20 + size_px, 20 + size_px), box(hw, 20, 23, 20 + size_px, 23 + size_px)
    scene, later = (Scene(Detection.from_masks(mask[None], [6]), {6}) for mask in (one, other))
    expected = naive_iou(one, other)
    assert scene.iou(6, SampledMask(other)) == pytest.approx(expected, abs=0.02)
    assert scene.ious_with(later)[6] == pytest.approx(expected, abs=0.02)


def test_an_empty_mask_is_like_nothing() -> None:
    hw = (1080, 1920)
    scene = Scene(Detection.from_masks(box(hw, 0, 0, 500, 500)[None], [6]), {6})
    assert scene.iou(6, SampledMask(np.zeros(hw, dtype=bool))) == 0.0

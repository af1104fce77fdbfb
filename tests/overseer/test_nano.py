"""A nano segmenter as a detector: pieces of classes at the size of the frame, from weights alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from overseer.networks import frames
from surgvos.core import Frame
from surgvos.core.labels import LabelSpace
from surgvos.data.synthetic import SceneConfig, generate_clip
from surgvos.data.synthetic_classes import class_maps
from surgvos.errors import CheckpointError, InputError
from surgvos.models.nano.segmenter import NanoSegmenter, NanoSegmenterConfig, infer_segmenter_config
from surgvos.models.registry import bundled_weights, load_model
from surgvos.overseer.detector import DetectorOptions
from surgvos.overseer.load import load_detector
from surgvos.overseer.nano import MIN_CELLS, NanoDetector
from surgvos.tracking.features import normalize_images, resize_image

THREE = LabelSpace.from_names(["tool", "vessel", "polyp"])
TINY = NanoSegmenterConfig(num_classes=3, widths=(8, 16, 16, 32), depths=(1, 1, 2), context_width=48)
HW = (54, 96)


def random_weights(config: NanoSegmenterConfig = TINY) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = NanoSegmenter(config).state_dict()
    # The head starts at random, but not so small that nothing ever wins.
    state["class_head.to_logits.weight"] *= 8
    return state


class Painted(nn.Module):
    """A network that says what it is told to, whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def input_hw(self, video_hw: tuple[int, int]) -> tuple[int, int]:
        return 2 * self.logits.shape[-2], 2 * self.logits.shape[-1]

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1, -1, -1)


def painted(detector: NanoDetector, *boxes: tuple[int, int, int, int, int, float]) -> NanoDetector:
    """Let a detector see boxes: label, top, bottom, left, right, logit over background, on a grid of 32 x 64 cells."""
    logits = torch.zeros(1, 4, 32, 64)
    for label, top, bottom, left, right, height in boxes:
        logits[0, label, top:bottom, left:right] = height
    detector.network = Painted(logits)  # type: ignore[assignment]
    return detector


def test_size_is_read_off_the_weights() -> None:
    assert infer_segmenter_config(random_weights()) == TINY
    default = NanoSegmenter().state_dict()
    assert infer_segmenter_config(default) == NanoSegmenterConfig()


def test_pixels_go_to_the_most_probable_label() -> None:
    detector = NanoDetector(random_weights(), THREE, DetectorOptions(min_score=0.0))
    images = frames(3, hw=HW)
    size = detector.network.input_hw(HW)
    assert size[0] % 32 == size[1] % 32 == 0
    found_any = 0
    for frame, detection in zip(images, detector.detect(images), strict=True):
        pixels = torch.from_numpy(resize_image(frame.image, size, "area")).permute(2, 0, 1)[None]
        with torch.inference_mode():
            probabilities = detector.network(normalize_images(pixels)).softmax(dim=1)
        enlarged = F.interpolate(probabilities, size=HW, mode="bilinear", align_corners=False)[0]
        by_hand = enlarged.argmax(dim=0).numpy()
        own = THREE.paint({i: detection.mask(i) for i in detection.seen.ids}, HW)
        assert detection.hw == HW
        # What is left out are specks.
        assert not ((own != by_hand) & (own > 0)).sum() > 0.01 * own.size
        assert set(detection.class_ids.tolist()) <= set(THREE.ids)
        assert ((detection.scores > 0) & (detection.scores <= 1)).all()
        assert (detection.members.sum(axis=1) <= 1).all(), "instances do not overlap"
        found_any += len(detection.scores)
    assert found_any


def test_every_piece_of_a_class_is_an_instance() -> None:
    detector = NanoDetector(random_weights(), THREE)
    painted(detector, (1, 2, 12, 4, 20, 6.0), (1, 20, 30, 40, 60, 3.0), (2, 4, 16, 30, 44, 9.0))
    (detection,) = detector.detect(frames(1, hw=(64, 128)))
    assert detection.class_ids.tolist() == [1, 1, 2]
    certain, likely = np.exp([6.0, 3.0]) / (np.exp([6.0, 3.0]) + 3)
    # Along the outline probabilities fall off.
    assert certain - 0.15 < detection.scores[0] < certain
    assert likely - 0.15 < detection.scores[1] < likely < detection.scores[0] + 0.1
    assert detection.mask(2).sum() == pytest.approx(4 * 12 * 14, rel=0.15)


def test_specks_and_doubts_are_left_out() -> None:
    side = int(MIN_CELLS**0.5)
    detector = NanoDetector(random_weights(), THREE, DetectorOptions(min_score=0.6))
    doubtful = float(np.log(3 * 0.5 / 0.5))
    painted(detector, (1, 2, 2 + side, 4, 3 + side, 9.0), (2, 10, 20, 10, 20, doubtful), (3, 10, 20, 40, 50, 9.0))
    (detection,) = detector.detect(frames(1, hw=(64, 128)))
    assert detection.class_ids.tolist() == [3]


def test_nothing_seen_is_an_empty_detection() -> None:
    detector = painted(NanoDetector(random_weights(), THREE))
    (detection,) = detector.detect(frames(1, hw=HW))
    assert detection.seen.ids == ()
    assert detection.hw == HW


def test_weights_of_a_file_need_a_label_space_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(random_weights(), path)
    assert isinstance(load_detector(path, THREE, device="cpu"), NanoDetector)
    with pytest.raises(CheckpointError, match=r"mine.safetensors: expected a head of 18 labels .* got one of 4"):
        load_detector(path, "cadis-2", device="cpu")
    with pytest.raises(InputError, match=r"expected a label space for .*mine.safetensors"):
        load_detector(path, device="cpu")
    with pytest.raises(CheckpointError, match="nano segmenter, which is no tracker"):
        load_model(path, device="cpu")
    damaged = random_weights()
    del damaged["class_head.merge.0.0.conv.weight"]
    save_file(damaged, path)
    with pytest.raises(CheckpointError, match=r"nano segmenter, got some with 1 missing \(first: class_head.merge"):
        load_detector(path, THREE, device="cpu")


def test_the_overseer_in_the_box_sees_instruments() -> None:
    detector = load_detector("surgvos-nano", device="cpu")
    assert detector.label_space.name == "surgvos-nano"
    common = union = 0
    for seed in range(900000, 900008):
        clip = generate_clip(seed, SceneConfig(image_hw=(256, 320), num_frames=1, surgical_share=1.0))
        truth = class_maps(clip)[0] == 1
        (detection,) = detector.detect([Frame(0, "00000", clip.frames[0])])
        found = detection.above(0.5).mask(1)
        common += int((truth & found).sum())
        union += int((truth | found).sum())
    assert detector.label_space[1].name == "instrument"
    assert common / union > 0.5


def test_what_is_in_the_box_is_small() -> None:
    assert sum(path.stat().st_size for path in bundled_weights().values()) <= 20e6

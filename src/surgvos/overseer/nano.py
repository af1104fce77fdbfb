"""The overseer in the box: a `NanoSegmenter` as a detector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from torch import nn

from surgvos.core.frame import Frame
from surgvos.models.nano.segmenter import NanoSegmenter, infer_segmenter_config
from surgvos.overseer.detection import Detection
from surgvos.overseer.network_detector import NetworkDetector
from surgvos.overseer.network_weights import State
from surgvos.tracking.features import normalize_images, resize_image

KIND = "nano segmenter"
MIN_CELLS = 8
"""Least area of an instance in cells of the network's own grid: what is smaller is more often noise than a thing."""


def is_nano_segmenter(state: State) -> bool:
    """Whether weights are a `NanoSegmenter`'s."""
    return "class_head.to_logits.weight" in state


class NanoDetector(NetworkDetector):
    """Label the pixels of frames; an instance is a connected piece of a class, its score the mean probability there.

    Args:
        state: Weights of a `NanoSegmenter`.
        label_space: Of its classes; label 0 of the network is background.
        options, device, dtype: As for every `NetworkDetector`.
    """

    kind = KIND

    def _build(self, state: State) -> tuple[nn.Module, int]:
        network = NanoSegmenter(infer_segmenter_config(state))
        return network.to(memory_format=network.memory_format), 1 + network.config.num_classes

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[Detection]:
        size = self.network.input_hw(frames[0].hw)
        pixels = torch.from_numpy(np.stack([resize_image(frame.image, size, "area") for frame in frames]))
        with self._autocast():
            logits = self.network(normalize_images(pixels.permute(0, 3, 1, 2).to(self.device)))
        probabilities = logits.float().softmax(dim=1).cpu().numpy()
        return [self._detection(one, frame.hw) for one, frame in zip(probabilities, frames, strict=True)]

    def _detection(self, probabilities: np.ndarray, image_hw: tuple[int, int]) -> Detection:
        """From ``(1 + num_classes, h, w)`` to instances at the size of the frame."""
        min_area_px = MIN_CELLS * image_hw[0] * image_hw[1] / probabilities[0].size
        masks, class_ids, scores = [], [], []
        for label, mask, score in _pieces(probabilities, image_hw, min_area_px):
            class_id = self.classes[label]
            if class_id is not None and score >= self.options.min_score:
                masks.append(mask)
                class_ids.append(class_id)
                scores.append(score)
        return Detection.from_masks(np.array(masks, dtype=bool).reshape(-1, *image_hw), class_ids, scores)


def _pieces(
    probabilities: np.ndarray, image_hw: tuple[int, int], min_area_px: float
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Label, mask and mean probability of every connected piece of a label but background."""
    shown = np.flatnonzero(np.bincount(probabilities.argmax(axis=0).ravel(), minlength=len(probabilities)))
    best = _enlarged(probabilities[0], image_hw)
    winner = np.zeros(image_hw, dtype=np.uint8)
    for label in (int(i) for i in shown if i):
        own = _enlarged(probabilities[label], image_hw)
        winner[own > best] = label
        np.maximum(best, own, out=best)
    for label in (int(i) for i in shown if i):
        count, pieces, stats, _ = cv2.connectedComponentsWithStats((winner == label).view(np.uint8))
        for piece in range(1, count):
            if stats[piece, cv2.CC_STAT_AREA] >= min_area_px:
                mask = pieces == piece
                yield label, mask, min(float(best[mask].mean()), 1.0)


def _enlarged(plane: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    return cv2.resize(plane, image_hw[::-1], interpolation=cv2.INTER_LINEAR)

"""From the answers of a network with queries (DETR, Mask2Former) to a detection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from surgvos.overseer.detection import Detection


def detection_of_queries(
    class_logits: Tensor,
    mask_logits: Tensor,
    classes: Sequence[int | None],
    image_hw: tuple[int, int],
    *,
    min_score: float,
    cut_before_enlarging_at: float | None = None,
) -> Detection:
    """Let every query that is not "no object" be an instance.

    Args:
        class_logits: ``(num_queries, num_labels + 1)``; the last is "no object".
        mask_logits: ``(num_queries, h, w)``.
        classes: Class id per label, or None for labels that are no class.
        image_hw: Size of the frame.
        min_score: Least probability of the label.
        cut_before_enlarging_at: A mask is where its logit exceeds this at the network's own resolution, enlarged by
            the nearest pixel. By default logits are enlarged bilinearly and cut at 0.
    """
    scores, labels = class_logits.float().softmax(dim=-1).max(dim=-1)
    found = [
        (query, class_id, score)
        for query, (label, score) in enumerate(zip(labels.tolist(), scores.tolist(), strict=True))
        if label < len(classes) and (class_id := classes[label]) is not None and score >= min_score
    ]
    masks = np.zeros((len(found), *image_hw), dtype=bool)
    # One by one: all queries at the size of the frame may not fit into memory.
    for number, (query, _, _) in enumerate(found):
        logits = mask_logits[query].float()
        if cut_before_enlarging_at is None:
            enlarged = F.interpolate(logits[None, None], size=image_hw, mode="bilinear", align_corners=False)[0, 0] > 0
        else:
            enlarged = enlarge_nearest(logits > cut_before_enlarging_at, image_hw)
        masks[number] = enlarged.cpu().numpy()
    return Detection.from_masks(masks, [class_id for _, class_id, _ in found], [score for _, _, score in found])


def enlarge_nearest(mask: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """Bool ``(h, w)`` -> bool at another size, by the pixel whose centre is nearest."""
    return F.interpolate(mask[None, None].to(torch.uint8), size=image_hw, mode="nearest-exact")[0, 0].bool()

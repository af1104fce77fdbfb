"""Is what a phrase says there, and is its outline good? Judged once more when the outline is known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_NUM_SIGNS = 7
_WIDTH = 32
_LARGEST = 5.0  # of what grows without end as an outline shrinks to nothing


class OutlineJudge(nn.Module):
    """Corrects what is thought of an outline before it is drawn by how sure the outline is of itself.

    An outline's own probabilities tell whether it is right as well as what it is made from does, and the two together
    tell better. What is corrected begins as it was, so that a reader that was trained without a judge goes on as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Linear(_NUM_SIGNS, _WIDTH), nn.ReLU(inplace=True), nn.Linear(_WIDTH, 2))
        last = self.weigh[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, outlines: Tensor, presence: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
        """Judge ``B`` outlines.

        Args:
            outlines: Mask logits ``(B, 1, h, w)``.
            presence: Presence logits ``(B,)`` before.
            iou: IoU logits ``(B,)`` before.

        Returns:
            Both logits again, float32.
        """
        presence, iou = presence.float(), iou.float()
        signs = torch.cat((torch.stack((presence / 3 - 1, iou - 0.5), dim=1), outline_signs(outlines)), dim=1)
        more = self.weigh(signs.detach().to(next(self.parameters()).dtype)).float()
        return presence + more[:, 0], iou + more[:, 1]


def outline_signs(outlines: Tensor) -> Tensor:
    """How sure outlines are of themselves, float32 ``(B, 5)``, each about as large as 1.

    They are: the mean probability inside; how much larger the outline would be were a tenth enough; how much of it
    would be left were nine tenths asked for; how large it is; its entropy. All but the last but one are by its area.

    Args:
        outlines: Mask logits ``(B, 1, h, w)``.
    """
    p = outlines.float().flatten(1).sigmoid()
    inside = p > 0.5
    area = inside.sum(dim=1).clamp(min=1)
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    sure = (p * inside).sum(dim=1) / area
    grown = torch.log1p(((p > 0.1).sum(dim=1) / area).clamp(max=50.0))
    left = (p > 0.9).sum(dim=1) / area
    unsure = (entropy.sum(dim=1) / area).clamp(max=_LARGEST)
    size = torch.log(area / p.shape[1])
    return torch.stack((8 * (sure - 0.85), 2 * (grown - 1), 3 * (left - 0.5), (size + 3) / 1.5, unsure - 0.5), dim=1)

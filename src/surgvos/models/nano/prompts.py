"""Prompts as maps: where the user clicked, boxed or painted, and what looks like it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.models.interface import PromptBatch

POINT_RADII_PX = (5.0, 20.0)
BOX_SOFTNESS_PX = 2.0


class PromptMaps(nn.Module):
    """Draw prompts at stride 4, fold them to stride 8, and embed them.

    Maps: a narrow and a wide bump around object clicks, the same around background clicks, the inside of the box,
    the corrected mask with a flag, and per head how much each place looks like the clicked ones.
    """

    def __init__(self, num_heads: int, head_dim: int, out_channels: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        drawn = 4 * (2 * len(POINT_RADII_PX) + 1)
        self.embed = nn.Conv2d(drawn + 16 + 1 + 2 * num_heads, out_channels, 3, padding=1)

    def forward(self, prompts: PromptBatch, keys: Tensor) -> Tensor:
        """Embed prompts as ``(B, C, h, w)`` at the grid of the image keys ``(1 or B, heads * dim, h, w)``."""
        grid_hw = keys.shape[-2:]
        drawn = F.pixel_unshuffle(self._draw(prompts, (2 * grid_hw[0], 2 * grid_hw[1])), 2)
        alike = self._alike(prompts, keys)
        maps = torch.cat((drawn, self._previous(prompts, grid_hw), alike), dim=1)
        return self.embed(maps.to(keys.dtype))

    def _draw(self, prompts: PromptBatch, grid_hw: tuple[int, int]) -> Tensor:
        """Bumps and box at stride 4: ``(B, 5, h4, w4)``."""
        points, labels = prompts.points_xy.float(), prompts.labels
        ys = (torch.arange(grid_hw[0], device=points.device) * 4 + 2.0)[:, None]
        xs = (torch.arange(grid_hw[1], device=points.device) * 4 + 2.0)[None, :]
        dx = xs - points[..., 0, None, None]
        dy = ys - points[..., 1, None, None]
        squared = dx.square() + dy.square()
        maps = []
        for label in (1, 0):
            chosen = (labels == label)[..., None, None]
            for radius in POINT_RADII_PX:
                bump = torch.exp(squared * (-0.5 / radius**2))
                maps.append(torch.where(chosen, bump, 0.0).amax(dim=1))
        # A place is inside when it lies right of and below the first corner, left of and above the second.
        after = torch.sigmoid(torch.minimum(dx, dy) / BOX_SOFTNESS_PX)
        before = torch.sigmoid(torch.minimum(-dx, -dy) / BOX_SOFTNESS_PX)
        first = torch.where((labels == 2)[..., None, None], after, 0.0).amax(dim=1)
        second = torch.where((labels == 3)[..., None, None], before, 0.0).amax(dim=1)
        maps.append(first * second)
        return torch.stack(maps, dim=1)

    def _previous(self, prompts: PromptBatch, grid_hw: torch.Size | tuple[int, int]) -> Tensor:
        """The corrected mask folded from stride 2 to 8, and a flag: ``(B, 17, h, w)``."""
        batch = prompts.labels.shape[0]
        if prompts.previous_logits is None:
            return prompts.points_xy.new_zeros((batch, 17, *grid_hw), dtype=torch.float32)
        probabilities = prompts.previous_logits.float().sigmoid()
        size = (4 * grid_hw[0], 4 * grid_hw[1])
        if probabilities.shape[-2:] != size:
            probabilities = F.interpolate(probabilities, size=size, mode="bilinear", align_corners=False)
        folded = F.pixel_unshuffle(probabilities, 4)
        return torch.cat((folded, torch.ones_like(folded[:, :1])), dim=1)

    def _alike(self, prompts: PromptBatch, keys: Tensor) -> Tensor:
        """Largest cosine similarity to an object click and to a background click: ``(B, 2 heads, h, w)``."""
        batch = prompts.labels.shape[0]
        keys = keys.expand(batch, -1, -1, -1)
        size = torch.tensor((keys.shape[-1] * 8, keys.shape[-2] * 8), device=keys.device)
        where = (prompts.points_xy.float() / size * 2 - 1).unsqueeze(2)
        clicked = F.grid_sample(keys.float(), where, align_corners=False, padding_mode="border").squeeze(3)
        split = (self.num_heads, self.head_dim)
        similarity = torch.einsum(
            "bndp,bndq->bnpq", clicked.unflatten(1, split), keys.float().flatten(2).unflatten(1, split)
        )
        maps = []
        for label in (1, 0):
            chosen = (prompts.labels == label)[:, None, :, None]
            best = torch.where(chosen, similarity, -1.0).amax(dim=2)
            maps.append(best.unflatten(2, keys.shape[-2:]))
        return torch.cat(maps, dim=1)

"""Flaws of masks that go into memory, so that a model learns to recover from its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FLAW_LOGIT = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskNoise:
    """How often a mask is spoilt, and how; every probability is per object and frame.

    Attributes:
        island_probability: Of a false blob somewhere.
        hole_probability: Of a blob missing from the object.
        cut_probability: Of the object missing on one side of a line: of an instrument, the tip alone remains.
        contour_probability: Of an outline that is a little too wide or too narrow.
        blob_size: Smallest and largest radius of a blob, as a share of the image's height.
    """

    island_probability: float = 0.1
    hole_probability: float = 0.1
    cut_probability: float = 0.05
    contour_probability: float = 0.2
    blob_size: tuple[float, float] = (0.03, 0.15)


def spoil(logits: Tensor, noise: MaskNoise, generator: torch.Generator) -> Tensor:
    """Spoil some of the masks given by logits ``(B, 1, h, w)``.

    Args:
        logits: Mask logits.
        noise: How.
        generator: On the CPU.

    Returns:
        Logits of the same shape; where a flaw was drawn they are at least `FLAW_LOGIT` away from zero.
    """
    batch, _, height, width = logits.shape
    draws = torch.rand((4, batch), generator=generator)
    probabilities = (
        noise.contour_probability,
        noise.island_probability,
        noise.hole_probability,
        noise.cut_probability,
    )
    contour, island, hole, cut = (
        (draw < probability).to(logits.device)[:, None, None]
        for draw, probability in zip(draws, probabilities, strict=True)
    )
    places = torch.rand((batch, 2), generator=generator).to(logits.device)
    places = places * places.new_tensor((width, height))
    spoilt = logits
    if contour.any():
        spoilt = torch.where(contour[:, None], _move_contour(logits, generator), logits)
    inside = spoilt[:, 0] > 0
    near = _pixel_of(inside, generator)
    add = island & _blobs(places, (height, width), noise, generator)
    remove = hole & _blobs(near, (height, width), noise, generator)
    remove |= cut & _half_planes(near, (height, width), generator)
    spoilt = torch.where(remove[:, None], spoilt.clamp(max=-FLAW_LOGIT), spoilt)
    return torch.where(add[:, None], spoilt.clamp(min=FLAW_LOGIT), spoilt)


def _move_contour(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Widen or narrow all masks by one pixel or two."""
    size = 3 + 2 * int(torch.randint(2, (), generator=generator))
    outward = bool(torch.randint(2, (), generator=generator))
    sign = 1 if outward else -1
    return sign * F.max_pool2d(sign * logits, size, stride=1, padding=size // 2)


def _pixel_of(inside: Tensor, generator: torch.Generator) -> Tensor:
    """A random pixel of each mask ``(B, h, w)``, or of the image where the mask is empty: ``(B, 2)`` as (x, y)."""
    chances = torch.rand(inside.shape, generator=generator).to(inside.device) + inside
    flat = chances.flatten(1).argmax(dim=1)
    width = inside.shape[-1]
    return torch.stack((flat % width, flat // width), dim=1).float()


def _blobs(centres_xy: Tensor, grid_hw: tuple[int, int], noise: MaskNoise, generator: torch.Generator) -> Tensor:
    """Ellipses around centres ``(B, 2)``: bool ``(B, h, w)``."""
    low, high = noise.blob_size
    radii = torch.rand((len(centres_xy), 2), generator=generator).to(centres_xy.device)
    radii = grid_hw[0] * (low + (high - low) * radii)
    dx, dy = _offsets(centres_xy, grid_hw)
    return (dx / radii[:, :1, None]).square() + (dy / radii[:, 1:, None]).square() < 1


def _half_planes(points_xy: Tensor, grid_hw: tuple[int, int], generator: torch.Generator) -> Tensor:
    """One side of a random line through each point ``(B, 2)``: bool ``(B, h, w)``."""
    angles = torch.rand(len(points_xy), generator=generator).to(points_xy.device) * (2 * torch.pi)
    dx, dy = _offsets(points_xy, grid_hw)
    return dx * angles.cos()[:, None, None] + dy * angles.sin()[:, None, None] > 0


def _offsets(points_xy: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Distances of all pixels from each point, ``(B, 1, w)`` and ``(B, h, 1)``."""
    xs = torch.arange(grid_hw[1], device=points_xy.device)
    ys = torch.arange(grid_hw[0], device=points_xy.device)
    return xs[None, None] - points_xy[:, :1, None], ys[None, :, None] - points_xy[:, 1:, None]

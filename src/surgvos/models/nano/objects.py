"""All objects of an image at once, each with an outline: what phrases then choose from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.models.nano.layers import ConvUnit, blocks, upsample_to
from surgvos.models.nano.pyramid import Pyramid
from surgvos.models.nano.trunk import Trunk

_WAVES = (1, 2, 4)
_NUM_WAVES, _NUM_TERMS = 4 * len(_WAVES), 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFinderConfig:
    """Shape of an `ObjectFinder`; `ReferringNanoConfig` says what it is by default.

    Attributes:
        widths: Channels of the trunk at strides 2, 4, 8 and 16.
        depths: Residual blocks of the trunk at strides 4, 8 and 16.
        context_width: Channels at stride 32.
        context_depth: Residual blocks there.
        place_width: Channels in which a place says what it is part of.
        mask_width: Channels of what outlines are made from.
        name_width: Channels in which places are compared with names.
        max_objects: Most objects that are told apart in an image.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int]
    context_width: int
    context_depth: int
    place_width: int
    mask_width: int
    name_width: int
    max_objects: int


@dataclass(frozen=True, slots=True, eq=False)
class ObjectMaps:
    """What the places of ``N`` images say.

    Attributes:
        kernels: ``(N, C, h, w)`` at stride 8: the outline of the object that a place lies on is the product of its
            kernel with `outlines`.
        quality: ``(N, h, w)`` logits of that outline's IoU; of a place that lies on nothing, of 0.
        names: ``(N, E, h, w)`` unit vectors, what the object looks like.
        places: ``(N, P, h, w)`` what all of these are made from.
        outlines: ``(N, C, 2h, 2w)`` at stride 4.
        parts: ``(N, 3, 2h, 2w)`` logits of tips, wrists and shafts.
        levels: Of the trunk at strides 2, 4, 8 and 16.
        climbed: What knows the whole scene, at strides 4, 8 and 16.
    """

    kernels: Tensor
    quality: Tensor
    names: Tensor
    places: Tensor
    outlines: Tensor
    parts: Tensor
    levels: tuple[Tensor, ...]
    climbed: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """Up to ``M`` objects of each of ``N`` images.

    Attributes:
        is_object: bool ``(N, M)``, False where a row is padded.
        outlines: ``(N, M, h, w)`` mask logits at stride 4.
        quality: ``(N, M)`` predicted IoU in 0..1.
        votes: ``(N, M)`` how many places agree on it.
        places: int64 ``(N, M)`` the place that was surest, row by row at stride 8.
    """

    is_object: Tensor
    outlines: Tensor
    quality: Tensor
    votes: Tensor
    places: Tensor


class ObjectFinder(nn.Module):
    """Every place says what object it lies on, and how that is outlined.

    An outline is a product of what its place says and of what every pixel is (Wang et al., SOLOv2, NeurIPS 2020), to
    which the place adds an ellipse, so that two things that look alike are told apart by where they are. Places that
    mean the same object are put together by the overlap of their outlines.
    """

    def __init__(self, config: ObjectFinderConfig) -> None:
        super().__init__()
        _, four, eight, sixteen = config.widths
        narrow = four  # of what a coarser level says to a finer one
        self.image_encoder = Trunk(config.widths, config.depths)
        self.pyramid = Pyramid(config.widths[1:], config.context_width, config.context_depth)
        self.context_8 = nn.Conv2d(sixteen, eight, 1)
        self.place = nn.Sequential(ConvUnit(2 * eight + _NUM_WAVES, config.place_width), blocks(config.place_width, 1))
        self.to_kernel = nn.Conv2d(config.place_width, config.mask_width + _NUM_TERMS, 1)
        self.to_quality = nn.Conv2d(config.place_width, 1, 1)
        self.to_name = nn.Conv2d(config.place_width, config.name_width, 1)
        self.context_4 = nn.Conv2d(eight, narrow, 1)
        self.outline = nn.Sequential(
            ConvUnit(four + narrow + _NUM_WAVES, config.mask_width),
            blocks(config.mask_width, 1),
            nn.Conv2d(config.mask_width, config.mask_width, 1),
        )
        self.to_parts = nn.Conv2d(config.mask_width, 3, 1)
        assert self.to_quality.bias is not None
        nn.init.constant_(self.to_quality.bias, -2.0)

    def forward(self, images: Tensor) -> ObjectMaps:
        """Look at normalised images ``(N, 3, H, W)``, multiples of 32."""
        levels = self.image_encoder(images.contiguous(memory_format=torch.channels_last))
        four, eight, sixteen = climbed = self.pyramid.climb(levels[1:])
        context = upsample_to(self.context_8(sixteen), eight)
        places = self.place(torch.cat((eight, context, _waves(eight)), dim=1))
        context = upsample_to(self.context_4(eight), four)
        outlines = self.outline(torch.cat((four, context, _waves(four)), dim=1))
        return ObjectMaps(
            kernels=self.to_kernel(places),
            quality=self.to_quality(places)[:, 0],
            names=F.normalize(self.to_name(places), dim=1),
            places=places,
            outlines=torch.cat((outlines, _terms(outlines)), dim=1),
            parts=self.to_parts(outlines),
            levels=levels,
            climbed=climbed,
        )

    def look_briefly(self, images: Tensor) -> Tensor:
        """The trunk's level at stride 4, and nothing more."""
        stem = self.image_encoder.stem(images.contiguous(memory_format=torch.channels_last))
        return self.image_encoder.stages[0](stem)


_LEAST_QUALITY = 0.05
"""What a place must be worth to be asked. All such are: a large organ alone fills hundreds, so that a limit to the
surest would leave out what is small."""
SAME_OVERLAP = 0.7
"""Overlap from which two places mean the same object, and both have a say in its outline."""


def propose(maps: ObjectMaps, max_objects: int) -> Proposals:
    """Put together places that mean the same object, surest first.

    Outlines have gradients; which places are put together has not.
    """
    # Half the precision would do for the sums, but not for telling 0.7 from 0.71.
    with torch.autocast(maps.quality.device.type, enabled=False):
        rows = [_propose_in(maps, n, max_objects) for n in range(len(maps.quality))]
    most = max(1, *(len(quality) for _, quality, _, _ in rows))
    outlines, quality, votes, places = (
        torch.stack([_pad_to(part, most) for part in column]) for column in zip(*rows, strict=True)
    )
    counts = torch.tensor([len(quality) for _, quality, _, _ in rows], device=quality.device)
    return Proposals(torch.arange(most, device=quality.device) < counts[:, None], outlines, quality, votes, places)


def _propose_in(maps: ObjectMaps, n: int, max_objects: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outlines, qualities, votes and places of one image's objects."""
    kernels, outlines = maps.kernels[n].float().flatten(1).T, maps.outlines[n].float()
    quality = maps.quality[n].detach().float().sigmoid().flatten()
    with torch.no_grad():
        order = quality.argsort(descending=True, stable=True)
        order = order[quality[order] > _LEAST_QUALITY]
        shown = shown_by_places(kernels[order], F.avg_pool2d(outlines, 2))
        is_shown = shown.any(dim=1)
        order, shown = order[is_shown], shown[is_shown]
    groups = [order[group] for group in _group(shown, max_objects)]
    if not groups:
        return outlines[:0], quality[:0], quality[:0], order
    mixed = torch.stack([(quality[group] / quality[group].sum()) @ kernels[group] for group in groups])
    firsts = torch.stack([group[0] for group in groups])
    votes = torch.tensor([len(group) for group in groups], dtype=quality.dtype, device=quality.device)
    return torch.einsum("mc,chw->mhw", mixed, outlines), quality[firsts], votes, firsts


def shown_by_places(kernels: Tensor, outlines: Tensor) -> Tensor:
    """What places ``(P, C)`` outline with ``(C, h, w)``, as 0 and 1: ``(P, h w)``."""
    return (kernels @ outlines.flatten(1) > 0).float()


def _group(shown: Tensor, max_groups: int) -> list[Tensor]:
    """Put masks of 0 and 1 ``(P, C)``, best first, together: each joins the first one that it overlaps with.

    Returns:
        int64 rows of each group, its first one first.
    """
    rows = torch.arange(len(shown), device=shown.device)
    groups: list[Tensor] = []
    while len(rows) and len(groups) < max_groups:
        joined = overlap(shown[:1], shown)[0] > SAME_OVERLAP
        groups.append(rows[joined])
        rows, shown = rows[~joined], shown[~joined]
    return groups


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of masks of 0 and 1, ``(A, P)`` and ``(B, P)``: ``(A, B)``."""
    both = a @ b.T
    return both / (a.sum(dim=1)[:, None] + b.sum(dim=1) - both).clamp(min=1)


def _pad_to(rows: Tensor, length: int) -> Tensor:
    return F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, length - len(rows)))


def _waves(like: Tensor) -> Tensor:
    """Each place by waves across the image, whatever its size: ``(N, C, h, w)``."""
    angles = [math.pi * (0.5 + 0.5 * x) for x in _grid(like)]
    waves = [wave(k * angle) for k in _WAVES for wave in (torch.sin, torch.cos) for angle in angles]
    return torch.stack(waves).to(like.dtype).expand(len(like), -1, -1, -1)


def _terms(like: Tensor) -> Tensor:
    """Of what ellipses are made: ``(N, 6, h, w)``."""
    y, x = _grid(like)
    return torch.stack((torch.ones_like(x), x, y, x * x, x * y, y * y)).to(like.dtype).expand(len(like), -1, -1, -1)


def _grid(like: Tensor) -> Sequence[Tensor]:
    """Rows and columns of places, float32 in -1..1, ``(h, w)`` each."""
    axes = [(torch.arange(n, device=like.device) + 0.5) / n * 2 - 1 for n in like.shape[-2:]]
    return torch.meshgrid(*axes, indexing="ij")

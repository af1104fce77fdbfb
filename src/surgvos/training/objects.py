"""Learning to find all objects of an image: every place says what it lies on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.data.clips import ClipBatch
from surgvos.data.synthetic_phrases import PART_WORDS
from surgvos.errors import ConfigError
from surgvos.models.nano.objects import ObjectMaps
from surgvos.tracking.features import normalize_images
from surgvos.training.losses import dice_loss, true_iou
from surgvos.training.task import BatchLosses

_STRIDE, _FINE = 8, 4
_ON_OBJECT, _BARELY = 0.5, 0.1
_LEAST_PLACES = 3
_NEAR = 9  # cells of stride 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSettings:
    """How images with all of their objects are learnt from.

    Reference: Wang et al., SOLOv2 (NeurIPS 2020), for outlines by kernels.

    Attributes:
        outline: Weight of the Dice loss and of the cross-entropy of outlines, each.
        quality: Weight of the cross-entropy of the predicted IoU.
        name: Weight of the cross-entropy over the names of a batch.
        part: Weight of the Dice loss and of the cross-entropy of parts, each.
        places_per_object: Places that are asked of each object.
        empty_places: Places that lie on nothing that are asked of each image.
        min_area_share: What covers a smaller share of the image is not asked for.
    """

    outline: float = 2.0
    quality: float = 0.5
    name: float = 0.3
    part: float = 0.3
    places_per_object: int = 5
    empty_places: int = 24
    min_area_share: float = 0.001

    def __post_init__(self) -> None:
        if min(self.places_per_object, self.empty_places) < 1:
            raise ConfigError("expected places_per_object and empty_places of 1 or more, got less")

    def module(self, model: nn.Module) -> ObjectModule:
        """See `Task`."""
        return ObjectModule(model, self)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Places of a batch and what each lies on: ``P`` places, ordered by image."""

    image: Tensor
    place: Tensor
    row: Tensor


class ObjectModule(nn.Module):
    """What is run on each batch, as a module, so that wrappers of modules enclose all of it.

    Args:
        model: A `ReferringNano`.
        settings: What is asked of it.
    """

    def __init__(self, model: nn.Module, settings: ObjectSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, batch: ClipBatch, generator: torch.Generator | None) -> BatchLosses:
        """Ask some places of each object what they lie on; in evaluation the same ones each time.

        Raises:
            ConfigError: The batch does not say what its objects are called.
        """
        if not batch.phrases:
            raise ConfigError("expected images whose objects have names, got none; try data of SyntheticObjectsConfig")
        generator = generator or torch.Generator().manual_seed(0)
        maps: ObjectMaps = self.model.object_finder(normalize_images(batch.images[0]))  # type: ignore[operator]
        is_part = torch.tensor([phrase in PART_WORDS.values() for phrase in batch.phrases], device=batch.masks.device)
        masks = batch.masks[0].float()
        asked = self._choose_places(masks, batch.object_image, ~is_part, generator)
        fine = F.avg_pool2d(masks[:, None], _FINE)[:, 0]
        parts, iou = self._outline_losses(maps, asked, fine[asked.row])
        parts |= self._quality_losses(maps, asked, iou, self._empty_places(masks, batch, ~is_part, generator))
        parts |= {"name": self.settings.name * self._name_loss(maps, asked, batch.phrases)}
        parts |= {"part": self.settings.part * _part_loss(maps, fine[is_part])}
        num_images = batch.images.shape[1]
        # The trainer wants a sum over items.
        parts = {name: value * num_images for name, value in parts.items()}
        return BatchLosses(
            total=torch.stack(list(parts.values())).sum(),
            parts={name: value.detach() for name, value in parts.items()},
            num_items=num_images,
            scores={"iou": iou.mean(), "right": (iou > 0.5).float().mean()},
        )

    def _choose_places(self, masks: Tensor, images: Tensor, wanted: Tensor, generator: torch.Generator) -> _Asked:
        """Draw places that lie on each object; of what is too thin to fill a place, those that it covers most."""
        covered = F.avg_pool2d(masks[:, None], _STRIDE).flatten(1)
        wanted = wanted & (masks.mean(dim=(1, 2)) >= self.settings.min_area_share)
        columns = []
        for row in wanted.nonzero().flatten().tolist():
            on_it = (covered[row] >= _ON_OBJECT).nonzero().flatten()
            if len(on_it) < _LEAST_PLACES:
                most = covered[row].topk(_LEAST_PLACES).indices
                on_it = most[covered[row][most] > _BARELY]
            if len(on_it) > self.settings.places_per_object:
                drawn = torch.randint(len(on_it), (self.settings.places_per_object,), generator=generator)
                on_it = on_it[drawn.to(on_it.device)]
            columns.append(torch.stack((images[row].expand(len(on_it)), on_it, torch.full_like(on_it, row))))
        if not columns:
            empty = images.new_zeros(0)
            return _Asked(empty, empty, empty)
        image, place, row = torch.cat(columns, dim=1)
        return _Asked(image, place, row)

    def _empty_places(
        self, masks: Tensor, batch: ClipBatch, wanted: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw places that lie on nothing: int64 images and places."""
        covered = F.avg_pool2d(masks[:, None], _STRIDE).flatten(1) * wanted[:, None]
        on_any = covered.new_zeros((batch.images.shape[1], covered.shape[1])).index_add(0, batch.object_image, covered)
        chance = (on_any < _BARELY / 2).float() + 1e-6
        drawn = torch.multinomial(chance.cpu(), self.settings.empty_places, replacement=True, generator=generator)
        drawn = drawn.to(covered.device)
        images = torch.arange(len(drawn), device=drawn.device)[:, None].expand_as(drawn)
        truly = on_any.gather(1, drawn) < _BARELY / 2
        return images[truly], drawn[truly]

    def _outline_losses(self, maps: ObjectMaps, asked: _Asked, targets: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Losses of the outlines of places, and their IoU."""
        kernels = maps.kernels.flatten(2)[asked.image, :, asked.place]
        groups = torch.bincount(asked.image, minlength=len(maps.kernels)).tolist()
        pieces = zip(kernels.split(groups), maps.outlines.flatten(2), strict=True)
        logits = torch.cat([kernel @ outlines for kernel, outlines in pieces]).float().unflatten(1, targets.shape[1:])
        iou = true_iou(logits.detach()[:, None], targets[:, None])[:, 0]
        # Most of an image is far from any one object; what is on it and about it counts as much as all of the rest.
        weights = targets + 0.02 + 0.3 * _widened(targets)
        wrong = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        wrong = (wrong * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))
        dice = dice_loss(logits.sigmoid()[:, None], targets[:, None])
        weight = self.settings.outline / max(len(targets), 1)
        return {"dice": weight * dice.sum(), "cross_entropy": weight * wrong.sum()}, iou

    def _quality_losses(
        self, maps: ObjectMaps, asked: _Asked, iou: Tensor, empty: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        quality = maps.quality.flatten(1).float()
        on_objects, on_nothing = quality[asked.image, asked.place], quality[empty]
        wrong = [
            F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / max(len(logits), 1)
            for logits, targets in ((on_objects, iou), (on_nothing, torch.zeros_like(on_nothing)))
        ]
        return {"quality": self.settings.quality * torch.stack(wrong).sum()}

    def _name_loss(self, maps: ObjectMaps, asked: _Asked, phrases: tuple[str, ...]) -> Tensor:
        """Which of all names of the batch is that of what a place lies on?"""
        names = {name: number for number, name in enumerate(dict.fromkeys(phrases))}
        told = self.model.name_logits(maps, list(names))  # type: ignore[operator]
        logits = told.flatten(2)[asked.image, :, asked.place].float()
        targets = torch.tensor([names[phrase] for phrase in phrases], device=logits.device)[asked.row]
        return F.cross_entropy(logits, targets, reduction="sum") / max(len(targets), 1)


def _widened(masks: Tensor) -> Tensor:
    """The largest value nearby: ``(P, h, w)``, rows and columns one after the other, which is several times faster."""
    along = F.max_pool2d(masks[:, None], (1, _NEAR), stride=1, padding=(0, _NEAR // 2))
    return F.max_pool2d(along, (_NEAR, 1), stride=1, padding=(_NEAR // 2, 0))[:, 0]


def _part_loss(maps: ObjectMaps, targets: Tensor) -> Tensor:
    """Dice loss and cross-entropy of parts; targets are ``(N * 3, h, w)``."""
    logits = maps.parts.flatten(0, 1).float()
    wrong = F.binary_cross_entropy_with_logits(logits, targets)
    shown = targets.flatten(1).any(dim=1)
    dice = dice_loss(logits.sigmoid()[:, None], targets[:, None])[:, 0] * shown
    return wrong + dice.sum() / shown.sum().clamp(min=1)

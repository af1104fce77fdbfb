"""Learning which of an image's objects a phrase means."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.data.clips import ClipBatch
from surgvos.errors import ConfigError
from surgvos.models.nano.matcher import NUM_PARTS, Matches
from surgvos.models.nano.referring import Compared
from surgvos.tracking.features import normalize_images
from surgvos.training.task import BatchLosses

_FINE = 4
_GOOD = 0.5  # IoU from which an outline is that of what is meant


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchSettings:
    """How clips with phrases are learnt from, once objects are found.

    Phrases are held to the last frame of a clip; the one before it is shown.

    Attributes:
        match: Weight of the cross-entropy over the objects of an image, their parts, and nothing.
        iou: Weight of the cross-entropy of the predicted IoU.
        trust: Weight of the cross-entropy of whether what is chosen is right.
    """

    match: float = 1.0
    iou: float = 1.0
    trust: float = 1.0

    def module(self, model: nn.Module) -> MatchModule:
        """See `Task`."""
        return MatchModule(model, self)


class MatchModule(nn.Module):
    """What is run on each batch, as a module, so that wrappers of modules enclose all of it.

    Args:
        model: A `ReferringNano`.
        settings: What is asked of it.
    """

    def __init__(self, model: nn.Module, settings: MatchSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, batch: ClipBatch, generator: torch.Generator | None) -> BatchLosses:
        """Compare all phrases of a batch with the objects of their images; nothing is drawn.

        Raises:
            ConfigError: The batch has no phrases.
        """
        if not batch.phrases:
            raise ConfigError("expected clips with phrases, got none; try data of SyntheticPhrasesConfig")
        model = self.model
        *before, images = (normalize_images(frame) for frame in batch.images[-2:])
        text = replace(model.encode_text(batch.phrases), image=batch.object_image)  # type: ignore[operator]
        compared: Compared = model.compare(images, before[0] if before else None, text)  # type: ignore[operator]
        true = F.avg_pool2d(batch.masks[-1][:, None].float(), _FINE)[:, 0] > 0.5
        overlaps = overlaps_of(compared, batch.object_image, true)
        matches = compared.matches
        settings = self.settings
        parts = {
            "match": settings.match * match_loss(matches, overlaps).sum(),
            "predicted_iou": settings.iou * iou_loss(matches, overlaps).sum(),
            "trust": settings.trust * trust_loss(matches, overlaps).sum(),
        }
        reached = overlaps.gather(1, matches.chosen[:, None])[:, 0]
        trusted = _trust_in_chosen(matches) > 0
        shown = true.flatten(1).any(dim=1)
        return BatchLosses(
            total=torch.stack(list(parts.values())).sum(),
            parts={name: value.detach() for name, value in parts.items()},
            num_items=len(shown),
            scores={
                "iou": reached[shown].mean(),
                "right": (reached[shown] > _GOOD).float().mean(),
                "trusted": trusted[shown].float().mean(),
                "findable": (overlaps[shown].amax(dim=1) > _GOOD).float().mean(),
                "not_found": (~trusted[~shown]).float().mean(),
            },
        )


@torch.no_grad()
def overlaps_of(compared: Compared, image: Tensor, true: Tensor) -> Tensor:
    """IoU of every candidate of a phrase's image with what is meant.

    Args:
        compared: Phrases beside the objects of their images.
        image: int64 ``(B,)``, of which image each phrase speaks.
        true: bool ``(B, h, w)`` what is meant, on the grid of the proposals.

    Returns:
        ``(B, M * 4)``, in the order of `Matches.logits`; 0 where a row is padded.
    """
    proposals = compared.proposals
    whole = proposals.outlines > 0
    of_part = compared.parts > 0
    every = torch.stack((whole, *(whole & of_part[:, None, part] for part in range(NUM_PARTS - 1))), dim=2)
    every = (every & proposals.is_object[:, :, None, None, None]).flatten(1, 2).flatten(2).float()
    rows = []
    for n in range(len(every)):
        meant = true[image == n].flatten(1).float()
        both = meant @ every[n].T
        rows.append(both / (meant.sum(dim=1)[:, None] + every[n].sum(dim=1) - both).clamp(min=1))
    # Phrases are ordered by image.
    return torch.cat(rows)


def match_loss(matches: Matches, overlaps: Tensor) -> Tensor:
    """Cross-entropy towards the good candidates, the better the more; towards nothing where there is none: ``(B,)``."""
    good = torch.where(overlaps >= _GOOD, overlaps, 0.0).pow(4)
    targets = torch.cat((good, (good.amax(dim=1, keepdim=True) == 0).float()), dim=1)
    return -(targets / targets.sum(dim=1, keepdim=True) * matches.logits.log_softmax(dim=1)).sum(dim=1)


def iou_loss(matches: Matches, overlaps: Tensor) -> Tensor:
    """Cross-entropy of the predicted IoU, most of all of what is chosen: ``(B,)``."""
    logits = matches.logits.detach()[:, :-1].unflatten(1, (-1, NUM_PARTS))
    part = logits.amax(dim=1).argmax(dim=1)
    meant = overlaps.unflatten(1, (-1, NUM_PARTS)).gather(2, part[:, None, None].expand(-1, logits.shape[1], 1))[..., 0]
    wrong = F.binary_cross_entropy_with_logits(matches.iou, meant, reduction="none")
    whole = logits.amax(dim=2)
    weights = whole.softmax(dim=1) + 0.1 * (whole > whole.amax(dim=1, keepdim=True) - 10)
    return (wrong * weights).sum(dim=1) / weights.sum(dim=1)


def trust_loss(matches: Matches, overlaps: Tensor) -> Tensor:
    """Cross-entropy of the probability that what is chosen is right: ``(B,)``."""
    right = overlaps.gather(1, matches.chosen[:, None])[:, 0] > _GOOD
    return F.binary_cross_entropy_with_logits(_trust_in_chosen(matches), right.float(), reduction="none")


def _trust_in_chosen(matches: Matches) -> Tensor:
    return matches.trust.gather(1, matches.chosen[:, None] // NUM_PARTS)[:, 0]

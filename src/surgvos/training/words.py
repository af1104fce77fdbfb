"""Learning what words look like: where in an image does each of them hold?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from surgvos.data.clips import ClipBatch
from surgvos.errors import ConfigError
from surgvos.tracking.features import normalize_images
from surgvos.training.losses import dice_loss
from surgvos.training.task import BatchLosses


@dataclass(frozen=True, slots=True, kw_only=True)
class WordSettings:
    """How images with words are learnt from, before whole phrases are.

    Attributes:
        cross_entropy: Weight of the binary cross-entropy, the mean over an image.
        dice: Weight of one minus the soft Dice coefficient of each word that holds in its image.
    """

    cross_entropy: float = 4.0
    dice: float = 1.0

    def module(self, model: nn.Module) -> WordModule:
        """See `Task`."""
        return WordModule(model, self)


class WordModule(nn.Module):
    """What is run on each batch, as a module, so that wrappers of modules enclose all of it.

    Args:
        model: A `ReferringNano`.
        settings: What is asked of it.
    """

    def __init__(self, model: nn.Module, settings: WordSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, batch: ClipBatch, generator: torch.Generator | None) -> BatchLosses:
        """Look for all words of a batch in all of its images, and compare what is known; nothing is drawn.

        Raises:
            ConfigError: The batch has no words.
        """
        if not batch.phrases:
            raise ConfigError("expected images with words, got none; try data of SyntheticWordsConfig")
        words = {word: place for place, word in enumerate(dict.fromkeys(batch.phrases))}
        features = self.model.encode_image(normalize_images(batch.images[0]))  # type: ignore[operator]
        maps = self.model.resemblance(features, self.model.encode_text(list(words)))  # type: ignore[operator]
        rows = torch.tensor([words[word] for word in batch.phrases], device=maps.device)
        logits = maps[batch.object_image, rows][:, None].float()
        targets = F.interpolate(batch.masks[0][:, None].float(), size=logits.shape[-2:], mode="area")
        holds = batch.visible[0].float()
        wrong = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=(1, 2, 3))
        parts = {
            "cross_entropy": self.settings.cross_entropy * wrong.sum(),
            "dice": self.settings.dice * (dice_loss(logits.sigmoid(), targets)[:, 0] * holds).sum(),
        }
        predicted, true = logits.detach() > 0, targets > 0.5
        iou = (predicted & true).sum(dim=(1, 2, 3)) / (predicted | true).sum(dim=(1, 2, 3)).clamp(min=1)
        known = predicted.flatten(1).any(dim=1) == (holds > 0)
        return BatchLosses(
            total=torch.stack(list(parts.values())).sum(),
            parts={name: value.detach() for name, value in parts.items()},
            num_items=len(rows),
            scores={"word_iou": iou[true.flatten(1).any(dim=1)].mean(), "presence_accuracy": known.float().mean()},
        )

"""Learning to find what phrases say, and to go on from there: look by phrase first, then follow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from surgvos.data.clips import ClipBatch
from surgvos.errors import ConfigError
from surgvos.memory import Diverse, MemoryBank, MemoryQuery, Pruned, Recent
from surgvos.models.interface import ImageFeatures, MaskPrediction, PromptBatch, ReferringModel
from surgvos.tracking.features import normalize_images
from surgvos.tracking.step import encode_entries, track_objects
from surgvos.training.clip import sum_losses
from surgvos.training.losses import FrameLosses, LossSettings, frame_losses
from surgvos.training.task import BatchLosses


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferringSettings:
    """How a clip with phrases is gone through.

    Reference: Liu et al., ReSurgSAM2 (arXiv 2505.08581), section 2; its released configurations look by phrase in 3
    frames, and follow through 0 or 7 more.

    Attributes:
        memory: What is remembered and read while following.
        num_referring: Frames at the start in which objects are looked for by phrase, each with those before it in
            view. The mask of the last one is what is remembered; the frames after it are followed.
        num_shown: Frames before those that are only shown, as far as a clip has more than it takes to refer: what a
            phrase says of motion cannot be seen in a first frame.
        losses: What is asked of each answer.
    """

    memory: Recent | Pruned | Diverse = field(default_factory=Recent)
    num_referring: int = 1
    num_shown: int = 0
    losses: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        if self.num_referring < 1 or self.num_shown < 0:
            raise ConfigError(
                f"expected num_referring >= 1 and num_shown >= 0, got {self.num_referring} and {self.num_shown}"
            )

    def module(self, model: nn.Module) -> ReferringModule:
        """See `Task`."""
        return ReferringModule(model, self)


class ReferringModule(nn.Module):
    """`forward_referring` as a module, so that wrappers of modules enclose all of it."""

    def __init__(self, model: nn.Module, settings: ReferringSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, batch: ClipBatch, generator: torch.Generator | None) -> BatchLosses:
        """Go through a batch; nothing is drawn."""
        return forward_referring(self.model, batch, self.settings)  # type: ignore[arg-type]


def forward_referring(model: ReferringModel, batch: ClipBatch, settings: ReferringSettings) -> BatchLosses:
    """Look for the phrases of a batch of clips, follow what was found, and add up the losses.

    Args:
        model: In training mode, or in evaluation mode for scores.
        batch: With phrases, on the model's device.
        settings: How it is done.

    Raises:
        ConfigError: The clips have no phrases, or are shorter than `ReferringSettings.num_referring`.
    """
    if not batch.phrases or batch.num_frames < settings.num_referring:
        raise ConfigError(
            f"expected clips with phrases and at least {settings.num_referring} frame(s), got "
            f"{len(batch.phrases)} phrases and {batch.num_frames} frame(s)"
        )
    policy = settings.memory
    text = replace(model.encode_text(batch.phrases), image=batch.object_image)
    answers: list[FrameLosses] = []
    scored: list[tuple[MaskPrediction, Tensor]] = []
    banks = [MemoryBank() for _ in range(batch.num_objects)]
    num_shown = min(settings.num_shown, batch.num_frames - settings.num_referring)
    num_looked = num_shown + settings.num_referring
    seen: list[ImageFeatures] = []
    for t in range(batch.num_frames):
        features = model.encode_image(normalize_images(batch.images[t]))
        if t < num_shown:
            seen.append(features)
            continue
        refers = t < num_looked
        if refers:
            candidates = model.refer(features, tuple(reversed(seen))[: model.num_previous], text)
            best = candidates.best()
            seen.append(features)
        else:
            step = track_objects(
                model,
                features.take(batch.object_image),
                banks,
                policy,
                MemoryQuery(t),
                PromptBatch.of_text(text.pooled),
            )
            candidates, best = step.candidates, step.best
        answers.append(frame_losses(candidates, batch.masks[t], settings.losses))
        scored.append((best, batch.masks[t]))
        if num_looked - 1 <= t < batch.num_frames - 1:
            entries = encode_entries(model, features.take(batch.object_image), best, t, prompted=refers)
            for bank, entry in zip(banks, entries, strict=True):
                policy.admit(bank, entry, MemoryQuery(t))
    return sum_losses(answers, settings.losses, batch.num_objects, scored)

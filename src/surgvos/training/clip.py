"""Hops 3 to 7 of a frame over a whole clip, with gradients: encode, select, condition, decode, remember."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from surgvos.data.clips import ClipBatch
from surgvos.memory import Diverse, MemoryBank, MemoryQuery, Pruned, Recent
from surgvos.models.interface import ImageFeatures, MaskPrediction, PromptBatch, VideoModel
from surgvos.tracking.features import normalize_images
from surgvos.tracking.step import encode_entries, track_objects
from surgvos.training.losses import FrameLosses, LossSettings, frame_losses, true_iou
from surgvos.training.noise import MaskNoise, spoil
from surgvos.training.prompts import (
    PromptPlan,
    PromptSettings,
    centre_correction,
    centre_prompts,
    draw_correction,
    draw_plan,
    draw_prompts,
    evaluation_plan,
    mask_prompts,
    no_prompts,
)
from surgvos.training.task import BatchLosses


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSettings:
    """How a clip is gone through.

    Attributes:
        memory: What is remembered and read.
        prompts: How the user is played.
        losses: What is asked of each answer.
        memory_noise: Flaws of masks on their way into memory; None leaves them as they are.
        prompt_noise: Flaws of mask prompts; None leaves them as they are.
        detach_memory_masks: Stop the gradient of a mask where it goes into memory.
        encode_together: Encode all frames in one batch; one by one takes less memory.
    """

    memory: Recent | Pruned | Diverse = field(default_factory=Recent)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    losses: LossSettings = field(default_factory=LossSettings)
    memory_noise: MaskNoise | None = None
    prompt_noise: MaskNoise | None = None
    detach_memory_masks: bool = False
    encode_together: bool = True

    def module(self, model: nn.Module) -> ClipModule:
        """See `Task`."""
        return ClipModule(model, self)


def forward_clip(
    model: VideoModel,
    batch: ClipBatch,
    settings: ClipSettings,
    generator: torch.Generator | None,
) -> BatchLosses:
    """Prompt a batch of clips, follow their objects, and add up the losses.

    Prompted frames come first, the others follow in order. An object that no prompt ever showed is to be judged
    absent throughout.

    Args:
        model: In training mode, or in evaluation mode for scores.
        batch: On the model's device.
        settings: How it is done.
        generator: On the CPU; the draws are the same on every device. None draws nothing and scores as published:
            a mask in the first frame, or in single images clicks at the centres of errors.
    """
    if generator is None:
        plan = evaluation_plan(batch.num_frames)
    else:
        plan = draw_plan(batch.num_frames, settings.prompts, generator)
    return _ClipRun(model, batch, settings, plan, generator).run()


class _ClipRun:
    """One pass over one batch: the banks, and the losses so far."""

    def __init__(
        self,
        model: VideoModel,
        batch: ClipBatch,
        settings: ClipSettings,
        plan: PromptPlan,
        generator: torch.Generator | None,
    ) -> None:
        self.model, self.batch, self.policy = model, batch, settings.memory
        self.settings, self.plan, self.generator = settings, plan, generator
        shown = batch.visible[list(plan.initial_frames)].any(dim=0)
        self.masks = batch.masks & shown[None, :, None, None]
        self.banks = [MemoryBank() for _ in range(batch.num_objects)]
        self.answers: list[FrameLosses] = []
        self.scored: list[tuple[MaskPrediction, Tensor]] = []

    def run(self) -> BatchLosses:
        encoded = self._encode_all() if self.settings.encode_together else None
        later = [t for t in range(self.batch.num_frames) if t not in self.plan.initial_frames]
        for t in (*self.plan.initial_frames, *later):
            features = self._encode(t) if encoded is None else self._of_objects(encoded, t)
            self._frame(t, features)
        return sum_losses(self.answers, self.settings.losses, self.batch.num_objects, self.scored)

    def _encode_all(self) -> ImageFeatures:
        return self.model.encode_image(normalize_images(self.batch.images.flatten(0, 1)))

    def _of_objects(self, encoded: ImageFeatures, t: int) -> ImageFeatures:
        num_clips = self.batch.images.shape[1]
        return encoded.take(t * num_clips + self.batch.object_image)

    def _encode(self, t: int) -> ImageFeatures:
        return self.model.encode_image(normalize_images(self.batch.images[t])).take(self.batch.object_image)

    def _frame(self, t: int, features: ImageFeatures) -> None:
        prompted = t in self.plan.initial_frames
        prompts = self._initial_prompts(t) if prompted else None
        answer = self._answer(t, features, prompts)
        if not prompted:
            self._score(t, answer)
        if t in self.plan.corrected_frames:
            answer = self._correct(t, features, prompts, answer)
            prompted = True
        if self.batch.num_frames == 1:
            self._score(t, answer)
        if t < self.batch.num_frames - 1 or prompted:
            self._remember(t, features, answer, prompted)

    def _score(self, t: int, answer: MaskPrediction) -> None:
        self.scored.append((answer, self.masks[t]))

    def _initial_prompts(self, t: int) -> PromptBatch:
        masks = self.masks[t]
        if self.generator is None:
            return mask_prompts(masks) if self.plan.kind == "mask" else centre_prompts(masks)
        if self.plan.kind == "mask" and self.settings.prompt_noise is not None:
            logits = torch.where(masks[:, None], 1.0, -1.0)
            masks = spoil(logits, self.settings.prompt_noise, self.generator)[:, 0] > 0
        return draw_prompts(self.plan.kind, masks, self.settings.prompts, self.generator)

    def _answer(self, t: int, features: ImageFeatures, prompts: PromptBatch | None) -> MaskPrediction:
        """Ask the model once, and hold it to the truth. A mask prompt is the answer: nothing is asked there."""
        query = MemoryQuery(t)
        step = track_objects(self.model, features, self.banks, self.policy, query, prompts)
        if prompts is None or prompts.mask is None:
            self.answers.append(frame_losses(step.candidates, self.masks[t], self.settings.losses))
        return step.best

    def _correct(
        self, t: int, features: ImageFeatures, prompts: PromptBatch | None, answer: MaskPrediction
    ) -> MaskPrediction:
        prompts = prompts or no_prompts(self.masks[t])
        for _ in range(self.settings.prompts.num_corrections):
            prompts = self._next_click(prompts, answer.logits, self.masks[t])
            answer = self._answer(t, features, prompts)
        return answer

    def _next_click(self, prompts: PromptBatch, logits: Tensor, masks: Tensor) -> PromptBatch:
        if self.generator is None:
            return centre_correction(prompts, logits, masks)
        return draw_correction(prompts, logits, masks, self.settings.prompts, self.generator)

    def _remember(self, t: int, features: ImageFeatures, answer: MaskPrediction, prompted: bool) -> None:
        logits = answer.logits.detach() if self.settings.detach_memory_masks else answer.logits
        if self.settings.memory_noise is not None and self.generator is not None and not prompted:
            logits = spoil(logits, self.settings.memory_noise, self.generator)
        remembered = replace(answer, logits=logits)
        entries = encode_entries(self.model, features, remembered, t, prompted=prompted)
        for bank, entry in zip(self.banks, entries, strict=True):
            self.policy.admit(bank, entry, MemoryQuery(t))


def sum_losses(
    answers: Sequence[FrameLosses],
    settings: LossSettings,
    num_objects: int,
    scored: Sequence[tuple[MaskPrediction, Tensor]],
) -> BatchLosses:
    """Add up what was asked of a batch of clips.

    Args:
        answers: Losses of every answer.
        settings: Their weights.
        num_objects: How many objects were asked for.
        scored: Answers that say how well it went, one candidate each, beside the true masks ``(B, H, W)``.
    """
    mask = torch.stack([answer.mask for answer in answers]).sum()
    iou = settings.iou * torch.stack([answer.iou for answer in answers]).sum()
    presence = settings.presence * torch.stack([answer.presence for answer in answers]).sum()
    parts = {"mask": mask.detach(), "iou": iou.detach(), "presence": presence.detach()}
    return BatchLosses(mask + iou + presence, parts, num_objects, _scores(scored, mask.device))


def _scores(scored: Sequence[tuple[MaskPrediction, Tensor]], device: torch.device) -> dict[str, Tensor]:
    """Mean IoU of visible objects in frames without prompts, or after the last click in single images, and the share
    of right presences in the same frames; nan where there are none.
    """
    if not scored:
        nan = torch.tensor(float("nan"), device=device)
        return {"tracked_iou": nan, "presence_accuracy": nan}
    logits = torch.cat([answer.logits.detach() for answer, _ in scored])
    presence = torch.cat([answer.presence_logits.detach() for answer, _ in scored])
    masks = torch.cat([truth for _, truth in scored])
    visible = masks.flatten(1).any(dim=1)
    targets = torch.nn.functional.interpolate(masks[:, None].float(), size=logits.shape[-2:], mode="area")
    iou = true_iou(logits, targets)[:, 0][visible].mean()
    return {"tracked_iou": iou, "presence_accuracy": ((presence > 0) == visible).float().mean()}


class ClipModule(nn.Module):
    """`forward_clip` as a module, so that wrappers of modules (data parallel, autocast) enclose all of it."""

    def __init__(self, model: nn.Module, settings: ClipSettings) -> None:
        super().__init__()
        self.model = model
        self.settings = settings

    def forward(self, batch: ClipBatch, generator: torch.Generator | None) -> BatchLosses:
        """Go through a batch; see `forward_clip`."""
        return forward_clip(self.model, batch, self.settings, generator)  # type: ignore[arg-type]

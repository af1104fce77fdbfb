"""What a session knows of one object, and the prompts it was given."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F

from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, TextPrompt, check_prompt_fits
from surgvos.core.results import Phase
from surgvos.errors import InputError
from surgvos.memory.bank import MemoryBank
from surgvos.models.interface import PromptBatch
from surgvos.referring.search import Search


@dataclass(frozen=True, slots=True, eq=False)
class FramePrompts:
    """All prompts of one object in one frame: a mask, or a box and clicks together.

    A mask replaces what was said before, and a box or a click replaces a mask; clicks add up; a box replaces a box.
    """

    mask: np.ndarray | None = None
    box_xyxy: np.ndarray | None = None
    points_xy: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), dtype=np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def plus(self, prompt: Prompt) -> FramePrompts:
        """These prompts and one more."""
        if isinstance(prompt, MaskPrompt):
            return FramePrompts(mask=prompt.mask)
        if isinstance(prompt, BoxPrompt):
            return replace(self, mask=None, box_xyxy=prompt.box_xyxy)
        if isinstance(prompt, PointPrompt):
            return replace(
                self,
                mask=None,
                points_xy=np.concatenate((self.points_xy, prompt.points_xy)),
                labels=np.concatenate((self.labels, prompt.labels)),
            )
        raise InputError("expected a point, box or mask prompt, got a phrase, which is looked for and not shown")

    def check_fit(self, image_hw: tuple[int, int]) -> None:
        """Raise `InputError` where something lies outside the image."""
        if self.mask is not None:
            check_prompt_fits(MaskPrompt(self.mask), image_hw)
        if self.box_xyxy is not None:
            check_prompt_fits(BoxPrompt(self.box_xyxy), image_hw)
        if len(self.points_xy):
            check_prompt_fits(PointPrompt(self.points_xy, self.labels), image_hw)

    def to_batch(self, image_hw: tuple[int, int], input_hw: tuple[int, int], device: torch.device) -> PromptBatch:
        """A batch of this one object, in pixels of the model's input; box corners before clicks."""
        corners = np.zeros((0, 2), np.float32) if self.box_xyxy is None else self.box_xyxy.reshape(2, 2)
        scale = np.array([input_hw[1] / image_hw[1], input_hw[0] / image_hw[0]], dtype=np.float32)
        points = np.concatenate((corners, self.points_xy)) * scale
        labels = np.concatenate((np.arange(2, 2 + len(corners)), self.labels))
        mask = None
        if self.mask is not None:
            # A mask is not padded with points: it is the answer itself.
            mask = resize_mask(torch.from_numpy(self.mask)[None, None].to(device), input_hw)
        return PromptBatch(
            points_xy=torch.from_numpy(points)[None].to(device),
            labels=torch.from_numpy(labels)[None].to(device),
            mask=mask,
        )


def resize_mask(mask: torch.Tensor, size_hw: tuple[int, int]) -> torch.Tensor:
    """Boolean masks ``(B, 1, h, w)`` -> float 0/1 at another size: antialiased bilinear, then at least one half."""
    if mask.shape[-2:] == size_hw:
        return mask.float()
    resized = F.interpolate(mask.float(), size=size_hw, mode="bilinear", align_corners=False, antialias=True)
    return (resized >= 0.5).float()


@dataclass(slots=True)
class TrackedObject:
    """One object of a session.

    Attributes:
        object_id: The user's own number.
        phase: What it is going through.
        bank: What is remembered of it.
        pending: Frame index -> prompts waiting for that frame.
        applied: Frame index -> prompts already answered; kept so that further clicks add to them.
        phrases: Frame index -> phrases waiting for that frame.
        search: How far the search by its phrases has come; None for an object without one.
        first_followed, last_followed: Ends of the stretch of frames followed so far, or None.
    """

    object_id: int
    phase: Phase = Phase.TRACKING
    bank: MemoryBank = field(default_factory=MemoryBank)
    pending: dict[int, FramePrompts] = field(default_factory=dict)
    applied: dict[int, FramePrompts] = field(default_factory=dict)
    phrases: dict[int, tuple[str, ...]] = field(default_factory=dict)
    search: Search | None = None
    first_followed: int | None = None
    last_followed: int | None = None

    @property
    def is_searched(self) -> bool:
        """Whether a phrase of it is being looked for."""
        return self.search is not None and self.search.is_on

    @property
    def was_never_found(self) -> bool:
        """Whether phrases were looked for, and nothing was ever followed."""
        return self.search is not None and self.bank.is_empty

    @property
    def all_phrases(self) -> tuple[str, ...]:
        """What it is called, and will be."""
        said = () if self.search is None else self.search.phrases
        return (*said, *(phrase for phrases in self.phrases.values() for phrase in phrases))

    @property
    def prompted_frames(self) -> tuple[int, ...]:
        """Frames for which something was shown or said, or from which it was followed."""
        asked = () if self.search is None else (self.search.asked_at,)
        return (*self.pending, *self.phrases, *self.bank.prompted, *asked)

    @property
    def answered_from(self) -> int:
        """The first frame in which it is answered while time runs forward; 0 where nothing is known of it yet."""
        if self.search is not None and self.bank.is_empty:
            return self.search.asked_at
        return min(self.bank.prompted, default=0)

    def add(self, frame_index: int, prompt: Prompt) -> None:
        """Queue a prompt for a frame."""
        if isinstance(prompt, TextPrompt):
            self.phrases[frame_index] = (*self.phrases.get(frame_index, ()), prompt.phrase)
            if self.bank.is_empty:
                self.phase = Phase.SEARCHING
            return
        before = self.pending.get(frame_index) or self.applied.get(frame_index) or FramePrompts()
        self.pending[frame_index] = before.plus(prompt)

    def take_phrases(self, frame_index: int) -> None:
        """Begin to look for the phrases that wait for this frame; an object that is followed stays followed."""
        phrases = self.phrases.pop(frame_index, ())
        if not phrases:
            return
        if self.search is None:
            shown_at = min(self.bank.prompted, default=None)
            self.search = Search((), asked_at=frame_index, is_on=shown_at is None, found_at=shown_at)
        self.search.add(phrases)

    def take_searched_frames(self) -> range:
        """Frames that passed until it was found first; empty when asked again."""
        if self.search is None or self.search.unconfirmed is None:
            return range(0)
        first, stop = self.search.unconfirmed
        self.search.unconfirmed = None
        return range(first, stop)

    def storages(self) -> dict[int, int]:
        """Address -> bytes of every distinct storage that it keeps alive."""
        candidates = () if self.search is None else self.search.candidates
        held = [tensor.untyped_storage() for candidate in candidates for tensor in candidate.entry.tensors()]
        return self.bank.storages() | {storage.data_ptr(): storage.nbytes() for storage in held}

    def followed(self, frame_index: int) -> bool:
        """Whether the object has been followed over this frame."""
        if self.first_followed is None or self.last_followed is None:
            return False
        return self.first_followed <= frame_index <= self.last_followed

    def mark_followed(self, frame_index: int) -> None:
        """Extend the stretch of frames followed."""
        first, last = self.first_followed, self.last_followed
        self.first_followed = frame_index if first is None else min(first, frame_index)
        self.last_followed = frame_index if last is None else max(last, frame_index)

    def settle(self, frame_index: int) -> None:
        """Move a frame's prompts from pending to applied, and forget those whose frame is no longer held."""
        self.applied[frame_index] = self.pending.pop(frame_index)
        for index in [i for i in self.applied if i not in self.bank.prompted]:
            del self.applied[index]
        if self.search is not None and self.search.is_on:
            self.search.end(frame_index, frame_index)

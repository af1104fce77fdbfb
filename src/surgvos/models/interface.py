"""What every video model takes and gives. Tensors only; no files, no frames, no state.

Letters in shapes: ``B`` objects (their *slots*), ``K`` candidate masks, ``M`` memories, ``P`` pointers or points,
``H W`` the model's input size, ``h w`` a smaller grid of it. An `ImageFeatures` holds either one image, shared by
all objects, or one image per object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, Protocol, TypeGuard

import torch
from torch import Tensor

ABSENT_LOGIT = -1024.0
"""Mask logit of every pixel of an object that is judged absent."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """What a model sees in one image, or in one image per object.

    Attributes:
        levels: Feature maps ``(N, C_i, h_i, w_i)``, finest first; memory is kept at the grid of the last one.
        memory_key: ``(N, C_k, h, w)``, the part of a memory that depends on the image alone, for models that
            match by it; None where the model has no such part.
        pixels: ``(N, 3, H, W)`` the normalised images themselves, for models that look at them once more when they
            look for a phrase; None for others.
        derived: What a model made of the images besides, by names of its own, when that was first asked for; a tensor,
            or a dataclass or a tuple of such. Kept for as long as the features are.
    """

    levels: tuple[Tensor, ...]
    memory_key: Tensor | None = None
    pixels: Tensor | None = None
    derived: dict[str, Any] = field(default_factory=dict)

    def take(self, images: Tensor) -> ImageFeatures:
        """Features of some of the images: int64 ``(N',)``, repetitions allowed."""
        key, pixels = (None if maps is None else take_maps(maps, images) for maps in (self.memory_key, self.pixels))
        return ImageFeatures(tuple(take_maps(level, images) for level in self.levels), key, pixels)

    @property
    def num_images(self) -> int:
        return self.levels[0].shape[0]

    def storages(self) -> dict[int, int]:
        """Address -> bytes of every distinct storage held."""
        held = (tensor.untyped_storage() for tensor in _tensors_in(self))
        return {storage.data_ptr(): storage.nbytes() for storage in held}


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of a value, however deep in dataclasses, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for part in fields(value):
            yield from _tensors_in(getattr(value, part.name))
    elif isinstance(value, tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(part)


def take_maps(maps: Tensor, images: Tensor) -> Tensor:
    """Pick maps ``(N, C, h, w)`` by index, and keep them channels last."""
    # On a CPU, with the gradient, three times faster than maps.index_select(0, images) or maps[images].
    return maps.permute(0, 2, 3, 1).index_select(0, images).permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class PromptBatch:
    """Prompts of ``B`` objects in one image, all of the same make, in pixels of the model's input.

    Attributes:
        points_xy: float ``(B, P, 2)``; continuous coordinates of the ``H x W`` input, box corners before clicks.
        labels: int64 ``(B, P)``: 1 object, 0 background, 2 box's top left, 3 box's bottom right, -1 padding.
        mask: float ``(B, 1, H, W)`` of 0 and 1, or None. The answer itself: `decode` adopts it.
        previous_logits: float ``(B, 1, h, w)``, or None: the mask logits that the points correct.
        text: float ``(B, C)``, or None: `TextFeatures.pooled` of the phrases that the objects were found by, for
            models that keep it in mind while they follow. A batch of a text and no points is not a correction.
    """

    points_xy: Tensor
    labels: Tensor
    mask: Tensor | None = None
    previous_logits: Tensor | None = None
    text: Tensor | None = None

    @property
    def num_points(self) -> int:
        return self.labels.shape[1]

    @property
    def has_box(self) -> bool:
        """Whether each object has a box."""
        return bool((self.labels[0] == 2).any())

    @classmethod
    def of_text(cls, text: Tensor) -> PromptBatch:
        """Phrases ``(B, C)`` and nothing else: what objects that phrases found are followed with."""
        nowhere = text.new_zeros((text.shape[0], 0, 2), dtype=torch.float32)
        return cls(nowhere, torch.zeros_like(nowhere[..., 0], dtype=torch.int64), text=text)


@dataclass(frozen=True, slots=True, eq=False)
class TextFeatures:
    """What ``B`` phrases say, padded to the length of the longest.

    Attributes:
        tokens: ``(B, L, C)``.
        is_token: bool ``(B, L)``, False where a row is padded.
        pooled: ``(B, C)``, the whole phrase in one vector.
        image: int64 ``(B,)``, in which of several images each phrase is looked for; None: there is one image for all
            of them, or one for each.
    """

    tokens: Tensor
    is_token: Tensor
    pooled: Tensor
    image: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrediction:
    """Candidate masks of ``B`` objects.

    Attributes:
        logits: ``(B, K, h, w)`` mask logits at the model's own resolution; `ABSENT_LOGIT` everywhere for an
            object that is judged absent (in evaluation mode).
        iou: ``(B, K)`` predicted IoU of each candidate in [0, 1].
        presence_logits: ``(B,)``; > 0 says that the object is visible.
        pointers: ``(B, K, C)`` object pointer of each candidate, or None for models without pointers.
    """

    logits: Tensor
    iou: Tensor
    presence_logits: Tensor
    pointers: Tensor | None = None

    def best(self) -> MaskPrediction:
        """The candidate with the highest predicted IoU (``K`` becomes 1; the first one on ties)."""
        if self.logits.shape[1] == 1:
            return self
        rows = torch.arange(self.logits.shape[0], device=self.logits.device)
        choice = self.iou.argmax(dim=1)
        return replace(
            self,
            logits=self.logits[rows, choice].unsqueeze(1),
            iou=self.iou[rows, choice].unsqueeze(1),
            pointers=None if self.pointers is None else self.pointers[rows, choice].unsqueeze(1),
        )


@dataclass(frozen=True, slots=True, eq=False)
class EncodedMemory:
    """What ``B`` objects leave behind in one frame.

    Attributes:
        features: ``(B, C_m, h, w)`` what was seen, and where the object was in it.
        keys: What later frames are matched against, computed once, or None where a model computes it on reading.
            First dimension 1 (the same for all objects of the frame) or ``B``.
    """

    features: Tensor
    keys: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MemoryBatch:
    """Memories that ``B`` objects read together: the same number of each for every object.

    Attributes:
        features: ``(B, M, C_m, h, w)``, in the order in which they are attended.
        slots: int64 ``(B, M)`` temporal slot: 0 for a prompted frame (or one treated as such), ``r`` for the
            frame ``r`` steps back.
        keys: ``(1 or B, M, ...)`` stacked `EncodedMemory.keys`, or None.
        pointers: ``(B, P, C)``, or None.
        pointer_offsets: float ``(B, P)`` distance in time as a fraction of the pointers' span, or None.
    """

    features: Tensor
    slots: Tensor
    keys: Tensor | None = None
    pointers: Tensor | None = None
    pointer_offsets: Tensor | None = None


class VideoModel(Protocol):
    """A stateless network that segments and follows prompted objects: four methods and a few facts.

    Implementations are ``nn.Module``s. No frame index, no cache of frames and no ``inference_mode`` inside.
    """

    resize: Literal["bicubic", "area"]
    """How an image is brought to the input size."""

    max_multimask_points: int
    """With up to this many points a prompt is ambiguous, and several candidates are asked for."""

    num_recent: int
    """How many recent frames the model is used to reading."""

    shares_keys: bool
    """Whether `EncodedMemory.keys` depend on the image alone, so that all objects of a frame share them."""

    memory_format: torch.memory_format
    """How weights are best laid out in memory."""

    compute_dtype: torch.dtype
    """Precision of matrix products; below float32 the caller runs the model under autocast."""

    def input_hw(self, video_hw: tuple[int, int]) -> tuple[int, int]:
        """Input size ``(H, W)`` for a video of this size."""
        ...

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode normalised RGB images ``(N, 3, H, W)``."""
        ...

    def condition(self, features: ImageFeatures, memory: MemoryBatch | None) -> Tensor:
        """Let each object's memory look at the image: ``(B or N, C, h, w)``. None: nothing is remembered."""
        ...

    def decode(
        self, features: ImageFeatures, conditioned: Tensor, prompts: PromptBatch | None, *, multimask: bool
    ) -> MaskPrediction:
        """Predict masks. ``prompts`` None means: follow what ``conditioned`` remembers."""
        ...

    def encode_memory(
        self, features: ImageFeatures, logits: Tensor, presence_logits: Tensor, *, prompted: bool
    ) -> EncodedMemory:
        """Encode masks ``(B, 1, h, w)`` (logits as `decode` gives them) of a frame into memory.

        Args:
            features: The frame's features.
            logits: Mask logits ``(B, 1, h, w)``.
            presence_logits: ``(B,)``.
            prompted: Whether a user's prompt made the masks.
        """
        ...

    def eval(self) -> Any: ...

    def parameters(self) -> Any: ...


class ReferringModel(VideoModel, Protocol):
    """A `VideoModel` that also finds what a phrase says."""

    num_previous: int
    """How many earlier frames `refer` looks at beside the current one."""

    credible: tuple[float, float]
    """Presence and predicted IoU above which `refer` is to be believed. Scores of differently trained models do not
    mean the same."""

    def encode_text(self, phrases: Sequence[str]) -> TextFeatures:
        """Encode phrases. The same phrase alone or among others gives the same features.

        Raises:
            InputError: A phrase is longer than the model can read.
        """
        ...

    def refer(self, features: ImageFeatures, previous: Sequence[ImageFeatures], text: TextFeatures) -> MaskPrediction:
        """Look for ``B`` phrases in one image, without memory of any object.

        Args:
            features: Of one image, shared by all phrases, of one per phrase, or of those `TextFeatures.image`
                picks from.
            previous: Features of up to `num_previous` earlier frames, newest first; fewer at the start.
            text: The phrases.
        """
        ...


class RefiningModel(VideoModel, Protocol):
    """A `VideoModel` that also sees in an image alone what objects there are, and outlines by that what it follows."""

    def refine(self, features: ImageFeatures, followed: MaskPrediction) -> MaskPrediction:
        """Correct the outlines of what was followed into an image; whether it is there is not asked again.

        Args:
            features: Of one image, shared by all objects, or of one per object.
            followed: One candidate of each of ``B`` objects, as `VideoModel.decode` gives them.
        """
        ...


def refines(model: Any) -> TypeGuard[RefiningModel]:
    """Whether a model can correct outlines of what it follows."""
    return callable(getattr(model, "refine", None))

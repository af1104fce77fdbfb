"""One step of tracking, batched over objects: the one function that training and inference share.

Hops 4 to 7 of a frame: select from memory, condition, decode, encode memory. Admitting the entries is the
caller's decision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from surgvos.memory.bank import MemoryBank
from surgvos.memory.entry import MemoryEntry, MemoryQuery, MemorySelection, resolved
from surgvos.memory.policy import MemoryPolicy, select_all
from surgvos.models.devices import upload
from surgvos.models.interface import (
    EncodedMemory,
    ImageFeatures,
    MaskPrediction,
    MemoryBatch,
    PromptBatch,
    VideoModel,
)


@dataclass(frozen=True, slots=True, eq=False)
class TrackingStep:
    """What `track_objects` found, in the order of its banks.

    Attributes:
        candidates: All candidate masks of ``B`` objects.
        best: The chosen candidate of each.
        selections: What each object read from its memory.
    """

    candidates: MaskPrediction
    best: MaskPrediction
    selections: tuple[MemorySelection, ...]

    def attended_frames(self) -> list[tuple[int, ...]]:
        """Frames whose spatial memory each object read.

        Waits for the device: ask after `encode_entries`, when nothing is left to wait for.
        """
        return [selection.attended_frames for selection in resolved(self.selections)]


def track_objects(
    model: VideoModel,
    features: ImageFeatures,
    banks: Sequence[MemoryBank],
    policy: MemoryPolicy,
    query: MemoryQuery,
    prompts: PromptBatch | None = None,
) -> TrackingStep:
    """Predict the masks of ``B`` objects in one frame.

    Objects that read memories of the same shape share one call of the model.

    Args:
        model: The network.
        features: Of the frame: one image for all objects, or one image per object.
        banks: One per object; an empty bank means that nothing is remembered yet. Only read.
        policy: Chooses what is read.
        query: The moment.
        prompts: Of these objects, or None to follow what is remembered. A text alone says by what phrases the objects
            were found, and they are followed as well.
    """
    selections = select_all(policy, banks, query)
    if model.shares_keys:
        # Who shares keys is decided here, on the host.
        selections = resolved(selections)
    multimask = prompts is None or prompts.num_points <= model.max_multimask_points
    groups = _group_by_shape(selections, by_frames=model.shares_keys)
    parts: list[MaskPrediction] = []
    for slots in groups:
        own_features = features if features.num_images == 1 else features.take(_index(slots, features))
        own_prompts = prompts if prompts is None or len(groups) == 1 else _take_prompts(prompts, slots)
        memory = stack_selections([selections[slot] for slot in slots])
        conditioned = model.condition(own_features, memory)
        parts.append(model.decode(own_features, conditioned, own_prompts, multimask=multimask))
    candidates = _in_order(parts, groups)
    return TrackingStep(candidates, candidates.best(), tuple(selections))


def encode_entries(
    model: VideoModel,
    features: ImageFeatures,
    prediction: MaskPrediction,
    frame_index: int,
    *,
    prompted: bool,
) -> list[MemoryEntry]:
    """Turn chosen masks into memory entries, one per object.

    Args:
        model: The network.
        features: Of the frame: one image for all objects, or one per object.
        prediction: One candidate per object.
        frame_index: The frame that was seen.
        prompted: Whether prompts made the masks.
    """
    memory = model.encode_memory(features, prediction.logits, prediction.presence_logits, prompted=prompted)
    scores = torch.stack((prediction.presence_logits.detach().float().sigmoid(), prediction.iou[:, 0].detach().float()))
    presence, iou = scores.tolist()
    num_objects = prediction.logits.shape[0]
    features_of, keys_of = _own_rows(memory.features), _keys_of_objects(memory, num_objects)
    pointer_of = [None] * num_objects if prediction.pointers is None else _own_rows(prediction.pointers[:, 0])
    return [
        MemoryEntry(
            frame_index=frame_index,
            features=features_of[slot],
            keys=keys_of[slot],
            pointer=pointer_of[slot],
            presence=presence[slot],
            iou=iou[slot],
            prompted=prompted,
            logits=prediction.logits[slot, 0].detach().clone() if prompted else None,
        )
        for slot in range(num_objects)
    ]


def stack_selections(selections: Sequence[MemorySelection]) -> MemoryBatch | None:
    """Stack selections of the same shape into a batch; None when they are empty."""
    first = selections[0]
    if not first.spatial:
        return None
    features = torch.stack([_attended(s, [entry.features for entry, _ in s.spatial]) for s in selections])
    device = features.device
    slots = upload(torch.tensor([[slot for _, slot in s.spatial] for s in selections]), device)
    kept = [s.kept for s in selections if s.kept is not None]
    if kept:
        slots = slots.gather(1, torch.stack(kept))
    pointers = offsets = None
    if first.pointers:
        pointers = torch.stack([torch.stack([p for p, _ in s.pointers]) for s in selections])
        offsets = torch.tensor([[o for _, o in s.pointers] for s in selections], dtype=torch.float32)
        offsets = upload(offsets, device)
    return MemoryBatch(features, slots, _stack_keys(selections), pointers, offsets)


def stack_prompts(batches: Sequence[PromptBatch]) -> PromptBatch:
    """Concatenate prompts of the same make."""

    def join(tensors: Sequence[Tensor | None]) -> Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(present) if present else None

    return PromptBatch(
        points_xy=torch.cat([b.points_xy for b in batches]),
        labels=torch.cat([b.labels for b in batches]),
        mask=join([b.mask for b in batches]),
        previous_logits=join([b.previous_logits for b in batches]),
        text=join([b.text for b in batches]),
    )


def _attended(selection: MemorySelection, parts: Sequence[Tensor | None]) -> Tensor:
    """Stack one part of all entries, and pick what is attended: ``(M, ...)``."""
    stacked = torch.stack([part for part in parts if part is not None])
    return stacked if selection.kept is None else stacked.index_select(0, selection.kept)


def _stack_keys(selections: Sequence[MemorySelection]) -> Tensor | None:
    first = selections[0]
    keys = [[entry.keys for entry, _ in s.spatial] for s in selections]
    if keys[0][0] is None:
        return None
    shared = first.kept is None and all(a is b for row in keys[1:] for a, b in zip(row, keys[0], strict=True))
    if shared:
        return _attended(first, keys[0]).unsqueeze(0)
    return torch.stack([_attended(s, row) for s, row in zip(selections, keys, strict=True)])


def _group_by_shape(selections: Sequence[MemorySelection], *, by_frames: bool) -> list[list[int]]:
    """Slots whose selections stack; where keys are shared, also only those that read the same frames as the same."""
    groups: dict[tuple, list[int]] = defaultdict(list)
    for slot, selection in enumerate(selections):
        frames = tuple((entry.frame_index, place) for entry, place in selection.spatial) if by_frames else ()
        groups[(len(selection.spatial), selection.num_attended, len(selection.pointers), frames)].append(slot)
    return list(groups.values())


def _index(slots: list[int], features: ImageFeatures) -> Tensor:
    return upload(torch.tensor(slots), features.levels[0].device)


def _take_prompts(prompts: PromptBatch, slots: list[int]) -> PromptBatch:
    return PromptBatch(
        points_xy=prompts.points_xy[slots],
        labels=prompts.labels[slots],
        mask=None if prompts.mask is None else prompts.mask[slots],
        previous_logits=None if prompts.previous_logits is None else prompts.previous_logits[slots],
        text=None if prompts.text is None else prompts.text[slots],
    )


def _in_order(parts: list[MaskPrediction], groups: list[list[int]]) -> MaskPrediction:
    """Concatenate the groups' predictions and put them back in the order of the objects."""
    if len(parts) == 1:
        return parts[0]
    order = torch.tensor([slot for group in groups for slot in group]).argsort()
    order = upload(order, parts[0].logits.device)

    def join(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)[order]

    return MaskPrediction(**{f.name: join(f.name) for f in fields(MaskPrediction)})  # type: ignore[arg-type]


def _own_rows(batch: Tensor) -> list[Tensor]:
    """The part of each object; a copy of its own, so that forgetting one object frees its memory."""
    # With gradients, views: taken apart in one go, their gradients are put together in one go as well.
    rows = batch.unbind(0)
    return list(rows) if batch.requires_grad or len(rows) == 1 else [row.clone() for row in rows]


def _keys_of_objects(memory: EncodedMemory, num_objects: int) -> list[Tensor | None]:
    """Each object's keys; one and the same tensor for all where they depend on the image alone."""
    if memory.keys is None:
        return [None] * num_objects
    if memory.keys.shape[0] == 1 and num_objects > 1:
        return [memory.keys[0]] * num_objects
    return list(_own_rows(memory.keys))

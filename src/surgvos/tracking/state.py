"""A session's memory as a file, so that a stopped run goes on exactly where it was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from surgvos.core.results import Phase
from surgvos.errors import InputError
from surgvos.io.files import replacing
from surgvos.memory.bank import MemoryBank
from surgvos.memory.entry import MemoryEntry
from surgvos.models.interface import ImageFeatures
from surgvos.referring.search import Candidate, Search
from surgvos.referring.start import Sighting
from surgvos.tracking.objects import FramePrompts, TrackedObject

FORMAT = "surgvos-session-3"

PreviousFrames = Sequence[tuple[int, ImageFeatures]]
"""Frames that were looked at last in a search, newest first, with their features."""


class _TensorTable:
    """Tensors by name. One that several objects share is stored once, and is shared again when read."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        # The tensor itself is held beside its name: an address is a tensor's own only while the tensor lives.
        self._names: dict[int, tuple[str, Tensor]] = {}

    def name_of(self, tensor: Tensor | None) -> str | None:
        if tensor is None:
            return None
        if id(tensor) not in self._names:
            name = f"t{len(self.tensors)}"
            self._names[id(tensor)] = (name, tensor)
            self.tensors[name] = tensor.detach().cpu().clone().contiguous()
        return self._names[id(tensor)][0]


def save_objects(
    path: str | Path, objects: Iterable[TrackedObject], previous: PreviousFrames, progress: dict[str, Any]
) -> None:
    """Write objects with their memory, and how far the run has come; whole or not at all.

    Args:
        path: A safetensors file.
        objects: Of a session.
        previous: The frames that its search looked at last.
        progress: JSON values, given back by `load_objects`.
    """
    table = _TensorTable()
    described = [_describe_object(tracked, table) for tracked in objects]
    looked_at = [_describe_features(index, features, table) for index, features in previous]
    metadata = {
        "format": FORMAT,
        "objects": json.dumps(described),
        "previous": json.dumps(looked_at),
        "progress": json.dumps(progress),
    }
    with replacing(Path(path)) as part:
        save_file(table.tensors, part, metadata=metadata)


def load_objects(path: str | Path, device: torch.device) -> tuple[list[TrackedObject], PreviousFrames, dict[str, Any]]:
    """Read what `save_objects` wrote: objects, frames looked at last, and how far the run had come.

    Raises:
        InputError: The file is missing, damaged, or something else.
    """
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as stored:
            metadata = stored.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise InputError(f"expected the state of a run, got {str(path)!r}; try without --resume")
            # No tensor goes by an empty name, so that None reads as None.
            tensors: dict[str | None, Tensor] = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"expected the state of a run, got {str(path)!r} ({error}); try without --resume") from error
    objects = [_restore_object(described, tensors) for described in json.loads(metadata["objects"])]
    previous = [_restore_features(described, tensors) for described in json.loads(metadata["previous"])]
    return objects, previous, json.loads(metadata["progress"])


def _describe_object(tracked: TrackedObject, table: _TensorTable) -> dict[str, Any]:
    bank = tracked.bank
    return {
        "object_id": tracked.object_id,
        "phase": tracked.phase.value,
        "first_followed": tracked.first_followed,
        "last_followed": tracked.last_followed,
        "pending": {i: _describe_prompts(p, table) for i, p in tracked.pending.items()},
        "applied": {i: _describe_prompts(p, table) for i, p in tracked.applied.items()},
        "phrases": tracked.phrases,
        "search": None if tracked.search is None else _describe_search(tracked.search, table),
        "prompted": [_describe_entry(entry, table) for entry in bank.prompted.values()],
        "recent": [_describe_entry(entry, table) for entry in bank.recent.values()],
        "candidates": [_describe_entry(entry, table) for entry in bank.candidates],
        "long_term": [_describe_entry(entry, table) for entry in bank.long_term.values()],
    }


def _restore_object(described: dict[str, Any], tensors: dict[str | None, Tensor]) -> TrackedObject:
    tiers = {
        tier: [_restore_entry(entry, tensors) for entry in described[tier]]
        for tier in ("prompted", "recent", "candidates", "long_term")
    }
    by_frame = {tier: {entry.frame_index: entry for entry in entries} for tier, entries in tiers.items()}
    return TrackedObject(
        object_id=described["object_id"],
        phase=Phase(described["phase"]),
        bank=MemoryBank(by_frame["prompted"], by_frame["recent"], tiers["candidates"], by_frame["long_term"]),
        pending={int(i): _restore_prompts(p, tensors) for i, p in described["pending"].items()},
        applied={int(i): _restore_prompts(p, tensors) for i, p in described["applied"].items()},
        phrases={int(i): tuple(phrases) for i, phrases in described["phrases"].items()},
        search=None if described["search"] is None else _restore_search(described["search"], tensors),
        first_followed=described["first_followed"],
        last_followed=described["last_followed"],
    )


def _describe_search(search: Search, table: _TensorTable) -> dict[str, Any]:
    described = {name.name: getattr(search, name.name) for name in fields(search)}
    described["candidates"] = [
        {**asdict(one.sighting), "entry": _describe_entry(one.entry, table), "phrase": one.phrase}
        for one in search.candidates
    ]
    return described


def _restore_search(described: dict[str, Any], tensors: dict[str | None, Tensor]) -> Search:
    candidates = []
    for one in described["candidates"]:
        entry, phrase = _restore_entry(one.pop("entry"), tensors), one.pop("phrase")
        candidates.append(Candidate(Sighting(**one), entry, phrase))
    searched = described["unconfirmed"]
    return Search(
        **{
            **described,
            "phrases": tuple(described["phrases"]),
            "candidates": tuple(candidates),
            "unconfirmed": None if searched is None else (searched[0], searched[1]),
        }
    )


def _describe_features(frame_index: int, features: ImageFeatures, table: _TensorTable) -> dict[str, Any]:
    return {
        "frame_index": frame_index,
        "levels": [table.name_of(level) for level in features.levels],
        "memory_key": table.name_of(features.memory_key),
        "pixels": table.name_of(features.pixels),
        # The order of sums depends on how a map lies in memory, and with it the last bits.
        "channels_last": not features.levels[-1].is_contiguous(),
    }


def _restore_features(described: dict[str, Any], tensors: dict[str | None, Tensor]) -> tuple[int, ImageFeatures]:
    layout = torch.channels_last if described["channels_last"] else torch.contiguous_format
    levels = tuple(tensors[name].contiguous(memory_format=layout) for name in described["levels"])
    key, pixels = (tensors.get(described[name]) for name in ("memory_key", "pixels"))
    return described["frame_index"], ImageFeatures(levels, key, pixels)


def _describe_entry(entry: MemoryEntry, table: _TensorTable) -> dict[str, Any]:
    return {
        "frame_index": entry.frame_index,
        "presence": entry.presence,
        "iou": entry.iou,
        "prompted": entry.prompted,
        "features": table.name_of(entry.features),
        "pointer": table.name_of(entry.pointer),
        "keys": table.name_of(entry.keys),
        "logits": table.name_of(entry.logits),
    }


def _restore_entry(described: dict[str, Any], tensors: dict[str | None, Tensor]) -> MemoryEntry:
    return MemoryEntry(
        frame_index=described["frame_index"],
        features=tensors.get(described["features"]),
        pointer=tensors.get(described["pointer"]),
        presence=described["presence"],
        iou=described["iou"],
        prompted=described["prompted"],
        keys=tensors.get(described["keys"]),
        logits=tensors.get(described["logits"]),
    )


def _describe_prompts(prompts: FramePrompts, table: _TensorTable) -> dict[str, Any]:
    mask = None if prompts.mask is None else torch.from_numpy(prompts.mask)
    return {
        "mask": table.name_of(mask),
        "box_xyxy": None if prompts.box_xyxy is None else prompts.box_xyxy.tolist(),
        "points_xy": prompts.points_xy.tolist(),
        "labels": prompts.labels.tolist(),
    }


def _restore_prompts(described: dict[str, Any], tensors: dict[str | None, Tensor]) -> FramePrompts:
    mask = tensors.get(described["mask"])
    box = described["box_xyxy"]
    return FramePrompts(
        mask=None if mask is None else mask.cpu().numpy(),
        box_xyxy=None if box is None else np.asarray(box, dtype=np.float32),
        points_xy=np.asarray(described["points_xy"], dtype=np.float32).reshape(-1, 2),
        labels=np.asarray(described["labels"], dtype=np.int64),
    )

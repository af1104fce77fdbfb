"""Look for phrases in a frame: all of them in one call of the model."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from surgvos.memory import MemoryQuery
from surgvos.models.devices import upload
from surgvos.models.interface import ImageFeatures, MaskPrediction, ReferringModel, TextFeatures


def reads_phrases(model: Any) -> TypeGuard[ReferringModel]:
    """Whether a model finds what a phrase says."""
    return callable(getattr(model, "refer", None)) and callable(getattr(model, "encode_text", None))


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object that is looked for.

    Attributes:
        phrases: What it is called; each says the same object.
        since: The first frame of the stretch being looked through; frames before it are not shown to the model.
    """

    phrases: tuple[str, ...]
    since: int


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found of ``B`` wanted objects in one frame.

    Attributes:
        prediction: The best mask of the best phrase of each.
        phrases: That phrase: the one with the highest product of presence and predicted IoU, the first of equals.
        presence, iou: Its scores.
    """

    prediction: MaskPrediction
    phrases: tuple[str, ...]
    presence: tuple[float, ...]
    iou: tuple[float, ...]


class Referrer:
    """Look for phrases, frame by frame.

    It knows what the phrases mean, and holds the features of the last few frames that were looked at, in which the
    model looks at what moved.

    Args:
        model: The network.
    """

    def __init__(self, model: ReferringModel) -> None:
        self._model = model
        self._texts: dict[str, TextFeatures] = {}
        self._previous: deque[tuple[int, ImageFeatures]] = deque(maxlen=model.num_previous)

    @property
    def previous(self) -> list[tuple[int, ImageFeatures]]:
        """The last frames that were looked at, newest first, with their features."""
        return list(self._previous)

    @previous.setter
    def previous(self, frames: Sequence[tuple[int, ImageFeatures]]) -> None:
        self._previous = deque(frames, maxlen=self._model.num_previous)

    def text(self, phrase: str) -> TextFeatures:
        """What a phrase says, encoded when it is first asked for.

        Raises:
            InputError: The phrase is longer than the model can read.
        """
        if phrase not in self._texts:
            self._texts[phrase] = self._model.encode_text([phrase])
        return self._texts[phrase]

    def keep_texts(self, phrases: Collection[str]) -> None:
        """Forget all phrases but these."""
        self._texts = {phrase: text for phrase, text in self._texts.items() if phrase in phrases}

    def look(self, features: ImageFeatures, query: MemoryQuery, wanted: Sequence[Wanted]) -> Found:
        """Look for objects in one frame, and remember having looked at it.

        Objects that are looked for since long enough share one call of the model.
        """
        rows = [(slot, phrase) for slot, one in enumerate(wanted) for phrase in one.phrases]
        groups: dict[int, list[int]] = defaultdict(list)
        for row, (slot, _) in enumerate(rows):
            groups[self._num_previous(query, wanted[slot].since)].append(row)
        previous = [held for _, held in self._previous]
        parts = [
            self._model.refer(
                features, previous[:count], stack_texts([self.text(rows[row][1]) for row in group])
            ).best()
            for count, group in groups.items()
        ]
        in_order = torch.tensor([row for group in groups.values() for row in group]).argsort()
        found = _best_of_each(take_rows(_join(parts), in_order), rows)
        self._previous.appendleft((query.frame_index, features))
        return found

    def storages(self) -> dict[int, int]:
        """Address -> bytes of every distinct storage held."""
        texts = [part for text in self._texts.values() for part in (text.tokens, text.is_token, text.pooled)]
        storages = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in texts}
        for _, held in self._previous:
            storages |= held.storages()
        return storages

    def _num_previous(self, query: MemoryQuery, since: int) -> int:
        """How many held frames lie right behind this one, one after the other, and not before the search began."""
        count = 0
        for index, _ in self._previous:
            if query.distance(index) != count + 1 or query.distance(since) <= count:
                break
            count += 1
        return count


def stack_texts(texts: Sequence[TextFeatures]) -> TextFeatures:
    """Put phrases into one batch, padded to the length of the longest."""
    length = max(text.tokens.shape[1] for text in texts)

    def padded(tensor: Tensor, dim_from_last: int) -> Tensor:
        return F.pad(tensor, (0, 0) * dim_from_last + (0, length - tensor.shape[1]))

    return TextFeatures(
        tokens=torch.cat([padded(text.tokens, 1) for text in texts]),
        is_token=torch.cat([padded(text.is_token, 0) for text in texts]),
        pooled=torch.cat([text.pooled for text in texts]),
    )


def take_rows(prediction: MaskPrediction, rows: Tensor) -> MaskPrediction:
    """The predictions of some objects: int64 ``(B',)``."""
    rows = upload(rows, prediction.logits.device)
    return replace(
        prediction,
        logits=prediction.logits[rows],
        iou=prediction.iou[rows],
        presence_logits=prediction.presence_logits[rows],
        pointers=None if prediction.pointers is None else prediction.pointers[rows],
    )


def _join(parts: Sequence[MaskPrediction]) -> MaskPrediction:
    if len(parts) == 1:
        return parts[0]
    pointers = [part.pointers for part in parts if part.pointers is not None]
    return MaskPrediction(
        logits=torch.cat([part.logits for part in parts]),
        iou=torch.cat([part.iou for part in parts]),
        presence_logits=torch.cat([part.presence_logits for part in parts]),
        pointers=torch.cat(pointers) if pointers else None,
    )


def _best_of_each(prediction: MaskPrediction, rows: Sequence[tuple[int, str]]) -> Found:
    """Of the rows (slot, phrase) of each object, the one with the highest score."""
    scores = torch.stack((prediction.presence_logits.float().sigmoid(), prediction.iou[:, 0].float()))
    presence, iou = scores.tolist()
    best: dict[int, int] = {}
    for row, (slot, _) in enumerate(rows):
        if slot not in best or presence[row] * iou[row] > presence[best[slot]] * iou[best[slot]]:
            best[slot] = row
    chosen = [best[slot] for slot in sorted(best)]
    return Found(
        prediction=prediction if len(chosen) == len(rows) else take_rows(prediction, torch.tensor(chosen)),
        phrases=tuple(rows[row][1] for row in chosen),
        presence=tuple(presence[row] for row in chosen),
        iou=tuple(iou[row] for row in chosen),
    )

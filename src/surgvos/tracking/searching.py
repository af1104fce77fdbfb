"""Objects that are looked for by their phrases: seen, confirmed, followed; and lost, and looked for again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surgvos.core.results import ObjectResult, Phase
from surgvos.errors import ConfigError
from surgvos.memory import MemoryEntry, MemoryPolicy, MemoryQuery
from surgvos.models.interface import ABSENT_LOGIT, ImageFeatures, ReferringModel
from surgvos.referring.referrer import Found, Referrer, Wanted, take_rows
from surgvos.referring.search import Candidate, Search
from surgvos.referring.start import CredibleStart, Immediate, Run, Sighting
from surgvos.tracking.answers import Answer
from surgvos.tracking.objects import TrackedObject
from surgvos.tracking.step import encode_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How objects are looked for by their phrases.

    Reference: Liu et al., ReSurgSAM2 (arXiv 2505.08581). Departs: the published system shows every mask that it
    comes across, never looks again, and leaves the frames before the start as they are; `published` does so too.

    Attributes:
        start: When something found is certain enough to be followed. None: `CredibleStart` with the thresholds of the
            model (`ReferringModel.credible`).
        show_unconfirmed: Answer with the mask that was come across also while it is not certain. Otherwise such a
            mask is empty: an object that is not in the video has no mask anywhere.
        fill_searched: Once the end of the video is reached, follow objects back over the frames that passed until
            they were found first. Needs a `VideoSource`.
        lost_after: Give an object up after so many frames in a row in which it was followed poorly, and look for its
            phrases again. Its memory is kept, and read in every frame, so that it is found by whichever sees it first:
            what the phrases find joins the memory as one more prompted frame, and `Recent.max_attended_prompted`
            bounds how many are read. None never does.
        lost_presence: Poorly: with a presence of at most this.
        lost_iou: Or with a predicted IoU below this.
        exclusive_iou: Of objects whose masks overlap by more than this (IoU), only one is found: one that is followed
            already, else the one that was credible for longer, else the one with the higher product of presence and
            predicted IoU. None lets them share.
    """

    start: CredibleStart | Immediate | None = None
    show_unconfirmed: bool = False
    fill_searched: bool = True
    lost_after: int | None = 25
    lost_presence: float = 0.5
    lost_iou: float = 0.0
    exclusive_iou: float | None = 0.5

    def __post_init__(self) -> None:
        if self.lost_after is not None and self.lost_after < 1:
            raise ConfigError(f"expected lost_after >= 1 or None, got {self.lost_after}")
        for name in ("lost_presence", "lost_iou", "exclusive_iou"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"expected {name} in 0..1, got {value}")

    def trusting(self, model: ReferringModel) -> SearchOptions:
        """The same, with the start that a model's answers call for where none is set."""
        if self.start is not None:
            return self
        min_presence, min_iou = model.credible
        return replace(self, start=CredibleStart(min_presence=min_presence, min_iou=min_iou))

    @classmethod
    def published(cls) -> SearchOptions:
        """As ReSurgSAM2 does."""
        return cls(
            start=CredibleStart(), show_unconfirmed=True, fill_searched=False, lost_after=None, exclusive_iou=None
        )


class Searcher:
    """Look for all objects that are looked for in a frame at once, and let go those that are certain.

    Args:
        model: The network.
        options: See `SearchOptions`.

    Attributes:
        options: The same, with a start.
    """

    def __init__(self, model: ReferringModel, options: SearchOptions) -> None:
        self.referrer = Referrer(model)
        self._model = model
        self.options = options.trusting(model)

    @property
    def _start(self) -> CredibleStart | Immediate:
        assert self.options.start is not None
        return self.options.start

    def peek(
        self, features: ImageFeatures, query: MemoryQuery, phrases: Mapping[int, tuple[str, ...]]
    ) -> dict[int, Answer]:
        """What phrases of objects would find in one frame by itself; nothing is noted."""
        if not phrases:
            return {}
        wanted = [Wanted(said, query.frame_index) for said in phrases.values()]
        previous = self.referrer.previous
        found = self.referrer.look(features, query, wanted)
        self.referrer.previous = previous
        return {
            object_id: Answer(found.prediction.logits[slot, 0], _result(found, slot, Phase.SEARCHING))
            for slot, object_id in enumerate(phrases)
        }

    def search(
        self,
        features: ImageFeatures,
        query: MemoryQuery,
        objects: Sequence[TrackedObject],
        policy: MemoryPolicy,
        taken: Sequence[Tensor],
    ) -> dict[int, Answer]:
        """Look for objects in the next frame.

        Args:
            features: Of the frame.
            query: The moment.
            objects: Those that are looked for; whoever is found is followed from the next frame on.
            policy: Admits what was found to the memory.
            taken: Mask logits ``(h, w)`` of the objects that are already answered.
        """
        if not objects:
            return {}
        searches = [_search_of(tracked) for tracked in objects]
        since = [search.reach(query.frame_index, query.direction) for search in searches]
        wanted = [Wanted(search.phrases, first) for search, first in zip(searches, since, strict=True)]
        found = self.referrer.look(features, query, wanted)
        owned = self._owned(found, [len(search.candidates) for search in searches], taken)
        self._extend(features, query, searches, found, owned)
        answers = {}
        for slot, tracked in enumerate(objects):
            phase = self._settle(tracked, policy, query)
            shown = owned[slot] and (self.options.show_unconfirmed or phase == Phase.TRACKING)
            logits = found.prediction.logits[slot, 0]
            answers[tracked.object_id] = Answer(
                logits if shown else torch.full_like(logits, ABSENT_LOGIT), _result(found, slot, phase)
            )
        return answers

    def note_followed(self, tracked: TrackedObject, entry: MemoryEntry) -> bool:
        """Take note of how an object was followed; True where it is given up, and looked for again.

        What was given up before and is followed well again need not be looked for any longer.
        """
        search, options = tracked.search, self.options
        if search is None or options.lost_after is None:
            return False
        is_poor = entry.presence <= options.lost_presence or entry.iou < options.lost_iou
        if search.is_on:
            if not is_poor:
                search.stop()
            return False
        search.num_poor = search.num_poor + 1 if is_poor else 0
        if search.num_poor < options.lost_after:
            return False
        search.begin()
        return True

    def _owned(self, found: Found, num_credible: Sequence[int], taken: Sequence[Tensor]) -> list[bool]:
        """Whether each found mask is its own, or belongs to another object.

        Who was credible for longer goes first: if scores alone decided, two objects could keep each other from ever
        filling a window.
        """
        limit = self.options.exclusive_iou
        if limit is None or len(found.phrases) + len(taken) < 2:
            return [True] * len(found.phrases)
        masks = torch.cat((found.prediction.logits[:, 0], *(logits.unsqueeze(0) for logits in taken))) > 0
        overlap = mask_ious(masks).tolist()
        scores = [presence * iou for presence, iou in zip(found.presence, found.iou, strict=True)]
        owners = list(range(len(scores), len(masks)))
        owned = [False] * len(scores)
        for slot in sorted(range(len(scores)), key=lambda slot: (-num_credible[slot], -scores[slot])):
            if all(overlap[slot][owner] <= limit for owner in owners):
                owned[slot] = True
                owners.append(slot)
        return owned

    def _extend(
        self,
        features: ImageFeatures,
        query: MemoryQuery,
        searches: Sequence[Search],
        found: Found,
        owned: Sequence[bool],
    ) -> None:
        """Let each search go on with what was found, and encode what is credible."""
        runs: list[Run] = []
        for slot, search in enumerate(searches):
            logits = found.prediction.logits[slot, 0]
            sighting = Sighting(query.frame_index, found.presence[slot], found.iou[slot], _overlap(search, logits))
            runs.append(self._start.extend(search.run, sighting) if owned[slot] else ())
        credible = [slot for slot, run in enumerate(runs) if run]
        entries: dict[int, MemoryEntry] = {}
        if credible:
            prediction = take_rows(found.prediction, torch.tensor(credible))
            encoded = encode_entries(self._model, features, prediction, query.frame_index, prompted=True)
            entries = dict(zip(credible, encoded, strict=True))
        for slot, (search, run) in enumerate(zip(searches, runs, strict=True)):
            newest = Candidate(run[-1], entries[slot], found.phrases[slot]) if run else None
            search.keep(run, newest)

    def _settle(self, tracked: TrackedObject, policy: MemoryPolicy, query: MemoryQuery) -> Phase:
        """Let an object that is certain be followed from its anchors."""
        search = _search_of(tracked)
        anchors = search.anchors(self._start)
        if not anchors:
            return Phase.CONFIRMING if search.candidates else Phase.SEARCHING
        for anchor in anchors:
            policy.admit(tracked.bank, anchor.entry, query)
        best = max(anchors, key=lambda anchor: anchor.sighting.iou)
        search.phrase = best.phrase
        search.end(query.frame_index, best.sighting.frame_index)
        return Phase.TRACKING


def mask_ious(masks: Tensor) -> Tensor:
    """IoU of every pair of bool masks ``(B, h, w)`` -> float32 ``(B, B)``; 0 for a pair of empty ones."""
    flat = masks.flatten(1).float()
    shared = flat @ flat.T
    areas = flat.sum(dim=1)
    return shared / (areas[:, None] + areas[None, :] - shared).clamp(min=1)


def _overlap(search: Search, logits: Tensor) -> float:
    """IoU of a mask with the one of the newest candidate; 1 where there is none."""
    before = search.candidates[-1].entry.logits if search.candidates else None
    return 1.0 if before is None else float(mask_ious(torch.stack((before, logits)) > 0)[0, 1])


def _search_of(tracked: TrackedObject) -> Search:
    if tracked.search is None:
        raise AssertionError("only an object with phrases is looked for")
    return tracked.search


def _result(found: Found, slot: int, phase: Phase) -> ObjectResult:
    return ObjectResult(phase, found.presence[slot], found.iou[slot], prompted=False)

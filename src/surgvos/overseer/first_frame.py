"""Prompt once and let the tracker be: what SASVi is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from surgvos.core.prompts import MaskPrompt
from surgvos.core.results import FrameResult
from surgvos.overseer.corrections import Correction, Restart
from surgvos.overseer.detection import Detection


@dataclass(frozen=True, slots=True)
class FirstFrameState:
    """Nothing but that the first frame is over."""


@dataclass(frozen=True, kw_only=True)
class FirstFrame:
    """Prompt all classes that are seen in the first frame by their masks, and begin anew on every annotated frame.

    Reference: the baselines V1 (no annotated frames) and V2 of the program published with SASVi (arXiv 2502.09653).
    """

    state_class: ClassVar[type[FirstFrameState]] = FirstFrameState
    look_ahead: ClassVar[int] = 1

    def review(
        self, result: FrameResult, window: Sequence[Detection], state: FirstFrameState | None
    ) -> tuple[tuple[Correction, ...], FirstFrameState]:
        now = window[0]
        if state is not None and not now.annotated:
            return (), state
        return (Restart({i: MaskPrompt(now.mask(i)) for i in now.seen.ids}),), FirstFrameState()

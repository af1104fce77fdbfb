"""What rules may change about a tracker, and what rules are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from surgvos.core.prompts import MaskPrompt, PointPrompt
from surgvos.core.results import FrameResult
from surgvos.overseer.detection import Detection


@dataclass(frozen=True, slots=True, eq=False)
class Add:
    """Follow a class from this frame on."""

    class_id: int
    prompt: MaskPrompt | PointPrompt


@dataclass(frozen=True, slots=True, eq=False)
class Drop:
    """Follow a class no longer, from this frame on."""

    class_id: int


@dataclass(frozen=True, slots=True, eq=False)
class Reprompt:
    """Show a class that is followed anew: what was remembered of it is forgotten."""

    class_id: int
    prompt: MaskPrompt | PointPrompt


@dataclass(frozen=True, slots=True, eq=False)
class Restart:
    """Forget everything, and follow these classes from this frame on; without prompts, none."""

    prompts: Mapping[int, MaskPrompt | PointPrompt]


Correction: TypeAlias = Add | Drop | Reprompt | Restart

State = TypeVar("State")


class Overseer(Protocol[State]):
    """Pure rules: what is seen and what is followed in, corrections out. No networks, no frames.

    Attributes:
        look_ahead: Frames that `review` wants to see detections of, the current one included; 1 or more.
        state_class: Dataclass of what the rules remember from frame to frame.
    """

    @property
    def look_ahead(self) -> int: ...

    @property
    def state_class(self) -> type[State]: ...

    def review(
        self, result: FrameResult, window: Sequence[Detection], state: State | None
    ) -> tuple[tuple[Correction, ...], State]:
        """Judge the tracker's answer for one frame.

        Args:
            result: The answer for this frame, its masks by class id.
            window: Detections of this frame and of those that follow; shorter than `look_ahead` only where the
                video ends.
            state: What the last review gave; None in the first frame.

        Returns:
            Corrections that take effect in this frame, and the state for the next.
        """
        ...


AnyOverseer: TypeAlias = Overseer[Any]

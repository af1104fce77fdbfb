"""What became of a video."""

from __future__ import annotations

from dataclasses import dataclass

from surgvos.tracking.run import RunSummary


@dataclass(frozen=True, slots=True)
class Segmented:
    """What became of a video.

    Attributes:
        summary: How the run went.
        num_objects: Objects that were prompted; None where an overseer said what is there.
    """

    summary: RunSummary
    num_objects: int | None

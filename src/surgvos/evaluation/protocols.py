"""Published rules of scoring: which objects, which frames, and what an absent object counts."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum

from surgvos.errors import ConfigError
from surgvos.evaluation.metrics import AbsentRule, FrameRule, RegionMetric


class Scope(StrEnum):
    """Whose objects and frames are scored.

    ``TRUTH``: those of the ground truth; what is not predicted counts as predicted empty. ``PREDICTIONS``:
    those of the predictions that the ground truth has too; what is not predicted is left out of the mean.
    """

    TRUTH = "truth"
    PREDICTIONS = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Rules of scoring a folder of predictions."""

    name: str
    scope: Scope
    frames: FrameRule
    absent: AbsentRule

    def metric(self) -> RegionMetric:
        """Make an empty metric of these rules."""
        return RegionMetric(frames=self.frames, absent=self.absent)


# Reference: Pont-Tuset et al., The 2017 DAVIS Challenge, semi-supervised track. Departs: objects that appear
# after the first frame are scored too.
DAVIS = Protocol(name="davis", scope=Scope.TRUTH, frames=FrameRule.TRACKED, absent=AbsentRule.PERFECT)
# Reference: the evaluations published with Surgical-SAM-2 and with ReSurgSAM2.
SURGSAM2 = Protocol(name="surgsam2", scope=Scope.PREDICTIONS, frames=FrameRule.INNER, absent=AbsentRule.SKIP_UNTIL_SEEN)
RESURGSAM2 = Protocol(
    name="resurgsam2", scope=Scope.PREDICTIONS, frames=FrameRule.ALL, absent=AbsentRule.SKIP_UNTIL_SEEN
)
PROTOCOLS = {protocol.name: protocol for protocol in (DAVIS, SURGSAM2, RESURGSAM2)}


def protocol_by_name(name: str) -> Protocol:
    """Look up a protocol.

    Raises:
        ConfigError: There is no such protocol.
    """
    if name not in PROTOCOLS:
        nearest = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0.0)[0]
        raise ConfigError(f"expected a protocol of {', '.join(PROTOCOLS)}, got {name!r}; try {nearest!r}")
    return PROTOCOLS[name]

"""Published rules of scoring objects, each departure from the plain definition in a field of its own."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from surgvos.errors import ConfigError
from surgvos.evaluation.metrics import AbsentRule, FrameRule, RegionMetric

AnyProtocol = TypeVar("AnyProtocol")


class Counted(StrEnum):
    """Whether something counts: ``SCORED`` by the masks that are there, or as empty; ``LEFT_OUT`` of every mean."""

    SCORED = "scored"
    LEFT_OUT = "left_out"


class Overlap(StrEnum):
    """What is scored where predicted objects overlap.

    ``KEPT``: every object as it is. ``LOWEST_ID``: a pixel belongs to the lowest id, unless the truth consists of
    one file per object, too, and so may overlap itself.
    """

    KEPT = "kept"
    LOWEST_ID = "lowest_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Rules of scoring a folder of predictions; the defaults are the plain definition.

    Attributes:
        name: Under which reports and the command line know it.
        frames: Which frames of an object are scored.
        absent: What a frame counts in which an object is neither in the truth nor in the prediction.
        missing_objects: Objects of the truth for which there is no file.
        missing_frames: Frames without a file, of an object that has files.
        truthless_objects: Objects that the truth shows in none of the scored frames. The published evaluators
            stop at one; here it is left out, with a warning.
        overlap: What is scored where predicted objects overlap.
    """

    name: str
    frames: FrameRule = FrameRule.ALL
    absent: AbsentRule = AbsentRule.PERFECT
    missing_objects: Counted = Counted.SCORED
    missing_frames: Counted = Counted.SCORED
    truthless_objects: Counted = Counted.SCORED
    overlap: Overlap = Overlap.LOWEST_ID

    def metric(self) -> RegionMetric:
        """Make an empty metric of these rules."""
        return RegionMetric(frames=self.frames, absent=self.absent)

    @property
    def quirks(self) -> dict[str, str]:
        """Field -> value, of each rule that differs from the plain definition.

        Example:
            >>> DAVIS.quirks
            {'frames': 'tracked'}
        """
        return departures(self, PLAIN)

    def with_plain(self, rules: Collection[str]) -> Protocol:
        """Take these rules as the plain definition has them.

        Args:
            rules: Names of fields; ``all`` stands for every one.

        Raises:
            ConfigError: There is no such rule.

        Example:
            >>> SURGSAM2.with_plain(["missing_objects"]).missing_objects.value
            'scored'
        """
        return with_plain_rules(self, PLAIN, rules)


PLAIN = Protocol(name="plain")
# Reference: Pont-Tuset et al., The 2017 DAVIS Challenge, semi-supervised track. Departs: objects that appear
# after the first frame are scored too.
DAVIS = Protocol(name="davis", frames=FrameRule.TRACKED)
# Reference: the evaluations published with Surgical-SAM-2 and with ReSurgSAM2.
RESURGSAM2 = Protocol(
    name="resurgsam2",
    absent=AbsentRule.SKIP_UNTIL_SEEN,
    missing_objects=Counted.LEFT_OUT,
    missing_frames=Counted.LEFT_OUT,
    truthless_objects=Counted.LEFT_OUT,
    overlap=Overlap.KEPT,
)
SURGSAM2 = replace(RESURGSAM2, name="surgsam2", frames=FrameRule.INNER)
PROTOCOLS = {protocol.name: protocol for protocol in (DAVIS, PLAIN, SURGSAM2, RESURGSAM2)}


def protocol_by_name(name: str) -> Protocol:
    """Look up a protocol.

    Raises:
        ConfigError: There is no such protocol.
    """
    if name not in PROTOCOLS:
        nearest = difflib.get_close_matches(name, PROTOCOLS, n=1, cutoff=0.0)[0]
        raise ConfigError(f"expected a protocol of {', '.join(PROTOCOLS)}, got {name!r}; try {nearest!r}")
    return PROTOCOLS[name]


def rules_of(protocol: Any) -> tuple[str, ...]:
    """Names of the rules that protocols of this kind differ in."""
    return tuple(field.name for field in fields(protocol) if field.name != "name")


def departures(protocol: Any, plain: Any) -> dict[str, str]:
    """Rule -> value, of each rule in which a protocol differs from the plain definition."""
    values = {rule: getattr(protocol, rule) for rule in rules_of(protocol)}
    return {rule: str(value) for rule, value in values.items() if value != getattr(plain, rule)}


def with_plain_rules(protocol: AnyProtocol, plain: AnyProtocol, rules: Collection[str]) -> AnyProtocol:
    """Take some rules, or all, from the plain definition.

    Raises:
        ConfigError: There is no such rule.
    """
    known = rules_of(protocol)
    if unknown := set(rules) - {*known, "all"}:
        name = min(unknown)
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ConfigError(f"expected rules of {', '.join(known)}, or all, got {name!r}; try {nearest!r}")
    return replace(protocol, **{rule: getattr(plain, rule) for rule in (known if "all" in rules else rules)})  # type: ignore[type-var]

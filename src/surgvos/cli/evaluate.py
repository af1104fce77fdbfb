"""``surgvos evaluate``: score predicted masks against the truth, or by how steady they are."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgvos.cli.class_arguments import parse_classes, parse_folds
from surgvos.cli.option_groups import with_option_groups
from surgvos.cli.progress import progress_bar
from surgvos.cli.score_files import Publication, show_warnings
from surgvos.errors import ConfigError, InputError
from surgvos.evaluation import PROTOCOLS, Bootstrap, Report, Unit, evaluate_folders
from surgvos.evaluation.object_classes import read_object_classes
from surgvos.evaluation.protocols import PLAIN, Protocol, rules_of

if TYPE_CHECKING:
    from surgvos.evaluation.referring_report import ReferringReport

CLASS_PROTOCOLS = ("endovis", "semantic")
TEMPORAL_PROTOCOLS = ("temporal", "sasvi")
_ALL = (*PROTOCOLS, *CLASS_PROTOCOLS, *TEMPORAL_PROTOCOLS)
_NUM_ENDOVIS_CLASSES = 7
_OPTIONS = {
    "objects": {"plain", "object_classes", "threshold", "objects", "ignore", "referring", "groups"},
    "classes": {"classes", "object_classes", "true_object_classes", "ignore", "folds", "absent"},
    "temporal": {"plain", "classes", "object_classes", "frames", "flow", "flow_weights"},
}
"""Kind of protocol -> the options of `ScoringOptions` that mean something to it; the others are refused."""


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """What is scored, and how, beyond the protocol."""

    plain: Annotated[
        str | None,
        typer.Option(help=f"Rules to take as the plain definition has them: all, or such as {rules_of(PLAIN)[2]}"),
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(help="How many, a label space such as endovis18-types, or a YAML file of your own [endovis: 7]"),
    ] = None
    object_classes: Annotated[
        Path | None,
        typer.Option(help='JSON, {"1": "grasper"} or {"VIDEO": {"1": "grasper"}}: the class of predicted objects'),
    ] = None
    true_object_classes: Annotated[
        Path | None, typer.Option(help="The same for a ground truth of objects, where classes are scored")
    ] = None
    folds: Annotated[
        str | None, typer.Option(help='Also the mean over folds: a data set, or JSON such as {"0": ["seq_1"]}')
    ] = None
    absent: Annotated[
        str | None, typer.Option(help="Of semantic: a class in neither map of a frame is left out [skip], or perfect")
    ] = None
    frames: Annotated[Path | None, typer.Option(help="The videos, for scores that follow the motion")] = None
    flow: Annotated[str | None, typer.Option(help="How motion is found: dis, or raft")] = None
    flow_weights: Annotated[Path | None, typer.Option(help="State dict of torchvision's raft_small")] = None
    threshold: Annotated[
        int | None,
        typer.Option(min=0, max=254, help="Grey above it is object 1 of the ground truth [video file: 127]"),
    ] = None
    objects: Annotated[str | None, typer.Option(help="Score only these object ids, such as 1,3")] = None
    ignore: Annotated[
        int | None, typer.Option(min=1, help="Ground truth pixels with this id are not scored, such as 255")
    ] = None
    referring: Annotated[
        bool, typer.Option("--referring", help="Also how objects were found by phrases, from each run's frames.jsonl")
    ] = False
    groups: Annotated[
        str | None, typer.Option(help="With --referring: means by groups of object ids, those of ref-endovis18")
    ] = None

    def given_for(self, protocol: str) -> dict[str, Any]:
        """What was asked for, all of which must mean something to the protocol.

        Raises:
            InputError: Something does not.
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value is not None and value is not False}
        if unknown := sorted(given.keys() - _OPTIONS[_kind_of(protocol)]):
            raise InputError(f"expected no --{unknown[0].replace('_', '-')} with protocol {protocol}; try without it")
        return given


@dataclass(frozen=True, slots=True)
class IntervalOptions:
    """How sure means are."""

    bootstrap: Annotated[
        int | None, typer.Option(min=1, help="Give means 95 % intervals from this many draws, such as 1000")
    ] = None
    unit: Annotated[
        Unit | None, typer.Option(help="What is drawn for intervals [objects; for other protocols videos]")
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="Of the draws")] = 0

    def settings(self, protocol: str) -> Bootstrap | None:
        """How intervals are drawn; None where none are asked for."""
        if self.bootstrap is None:
            return None
        usual = Unit.OBJECTS if _kind_of(protocol) == "objects" else Unit.VIDEOS
        return Bootstrap(num_samples=self.bootstrap, unit=self.unit or usual, seed=self.seed)


@with_option_groups
def evaluate(
    *,
    predictions: Annotated[
        Path,
        typer.Argument(
            help="<video>/<frame>.png or <video>/<object, as 001>/<frame>.png; or one video's folder, or what "
            "surgvos segment wrote"
        ),
    ],
    ground_truth: Annotated[
        Path | None, typer.Argument(help="The same, or a video file of grey masks; none for temporal protocols")
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help=f"Rules of scoring: objects by {', '.join(PROTOCOLS)}; classes by {', '.join(CLASS_PROTOCOLS)}; "
            f"steadiness by {', '.join(TEMPORAL_PROTOCOLS)}"
        ),
    ] = "davis",
    scoring: ScoringOptions,
    certainty: IntervalOptions,
    files: Publication,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads [one per processor]")] = None,
) -> None:
    """Score predicted masks: objects by J, F, J&F and Dice, classes by IoU and Dice, or labels by how steady they are.

    surgvos evaluate out truth

    surgvos evaluate out truth --protocol endovis --classes endovis18-types --bootstrap 1000

    surgvos evaluate out --protocol temporal --frames videos --flow dis
    """
    kind = _kind_of(protocol)
    options = scoring.given_for(protocol)
    if (ground_truth is None) != (kind == "temporal"):
        raise InputError(
            f"expected a ground truth for protocol {protocol}, got none; try its folder after the predictions"
            if ground_truth is None
            else f"expected no ground truth for protocol {protocol}, got {str(ground_truth)!r}; try without it"
        )
    settings = certainty.settings(protocol)
    scorers: dict[str, Callable[..., Any]] = {
        "objects": _score_objects,
        "classes": _score_classes,
        "temporal": _score_temporal,
    }
    with progress_bar("frames") as progress:
        common = {"num_workers": workers, "progress": progress}
        report = scorers[kind](predictions, ground_truth, protocol, options, common)
    if settings is not None:
        report = report.with_intervals(settings)
    show_warnings(report.warnings)
    files.publish(report)


def _kind_of(protocol: str) -> str:
    if protocol not in _ALL:
        nearest = difflib.get_close_matches(protocol, _ALL, n=1, cutoff=0.0)[0]
        raise ConfigError(f"expected a protocol of {', '.join(_ALL)}, got {protocol!r}; try {nearest!r}")
    if protocol in CLASS_PROTOCOLS:
        return "classes"
    return "temporal" if protocol in TEMPORAL_PROTOCOLS else "objects"


def _score_objects(
    predictions: Path, ground_truth: Path, protocol: str, options: dict[str, Any], common: dict[str, Any]
) -> Report | ReferringReport:
    rules: Protocol = PROTOCOLS[protocol].with_plain(_parts(options.pop("plain", None)))
    if "objects" in options:
        options["objects"] = _parse_object_ids(options["objects"])
    if options.pop("referring", False):
        return _score_referring(predictions, ground_truth, rules, options, common)
    if "groups" in options:
        raise InputError("expected --groups with --referring, got it alone; try --object-classes for means by class")
    if "object_classes" in options:
        options["object_classes"] = read_object_classes(options["object_classes"])
    return evaluate_folders(predictions, ground_truth, rules, **options, **common)


def _score_referring(
    predictions: Path, ground_truth: Path, rules: Protocol, options: dict[str, Any], common: dict[str, Any]
) -> ReferringReport:
    from surgvos.evaluation.referring_report import evaluate_referring, groups_of

    if "object_classes" in options:
        raise InputError("expected no --object-classes with --referring; try --groups, or without --referring")
    if "groups" in options:
        options["groups"] = groups_of(options["groups"])
    return evaluate_referring(predictions, ground_truth, rules, **options, **common)


def _score_classes(
    predictions: Path, ground_truth: Path, protocol: str, options: dict[str, Any], common: dict[str, Any]
) -> Any:
    from surgvos.evaluation.class_counts import numbered_classes
    from surgvos.evaluation.class_protocols import ENDOVIS, AbsentClass, semantic_protocol
    from surgvos.evaluation.class_report import evaluate_classes

    is_endovis = protocol == ENDOVIS.name
    if is_endovis and "absent" in options:
        raise InputError("expected no --absent with protocol endovis, whose rule is fixed; try without it")
    if not is_endovis and "classes" not in options:
        raise InputError("expected --classes for protocol semantic, got none; try --classes 7, or a file")
    absent = options.pop("absent", AbsentClass.SKIP.value)
    if absent not in set(AbsentClass):
        raise InputError(f"expected skip or perfect for --absent, got {absent!r}")
    rules = ENDOVIS if is_endovis else semantic_protocol(AbsentClass(absent))
    ignore = options.pop("ignore", None)
    spoken = options.pop("classes", None)
    space = numbered_classes(_NUM_ENDOVIS_CLASSES, ignore=ignore) if spoken is None else parse_classes(spoken, ignore)
    for name in ("object_classes", "true_object_classes"):
        if name in options:
            options[name] = read_object_classes(options[name])
    if "folds" in options:
        options["folds"] = parse_folds(options["folds"])
    return evaluate_classes(predictions, ground_truth, rules, space, **options, **common)


def _score_temporal(
    predictions: Path, ground_truth: None, protocol: str, options: dict[str, Any], common: dict[str, Any]
) -> Any:
    from surgvos.evaluation.flow import dis_flow, load_raft
    from surgvos.evaluation.temporal import TEMPORAL_PROTOCOLS as RULES
    from surgvos.evaluation.temporal_report import evaluate_temporal

    rules = RULES[protocol].with_plain(_parts(options.pop("plain", None)))
    name, weights = options.pop("flow", None), options.pop("flow_weights", None)
    if name not in (None, "dis", "raft"):
        raise InputError(f"expected a flow of dis, raft, got {name!r}")
    if (weights is None) != (name != "raft"):
        raise InputError("expected --flow raft and --flow-weights together, got one of them; try --flow dis")
    if "object_classes" in options:
        if "classes" not in options:
            raise InputError("expected --classes with --object-classes, got none; try --classes 7")
        options["object_classes"] = read_object_classes(options["object_classes"])
    if "classes" in options:
        options["classes"] = parse_classes(options["classes"])
    if name is not None:
        options["flow"] = dis_flow if name == "dis" else load_raft(weights)
    return evaluate_temporal(predictions, rules, **options, **common)


def _parts(text: str | None) -> list[str]:
    return [] if text is None else text.split(",")


def _parse_object_ids(text: str) -> set[int]:
    try:
        return {int(part) for part in text.split(",")}
    except ValueError as error:
        raise InputError(f"expected object ids separated by commas, such as 1,3, got {text!r}") from error

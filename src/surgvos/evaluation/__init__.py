"""Score predictions: pure functions, accumulators, published protocols and reports on folders of masks."""

from surgvos.evaluation.functional import boundary_f_measure, dice, jaccard
from surgvos.evaluation.metrics import AbsentRule, FrameRule, RegionMetric
from surgvos.evaluation.protocols import PROTOCOLS, Protocol, Scope
from surgvos.evaluation.report import evaluate_folders
from surgvos.evaluation.scores import ObjectReport, RegionScore, Report

__all__ = [
    "PROTOCOLS",
    "AbsentRule",
    "FrameRule",
    "ObjectReport",
    "Protocol",
    "RegionMetric",
    "RegionScore",
    "Report",
    "Scope",
    "boundary_f_measure",
    "dice",
    "evaluate_folders",
    "jaccard",
]

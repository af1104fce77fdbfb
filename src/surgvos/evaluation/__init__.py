"""Score predictions: pure functions, accumulators, published protocols and reports on folders of masks."""

from surgvos.evaluation.bootstrap import Bootstrap, Unit
from surgvos.evaluation.functional import boundary_f_measure, dice, jaccard
from surgvos.evaluation.metrics import AbsentRule, FrameRule, RegionMetric
from surgvos.evaluation.object_report import Report
from surgvos.evaluation.protocols import PROTOCOLS, Counted, Overlap, Protocol
from surgvos.evaluation.report import evaluate_folders
from surgvos.evaluation.scores import ObjectReport, RegionScore

__all__ = [
    "PROTOCOLS",
    "AbsentRule",
    "Bootstrap",
    "Counted",
    "FrameRule",
    "ObjectReport",
    "Overlap",
    "Protocol",
    "RegionMetric",
    "RegionScore",
    "Report",
    "Unit",
    "boundary_f_measure",
    "dice",
    "evaluate_folders",
    "jaccard",
]

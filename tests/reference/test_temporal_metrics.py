"""Temporal consistency as SASVi's evaluation gives it, from the recording `metrics/published_temporal.json`."""

import json
import os
from pathlib import Path

import pytest

from surgvos.evaluation.temporal import SASVI
from surgvos.evaluation.temporal_report import evaluate_temporal

REFERENCE = Path(os.environ.get("SURGVOS_REFERENCE", Path(__file__).parent / "data")) / "metrics"
RECORDED = REFERENCE / "published_temporal.json"
PERCENT = {"IoU": 100, "contour distance": 1}


@pytest.mark.skipif(not RECORDED.is_file(), reason=f"no recording {RECORDED}")
def test_temporal_consistency_is_that_published():
    recorded = json.loads(RECORDED.read_text())
    found = evaluate_temporal(REFERENCE / "gt", SASVI, num_workers=1).to_json()
    for ours, theirs in (("IoU", "iou"), ("contour distance", "contour_distance")):
        per_label = {label: round(value / PERCENT[ours], 4) for label, value in found["labels"][ours].items()}
        assert per_label == recorded[theirs]
        assert round(found["mean"][ours] / PERCENT[ours], 4) == recorded[f"macro_{theirs}"]


@pytest.mark.skipif(not RECORDED.is_file(), reason=f"no recording {RECORDED}")
@pytest.mark.parametrize("rule", ["image_hw", "background", "contour_starts"])
def test_each_rule_is_needed_to_equal_what_was_published(rule):
    recorded = json.loads(RECORDED.read_text())
    found = evaluate_temporal(REFERENCE / "gt", SASVI.with_plain([rule]), num_workers=1).to_json()["mean"]
    assert round(found["contour distance"], 4) != recorded["macro_contour_distance"]

"""J, F and Dice of the published evaluations, from the recording `metrics/published_scores.json`."""

import json
import os
from pathlib import Path

import pytest

from surgvos.evaluation import RegionScore, evaluate_folders

REFERENCE = Path(os.environ.get("SURGVOS_REFERENCE", Path(__file__).parent / "data")) / "metrics"
SCORES = json.loads((REFERENCE / "published_scores.json").read_text()) if REFERENCE.is_dir() else {}
# Recording -> protocol, object ids.
SETTINGS = {
    "ref": ("resurgsam2", None),
    "vos": ("surgsam2", None),
    "ref_tools_1_3": ("resurgsam2", (1, 3)),
}


@pytest.mark.parametrize("name", SETTINGS, ids=[f"published_scores_{name}" for name in SETTINGS])
def test_scores_are_those_published(name):
    if name not in SCORES:
        pytest.skip(f"no recording {name} in {REFERENCE}")
    protocol, objects = SETTINGS[name]
    report = evaluate_folders(REFERENCE / "pred", REFERENCE / "gt", protocol, objects=objects, num_workers=1)
    expected = SCORES[name]

    def triple(score: RegionScore):
        return {"J": score.jaccard, "F": score.boundary_f, "Dice": score.dice}

    assert {video: sorted(map(str, found)) for video, found in report.objects.items()} == {
        video: sorted(found) for video, found in expected["objects"].items()
    }
    for video, found in report.objects.items():
        for object_id, entry in found.items():
            assert triple(entry.score) == pytest.approx(expected["objects"][video][str(object_id)], rel=0, abs=1e-10), (
                video,
                object_id,
            )
    assert triple(report.mean) == pytest.approx({k: expected[k] for k in ("J", "F", "Dice")}, rel=0, abs=1e-10)

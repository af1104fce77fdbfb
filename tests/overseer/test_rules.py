"""What every set of rules promises."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from overseer.scenarios import LAST_FRAME_ONLY, SCENARIOS, Scenario, detections_of, result_of, run_rules
from surgvos.config.load import from_plain
from surgvos.errors import ConfigError
from surgvos.overseer.rules import RULES, rules_by_name


@pytest.mark.parametrize("scenario", [*SCENARIOS, LAST_FRAME_ONLY], ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("name", RULES)
def test_rules_are_functions_of_what_they_are_given(name: str, scenario: Scenario) -> None:
    """The same twice, also by way of JSON, and nothing but classes that were seen is ever followed."""
    rules, detections = rules_by_name(name), detections_of(scenario)
    trace = run_rules(rules, detections)
    assert trace == run_rules(rules, detections)
    seen = {i for detection in detections for i in detection.seen.ids}
    assert {i for classes in trace.answered for i in classes} <= seen
    state = None
    for index in range(len(detections)):
        window = detections[index : index + rules.look_ahead]
        _, state = rules.review(result_of(index, {}), window, state)
        assert from_plain(rules.state_class, json.loads(json.dumps(asdict(state)))) == state


def test_names_that_are_near_are_offered() -> None:
    with pytest.raises(
        ConfigError, match=r"expected rules, one of sasvi, .*, got 'sasvi-publised'; try 'sasvi-published'"
    ):
        rules_by_name("sasvi-publised")

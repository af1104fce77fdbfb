"""What is counted over hours, in a fixed amount of memory."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgvos.live import mailbox, percentiles, rate
from surgvos.live.mailbox import Mailbox
from surgvos.live.percentiles import Percentiles
from surgvos.live.rate import Rate


@pytest.mark.parametrize("module", [mailbox, percentiles, rate])
def test_examples_are_true(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted
    assert not found.failed


@given(st.lists(st.floats(1e-3, 100.0), min_size=1, max_size=60), st.integers(1, 100))
def test_percentiles_are_those_of_all_durations(durations_s: list[float], percent: int) -> None:
    counted = Percentiles()
    for duration_s in durations_s:
        counted.add(duration_s)
    exact = np.percentile(durations_s, percent, method="inverted_cdf")
    assert counted.at(percent) == pytest.approx(exact, rel=0.02)
    assert counted.max_s == max(durations_s)
    assert counted.sum_s == pytest.approx(sum(durations_s))


def test_percentiles_take_any_duration() -> None:
    counted = Percentiles()
    assert counted.at(50) is None
    counted.add(0.0)
    counted.add(1e9)
    assert counted.at(1) == pytest.approx(1e-4)
    assert counted.at(100) == pytest.approx(1e3, rel=0.03)


def test_a_steady_rate_is_steady() -> None:
    rate = Rate()
    for number in range(251):
        rate.add(100 + number / 25)
    assert rate.lowest_hz in (24, 25)  # a second is as long as 25 gaps, but for rounding
    assert rate.mean_hz == pytest.approx(25)
    assert rate.gaps.max_s == pytest.approx(0.04)


@given(st.lists(st.floats(0.001, 0.6), min_size=2, max_size=60))
def test_the_lowest_rate_is_that_of_any_second(gaps_s: list[float]) -> None:
    moments = np.cumsum(gaps_s)
    rate = Rate()
    for now_s in moments:
        rate.add(float(now_s))
    seconds = [first for first in moments if moments[-1] - first > 1]
    fewest = min((sum(0 < now_s - first <= 1 for now_s in moments) for first in seconds), default=None)
    assert rate.lowest_hz == fewest


def test_a_gap_is_seen_and_an_interruption_is_none() -> None:
    gap, interruption = Rate(), Rate()
    for number in range(200):
        gap.add(number / 25 + (3 if number > 100 else 0))
        if number == 101:
            interruption.interrupt()
        interruption.add(number / 25 + (3 if number > 100 else 0))
    assert gap.lowest_hz == 0
    assert interruption.lowest_hz in (24, 25)
    assert gap.gaps.max_s == pytest.approx(3.04)
    assert interruption.gaps.max_s == pytest.approx(0.04)
    assert interruption.mean_hz == pytest.approx(25)
    assert interruption.num == 200


def test_a_mailbox_waits_for_what_comes() -> None:
    box: Mailbox[int] = Mailbox()
    assert box.take(0.01) is None
    assert box.put(0)
    assert box.take() == 0

"""How objects were found: read off the logs of real runs, and held to plain loops over whatever may happen."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from surgvos.cli.evaluate import evaluate
from surgvos.core.results import ObjectResult, Phase
from surgvos.errors import ConfigError, InputError
from surgvos.evaluation.bootstrap import Bootstrap, Unit
from surgvos.evaluation.referring import (
    Finding,
    FindingRules,
    FindingScore,
    Moment,
    Start,
    find_returns,
    find_start,
    judge,
)
from surgvos.evaluation.referring_report import evaluate_referring, groups_of
from surgvos.io.masks import read_label_map, write_label_map
from surgvos.tracking.run import RunSettings, segment_video
from surgvos.tracking.searching import SearchOptions
from tracking.fake_model import PhraseModel
from tracking.test_searching import COLORS, GREEN, RED, THE_BLUE, THE_GREEN, THE_RED, Movie, searching

NUM_FRAMES = 24
GREEN_SHOWS = (range(3, 12), range(15, 20))
PHRASES = (THE_RED, THE_GREEN, THE_BLUE)

S, C, T, A, L = Phase.SEARCHING, Phase.CONFIRMING, Phase.TRACKING, Phase.ABSENT, Phase.LOST


def write_case(root: Path, options: SearchOptions | None = None) -> tuple[Path, Path]:
    """A run that looks for a red square, a green bar, and something blue that is not there; and the truth."""
    movie = Movie(NUM_FRAMES, GREEN_SHOWS)
    model = PhraseModel(COLORS)
    model.scores[THE_RED, 2] = (0.99, 0.95)  # the anchor is not the frame in which it is found
    session = searching(model, *PHRASES, options=options)
    segment_video(session, movie, root / "out/case", RunSettings(per_object=True), {})
    for frame in movie:
        label_map = np.zeros(frame.image.shape[:2], np.uint8)
        for object_id, color in ((1, RED), (2, GREEN)):
            label_map[(frame.image == color).all(axis=2)] = object_id
        write_label_map(root / "truth/case" / f"{frame.name}.png", label_map)
    return root / "out", root / "truth"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_case(tmp_path_factory.mktemp("referring"))


def test_a_run_tells_from_where_and_how_soon_objects_were_found(case: tuple[Path, Path]) -> None:
    report = evaluate_referring(*case, num_workers=1)
    red, green, blue = report.findings["case"].values()
    assert (red.is_shown, red.is_found, red.delay, red.num_returns, red.num_absent) == (True, True, 4, 0, 0)
    assert red.anchor_iou == 1
    assert (green.delay, green.num_returns, green.num_found_again) == (4, 1, 1)
    assert (green.num_absent, green.num_false) == (NUM_FRAMES - 14, 0)
    assert blue == Finding(False, False, None, None, 0, 0, NUM_FRAMES, 0)
    score = report.score()
    assert (score.found, score.anchor_accuracy, score.delay, score.found_again) == (100, 100, 4, 100)
    assert (score.false_presence, score.false_finds) == (0, 0)


def test_a_mask_where_nothing_is_counts_against_the_run(case: tuple[Path, Path], tmp_path: Path) -> None:
    """The truth is what changes: object 1 is not there in six frames, and object 2 is somewhere else altogether."""
    predictions, truth = case
    for index, path in enumerate(sorted((truth / "case").iterdir())):
        label_map = read_label_map(path)
        if 6 <= index < 12:
            label_map[label_map == 1] = 0
        if (label_map == 2).any():
            label_map[label_map == 2] = 0
            label_map[0:2, 0:2] = 2
        write_label_map(tmp_path / "case" / path.name, label_map)
    red, green, _ = evaluate_referring(predictions, tmp_path).findings["case"].values()
    assert (red.num_absent, red.num_false, red.num_returns, red.num_found_again) == (6, 6, 1, 1)
    assert (green.anchor_iou, green.num_returns, green.num_found_again) == (0, 1, 0)


def test_an_anchor_without_a_mask_is_not_judged(tmp_path: Path) -> None:
    """Without going back, the frames before an object was certain stay empty, its anchor's among them."""
    report = evaluate_referring(*write_case(tmp_path, SearchOptions(fill_searched=False)))
    found = report.findings["case"][1]
    assert (found.is_found, found.anchor_iou) == (True, None)
    assert any("whose anchor has no mask or no truth" in warning for warning in report.warnings)
    published = evaluate_referring(*write_case(tmp_path / "published", SearchOptions.published()))
    assert published.findings["case"][1].anchor_iou == 1


def test_table_and_json_hold_all_in_one(case: tuple[Path, Path]) -> None:
    report = evaluate_referring(*case, groups={"first": {1}, "others": {2, 3}})
    table = report.table()
    assert [row.labels for row in table.rows] == [
        ("case", "1"),
        ("case", "2"),
        ("case", "3"),
        ("mean", "first"),
        ("mean", "others"),
        ("mean", ""),
    ]
    blue, mean = table.rows[2], table.rows[-1]
    assert blue.values == {"false presence": 0, "false finds": 0}
    assert mean.values.keys() >= {"J&F", "Dice", "found", "anchors right", "delay", "found again", "false finds"}
    assert table.rows[3].values["J"] == report.regions.objects["case"][1].score.jaccard
    document = json.loads(json.dumps(report.to_json()))
    assert document["mean"]["J"] == report.regions.mean.jaccard
    assert document["finding"]["groups"]["first"]["anchor_accuracy"] == 100
    assert document["finding"]["objects"]["case"]["3"]["num_absent"] == NUM_FRAMES
    intervals = report.with_intervals(Bootstrap(num_samples=10, unit=Unit.OBJECTS, seed=0)).table()
    assert intervals.rows[-1].intervals.keys() >= {"J&F"}


def test_the_command_line_scores_finding_too(case: tuple[Path, Path], tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(evaluate)
    paths = [str(path) for path in case]
    target = tmp_path / "scores.json"
    options = ["--protocol", "resurgsam2", "--referring", "--groups", "ref-endovis18", "--json", str(target)]
    result = CliRunner().invoke(app, [*paths, *options])
    assert result.exit_code == 0, result.output
    assert json.loads(target.read_text())["finding"]["groups"].keys() == {"instrument", "tissue"}
    assert "found again" in result.stdout.replace("\n", " ")
    for arguments, error, message in (
        (["--groups", "ref-endovis18"], InputError, "with --referring"),
        (["--referring", "--groups", "endovis"], ConfigError, "try 'ref-endovis18'"),
        (["--referring", "--protocol", "temporal"], InputError, "no --referring"),
    ):
        assert isinstance((found := CliRunner().invoke(app, [*paths, *arguments])).exception, error)
        assert message in str(found.exception)


def test_masks_without_a_log_are_refused(case: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match=r"expected frames\.jsonl of video case"):
        evaluate_referring(case[1], case[1])


def test_groups_are_those_of_the_publication() -> None:
    groups = groups_of("ref-endovis18")
    assert set(groups["tissue"]) == {11, 12, 17}
    assert set(groups["instrument"]) == set(range(1, 11))


def said(phase: Phase, iou: float = 0.5, read: tuple[int, ...] = ()) -> ObjectResult:
    return ObjectResult(phase, 1.0, iou, prompted=False, attended_frames=read)


@pytest.mark.parametrize(
    ("passed", "start"),
    [
        ([said(S), said(C), said(S)], None),
        ([said(S), said(C), said(T), said(T, read=(1,))], Start(2, 1)),
        ([said(C), said(C), said(T), said(A, read=(0,)), said(T, read=(0, 3))], Start(2, 0)),
        # Several anchors: the better one; of equals the newest.
        ([said(C, 0.9), said(C, 0.8), said(T, 0.7), said(T, read=(0, 1))], Start(2, 0)),
        ([said(C, 0.9), said(C, 0.9), said(T, 0.7), said(T, read=(0, 1))], Start(2, 1)),
        # Found in the last frame: nothing was followed, so the frame itself is all that is known.
        ([said(C), said(T)], Start(1, 1)),
        # Lost and found again changes nothing of the first start.
        ([said(T), said(T, read=(0,)), said(L), said(S), said(T), said(T, read=(0, 4))], Start(0, 0)),
    ],
)
def test_starts_are_read_off_logs(passed: list[ObjectResult], start: Start | None) -> None:
    assert find_start(list(enumerate(passed))) == start


def moments(draw: st.DrawFn) -> dict[int, Moment]:
    made = {}
    for index in range(draw(st.integers(0, 14))):
        if draw(st.integers(0, 4)):  # the truth may lack frames
            visible, predicted = draw(st.booleans()), draw(st.booleans())
            made[index] = Moment(
                visible, predicted, draw(st.sampled_from((0.2, 0.9))) if visible and predicted else 0.0
            )
    return made


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[tuple[int, ObjectResult]], dict[int, Moment]]:
    known = moments(draw)
    found_at = draw(st.integers(0, 20))
    passed = [(i, said(S if i < found_at else T, read=(found_at,) if i > found_at else ())) for i in range(15)]
    return passed, known


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(1, 4), st.integers(1, 3))
def test_judgements_are_those_of_plain_loops(
    case: tuple[list[tuple[int, ObjectResult]], dict[int, Moment]], within: int, min_absence: int
) -> None:
    passed, known = case
    rules = FindingRules(within=within, min_absence=min_absence)
    found = judge(passed, known, rules)
    num_returns = num_again = 0
    for index, moment in known.items():
        before = [i for i in known if i < index]
        hidden = 0
        for i in reversed(before):
            if known[i].is_visible:
                break
            hidden += 1
        if moment.is_visible and any(known[i].is_visible for i in before) and hidden >= min_absence:
            num_returns += 1
            num_again += any(i in known and known[i].iou > 0.5 for i in range(index, index + within))
    assert (found.num_returns, found.num_found_again) == (num_returns, num_again)
    assert found.num_absent == sum(1 for m in known.values() if not m.is_visible)
    assert found.num_false == sum(1 for m in known.values() if m.is_predicted and not m.is_visible)
    first_found = next((i for i, said_of in passed if said_of.phase == T), None)
    first_shown = next((i for i in sorted(known) if known[i].is_visible), None)
    assert found.is_found == (first_found is not None)
    if first_found is None or first_shown is None or first_found < first_shown:
        assert found.delay is None
    else:
        assert found.delay == first_found - first_shown
    at = known.get(first_found) if first_found is not None else None
    assert found.anchor_iou == (at.iou if at is not None and at.is_predicted else None)


def test_an_object_that_was_asked_for_late_has_no_earlier_frames() -> None:
    known = {i: Moment(True, False, 0.0) for i in range(10)}
    found = judge([(i, said(S if i < 8 else T)) for i in range(6, 10)], known, FindingRules())
    assert found.delay == 2
    assert found.num_absent == 0
    assert find_returns(known) == []


def test_sums_weigh_frames_and_returns_not_objects() -> None:
    right = Finding(True, True, 0.8, 4, 3, 3, 10, 0)
    wrong = Finding(True, True, 0.5, None, 1, 0, 30, 10)
    missed = Finding(True, False, None, None, 0, 0, 0, 0)
    in_vain = Finding(False, True, 0.0, None, 0, 0, 10, 10)
    score = FindingScore.of([right, wrong, missed, in_vain], FindingRules())
    assert score.found == pytest.approx(200 / 3)
    assert (score.anchor_accuracy, score.anchor_iou, score.delay) == (50, 65, 4)
    assert (score.found_again, score.false_presence, score.false_finds) == (75, 40, 100)
    assert FindingScore.of([], FindingRules()) == FindingScore(*[None] * 7)


@pytest.mark.parametrize("wrong", [{"min_iou": 1.0}, {"within": 0}, {"min_absence": 0}])
def test_rules_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected min_iou"):
        FindingRules(**wrong)  # type: ignore[arg-type]

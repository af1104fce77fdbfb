import csv
import io

from surgvos.evaluation.tables import Row, ScoreTable

TABLE = ScoreTable(
    "percent",
    ("video", "object"),
    ("J&F", "frames"),
    (
        Row(("seq_1", "1"), {"J&F": 71.458811, "frames": 12}),
        Row(("mean", ""), {"J&F": 71.458811}, {"J&F": (60.0, 80.25)}, is_summary=True),
    ),
)


def test_csv_has_full_numbers_and_intervals_in_columns_of_their_own():
    rows = list(csv.DictReader(io.StringIO(TABLE.to_csv())))
    assert list(rows[0]) == ["video", "object", "J&F", "J&F low", "J&F high", "frames"]
    assert rows[0] == {
        "video": "seq_1",
        "object": "1",
        "J&F": "71.458811",
        "J&F low": "",
        "J&F high": "",
        "frames": "12",
    }
    assert (rows[1]["J&F low"], rows[1]["J&F high"], rows[1]["frames"]) == ("60.0", "80.25", "")


def test_latex_rows_need_no_package_and_escape_what_is_special():
    assert TABLE.to_latex().splitlines() == [
        r"video & object & J\&F & frames \\ \hline",
        r"seq\_1 & 1 & 71.46 & 12 \\",
        r"mean &  & 71.46 [60.00, 80.25] & - \\",
    ]
    special = ScoreTable("", (r"50 % of #1 $x^2$ \ {a}~b",), (), ())
    assert special.to_latex() == (
        r"50 \% of \#1 \$x\textasciicircum{}2\$ \textbackslash{} \{a\}\textasciitilde{}b \\ \hline" + "\n"
    )

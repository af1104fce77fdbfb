"""Scores as rows, and rows as files: CSV for programs, LaTeX for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from surgvos.evaluation.bootstrap import Interval

_LATEX_ESCAPES = str.maketrans(
    {
        **{character: rf"\{character}" for character in "%&$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        labels: What it is about, one word per label heading, empty where that does not apply.
        values: Heading -> number; a heading that is left out has no value here.
        intervals: Heading -> interval of that number, where one was asked for.
        is_summary: Whether other rows went into it.
    """

    labels: tuple[str, ...]
    values: Mapping[str, float | int]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    is_summary: bool = False

    def cell(self, heading: str) -> str:
        """Format a number for people: counts as they are, scores with two digits, ``-`` for none."""
        if heading not in self.values:
            return "-"
        value = self.values[heading]
        text = str(value) if isinstance(value, int) else f"{value:.2f}"
        if heading in self.intervals:
            low, high = self.intervals[heading]
            text += f" [{low:.2f}, {high:.2f}]"
        return text


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Rows of scores under headings.

    Attributes:
        title: What the table shows.
        label_headings: Of the words that say what a row is about.
        value_headings: Of the numbers.
        rows: The lines.
    """

    title: str
    label_headings: tuple[str, ...]
    value_headings: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_csv(self) -> str:
        """Return the rows as CSV, numbers in full; an interval stands in two columns after its number."""
        with_interval = {heading for row in self.rows for heading in row.intervals}
        headings: list[str] = []
        for heading in self.value_headings:
            headings += [heading, *([f"{heading} low", f"{heading} high"] if heading in with_interval else [])]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*self.label_headings, *headings])
        for row in self.rows:
            numbers = dict(row.values)
            for heading, (low, high) in row.intervals.items():
                numbers |= {f"{heading} low": low, f"{heading} high": high}
            writer.writerow([*row.labels, *(numbers.get(heading, "") for heading in headings)])
        return text.getvalue()

    def to_latex(self) -> str:
        r"""Return the rows for the inside of a ``tabular`` that needs no package, ``\hline`` after the headings."""
        lines = [self._latex_row((*self.label_headings, *self.value_headings)) + r" \hline"]
        for row in self.rows:
            cells = (*row.labels, *(row.cell(heading) for heading in self.value_headings))
            lines.append(self._latex_row(cells))
        return "\n".join(lines) + "\n"

    @staticmethod
    def _latex_row(cells: tuple[str, ...]) -> str:
        return " & ".join(cell.translate(_LATEX_ESCAPES) for cell in cells) + r" \\"

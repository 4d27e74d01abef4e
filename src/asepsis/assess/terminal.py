"""An assessment in a terminal of 80 columns: the answer, the threats, what to run, what is open."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from asepsis.assess.briefing import briefing
from asepsis.assess.outcome import Answer, Finding, Measured, Outcome, Ruling
from asepsis.assess.words import borne_out, clean, decisive, limit_text, worst_today
from asepsis.metrics.intervals import Interval
from asepsis.report.side_by_side import printable
from asepsis.report.wording import number

STYLES = {
    Ruling.COVERED: "green",
    Ruling.HARMLESS: "green",
    Ruling.OPEN: "bold red",
    Ruling.UNCLEAR: "yellow",
    Ruling.UNTRIED: "yellow",
    Ruling.NOT_APPLICABLE: "dim",
}
ANSWERS = {Answer.PASS: "bold green", Answer.FAIL: "bold red", Answer.INCONCLUSIVE: "bold yellow"}
LEGEND = "Harm of the worst attack in points, 95% interval over fresh seeds; * adaptive."


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print the answer first, then what it rests on; readable from 80 columns on."""
    answer, *points = briefing(outcome)
    console.print()
    console.print(printable(answer.answer, ANSWERS[outcome.answer]))
    console.print()
    console.print(_threats(outcome))
    console.print(Text(LEGEND, style="dim"))
    for point in points:
        console.print()
        console.print(Text(point.question, style="bold"))
        console.print(printable(point.answer))
    if outcome.notes:
        console.print()
        console.print(Text("Notes", style="bold"))
    for note in outcome.notes:
        console.print(printable(f"- {clean(note)}"))


def _threats(outcome: Outcome) -> Table:
    table = Table(header_style="bold")
    table.add_column("threat")
    table.add_column("today", justify="right")
    table.add_column("with it" if borne_out(outcome) else "judged", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("ruling")
    for finding in outcome.findings:
        table.add_row(*_row(finding))
    return table


def _row(finding: Finding) -> list[Text]:
    before, after = worst_today(finding), decisive(finding)
    return [
        Text(finding.threat.title),
        _span(before, before.before) if before else Text("-"),
        _span(after, after.after) if after else Text("-"),
        Text(limit_text(finding.limit)),
        Text(str(finding.ruling), style=STYLES[finding.ruling]),
    ]


def _span(part: Measured, interval: Interval) -> Text:
    low, high = number(100 * interval.low, 0), number(100 * interval.high, 0)
    mark = "*" if part.adaptive else ""
    return Text(f"{number(100 * interval.mean, 0)} [{low}, {high}]{mark}")

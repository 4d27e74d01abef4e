"""``asepsis compose``: which defenses go together, and why others do not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from asepsis.core.errors import ConfigError

if TYPE_CHECKING:
    from asepsis.experiments.composition import Verdict

Names = Annotated[list[str] | None, typer.Option(help="Only these; give it again for more.")]


def compose(
    transport: Names = None,
    screen: Names = None,
    rule: Names = None,
    privacy: Names = None,
    every: Annotated[
        bool, typer.Option("--every", help="All screens, not one of each sort.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print every combination.")] = False,
) -> None:
    """Try every combination of transport, screen, rule and privacy: it works, or says why not."""
    from asepsis.experiments.composition import cells, composed

    if json_ and markdown:
        raise ConfigError(
            "one form is printed at a time", place="--json", fix="leave out --json or --markdown"
        )
    given = {"transport": transport, "screen": screen, "rule": rule, "privacy": privacy}
    verdicts = composed(cells({k: v for k, v in given.items() if v}, every=every))
    if json_:
        typer.echo(json.dumps([_row(verdict) for verdict in verdicts], indent=1))
    elif markdown:
        from asepsis.report.composed import markdown as page
        from asepsis.report.composed import summarized

        typer.echo(page(summarized(verdicts)), nl=False)
    else:
        _print(verdicts)


def _row(verdict: Verdict) -> dict[str, object]:
    cell = verdict.cell
    return {
        "transport": cell.transport,
        "screen": cell.screen,
        "rule": cell.rule,
        "privacy": cell.privacy,
        "works": verdict.works,
        **({} if verdict.works else {"reason": verdict.reason, "fix": verdict.fix}),
        **({"missing": verdict.missing} if verdict.missing else {}),
    }


def _print(verdicts: list[Verdict]) -> None:
    from rich.console import Console
    from rich.table import Table

    from asepsis.report.composed import exceptions, summarized

    console = Console()
    found = summarized(verdicts)
    for part in found.tables:
        table = Table(title=part.title, title_justify="left", box=None, pad_edge=False)
        for head in part.heads:
            table.add_column(head, no_wrap=True)
        for row in part.rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    for text in exceptions(found):
        console.print(text)
    console.print()
    for number, reason in enumerate(found.reasons, 1):
        console.print(f"{number}. {reason}", highlight=False)
    console.print(f"\n{found.work} of {found.tried} combinations work.", highlight=False)

"""Results in a terminal: one table a scenario, then sentences, then what must be known."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from asepsis.experiments.results import Results
from asepsis.report.claimed import claims_grid, source
from asepsis.report.devices import print_devices
from asepsis.report.findings import Finding, Scenario, Verdict, scenarios
from asepsis.report.generated_terminal import print_generated
from asepsis.report.grids import Cell, Grid
from asepsis.report.imaged import image_lines, prior_text
from asepsis.report.inspected import in_short as inspected
from asepsis.report.lasting import in_short
from asepsis.report.leak_figures import KINDS
from asepsis.report.leaked import Block, blocks, leaked_lines
from asepsis.report.matrix import print_matrix
from asepsis.report.promised import promises
from asepsis.report.sections import changes, rate_name
from asepsis.report.sentences import MANY, SHARE, Note, caveats, headline
from asepsis.report.side_by_side import BORDERS, WIDEST_COLUMN, parted, printable, split_tables
from asepsis.report.wording import plus_minus

__all__ = ["headline", "print_results"]

STYLES = {
    Verdict.FELL: "bold red",
    Verdict.PLANTED: "bold red",
    Verdict.STALLED: "bold red",
    Verdict.HELD: "green",
    Verdict.BLOCKED: "green",
    Verdict.UNCLEAR: "yellow",
    Verdict.UNTRAINED: "yellow",
    Verdict.NEVER: "yellow",
    Verdict.IDLE: "yellow",
    Verdict.FAILED: "bold red",
}
LEGEND = (
    "± is the half-width of a 95% t-interval over seeds. Δ is the change to the attack-free twin"
)
DECIDED = "A verdict counts only where its interval decides."
SPREAD = (
    "Trigger in images is the share of generated images in which a detector finds the trigger, "
    "beyond those on real images; excess, what exceeds a generator nobody attacked, decides."
)
ALONE = (
    "Harm to a generator is judged by its change to the honest hospitals alone: the attack-free "
    "twin learns from more honest images."
)
TRIGGERED = (
    "ASR is the share of triggered samples read as the attacker wants, excess what exceeds a model "
    "nobody attacked."
)
DEPARTED = (
    "Where attackers left before the end, excess is that of their last round, and a backdoor lived "
    "until it fell below 50%, in rounds."
)
PAIRED = (
    "Paired Δ is how much better p(target) tells triggered images from the same without the "
    "trigger than in a model nobody attacked (AUROC); it decides where images have several "
    "findings."
)


def print_results(results: Results, console: Console) -> None:
    """Print tables, sentences and notes; readable from 80 columns on."""
    shown = scenarios(results)
    if print_matrix(results, console):
        _print_notes(results, console)
        return
    for scenario in shown:
        for table in tables(scenario, console.width):
            console.print()
            console.print(printable(_title(scenario), "bold"))
            console.print(table)
        if prior := prior_text(scenario):
            console.print(printable(prior, "dim"))
        _print_leaks(blocks(scenario), console)
        print_generated(scenario, console)
    print_devices(results, console)
    claims = claims_grid(results)
    if claims.rows:
        console.print()
        console.print(printable("What the paper says, and what was measured here", "bold"))
        for row in claims.rows:
            _bullet(console, _claim(claims, row), "•")
        console.print(Padding(printable(source(results), "dim"), (0, 0, 0, 3)))
    console.print(Padding(Text(_legend(shown), style="dim"), (1, 1)))
    console.print(Rule("In short", align="left", style="dim"))
    for sentence in headline(results):
        _bullet(console, printable(sentence), "•")
    for sentence in [line for scenario in shown for line in promises(scenario)]:
        _bullet(console, printable(sentence), "•")
    for sentence in filter(None, map(inspected, shown)):
        _bullet(console, printable(sentence), "•")
    _print_notes(results, console)


def _print_notes(results: Results, console: Console) -> None:
    notes = caveats(results)
    if notes:
        console.print()
        console.print(Rule("Before you believe a figure", align="left", style="dim"))
    for note in sorted(notes, key=lambda note: not note.loud):
        _bullet(console, _styled(note), "!" if note.loud else "·")


def _legend(shown: list[Scenario]) -> str:
    """Explain what stands in these tables, and nothing else."""
    found = [finding for scenario in shown for finding in scenario.findings]
    triggered = [finding for finding in found if finding.trigger is not None]
    natural = any(not scenario.scale.measure.relative for scenario in shown)
    parts = [
        (f"{LEGEND}, in points." if natural else f"{LEGEND}.", True),
        (DECIDED, True),
        (TRIGGERED, any(not finding.group.generates for finding in triggered)),
        (SPREAD, any(finding.group.generates for finding in triggered)),
        (ALONE, any(finding.alone is not None for finding in found)),
        (DEPARTED, any(finding.lasting is not None for finding in triggered)),
        (PAIRED, any(finding.rise.n for finding in triggered)),
    ]
    return " ".join(text for text, needed in parts if needed)


def _print_leaks(found: list[Block], console: Console) -> None:
    """Print what observers learned, one by one, under what their kind of evidence means."""
    for kind in dict.fromkeys(block.kind for block in found):
        console.print()
        console.print(printable(KINDS[kind][0], "bold"))
        for block in [block for block in found if block.kind == kind]:
            for table in _leak_tables(block, console.width):
                console.print()
                console.print(printable(block.title))
                console.print(table)


def _leak_tables(block: Block, width: int) -> list[Table]:
    """Lay an observer's figures out, a column for every stack; many stacks, below each other."""
    figures, stacks = [head for head, _ in block.figures], block.stacks
    cells = [[cell.text for cell in row] for _, row in block.figures]
    if len(stacks) > MANY:
        return split_tables("through", stacks, figures, list(zip(*cells, strict=True)), width)
    return split_tables("", figures, stacks, cells, width)


def _claim(claims: Grid, row: list[Cell]) -> Text:
    """Write one claim: what is said, then where it was measured and both figures."""
    said, *figures = row
    lines = [printable(said.text)]
    for head, cell in zip(claims.heads[1:], figures, strict=True):
        lines.append(printable(f"  {head}: ", "dim") + printable(cell.text))
    return Text("\n").join(lines)


def _title(scenario: Scenario) -> str:
    return f"{scenario.title}: {scenario.measured}"


def _styled(note: Note) -> Text:
    return printable(note.text, "bold yellow" if note.loud else "")


def _bullet(console: Console, text: Text, mark: str) -> None:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_row(Text(f" {mark}"), text)
    console.print(grid)


def tables(scenario: Scenario, width: int) -> list[Table]:
    """Lay a scenario out as one table, or several when its defenses do not fit side by side.

    Many defenses stand below each other, one line each.
    """
    if len(scenario.defenses) > MANY:
        return [_long_table(scenario)]
    first = min(WIDEST_COLUMN, max(len("attack"), *(len(name) for name in scenario.attacks)))
    room = width - first - BORDERS
    needs = [_column_width(scenario, defense) for defense in scenario.defenses]
    parts = parted(needs, room)
    return [_table(scenario, [scenario.defenses[i] for i in part]) for part in parts]


def _column_width(scenario: Scenario, defense: str) -> int:
    cells = [scenario.at(attack, defense) for attack in scenario.attacks]
    lines = [line for cell in cells if cell for line in cell_text(cell).plain.split("\n")]
    heading = max(len(word) for word in [*defense.split(), ""])
    return max([heading, *(len(line) for line in lines)])


def _table(scenario: Scenario, defenses: list[str]) -> Table:
    table = Table(header_style="bold")
    table.add_column("attack", max_width=WIDEST_COLUMN, overflow="fold")
    for defense in defenses:
        table.add_column(printable(defense), overflow="fold")
    for attack in scenario.attacks:
        found = [scenario.at(attack, defense) for defense in defenses]
        table.add_row(
            printable(attack),
            *(cell_text(cell) if cell else Text("n/a") for cell in found),
            end_section=attack != scenario.attacks[-1],
        )
    return table


def _long_table(scenario: Scenario) -> Table:
    table = Table(header_style="bold")
    table.add_column("defense", no_wrap=True)
    for attack in scenario.attacks:
        table.add_column(printable(attack), overflow="fold")
    for defense in scenario.defenses:
        found = [scenario.at(attack, defense) for attack in scenario.attacks]
        table.add_row(
            printable(defense), *(_short(cell) if cell else Text("n/a") for cell in found)
        )
    return table


def _short(finding: Finding) -> Text:
    """Write one cell in few words: the value, a backdoor's excess, the verdict."""
    if finding.verdict in (Verdict.FAILED, Verdict.NEVER) or finding.passive:
        return cell_text(finding)
    parts = [Text(plus_minus(finding.scale, finding.utility))]
    if finding.trigger is not None:
        parts.append(Text(f"excess {SHARE.digits(finding.excess.mean)}"))
    if finding.verdict is not Verdict.TWIN:
        parts.append(Text(finding.said, style=STYLES.get(finding.verdict, "")))
    if finding.idle:
        parts.append(Text("defense inactive", style="yellow"))
    return Text("\n").join(parts)


def cell_text(finding: Finding) -> Text:
    """Write one cell: value, change to the twin, backdoor, verdict."""
    if finding.verdict in (Verdict.FAILED, Verdict.NEVER):
        return Text(finding.verdict.value, style=STYLES[finding.verdict])
    if finding.passive:
        return Text("\n").join(_leak_lines(finding))
    lines = [Text(plus_minus(finding.scale, finding.utility))]
    if finding.attacked:
        lines += [Text(line) for line in changes(finding)]
    lines += [Text(line) for line in image_lines(finding)]
    if finding.trigger is not None and finding.lasting is not None:
        lines += [Text(line) for line in in_short(finding.lasting)]
    elif finding.trigger is not None:
        lines.append(Text(f"{rate_name(finding)} {SHARE.value(finding.asr.mean)}"))
        lines.append(Text(f"excess {plus_minus(SHARE, finding.excess)}"))
    if finding.trigger is not None and finding.rise.n:
        lines.append(Text(f"paired Δ {plus_minus(SHARE, finding.rise, change=True)}"))
    if finding.verdict is not Verdict.TWIN:
        lines.append(Text(finding.said, style=STYLES.get(finding.verdict, "")))
    if finding.idle:
        lines.append(Text("defense inactive", style="yellow"))
    return Text("\n").join(lines)


def _leak_lines(finding: Finding) -> list[Text]:
    return [Text(line) for line in leaked_lines(finding)] or [Text("nothing claimed")]

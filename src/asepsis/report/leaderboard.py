"""Defenses ranked by their worst case over attacks: one table for every protocol.

Runs share a table when what they were asked for is the same but for seeds, attack and stack, and
when their protocol hashes (which cover seed and data) are equal in every seed that both have.
Ranked are stacks that faced the same attacks with an interval over three seeds or more;
everything else is listed below them, with the reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from asepsis.experiments.claims import by_seed
from asepsis.experiments.compare import protocol_of
from asepsis.experiments.durability import durabilities
from asepsis.experiments.figures import EXCESS
from asepsis.experiments.folders import Found
from asepsis.experiments.naming import label_of
from asepsis.experiments.spec import digest
from asepsis.metrics.intervals import UNKNOWN, Interval, t_interval
from asepsis.report.findings import Finding, Verdict, mean, scenarios
from asepsis.report.grids import Cell, Grid
from asepsis.report.sentences import ENOUGH_SEEDS
from asepsis.report.wording import Scale, listed, number, plus_minus

FEWEST = 3
"""Seeds below which nothing is ranked, as nothing is compared."""
HARMFUL = (EXCESS, "asr", "excess_at_departure", "asr_at_departure")
"""Figures of an attack's success: what is more of them is worse for the hospitals."""
SILENT = (Verdict.NEVER, Verdict.FAILED, Verdict.IDLE)
"""Verdicts of runs that say nothing of how a stack withstands an attack."""
NOT_TRIED = "adaptive: not tried"
HEADS = (
    "rank",
    "defense",
    "clean",
    "worst case",
    "worst attack",
    "under an attacker who knows it",
    "highest excess ASR",
    "a round",
    "of it the server",
    "seeds",
    "remarks",
)


@dataclass(frozen=True, eq=False)
class Item:
    """One attack under one stack, from one results folder."""

    finding: Finding
    folder: str
    exploratory: bool
    attack: str
    stack: str
    value: Interval
    protocols: dict[int, str]


@dataclass(frozen=True, eq=False)
class Entry:
    """One stack: its figures, its rank or why it has none."""

    defense: str
    clean: Interval
    worst: Interval
    attack: str
    adaptive: Interval
    adapted: bool
    excess: float
    seconds: float
    server_seconds: float
    seeds: int
    exploratory: bool
    reason: str = ""
    rank: int = 0
    ties: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """All stacks of one protocol, the ranked ones first."""

    title: str
    protocol: str
    metric: str
    folders: tuple[str, ...]
    attacks: tuple[str, ...]
    seeds: tuple[int, ...]
    entries: list[Entry]

    @property
    def sign(self) -> int:
        """1 where more of the metric is better for the hospitals, else -1."""
        return direction(self.metric)


@dataclass(eq=False)
class _Pool:
    """Items of one protocol; ``protocols`` are the hashes by seed that they agree on."""

    title: str
    family: str
    metric: str
    items: dict[tuple[str, str], Item] = field(default_factory=dict)
    protocols: dict[int, str] = field(default_factory=dict)

    def takes(self, item: Item) -> bool:
        """Whether an item has a seed in common, and no other protocol in any."""
        common = [seed for seed in item.protocols if seed in self.protocols]
        return bool(common) and all(item.protocols[s] == self.protocols[s] for s in common)

    def add(self, item: Item) -> None:
        """Take an item; of two of the same cell the one with more seeds, then the later one."""
        self.protocols.update(item.protocols)
        key = (item.stack, item.attack)
        kept = self.items.get(key)
        if kept is None or len(item.finding.group.good) >= len(kept.finding.group.good):
            self.items[key] = item


def direction(metric: str) -> int:
    """Return 1 where more of a figure is better for the hospitals, else -1.

    Example:
        >>> direction("balanced_accuracy"), direction("excess"), direction("kernel_distance")
        (1, -1, -1)
    """
    return -1 if metric in HARMFUL else Scale(metric).sign


def leaderboard(
    found: Iterable[Found], metric: str | None = None, attacks: Sequence[str] = ()
) -> list[Table]:
    """Rank the stacks of all results that could be read.

    Args:
        found: results folders.
        metric: what to rank by, as a claim names it; each task's primary figure when left out.
        attacks: rank by these only, as rows are called in tables; all when left out.
    """
    pools: list[_Pool] = []
    for source in found:
        if source.results is None:
            continue
        exploratory = source.results.study.exploratory
        for scenario in scenarios(source.results):
            for finding in scenario.findings:
                chosen = metric or scenario.scale.name
                item = _item(finding, source.place.name, exploratory, chosen)
                if item is not None and _asked(item, attacks):
                    _place(pools, item, scenario.title, chosen)
    return [table for pool in pools if (table := _table(pool)).entries]


def _asked(item: Item, attacks: Sequence[str]) -> bool:
    return not attacks or not item.finding.attacked or item.finding.attack in attacks


def _item(finding: Finding, folder: str, exploratory: bool, metric: str) -> Item | None:
    begun = [run for run in finding.group.runs if run.resolved]
    if not begun or finding.passive:
        return None
    spec = begun[0].cell.spec
    values = by_seed(finding.group, metric, durabilities([finding.group]).get(finding.group))
    kept = {"defenses", "root", "candidates"}
    return Item(
        finding=finding,
        folder=folder,
        exploratory=exploratory,
        attack=json.dumps(spec.attack, sort_keys=True),
        stack=digest(spec.model_dump(mode="json", include=kept)),
        value=t_interval(list(values.values())),
        protocols={run.cell.seed: str(run.resolved.get("protocol", "")) for run in begun},
    )


def _place(pools: list[_Pool], item: Item, title: str, metric: str) -> None:
    begun = next(run for run in item.finding.group.runs if run.resolved)
    family = digest(protocol_of(begun, seeds=False))
    same = (pool for pool in pools if pool.family == family and pool.metric == metric)
    pool = next((one for one in same if one.takes(item)), None)
    if pool is None:
        pool = _Pool(title, family, metric)
        pools.append(pool)
    pool.add(item)


def _table(pool: _Pool) -> Table:
    by_stack: dict[str, list[Item]] = {}
    for item in pool.items.values():
        by_stack.setdefault(item.stack, []).append(item)
    names = _names(by_stack)
    required = _required(by_stack)
    raw = [_entry(names[key], items, required, pool.metric) for key, items in by_stack.items()]
    attacks = {item.attack: item.finding.attack for item in pool.items.values()}
    return Table(
        title=pool.title,
        protocol=pool.family,
        metric=pool.metric,
        folders=tuple(sorted({item.folder for item in pool.items.values()})),
        attacks=tuple(attacks[key] for key in required),
        seeds=tuple(sorted(pool.protocols)),
        entries=_ranked(raw, direction(pool.metric)),
    )


def _names(by_stack: dict[str, list[Item]]) -> dict[str, str]:
    """Name stacks as their studies do, with all options where two would be called the same."""
    short = {key: items[-1].finding.defense for key, items in by_stack.items()}
    twice = {name for name in short.values() if list(short.values()).count(name) > 1}
    full = {
        key: " + ".join(label_of(stage, options=True) for stage in _stages(items))
        for key, items in by_stack.items()
    }
    return {key: full[key] if name in twice else name for key, name in short.items()}


def _stages(items: list[Item]) -> Sequence[dict[str, object]]:
    return items[0].finding.group.runs[0].cell.spec.defenses


def _contends(items: list[Item]) -> bool:
    return not any(item.finding.oracle for item in items)


def _speaks(item: Item) -> bool:
    known = item.finding.attacked and item.finding.verdict not in SILENT
    return known and not item.finding.oracle and bool(item.value.n)


def _required(by_stack: dict[str, list[Item]]) -> list[str]:
    """Return the attacks that a ranked stack must have faced.

    Those that anybody faced who was not told the defense; and adaptive ones that all faced.
    """
    sides = [items for items in by_stack.values() if _contends(items)]
    faced = [{item.attack for item in items if _speaks(item)} for items in sides]
    told = {i.attack: i.finding.adaptive for items in sides for i in items if _speaks(i)}
    everywhere = set.intersection(*faced) if faced else set()
    return [key for key, adaptive in told.items() if not adaptive or key in everywhere]


def _entry(name: str, items: list[Item], required: list[str], metric: str) -> Entry:
    faced = [item for item in items if _speaks(item)]
    scored = [item for item in faced if item.attack in required]
    worst = _worst(scored, metric)
    adaptive = _worst([item for item in faced if item.finding.adaptive], metric)
    clean = next((item for item in items if not item.finding.attacked), None)
    seeds = min((item.value.n for item in scored), default=0)
    laps = [item.finding.group.seconds() for item in items if item.finding.group.good]
    return Entry(
        defense=name,
        clean=clean.value if clean and metric not in HARMFUL else UNKNOWN,
        worst=worst.value if worst else UNKNOWN,
        attack=worst.finding.attack if worst else "",
        adaptive=adaptive.value if adaptive else UNKNOWN,
        adapted=adaptive is not None,
        excess=max((i.finding.excess.mean for i in faced if i.finding.excess.n), default=math.nan),
        seconds=mean(math.fsum(lap.values()) for lap in laps),
        server_seconds=mean(lap.get("server", math.nan) for lap in laps),
        seeds=seeds,
        exploratory=seeds < ENOUGH_SEEDS or any(item.exploratory for item in items),
        reason=_reason(items, scored, required, worst),
    )


def _worst(items: list[Item], metric: str) -> Item | None:
    known = [item for item in items if math.isfinite(item.value.mean)]
    return min(known, key=lambda item: direction(metric) * item.value.mean, default=None)


def _reason(items: list[Item], scored: list[Item], required: list[str], worst: Item | None) -> str:
    """Say why a stack is not ranked; empty when it is."""
    if not _contends(items):
        return "oracle: told who is hostile, which nobody knows"
    if any(item.finding.group.undertrained for item in items):
        return "undertrained"
    if not required:
        return "no attack was tried"
    missing = len(set(required) - {item.attack for item in scored})
    if missing:
        return f"no figures against {missing} of {len(required)} attacks"
    if worst is None or not all(math.isfinite(item.value.low) for item in scored):
        return "one seed, so no interval"
    seeds = min(item.value.n for item in scored)
    return f"{seeds} seeds, a rank needs {FEWEST}" if seeds < FEWEST else ""


def grid(table: Table) -> Grid:
    """Return a table as plain cells, for a terminal or a page."""
    return Grid(list(HEADS), [_row(entry, table.metric) for entry in table.entries])


def _row(entry: Entry, metric: str) -> list[Cell]:
    scale = Scale(metric)
    return [
        Cell(str(entry.rank) if entry.rank else "–", entry.rank or math.nan),
        Cell(entry.defense, entry.defense),
        _interval(entry.clean, scale),
        _interval(entry.worst, scale),
        Cell(entry.attack or "–", entry.attack),
        _interval(entry.adaptive, scale) if entry.adapted else Cell(NOT_TRIED, math.nan),
        _figure(100 * entry.excess, "%", 0),
        _figure(entry.seconds, " s", 2),
        _figure(entry.server_seconds, " s", 3),
        Cell(str(entry.seeds), entry.seeds),
        Cell("; ".join(remarks(entry))),
    ]


def remarks(entry: Entry) -> list[str]:
    """Say what a reader must know beside a rank."""
    found = [f"not ranked: {entry.reason}"] if entry.reason else []
    if entry.ties:
        found.append(f"interval overlaps with {listed(list(entry.ties))}")
    return [*found, "exploratory"] if entry.exploratory else found


def _interval(found: Interval, scale: Scale) -> Cell:
    return Cell(plus_minus(scale, found), found.mean) if found.n else Cell("–", math.nan)


def _figure(value: float, unit: str, digits: int) -> Cell:
    text = f"{number(value, digits)}{unit}" if math.isfinite(value) else "–"
    return Cell(text, value)


def _ranked(raw: list[Entry], sign: int) -> list[Entry]:
    """Rank by how many are surely better: the whole interval beyond one's own."""
    able = sorted((e for e in raw if not e.reason), key=lambda e: -sign * e.worst.mean)
    ranked = [
        replace(
            entry,
            rank=1 + sum(_better(other.worst, entry.worst, sign) for other in able),
            ties=tuple(o.defense for o in able if o is not entry and _overlap(o, entry)),
        )
        for entry in able
    ]
    return sorted(ranked, key=lambda e: e.rank) + [e for e in raw if e.reason]


def _better(one: Interval, other: Interval, sign: int) -> bool:
    return one.low > other.high if sign > 0 else one.high < other.low


def _overlap(one: Entry, other: Entry) -> bool:
    return one.worst.low <= other.worst.high and other.worst.low <= one.worst.high

"""What each section of a page shows, as plain values: the template only lays it out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import ThreatSpec
from asepsis.experiments.store import footer_of
from asepsis.metrics.intervals import Interval
from asepsis.report.findings import NO_COMPANION, Finding, Scenario, Verdict, mean, proofs
from asepsis.report.grids import Cell, Grid
from asepsis.report.imaged import image_lines
from asepsis.report.lasting import in_short
from asepsis.report.leaked import leaked_lines
from asepsis.report.provenance import sources, without_files
from asepsis.report.sentences import SHARE
from asepsis.report.wording import NONE, Scale, bounds, counted, number, plus_minus, without_paths

SMALLEST_GROUP = 10
MARKS = {
    Verdict.TWIN: "",
    Verdict.HELD: "✓",
    Verdict.BLOCKED: "✓",
    Verdict.FELL: "▼",
    Verdict.PLANTED: "▲",
    Verdict.STALLED: "■",
    Verdict.UNCLEAR: "?",
    Verdict.WATCHED: "◉",
    Verdict.UNTRAINED: "–",
    Verdict.NEVER: "–",
    Verdict.IDLE: "–",
    Verdict.ORACLE: "",
    Verdict.FAILED: "✕",
}
TONES = {
    Verdict.HELD: "good",
    Verdict.BLOCKED: "good",
    Verdict.FELL: "bad",
    Verdict.PLANTED: "bad",
    Verdict.STALLED: "bad",
    Verdict.FAILED: "bad",
    Verdict.UNCLEAR: "unclear",
    Verdict.UNTRAINED: "unclear",
    Verdict.NEVER: "unclear",
    Verdict.IDLE: "unclear",
    Verdict.WATCHED: "seen",
    Verdict.TWIN: "twin",
    Verdict.ORACLE: "twin",
}


@dataclass(frozen=True)
class Tile:
    """One field of the attack × defense map."""

    verdict: str
    mark: str
    tone: str
    lines: list[str] = field(default_factory=list)


def tile(finding: Finding | None) -> Tile:
    """Write one field of the map: value, change, backdoor, verdict."""
    if finding is None:
        return Tile("not run", "", "none")
    verdict, scale = finding.verdict, finding.scale
    tone, mark = TONES[verdict], mark_of(finding)
    if verdict in (Verdict.FAILED, Verdict.NEVER):
        return Tile(verdict.value, mark, tone)
    if finding.passive:
        return Tile(verdict.value, mark, tone, leaked_lines(finding) or ["nothing claimed"])
    lines = [f"{plus_minus(scale, finding.utility)}{_unit(scale)}"]
    if finding.attacked:
        lines += changes(finding)
    lines += image_lines(finding)
    if finding.trigger is not None and finding.lasting is not None:
        lines += in_short(finding.lasting)
    elif finding.trigger is not None:
        lines.append(f"{rate_name(finding)} {SHARE.value(finding.asr.mean)}")
        lines.append(f"{floor_word(finding)} {SHARE.value(finding.floor.mean)}")
        lines += [f"excess {SHARE.value(finding.excess.mean)}"] if finding.group.generates else []
    if finding.trigger is not None and finding.rise.n:
        lines.append(f"paired Δ {plus_minus(SHARE, finding.rise, change=True)}")
    return Tile(finding.said, mark, tone, lines)


def changes(finding: Finding) -> list[str]:
    """Write the change to the twin, and of a generator that to the honest hospitals alone."""
    scale = finding.scale
    said = [f"Δ {plus_minus(scale, finding.change, change=True)}"]
    if finding.lonely:
        return [*said, NO_COMPANION]
    if finding.alone is None or finding.oracle:
        return said
    return [*said, f"Δ honest alone {plus_minus(scale, finding.alone, change=True)}"]


def rate_name(finding: Finding) -> str:
    """Return what a trigger's success is called: a generator is asked nothing."""
    return "trigger in images" if finding.group.generates else "ASR"


def floor_word(finding: Finding) -> str:
    """Return what the same without an attack is called."""
    return "without attack" if finding.group.generates else "floor"


def mark_of(finding: Finding) -> str:
    """Return the sign of a verdict; an arrow points where the metric went."""
    rose = finding.verdict is Verdict.FELL and finding.scale.sign < 0
    return MARKS[Verdict.PLANTED] if rose else MARKS[finding.verdict]


def _unit(scale: Scale) -> str:
    return f" {scale.unit}" if scale.unit else ""


def findings_grid(scenario: Scenario) -> Grid:
    """Every figure of every attack and defense."""
    scale = scenario.scale
    unit = f" ({scale.unit})" if scale.unit else ""
    of_images = any(finding.group.generates for finding in scenario.findings)
    rates = ("trigger in images", "without attack", "excess trigger in images")
    heads = ["attack", "defense", f"{scale.label}{unit}", "change to twin"]
    heads += ["change to honest alone"] if of_images else []
    names = rates if of_images else ("ASR", "floor", "excess ASR")
    heads += [f"{name}, last rounds (%)" for name in names]
    heads += [
        "over patients",
        "worst hospital",
        "defense active",
        "seconds a round",
        "verdict",
    ]
    return Grid(heads, [_finding_row(finding, of_images) for finding in scenario.findings])


def _finding_row(f: Finding, of_images: bool) -> list[Cell]:
    seconds = math.fsum(f.group.seconds().values()) if f.group.good else math.nan
    return [
        Cell(f.attack, f.attack),
        Cell(f.defense, f.defense),
        Cell(plus_minus(f.scale, f.utility), f.utility.mean, bounds(f.scale, f.utility)),
        _moved(f, f.change if f.attacked else None),
        *([_moved(f, f.alone)] if of_images else []),
        *(_share(f, value) for value in (f.asr, f.floor, f.excess)),
        _over_patients(f),
        Cell(plus_minus(f.scale, f.worst) if f.worst.n else NONE, f.worst.mean),
        _active(f),
        Cell(number(seconds, 2), seconds),
        Cell(f"{mark_of(f)} {f.said}".strip(), f.said, tone=TONES[f.verdict]),
    ]


def _moved(f: Finding, found: Interval | None) -> Cell:
    if found is None or not found.n:
        return Cell("–", math.nan, NO_COMPANION if found is not None and f.lonely else "")
    text = plus_minus(f.scale, found, change=True)
    return Cell(text, found.mean, bounds(f.scale, found, change=True))


def _over_patients(f: Finding) -> Cell:
    """The last round's figure over the test set's patients: apart from the interval over seeds."""
    found = f.group.over_patients()
    if not math.isfinite(found.low):
        return Cell(NONE, math.nan)
    text = f"{f.scale.digits(found.low)} to {f.scale.digits(found.high)}"
    return Cell(text, found.mean, f"last round, {found.n} patients, bootstrap")


def _share(finding: Finding, interval: Interval) -> Cell:
    if finding.trigger is None and not finding.group.backdoor:
        return Cell("–", math.nan)
    return Cell(plus_minus(SHARE, interval), interval.mean, bounds(SHARE, interval))


def _active(finding: Finding) -> Cell:
    shown = proofs(finding.group) if finding.group.good else []
    if not shown:
        return Cell("–", "")
    said = [f"{'yes' if s['active'] else 'NO'}: {s['stage']}" for s in shown]
    return Cell("; ".join(said), said[0], tone="bad" if finding.idle else "")


def activation_grid(scenario: Scenario) -> Grid:
    """What each defense changed, and in how many runs."""
    rows = [
        [
            Cell(finding.attack, finding.attack),
            Cell(str(stage["stage"]), str(stage["stage"])),
            Cell(SHARE.value(_float(stage["changed"])), _float(stage["changed"])),
            Cell(f"{stage['active']} of {stage['runs']}", _float(stage["active"])),
        ]
        for finding in scenario.findings
        if finding.group.good and not finding.passive
        for stage in proofs(finding.group)
    ]
    return Grid(["attack", "defense", "changed", "active in runs"], rows)


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def detection_grid(scenario: Scenario) -> Grid:
    """How well verdicts on single hospitals tell hostile from honest ones, attacked or not."""
    scored = [
        (finding, [run.footer.get("detection") or {} for run, _ in finding.group.good])
        for finding in scenario.findings
    ]
    names = list(dict.fromkeys(n for _, scores in scored for score in scores for n in score))
    rows = []
    for finding, scores in scored:
        head = [Cell(finding.attack, finding.attack), Cell(finding.defense, finding.defense)]
        if finding.passive:
            text = "undetectable by construction"
            rows.append([*head, Cell(text), *(Cell("–") for _ in names)])
        elif any(scores):
            values = [mean(score.get(name, math.nan) for score in scores) for name in names]
            worst = finding.group.worst(finding.group.primary).mean
            rows.append([*head, *(Cell(number(v, 2), v) for v in [*values, worst])])
    heads = ["attack", "defense", *(n.replace("_", " ") for n in names), "worst hospital"]
    return Grid(heads, rows if names else [])


def cost_grid(scenario: Scenario) -> Grid:
    """Seconds a round by part of the work, bytes an update, memory."""
    groups = [finding.group for finding in scenario.findings if finding.group.good]
    parts = list(dict.fromkeys(name for group in groups for name in group.seconds()))
    rows = []
    for finding in scenario.findings:
        if not finding.group.good:
            continue
        laps = finding.group.seconds()
        observed = [_observed(run) for run, _ in finding.group.good]
        row_bytes = mean(float(item.get("row_bytes", math.nan)) for item in observed)
        peak = mean(float(item.get("peak_memory_mib", math.nan)) for item in observed)
        rows.append(
            [
                Cell(finding.attack, finding.attack),
                Cell(finding.defense, finding.defense),
                *(Cell(number(laps.get(n, math.nan), 3), laps.get(n, math.nan)) for n in parts),
                Cell(number(row_bytes / 1024, 1), row_bytes),
                Cell(number(peak, 0), peak),
            ]
        )
    heads = ["attack", "defense", *(f"{name} (s)" for name in parts), "update (KiB)", "peak (MiB)"]
    return Grid(heads, rows)


def _observed(run: Run) -> dict[str, Any]:
    footer = footer_of(run.lines)
    found: dict[str, Any] = (footer or {}).get("observed", {})
    return found


def hospitals_grid(scenario: Scenario, *, suppress: bool) -> Grid:
    """Samples of every hospital, by split; small groups are suppressed where they must be."""
    resolved = next((run.resolved for run in scenario.runs if run.resolved), {})
    names, samples = resolved.get("hospitals", []), resolved.get("samples", [])
    rows = [
        [Cell(str(name), str(name)), *(_count(count, suppress) for count in counts)]
        for name, counts in zip(names, samples, strict=False)
    ]
    return Grid(["hospital", "train", "validation", "test"], rows)


def _count(count: int | None, suppress: bool) -> Cell:
    if count is None or (suppress and count < SMALLEST_GROUP):
        return Cell(f"<{SMALLEST_GROUP}", 0)
    return Cell(str(count), count)


def protocol_rows(scenario: Scenario) -> list[tuple[str, str]]:
    """Everything that must be equal for two figures to be compared."""
    run = next((run for run in scenario.runs if run.resolved), None)
    data = sources(scenario.runs)
    rows = [("data", _distinct(source.title for source in data))]
    rows += [
        (name, _distinct(getattr(source, name) for source in data))
        for name in ("licence", "source")
        if any(source.licence for source in data)
    ]
    if run is None:
        return rows
    resolved, header = run.resolved, run.lines[0]["result"]
    seeds = sorted({item.cell.seed for item in scenario.runs})
    rows += [
        ("classes", ", ".join(map(str, resolved.get("classes", [])))),
        ("seeds", ", ".join(map(str, seeds))),
        *_hostile(scenario),
        *_triggers(scenario),
        *((part, _component(item)) for part, item in _parts(resolved).items()),
        ("protocol hash", _distinct(item.resolved.get("protocol") for item in scenario.runs)),
        ("data and split hash", _distinct(item.resolved.get("data") for item in scenario.runs)),
        ("code", str(header.get("code", ""))),
        ("numerics", str(header.get("numerics", ""))),
    ]
    observed = run.lines[0].get("observed", {})
    packages = ", ".join(f"{n} {v}" for n, v in observed.get("packages", {}).items())
    return [*rows, ("engine", str(observed.get("engine", ""))), ("packages", packages)]


def _hostile(scenario: Scenario) -> list[tuple[str, str]]:
    threats = {finding.group.runs[0].cell.spec.threat for finding in scenario.findings}
    said = [_threat(threat) for threat in sorted(threats, key=str)]
    if any(run.resolved.get("role") == "interceptor" for run in scenario.runs):
        said.append("an interceptor on the wire, who is no hospital")
    return [("threat", "; ".join(dict.fromkeys(said)))]


def _threat(threat: ThreatSpec) -> str:
    hostile = threat.hostile if isinstance(threat.hostile, int) else len(threat.hostile)
    said = [f"{hostile} hostile", f"sees {threat.sees}", f"from round {threat.starts_at + 1}"]
    if threat.rounds:
        said[-1] += f" for {counted(threat.rounds, 'attacked round')}"
    said += [f"one attack every {threat.every} rounds"] if threat.every > 1 else []
    said += ["knows the defenses in use"] if threat.knows_defense else []
    return ", ".join(said)


def _triggers(scenario: Scenario) -> list[tuple[str, str]]:
    """How large the model sees each trigger: cropping and resizing may leave little of it."""
    sizes = {
        finding.attack: run.resolved["trigger_pixels"]
        for finding in scenario.findings
        for run in finding.group.runs
        if run.resolved.get("trigger_pixels")
    }
    said = [f"{attack}: {size} of {of}" for attack, (size, of) in sizes.items()]
    return [("trigger, in model-input pixels", "; ".join(said))] if said else []


def _parts(resolved: dict[str, Any]) -> dict[str, Any]:
    shared = ("dataset", "partition", "task", "model", "trainer", "server")
    components = resolved.get("components", {})
    return {name: components[name] for name in shared if name in components}


def _component(item: dict[str, Any]) -> str:
    shown = without_files(item)
    options = [f"{k} = {json.dumps(v, default=str)}" for k, v in shown.items() if k != "name"]
    return f"{shown.get('name', '')} ({', '.join(options)})" if options else str(shown.get("name"))


def _distinct(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value))


def failures_grid(results: Results) -> Grid:
    """Runs that ended without figures, and why; the reason names no place on the machine."""
    rows = [
        [
            Cell(run.cell.scenario, run.cell.scenario),
            Cell(run.cell.attack, run.cell.attack),
            Cell(run.cell.defense, run.cell.defense),
            Cell(str(run.cell.seed), run.cell.seed),
            Cell(str(run.footer["status"]), str(run.footer["status"])),
            Cell(without_paths(str(run.footer.get("message", "")))),
        ]
        for run in results.runs
        if not run.ok
    ]
    return Grid(["scenario", "attack", "defense", "seed", "status", "message"], rows)

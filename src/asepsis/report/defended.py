"""One line a defense: what it knows, changes, catches and costs honest hospitals, what it is worth.

Changing rows is not yet protection, so the outcome stands beside it: the worst of the attacks,
and the attacker who knows the defense.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from asepsis.experiments.oracles import EXCLUDE
from asepsis.metrics.intervals import UNKNOWN, Interval
from asepsis.report.findings import Finding, Scenario, mean, proofs
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import Scale, number, plus_minus

SHARE = Scale("share")
WHO = "who is hostile"
"""What nobody knows: a stack that is told so is an oracle."""
HEADS = [
    "defense",
    "knows",
    "changed without attack",
    "changed under attack",
    "{} without attack",
    "under the worst attack",
    "which",
    "under an attacker who knows it",
    "highest excess ASR",
    "caught (recall)",
    "of those flagged, hostile (precision)",
    "AUC",
    "honest excluded without attack",
    "honest excluded under attack",
    "unusual excluded without attack",
    "unusual excluded under attack",
    "worst hospital without attack",
    "worst hospital under attack",
]


@dataclass(frozen=True)
class _Side:
    """The findings of one defense without and with an attack."""

    twins: list[Finding]
    attacked: list[Finding]

    @property
    def adaptive(self) -> list[Finding]:
        return [finding for finding in self.attacked if finding.adaptive]

    @property
    def static(self) -> list[Finding]:
        return [finding for finding in self.attacked if not finding.adaptive]


def defenses_grid(scenario: Scenario) -> Grid:
    """Return one row a defense; empty where nothing but plain means stood against attacks."""
    usable = [f for f in scenario.findings if f.group.good and not f.passive]
    sides = {
        name: _Side(
            [f for f in usable if f.defense == name and not f.attacked],
            [f for f in usable if f.defense == name and f.attacked],
        )
        for name in scenario.defenses
    }
    told = {name: side for name, side in sides.items() if side.twins and side.attacked}
    if not any(proofs(f.group) for side in told.values() for f in side.attacked):
        return Grid([], [])
    rows = [_row(name, side, scenario.scale) for name, side in told.items()]
    kept = [i for i in range(len(HEADS)) if i == 0 or any(row[i].text != "–" for row in rows)]
    heads = [HEADS[i].format(scenario.scale.label) for i in kept]
    if any(finding.group.generates for finding in usable):
        heads = [head.replace("excess ASR", "excess trigger in images") for head in heads]
    return Grid(heads, [[row[i] for i in kept] for row in rows])


def _row(name: str, side: _Side, scale: Scale) -> list[Cell]:
    worst = _worst(side.static, scale)
    return [
        Cell(name, name),
        _text(", ".join(_knows(side))),
        _share(_changed(side.twins)),
        _share(_changed(side.attacked)),
        _interval(side.twins[0].utility, scale),
        _interval(worst.utility if worst else UNKNOWN, scale),
        _text(worst.attack if worst else ""),
        _adaptive(side, scale),
        _share(max((f.excess.mean for f in side.attacked if f.excess.n), default=math.nan)),
        _share(_detected(side.attacked, "recall")),
        _share(_detected(side.attacked, "precision")),
        _figure(_detected(side.attacked, "auc")),
        _share(_detected(side.twins, "false_exclusion")),
        _share(_detected(side.attacked, "false_exclusion")),
        _share(_detected(side.twins, "unusual_exclusion")),
        _share(_detected(side.attacked, "unusual_exclusion")),
        _value(mean(f.worst.mean for f in side.twins), scale),
        _value(mean(f.worst.mean for f in side.attacked), scale),
    ]


def _worst(findings: list[Finding], scale: Scale) -> Finding | None:
    known = [finding for finding in findings if math.isfinite(finding.utility.mean)]
    return min(known, key=lambda f: scale.sign * f.utility.mean, default=None)


def _adaptive(side: _Side, scale: Scale) -> Cell:
    worst = _worst(side.adaptive, scale)
    return Cell("not tried", -math.inf) if worst is None else _interval(worst.utility, scale)


def _knows(side: _Side) -> list[str]:
    stages = side.twins[0].group.runs[0].resolved.get("defenses", [])
    counts = [f"f = {stage['f']}" for stage in stages if "f" in stage]
    lists = [stage for stage in stages if stage.get("name") == EXCLUDE]
    counts += [WHO if all(f.oracle for f in side.attacked) else "a blocklist"] if lists else []
    told = [i for stage in stages if stage not in lists for i in stage.get("knows", [])]
    return list(dict.fromkeys([*counts, *told]))


def _changed(findings: list[Finding]) -> float:
    """How much the stages changed, the one that changed most."""
    found = [max(_floats(f), default=math.nan) for f in findings]
    return mean(found)


def _floats(finding: Finding) -> list[float]:
    values = [stage["changed"] for stage in proofs(finding.group)]
    return [float(value) for value in values if isinstance(value, int | float)]


def _detected(findings: list[Finding], name: str) -> float:
    def found(finding: Finding) -> Iterable[float]:
        for run, _ in finding.group.good:
            yield float((run.footer.get("detection") or {}).get(name, math.nan))

    return mean(value for finding in findings for value in found(finding))


def _share(value: float) -> Cell:
    return Cell("–", -math.inf) if math.isnan(value) else Cell(f"{number(100 * value, 0)}%", value)


def _figure(value: float) -> Cell:
    return Cell("–", -math.inf) if math.isnan(value) else Cell(number(value, 2), value)


def _value(value: float, scale: Scale) -> Cell:
    return Cell("–", -math.inf) if math.isnan(value) else Cell(scale.value(value), value)


def _interval(found: Interval, scale: Scale) -> Cell:
    if not found.n:
        return Cell("–", -math.inf)
    return Cell(plus_minus(scale, found), found.mean)


def _text(text: str) -> Cell:
    return Cell(text or "–", text)

"""From groups of runs to findings: one for every attack and defense, with a verdict.

A verdict is about an interval, never about a mean: harm is claimed when the paired 95 % interval
excludes zero after Holm's correction within the scenario's table and the mean change is material
(5 points of a share; of a figure without natural bounds, such as a distance, 10 % of what it is
without an attack), in the direction that is worse for the figure at hand; safety when the whole
interval lies on the harmless side of what is material; else nothing. Below three seeds nothing is
claimed.

What hostile hospitals do to a generator is judged beside a federation of the honest ones alone: an
attack-free twin learns from more honest images than there are under attack.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from asepsis.core.registry import build
from asepsis.experiments.durability import Durability, durabilities, leaves, paired_rise
from asepsis.experiments.naming import row_label
from asepsis.experiments.oracles import honest_alone, is_oracle
from asepsis.experiments.results import WATCHING, Group, Results, Run, paired_change
from asepsis.experiments.spec import Experiment
from asepsis.metrics.durability import MATERIAL as MATERIAL_EXCESS
from asepsis.metrics.intervals import (
    ENOUGH,
    UNKNOWN,
    Interval,
    holm,
    paired_difference,
    t_interval,
)
from asepsis.metrics.measures import floor_name
from asepsis.report.wording import Scale

PLANTED = MATERIAL_EXCESS
"""An excess attack success of 20 % is material, and 20 points of paired AUROC over the twin's."""
STALLED = 0.2
"""Stalled: 20 % more of the attacked rounds have no result than of the same rounds of the twin."""
ALPHA = 0.05
MEANS = ("mean", "weighted-mean")
ORACLE = " (oracle)"
"""Stands behind a stack that is told who is hostile: no defense can know that."""
NO_COMPANION = "no twin with equally many honest images in this study"
IDLE = (*MEANS, "plain", "monitor")
"""Stages that change nothing by definition: their proof of activation says nothing."""


class Verdict(StrEnum):
    """What may be said of one attack under one defense."""

    TWIN = "no attack"
    HELD = "held"
    FELL = "fell"
    UNCLEAR = "unclear"
    PLANTED = "planted"
    BLOCKED = "blocked"
    WATCHED = "observed"
    STALLED = "stalled"
    UNTRAINED = "undertrained"
    NEVER = "never attacked"
    IDLE = "attack inactive"
    ORACLE = "oracle"
    FAILED = "failed"

    @property
    def bad(self) -> bool:
        """Whether harm was shown."""
        return self in (Verdict.FELL, Verdict.PLANTED, Verdict.STALLED)


@dataclass(frozen=True, eq=False)
class Finding:
    """One attack under one defense: figures over seeds, and what may be said of them.

    ``change`` is to the attack-free twin, ``alone`` to the honest hospitals alone: ``None`` where
    that is not what harm is judged by. ``clean`` is the metric of what harm is judged beside.
    """

    group: Group
    attack: str
    defense: str
    scale: Scale
    passive: bool
    utility: Interval
    change: Interval
    alone: Interval | None
    clean: Interval
    asr: Interval
    floor: Interval
    excess: Interval
    rise: Interval
    worst: Interval
    lasting: Durability | None = None
    harm: Verdict = Verdict.UNCLEAR
    trigger: Verdict | None = None

    @property
    def attacked(self) -> bool:
        """Whether there is an attack."""
        return self.group.attack != "none"

    @property
    def adaptive(self) -> bool:
        """Whether the attacker was told the defense in use and works around it.

        The attack asks it what would get through, or hides in the telemetry that it reads.
        """
        return any(_adapts(run) for run in self.group.runs)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the attack's own goal, unless only the utility was shown to fall."""
        if self.trigger is None or (self.harm.bad and not self.trigger.bad):
            return self.harm
        if self.trigger is Verdict.BLOCKED and self.harm is not Verdict.HELD:
            return self.harm  # a model that collapsed reads no trigger either
        return self.trigger

    @property
    def said(self) -> str:
        """The verdict in words: a metric of which less is better rises when it becomes worse."""
        verdict = self.verdict
        return self.scale.worse if verdict is Verdict.FELL else verdict.value

    @property
    def material(self) -> float:
        """The least change of the metric that matters; NaN when nothing can be told."""
        floor = self.group.clean(floor_name(self.scale.name)).mean
        return self.scale.measure.material(self.clean.mean, floor)

    @property
    def damage(self) -> Interval:
        """The change that harm is judged by."""
        return self.change if self.alone is None else self.alone

    @property
    def lonely(self) -> bool:
        """Whether harm cannot be judged, since nobody trained on the same honest images alone."""
        return self.alone is not None and not self.alone.n

    @property
    def oracle(self) -> bool:
        """Whether the server was told exactly who is hostile."""
        return self.attacked and all(is_oracle(run) for run in self.group.runs)

    @property
    def planted(self) -> Interval:
        """Excess attack success: at departure where the attacker left, else of the last rounds."""
        if self.lasting is None:
            return UNKNOWN if leaves(self.group.runs[0].cell.spec) else self.excess
        values = list(self.lasting.values("excess_at_departure").values())
        return paired_difference(values, [0.0] * len(values))

    @property
    def decisive(self) -> Interval:
        """What a trigger is judged by: the paired AUROC's rise, else the excess success."""
        return self.rise if self.rise.n else self.planted

    @property
    def idle(self) -> list[str]:
        """Defenses that changed nothing in any run although somebody attacked."""
        if not self.attacked or self.passive:
            return []
        return [str(stage["stage"]) for stage in proofs(self.group) if not stage["active"]]


@dataclass(frozen=True, eq=False)
class Scenario:
    """All findings that share data, model and protocol."""

    title: str
    scale: Scale
    findings: list[Finding]

    @property
    def passive(self) -> bool:
        """Whether every attack here only looks: then utility is beside the point."""
        attacked = [finding for finding in self.findings if finding.attacked]
        return bool(attacked) and all(finding.passive for finding in attacked)

    @property
    def measured(self) -> str:
        """What the table holds, with its unit."""
        if self.passive:
            return "how close the attack came to the training inputs"
        noted = [self.scale.unit, "lower is better" if self.scale.sign < 0 else ""]
        hint = ", ".join(filter(None, noted))
        return f"{self.scale.label} ({hint})" if hint else self.scale.label

    @property
    def attacks(self) -> list[str]:
        """Row labels, in the order of the plan; twins of passive attacks hold nothing to show."""
        shown = [f.attack for f in self.findings if f.attacked or not self.passive]
        return list(dict.fromkeys(shown))

    @property
    def defenses(self) -> list[str]:
        """Column labels, in the order of the plan."""
        return list(dict.fromkeys(finding.defense for finding in self.findings))

    @property
    def baseline(self) -> str:
        """The column others are compared with: the plain mean, else the first."""
        known = self.defenses
        plain = [d for d in known if _acting(d) in MEANS]
        return plain[0] if plain else known[0]

    def at(self, attack: str, defense: str) -> Finding | None:
        """Return one finding."""
        found = (f for f in self.findings if (f.attack, f.defense) == (attack, defense))
        return next(found, None)

    @property
    def runs(self) -> list[Run]:
        """All runs."""
        return [run for finding in self.findings for run in finding.group.runs]

    @property
    def spec(self) -> Experiment:
        """The first experiment, for what all of them share."""
        return self.findings[0].group.runs[0].cell.spec


def _acting(defense: str) -> str:
    """Name a stack without what changes nothing beside its rule."""
    return " + ".join(part for part in defense.split(" + ") if part not in ("plain", "monitor"))


def _adapts(run: Run) -> bool:
    spec = run.cell.spec
    if spec.attack is None:
        return False
    known = [item for stage in run.resolved.get("defenses", []) for item in stage.get("knows", [])]
    hides = spec.threat.telemetry != "own" and any(item.startswith("side:") for item in known)
    asks = spec.threat.knows_defense and getattr(_built(run), "needs_rule", False)
    return bool(hides or asks)


def _built(run: Run) -> object:
    assert run.cell.spec.attack is not None
    return build("attack", run.cell.spec.attack, "attack")


def proofs(group: Group) -> list[dict[str, object]]:
    """Activation proofs of the stages that are meant to change something."""
    return [stage for stage in group.activation() if stage["stage"] not in IDLE]


def scenarios(results: Results) -> list[Scenario]:
    """Group findings by scenario and settle every verdict."""
    by_title: dict[str, list[Group]] = {}
    for group in results.groups():
        by_title.setdefault(group.scenario, []).append(group)
    return [_scenario(title, groups) for title, groups in by_title.items()]


def _scenario(title: str, groups: list[Group]) -> Scenario:
    passive = {g.attack for g in groups if _watched(g)}
    scale = Scale(groups[0].primary)
    lasting = durabilities(groups)
    alone = honest_alone(run for group in groups for run in group.runs)
    raw = [_measure(g, scale, g.attack in passive, lasting.get(g), alone) for g in groups]
    return Scenario(title, scale, _judged(_marked(raw)))


def _marked(raw: list[Finding]) -> list[Finding]:
    """Name stacks that are told who is hostile whoever attacks for what they are."""
    attacked = [finding for finding in raw if finding.attacked]
    told = {f.defense for f in attacked if f.oracle} - {f.defense for f in attacked if not f.oracle}
    return [replace(f, defense=f.defense + ORACLE) if f.defense in told else f for f in raw]


def _watched(group: Group) -> bool:
    curious = any(run.resolved.get("role") in WATCHING for run in group.runs)
    return group.attack != "none" and curious


def _measure(
    group: Group,
    scale: Scale,
    passive: bool,
    lasting: Durability | None,
    companions: Mapping[Run, Run],
) -> Finding:
    pairs, asked = group.good, group.attack != "none" and group.generates and not passive
    if asked:
        pairs = [(run, companions[run]) for run, _ in group.good if run in companions]
    return Finding(
        group=group,
        attack=row_label(group.attack, group.labels),
        defense=group.defense,
        scale=scale,
        passive=passive,
        utility=group.metric(scale.name),
        change=group.change(scale.name),
        alone=paired_change(pairs, scale.name) if asked else None,
        clean=t_interval([beside.tail(scale.name) for _, beside in pairs]),
        asr=group.metric("asr"),
        floor=group.floor(),
        excess=group.excess(),
        rise=paired_rise(group),
        worst=group.worst(scale.name),
        lasting=lasting,
    )


def _judged(raw: list[Finding]) -> list[Finding]:
    judged = [f for f in raw if f.attacked and not f.passive and not f.oracle]
    claims = [p for f in judged for p in (f.damage.p, f.decisive.p)]
    adjusted = iter(holm(claims).tolist())
    settled = {id(f): _settle(f, next(adjusted), next(adjusted)) for f in judged}
    return [settled.get(id(f)) or _settle(f, math.nan, math.nan) for f in raw]


def _settle(finding: Finding, p_change: float, p_trigger: float) -> Finding:
    plain = _plain_verdict(finding)
    if plain is not None:
        return replace(finding, harm=plain)
    trigger = _trigger(finding, p_trigger) if finding.group.backdoor else None
    return replace(finding, harm=_harm(finding, p_change), trigger=trigger)


def _plain_verdict(finding: Finding) -> Verdict | None:
    if not finding.group.good:
        return Verdict.NEVER if finding.group.spared else Verdict.FAILED
    if finding.passive:
        return Verdict.WATCHED
    if finding.group.undertrained:
        return Verdict.UNTRAINED
    if not finding.attacked:
        return Verdict.TWIN
    if finding.oracle:
        return Verdict.ORACLE
    idle = (run.footer.get("attack_inactive", 0.0) for run, _ in finding.group.good)
    return Verdict.IDLE if min(idle) == 1 else None


def _harm(finding: Finding, p: float) -> Verdict:
    change, sign = finding.damage, finding.scale.sign
    if change.n < ENOUGH:
        return Verdict.UNCLEAR
    worst_end = change.low if sign > 0 else -change.high
    material = finding.material
    if sign * change.mean <= -material and p < ALPHA:
        return Verdict.FELL
    if finding.group.stalled() >= STALLED:
        return Verdict.STALLED
    return Verdict.HELD if worst_end > -material else Verdict.UNCLEAR


def _trigger(finding: Finding, p: float) -> Verdict:
    if finding.decisive.mean >= PLANTED and p < ALPHA:
        return Verdict.PLANTED
    # Where a clean model tells the trigger already, its AUROC hardly rises: success counts too.
    if finding.decisive.n < ENOUGH:
        return Verdict.UNCLEAR
    low = all(found.high < PLANTED for found in (finding.decisive, finding.planted))
    return Verdict.BLOCKED if low else Verdict.UNCLEAR


def mean(values: Iterable[float]) -> float:
    """Mean of the finite values, NaN when there is none."""
    known = [float(value) for value in values if math.isfinite(value)]
    return math.fsum(known) / len(known) if known else math.nan

"""The first screen: what a clinician and a board must know, in plain words, each with its figures.

Seven questions in a fixed order. None is left out: where nothing was tried or shown, that is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from asepsis.experiments.results import Results, Run
from asepsis.experiments.threats import threat_of
from asepsis.report.brief_leaks import leaks
from asepsis.report.findings import Finding, Scenario, Verdict
from asepsis.report.provenance import sources
from asepsis.report.sentences import ENOUGH_SEEDS, OPEN, SAFE
from asepsis.report.wording import counted, listed

MOST = 3
"""So many names are enough on a first screen; the sections below have all of them."""
FEW = 2
"""So many whole clauses are enough."""
PLAIN = {
    "label-flip": "wrong diagnoses in the training data",
    "data-poisoning": "tampered training data",
    "backdoor": "a hidden trigger",
    "gradient-manipulation": "forged model updates",
    "generator-poisoning": "made-up training data",
    "optimized-poisoning": "forged updates with a hidden trigger",
    "hyperdimensional-poisoning": "training data pushed towards another class",
    "gradient-inversion": "rebuilding patient data from updates",
    "membership-inference": "telling who was trained on",
    "property-inference": "guessing facts about a hospital's patients",
    "interception": "messages altered on their way",
}
IDEAL = frozenset({"secure-sum", "grouped-secure-sum"})
"""Transports that are computed as if somebody could be trusted: what they would send is unknown."""
NOTHING_LOOKED = "Not tested here: nobody looked at what updates give away."


@dataclass(frozen=True, slots=True)
class Point:
    """One question of the first screen and its answer; ``tone`` colors it: good, bad, unclear."""

    question: str
    answer: str
    tone: str = ""


def brief(results: Results, told_of: list[Scenario]) -> list[Point]:
    """Answer the seven questions of the first screen.

    Args:
        results: what a study found.
        told_of: its scenarios, with their verdicts.
    """
    active = [(s, f) for s in told_of for f in s.findings if f.attacked and not f.passive]
    return [
        Point("What was attacked?", _attacked(results, told_of)),
        _broke(active),
        _held(told_of, active),
        _leaked(told_of),
        Point("At what cost?", _cost(told_of)),
        _sure(results),
        Point("What is not known?", _unknown(results, active), "unclear"),
    ]


def gloss(attack: str, component: str) -> str:
    """Return an attack's name with what it is in plain words.

    Example:
        >>> gloss("badnets, patch", "badnets"), gloss("mine", "mine")
        ('badnets, patch (a hidden trigger)', 'mine')
    """
    family = threat_of(component)
    return f"{attack} ({PLAIN[family.key]})" if family else attack


def _named(finding: Finding) -> str:
    spec = finding.group.runs[0].cell.spec.attack or {}
    return gloss(finding.attack, str(spec.get("name", "")))


def _attacked(results: Results, told_of: list[Scenario]) -> str:
    data = dict.fromkeys(source.title for s in told_of for source in sources(s.runs))
    attacks = {f.attack for s in told_of for f in s.findings if f.attacked}
    stacks = {f.defense for s in told_of for f in s.findings}
    hospitals = {len(run.resolved.get("hospitals", [])) for s in told_of for run in s.runs[:1]}
    sizes = sorted(size for size in hospitals if size)
    who = f"{' or '.join(map(str, sizes))} simulated hospitals" if sizes else "Simulated hospitals"
    return (
        f"{who} that train a model together without pooling patients ({_few(list(data))}). "
        f"{counted(len(attacks), 'attack')} met {counted(len(stacks), 'way')} of combining what "
        f"hospitals send, in {counted(len(results.runs), 'simulated training')}."
    )


def _few(items: list[str]) -> str:
    more = len(items) - MOST
    return listed([*items[:MOST], f"{more} more"] if more > 0 else items)


def _broke(active: list[tuple[Scenario, Finding]]) -> Point:
    question = "What broke?"
    if not active:
        return Point(question, "Not tested here: nobody tried to spoil the model.")
    plain = [(s, f) for s, f in active if f.defense == s.baseline]
    bad = sorted((p for p in plain if p[1].verdict.bad), key=lambda p: _size(p[1]), reverse=True)
    rule = _way(plain[0][0].baseline)
    if bad:
        return Point(question, f"{rule}, {_few([_harm(s, f) for s, f in bad])}.", "bad")
    said = f"{rule}, no attack was shown to do harm."
    worst = max(plain, key=lambda p: _size(p[1]), default=None)
    if worst and worst[1].verdict is Verdict.UNCLEAR and _size(worst[1]) > 0:
        said += f" The largest change seen may be chance: {_harm(*worst)}."
    return Point(question, said, "unclear")


def _way(defense: str) -> str:
    undefended = defense in ("mean", "plain + mean", "weighted-mean")
    return "With plain averaging, so without a defense" if undefended else f"With {defense}"


def _size(finding: Finding) -> float:
    """Return how large a harm is, for ranking: in shares where it is one."""
    if finding.trigger is not None and finding.trigger.bad:
        return finding.planted.mean if finding.planted.n else math.inf
    moved = -finding.scale.sign * finding.damage.mean
    return moved if math.isfinite(moved) else -math.inf


def _harm(scenario: Scenario, finding: Finding) -> str:
    name, scale = _named(finding), finding.scale
    if finding.trigger is not None and finding.verdict is Verdict.PLANTED:
        did = f"succeeded on {100 * finding.planted.mean:.0f}% of marked cases beyond chance"
    elif finding.verdict is Verdict.STALLED:
        did = "stopped training"
    else:
        did = f"changed {scale.label} by {scale.change(finding.damage.mean)}"
    return f"{name} {did} ({scenario.title})"


def _held(told_of: list[Scenario], active: list[tuple[Scenario, Finding]]) -> Point:
    question = "What held?"
    if not active:
        return Point(question, "Not tested here.")
    ranked = ranking(told_of)
    best = [item for item in ranked if item[1]]
    if not best:
        said = "No defense was shown to hold; that is not the same as shown to fail."
        return Point(question, said, "unclear")
    words = [f"{_short(name)} withstood {held} of {tried}" for name, held, tried in best]
    rest = [_short(name) for name, held, _ in ranked if not held]
    tail = f" Not shown to hold: {_few(rest)}." if rest else ""
    if not any(f.verdict.bad for s, f in active if f.defense == s.baseline):
        tail += " As no attack was shown to do harm without a defense, this says little."
        return Point(question, f"{_few(words)} attacks.{tail}", "unclear")
    return Point(question, f"{_few(words)} attacks.{tail}", "good")


def _short(defense: str) -> str:
    return "plain averaging" if defense in ("mean", "plain + mean") else defense


def ranking(told_of: list[Scenario]) -> list[tuple[str, int, int]]:
    """Return defense, attacks withstood and attacks tried, over all scenarios; the best first."""
    counts: dict[str, tuple[int, int]] = {}
    for scenario in told_of:
        for f in scenario.findings:
            if f.attacked and not f.passive and not f.oracle:
                held, tried = counts.get(f.defense, (0, 0))
                counts[f.defense] = held + (f.verdict in SAFE), tried + 1
    known = [(name, held, tried) for name, (held, tried) in counts.items()]
    return sorted(known, key=lambda item: -item[1] / item[2])


def _leaked(told_of: list[Scenario]) -> Point:
    said = leaks(told_of)
    if not said:
        return Point("What leaks?", NOTHING_LOOKED, "unclear")
    more = f" {len(said) - FEW} more below." if len(said) > FEW else ""
    return Point("What leaks?", f"{_began('; '.join(said[:FEW]))}.{more}", "seen")


def _cost(told_of: list[Scenario]) -> str:
    """Tell what the defenses that held best cost where nobody attacks."""
    best = [name for name, _, _ in ranking(told_of)]
    said = [text for name in best if (text := _price(told_of, name))]
    if not said:
        return "No defense stood beside plain averaging, so none was priced."
    return f"Without an attack, {'; '.join(said[:FEW])}."


def _price(told_of: list[Scenario], defense: str) -> str:
    pairs = [
        (s, mine, base)
        for s in told_of
        if defense != s.baseline
        for mine, base in [(_twin(s, defense), _twin(s, s.baseline))]
        if mine is not None and base is not None
    ]
    if not pairs:
        return ""
    changes = [mine.utility.mean - base.utility.mean for _, mine, base in pairs]
    ratios = [_sent(mine) / _sent(base) for _, mine, base in pairs if _sent(base) > 0]
    finite = [ratio for ratio in ratios if math.isfinite(ratio)]
    scale = pairs[0][0].scale
    same = all(s.scale.name == scale.name for s, _, _ in pairs)
    known = [change for change in changes if math.isfinite(change)] if same else []
    moved = f"moves {scale.label} by {_span([scale.change(c) for c in sorted(known)])} on average"
    sends = f"with {_times(finite)}"
    parts = [text for text, have in ((moved, known), (sends, finite)) if have]
    return f"{defense} {', '.join(parts)}" if parts else ""


def _times(ratios: list[float]) -> str:
    """Say how many times as many bytes, where two digits show that they are more or fewer."""
    written = _span([f"{ratio:.1f}" for ratio in sorted(ratios)])
    return "as many bytes sent" if written == "1.0" else f"{written} times as many bytes sent"


def _span(texts: list[str]) -> str:
    return " to ".join(dict.fromkeys([*texts[:1], *texts[-1:]]))


def _twin(scenario: Scenario, defense: str) -> Finding | None:
    found = [f for f in scenario.findings if not f.attacked and f.defense == defense]
    return found[0] if found and found[0].group.good else None


def _sent(finding: Finding) -> float:
    """Return the bytes of a hospital in a round; an ideal sum has no messages to count."""
    runs = [run.bytes_up() for run, _ in finding.group.good if not _ideal(run)]
    return math.fsum(runs) / len(runs) if runs else math.nan


def _ideal(run: Run) -> bool:
    return any(stage["name"] in IDEAL for stage in run.cell.spec.defenses)


def _sure(results: Results) -> Point:
    seeds = len(results.study.seeds)
    runs = f"{counted(seeds, 'repetition')} of everything, with new random numbers each time"
    made_up = sorted({s.title for s in sources(results.runs) if s.synthetic})
    said = " Some data are made up." if made_up else ""
    if seeds < ENOUGH_SEEDS or results.study.exploratory:
        need = f": a firm claim needs {ENOUGH_SEEDS}" if seeds < ENOUGH_SEEDS else ""
        return Point("How sure is this?", f"Exploratory. {runs}{need}.{said}", "unclear")
    text = f"{runs}; what is said to break or hold is beyond chance at 95%.{said}"
    return Point("How sure is this?", text)


def _unknown(results: Results, active: list[tuple[Scenario, Finding]]) -> str:
    said = []
    undecided = sum(f.verdict in OPEN for _, f in active)
    if undecided:
        said.append(f"{undecided} of {len(active)} pairs of attack and defense stayed undecided")
    failed = sum(not run.ok for run in results.runs)
    said += [f"{counted(failed, 'run')} ended without figures"] if failed else []
    if active and not any(f.adaptive for _, f in active):
        said.append("attackers who know the defense and work around it were not tried")
    said.append("other attacks, other data and real networks may behave otherwise")
    return f"{_began('; '.join(said))}."


def _began(text: str) -> str:
    return text[:1].upper() + text[1:]

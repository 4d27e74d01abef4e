"""What a study found, in plain sentences made from its figures, and what a reader must be told."""

from __future__ import annotations

from dataclasses import dataclass

from asepsis.experiments.results import Results
from asepsis.experiments.summary import idle_rounds
from asepsis.report import troubled
from asepsis.report.findings import NO_COMPANION, PLANTED, Finding, Scenario, Verdict, scenarios
from asepsis.report.generated_words import alone, spread
from asepsis.report.lasting import life, lived, outlook
from asepsis.report.leaked import leaked_lines, silent
from asepsis.report.provenance import provenance
from asepsis.report.wording import Scale, bounds, counted, listed

ENOUGH_SEEDS = 5
SHARE = Scale("asr")
SHOWN = 3
MANY = 8
"""Of more defenses than this only the best are named."""
SAFE = (Verdict.HELD, Verdict.BLOCKED)
OPEN = (
    Verdict.UNCLEAR,
    Verdict.UNTRAINED,
    Verdict.NEVER,
    Verdict.IDLE,
    Verdict.FAILED,
)


@dataclass(frozen=True, slots=True)
class Note:
    """Something a reader must know before believing a figure; ``loud`` ones come first."""

    text: str
    loud: bool = True


def headline(results: Results) -> list[str]:
    """Say of every scenario which attacks did harm and which rules withstood them."""
    found = [(scenario, _in_short(scenario)) for scenario in scenarios(results)]
    return [f"{scenario.title}: {text}" for scenario, text in found if text]


def _in_short(scenario: Scenario) -> str:
    active = [f for f in scenario.findings if f.attacked and not f.passive]
    watched = [f for f in scenario.findings if f.passive]
    said = [_outcome(scenario, active)] if active else []
    said += [_observed([f for f in watched if f.attack == a], a) for a in _names(watched)]
    return " ".join(said)


def _names(findings: list[Finding]) -> list[str]:
    return list(dict.fromkeys(finding.attack for finding in findings))


def _outcome(scenario: Scenario, active: list[Finding]) -> str:
    rule = _rule(scenario.baseline)
    base = [f for f in active if f.defense == scenario.baseline]
    harmful = [f.attack for f in base if f.verdict.bad]
    open_ = [f.attack for f in base if f.verdict in OPEN]
    shown = f"{listed(harmful)} did harm" if harmful else "no attack was shown to do harm"
    said = f"under {rule}, {shown}"
    said += f", and {listed(open_)} stayed undecided" if open_ else ""
    total = len(_names(active))
    safe = {
        defense: sum(f.verdict in SAFE for f in active if f.defense == defense)
        for defense in scenario.defenses
        if not all(f.oracle for f in active if f.defense == defense)
    }
    if any(f.lonely for f in active):
        said += f" ({NO_COMPANION})"
    withstood = f" Shown to withstand them: {_counts(safe, total)}." if safe else ""
    return f"{said}.{withstood} {outlook(scenario)}".strip()


def _counts(safe: dict[str, int], total: int) -> str:
    """Say how many attacks each defense withstood; of many defenses, which withstood most."""
    if len(safe) <= MANY:
        return listed([f"{_rule(defense)} {count} of {total}" for defense, count in safe.items()])
    most = max(safe.values())
    best = [_rule(defense) for defense, count in safe.items() if count == most]
    none = sum(count == 0 for count in safe.values())
    if most == 0:
        return f"none of {len(safe)} defenses, any of the {total}"
    shown = listed(best) if len(best) <= MANY else f"{len(best)} of {len(safe)} defenses"
    return f"{shown} {most} of {total}, the most; {none} of {len(safe)} defenses none of them"


def told(scenario: Scenario) -> list[str]:
    """Tell one scenario: its price without attack, then one sentence an attack."""
    lines = [_price(scenario, attack) for attack in scenario.attacks if _is_twin(scenario, attack)]
    lines += [
        _attack(scenario, attack) for attack in scenario.attacks if not _is_twin(scenario, attack)
    ]
    return [f"{scenario.title}: {line}" for line in lines if line]


def _is_twin(scenario: Scenario, attack: str) -> bool:
    return not any(f.attacked for f in scenario.findings if f.attack == attack)


def _rule(defense: str) -> str:
    return "the plain mean" if defense in ("mean", "plain + mean") else defense


def _price(scenario: Scenario, attack: str) -> str:
    own = [f for f in scenario.findings if f.attack == attack]
    if all(f.verdict is Verdict.FAILED for f in own):
        return "no run without an attack ended with figures."
    known = [f for f in own if f.utility.n]
    if not known:
        return f"without an attack, {scenario.scale.label} is not estimable."
    values = [
        f"{f.scale.value(f.utility.mean)} under {_rule(f.defense)} ({bounds(f.scale, f.utility)})"
        for f in known
    ]
    where = "" if attack == "none" else f" ({attack.removeprefix('none · ')})"
    text = f"without an attack{where}, {scenario.scale.label} is {listed(values)}."
    poor = [f.defense for f in known if f.verdict is Verdict.UNTRAINED]
    if poor:
        text += f" Under {listed(poor)} the model has not learned, and no claim is made."
    return text


def _attack(scenario: Scenario, attack: str) -> str:
    own = [f for f in scenario.findings if f.attack == attack]
    first = next((f for f in own if f.defense == scenario.baseline), own[0])
    if first.passive:
        return _observed(own, attack)
    rest = [_briefly(f) for f in own if f is not first]
    return " ".join([f"under {_rule(first.defense)}, {_effect(first)}", *rest])


def _effect(finding: Finding) -> str:
    """Tell the attack under the rule that others are compared with."""
    name, scale, change = finding.attack, finding.scale, finding.change
    if finding.verdict is Verdict.FAILED:
        return f"no run of {name} ended with figures."
    if finding.verdict is Verdict.NEVER:
        return f"{name} never took place: no hostile hospital was ever drawn."
    if finding.verdict is Verdict.IDLE:
        return f"{name} did nothing in any attacked round, by its own word."
    moved = (
        f"{scale.label} to {scale.value(finding.utility.mean)}, a change of "
        f"{scale.change(change.mean)} ({bounds(scale, change, change=True)})"
    )
    moved += alone(finding)
    if finding.verdict is Verdict.UNTRAINED:
        return f"{name} took {moved}, but the model had not learned: no claim."
    if finding.trigger is not None:
        did = spread if finding.group.generates else _success
        return f"{name} {did(finding)}; it took {moved}{_doubt(finding)}."
    if finding.harm is Verdict.HELD:
        return f"{name} did no material harm: it took {moved}."
    return f"{name} took {moved}{_doubt(finding)}."


def _success(finding: Finding) -> str:
    target = target_name(finding)
    read = f"as {target}" if target else "as the attacker's class"
    if finding.lasting is not None:
        share = finding.lasting.metric("asr_at_departure").mean
        excess = finding.planted
        return (
            f"made the model read {SHARE.value(share)} of triggered samples {read} when its "
            "attacker left "
            f"(excess {SHARE.value(excess.mean)}, {bounds(SHARE, excess)}{_told_apart(finding)}), "
            f"and {lived(finding.lasting)}"
        )
    return (
        f"made the model read {SHARE.value(finding.asr.mean)} of triggered samples {read} "
        f"(a model nobody attacked: {SHARE.value(finding.floor.mean)}; "
        f"excess {SHARE.value(finding.excess.mean)}, {bounds(SHARE, finding.excess)}"
        f"{_told_apart(finding)})"
    )


def _told_apart(finding: Finding) -> str:
    """Tell the paired figure of a trigger, where it decides."""
    if not finding.rise.n:
        return ""
    moved = f"{SHARE.change(finding.rise.mean)} to a clean model's"
    return f"; paired AUROC of p(target) {moved}, {bounds(SHARE, finding.rise, change=True)}"


def _doubt(finding: Finding) -> str:
    """Say when an interval is too wide to decide."""
    if finding.verdict is not Verdict.UNCLEAR:
        return ""
    if finding.lonely:
        return f"; no verdict: {NO_COMPANION}"
    return f", which {counted(finding.change.n, 'seed')} cannot tell from chance"


def _briefly(finding: Finding) -> str:
    """Tell the same attack under another rule."""
    rule, scale = _rule(finding.defense), finding.scale
    change = f"change {scale.change(finding.change.mean)}, "
    change += bounds(scale, finding.change, change=True) + alone(finding)
    undecided = finding.lonely and finding.verdict is Verdict.UNCLEAR
    change += f"; {NO_COMPANION}" if undecided else ""
    planted = finding.planted
    excess = f"excess {SHARE.value(planted.mean)}, {bounds(SHARE, planted)}{_told_apart(finding)}"
    if finding.lasting is not None:
        excess += " at departure" if not finding.rise.n else ", both at departure"
        if planted.mean >= PLANTED:
            excess += f"; lifespan {life(finding.lasting, unit=' rounds')}"
    figures = excess if finding.trigger is not None else change
    words = {
        Verdict.HELD: "the model held",
        Verdict.BLOCKED: "the trigger was blocked",
        Verdict.FELL: f"{scale.label} still {scale.worse}",
        Verdict.PLANTED: "the trigger still worked",
        Verdict.STALLED: "rounds had no result while it lasted, and training stood still",
        Verdict.UNCLEAR: "the outcome is unclear",
        Verdict.UNTRAINED: "the model had not learned, so no claim is made",
        Verdict.FAILED: "no run ended with figures",
        Verdict.NEVER: "nobody ever attacked",
        Verdict.IDLE: "the attack did nothing",
        Verdict.ORACLE: "hostile hospitals never take part",
    }
    if finding.verdict in (Verdict.FAILED, Verdict.NEVER, Verdict.IDLE):
        return f"With {rule} {words[finding.verdict]}."
    by_change = undecided or finding.verdict in (Verdict.FELL, Verdict.HELD)
    shown = change if by_change else figures
    return f"With {rule} {words[finding.verdict]} ({shown})."


def _observed(own: list[Finding], attack: str) -> str:
    parts = []
    for finding in own:
        said = leaked_lines(finding)
        parts.append(f"{listed(said) if said else 'nothing'} through {finding.defense}")
    return f"{attack} learned, from what it is given to see: {'; '.join(parts)}."


def target_name(finding: Finding) -> str:
    """Return the class a backdoor asks for, when the record says so."""
    for run in finding.group.runs:
        target = run.resolved.get("components", {}).get("attack", {}).get("target")
        classes = run.resolved.get("classes", [])
        if isinstance(target, int) and 0 <= target < len(classes):
            return f"“{classes[target]}”"
    return ""


def caveats(results: Results) -> list[Note]:
    """List what a reader must be told: made-up data, few seeds, what failed or did nothing."""
    found = [Note(note) for note in results.notes]
    told_of = scenarios(results)
    found += _about_data(results)
    found += _about_seeds(results)
    found += _about_learning(told_of)
    found += _about_failures(results)
    found += [Note(text) for scenario in told_of for text in troubled.notes(scenario)]
    found += _about_spared(told_of)
    found += _about_lost(told_of)
    found += _about_silent(told_of)
    found += _about_idle(told_of)
    found += _about_idle_attacks(told_of)
    if not any(f.adaptive for s in told_of for f in s.findings):
        text = "Adaptive attackers, who know the rule and its parameters: not tried."
        found.append(Note(text, loud=False))
    return found


def _about_data(results: Results) -> list[Note]:
    sources = {str(r.cell.spec.dataset): provenance(r.cell.spec) for r in results.runs}
    made_up = list(dict.fromkeys(s.name for s in sources.values() if s.synthetic))
    if not made_up:
        return []
    return [Note(f"Synthetic data: {listed(made_up)}. No patient is behind these figures.")]


def _about_seeds(results: Results) -> list[Note]:
    seeds = len(results.study.seeds)
    if seeds >= ENOUGH_SEEDS and not results.study.exploratory:
        return []
    reason = f"A claim needs at least {ENOUGH_SEEDS}." if seeds < ENOUGH_SEEDS else ""
    return [Note(f"Exploratory: {counted(seeds, 'seed')}. {reason}".strip())]


def _about_learning(told_of: list[Scenario]) -> list[Note]:
    found = []
    for scenario in told_of:
        poor = [
            f"{f.attack} / {f.defense}" for f in scenario.findings if f.harm is Verdict.UNTRAINED
        ]
        if poor and all(f.passive for f in scenario.findings if f.attacked):
            text = f"In {scenario.title}, the model had not learned yet when it was looked at."
            found.append(Note(text, loud=False))
        elif poor:
            text = f"Undertrained in {scenario.title}: {_some(poor)}. No claim rests on these."
            found.append(Note(text))
    return found


def _about_failures(results: Results) -> list[Note]:
    found = []
    failed = sum(not run.ok for run in results.runs)
    if failed:
        found.append(
            Note(f"{counted(failed, 'run')} of {len(results.runs)} ended without figures.")
        )
    diverged = sum(run.footer["status"] == "diverged" for run in results.runs)
    if diverged:
        found.append(Note(f"{counted(diverged, 'run')} diverged: numbers overflowed."))
    void = sum(run.footer.get("void_rounds", 0) for run in results.runs)
    if void:
        found.append(Note(f"{counted(void, 'round')} had no result, and the model stayed.", False))
    return found


def _about_spared(told_of: list[Scenario]) -> list[Note]:
    found = []
    for scenario in told_of:
        spared = [
            f"{f.group.spared} of {counted(len(f.group.runs), 'run')} of {f.attack} / {f.defense}"
            for f in scenario.findings
            if f.group.spared
        ]
        if spared:
            text = f"Nobody attacked in {_some(spared)} ({scenario.title}): no hostile hospital "
            found.append(Note(f"{text}was drawn in them, and no figure counts them."))
    return found


def _about_lost(told_of: list[Scenario]) -> list[Note]:
    found = []
    for scenario in told_of:
        lost = [
            f"{f.attack} / {f.defense} (seed {listed([str(seed) for seed in f.lasting.lost])})"
            for f in scenario.findings
            if f.lasting and f.lasting.lost
        ]
        if lost:
            text = f"Lifespans not estimable in {scenario.title}: {_some(lost)}. There a model "
            found.append(Note(f"{text}nobody attacked gives the attacker's answer nearly always."))
    return found


def _about_silent(told_of: list[Scenario]) -> list[Note]:
    found = []
    for scenario in told_of:
        if names := silent(scenario):
            text = f"{_some(names)} never claimed anything in {scenario.title}: what could have "
            found.append(Note(f"{text}been learned by looking is not known from this."))
    return found


def _about_idle(told_of: list[Scenario]) -> list[Note]:
    found = []
    for scenario in told_of:
        idle = [f"{stage} against {f.attack}" for f in scenario.findings for stage in f.idle]
        if idle:
            text = f"Inactive in {scenario.title}: {_some(idle)} changed nothing."
            found.append(Note(text))
    return found


def _about_idle_attacks(told_of: list[Scenario]) -> list[Note]:
    found = []
    for scenario in told_of:
        for attack in scenario.attacks:
            runs = [r for f in scenario.findings if f.attack == attack for r in f.group.runs]
            counts = [idle_rounds(run.rounds) for run in runs if run.ok]
            idle, attacked = (sum(part) for part in zip(*counts, strict=True)) if counts else (0, 0)
            if idle:
                text = f"{attack} did nothing in {idle} of {counted(attacked, 'attacked round')} "
                text += f"({scenario.title}): by its own measure, what it sent differed in "
                text += "effect from no honest and no absent hospital."
                # The first round of an attack that lives off history is no news.
                found.append(Note(text, loud=idle >= attacked / 2))
    return found


def _some(items: list[str]) -> str:
    more = len(items) - SHOWN
    return listed([*items[:SHOWN], f"{more} more"]) if more > 0 else listed(items)

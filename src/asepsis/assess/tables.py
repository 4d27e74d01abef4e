"""The tables of an assessment's page, as plain values."""

from __future__ import annotations

import math

from asepsis.assess.outcome import Candidate, Finding, Measured, Outcome, Ruling
from asepsis.assess.standards import VERSIONS, terms_of
from asepsis.assess.words import (
    ADAPTIVE_UNTRIED,
    borne_out,
    clean,
    limit_text,
    metric,
    points,
)
from asepsis.experiments.threats import threat
from asepsis.metrics.intervals import Interval
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import Scale, bounds, number, plus_minus

TONES = {
    Ruling.COVERED: "good",
    Ruling.HARMLESS: "good",
    Ruling.OPEN: "bad",
    Ruling.UNCLEAR: "unclear",
    Ruling.UNTRIED: "unclear",
    Ruling.NOT_APPLICABLE: "none",
}
RUNG_ZERO = "not tried"


def threats_grid(outcome: Outcome) -> Grid:
    """One row a threat: what may be said, the standards' ids, who attacks what, to what end."""
    heads = ["threat", "ruling", "limit", "standards", "adaptive attack"]
    heads += ["attacker", "target", "goal"]
    return Grid(heads, [_threat(finding) for finding in outcome.findings])


def _threat(finding: Finding) -> list[Cell]:
    about = finding.threat
    ids = [term.id for term in terms_of(finding.key).terms]
    adaptive = "tried" if finding.adaptive else ADAPTIVE_UNTRIED if finding.parts else "n/a"
    return [
        Cell(about.title, about.title),
        _ruled(finding.ruling),
        Cell(limit_text(finding.limit), finding.limit),
        Cell(", ".join(ids), ids[0]),
        Cell(adaptive, adaptive, tone="unclear" if adaptive == ADAPTIVE_UNTRIED else ""),
        Cell(about.attacker, about.attacker),
        Cell(about.target, about.target),
        Cell(str(about.goal), str(about.goal)),
    ]


def _ruled(ruling: Ruling) -> Cell:
    return Cell(str(ruling), list(Ruling).index(ruling), tone=TONES[ruling])


def attacks_grid(outcome: Outcome) -> Grid:
    """One row an attack: harm today and with the gated stack, what was gained, and its p-value."""
    heads = ["threat", "attack", "knows the defense", "harm today"]
    heads += ["harm with the stack judged", "gain", "p, corrected"]
    rows = [_attack(finding, part) for finding in outcome.findings for part in finding.parts]
    return Grid(heads, rows)


def _attack(finding: Finding, part: Measured) -> list[Cell]:
    shown = f"{part.p:.3f}" if part.p >= 0.001 else "< 0.001"
    return [
        Cell(finding.threat.title, finding.threat.title),
        Cell(clean(part.attack), clean(part.attack)),
        Cell("adaptive" if part.adaptive else "static", int(part.adaptive)),
        _points(part.before, finding.limit),
        _points(part.after, finding.limit),
        Cell(points(part.gained), _order(part.gained.mean)),
        Cell("n/a" if math.isnan(part.p) else shown, _order(part.p)),
    ]


def _points(interval: Interval, limit: float) -> Cell:
    tone = "bad" if interval.low > limit else "good" if interval.high <= limit else "unclear"
    return Cell(points(interval), _order(interval.mean), tone=tone)


def _order(value: float) -> float | str:
    return value if math.isfinite(value) else ""


def price_grid(outcome: Outcome) -> Grid:
    """Today's stack beside the judged one, while nobody attacks."""
    scale = Scale(outcome.primary)
    names = list(dict.fromkeys([outcome.today, outcome.recommended]))
    found = {one.name: one for one in outcome.candidates}
    rows = [_price(scale, name, outcome, found.get(name)) for name in names]
    heads = ["stack", "", metric(outcome), "seconds a round", "kB sent a round", "epsilon"]
    return Grid(heads, rows)


def _price(scale: Scale, name: str, outcome: Outcome, one: Candidate | None) -> list[Cell]:
    role = "today" if name == outcome.today else _judged(outcome)
    interval = outcome.clean.get(name)
    return [
        Cell(clean(name)),
        Cell(role),
        Cell(plus_minus(scale, interval) if interval else "n/a"),
        *_costs(one),
    ]


def _judged(outcome: Outcome) -> str:
    return "recommended" if borne_out(outcome) else "judged"


def _costs(one: Candidate | None) -> list[Cell]:
    seconds = one.seconds if one else math.nan
    sent = one.bytes_up / 1000 if one else math.nan
    epsilon = one.epsilon if one else None
    silent = "none" if one and not one.refused else "n/a"
    return [
        Cell(number(seconds, 3), _order(seconds)),
        Cell(number(sent, 1), _order(sent)),
        Cell(silent if epsilon is None else f"{epsilon:.3g}", epsilon if epsilon else ""),
    ]


def price_words(outcome: Outcome) -> str:
    """Say how sure the clean figure is, over patients."""
    patients = outcome.over_patients
    if not patients.n:
        return ""
    scale = Scale(outcome.primary)
    return (
        f"With other test patients the figure of the stack judged would move as well: "
        f"{bounds(scale, patients)}, over {patients.n} test samples. That is another uncertainty "
        "than the one over seeds."
    )


def candidates_grid(outcome: Outcome) -> Grid:
    """Every stack of the search: what it scored on validation data, by how far it came."""
    keys = list(dict.fromkeys(key for one in outcome.candidates for key in one.harm))
    heads = ["#", "stack", "", "rung", "seeds", "price, points"]
    heads += [f"{threat(key).title}, points" for key in keys]
    heads += ["seconds a round", "kB sent a round", "epsilon", "why not tried"]
    rows = [_candidate(outcome, i, one, keys) for i, one in enumerate(ordered(outcome), start=1)]
    return Grid(heads, rows)


def ordered(outcome: Outcome) -> list[Candidate]:
    """Return the candidates as tables and plots number them: those that came farthest first."""

    def order(one: Candidate) -> tuple[bool, int, float]:
        return bool(one.refused), -one.rung, _last(one.utility)

    return sorted(outcome.candidates, key=order)


def role(outcome: Outcome, one: Candidate) -> str:
    """Say what a candidate is to the reader: recommended or judged, today's, on the front."""
    if one.refused:
        return "refused"
    if one.name == outcome.recommended and outcome.changes:
        return _judged(outcome)
    if one.name == outcome.today:
        return "today"
    return "front" if one.front else "other"


def _candidate(outcome: Outcome, place: int, one: Candidate, keys: list[str]) -> list[Cell]:
    what = role(outcome, one)
    marks = [what] if what in ("recommended", "judged", "today") else []
    marks += ["front"] if one.front else []
    tone = "good" if what == "recommended" else ""
    return [
        Cell(str(place), place),
        Cell(clean(one.name), clean(one.name), tone=tone),
        Cell(", ".join(marks)),
        Cell(str(one.rung) if not one.refused else RUNG_ZERO, one.rung),
        Cell(str(one.seeds), one.seeds),
        _share(one.utility),
        *(_share(one.harm.get(key, math.nan)) for key in keys),
        *_costs(one),
        Cell(clean(one.refused)),
    ]


def _share(value: float) -> Cell:
    return Cell(number(100 * value, 1), _order(value))


def _last(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def standards_grid(outcome: Outcome) -> Grid:
    """One row a threat: its terms in every list, what law is pointed at, and what does not fit."""
    heads = ["threat", *VERSIONS, "pointers", "remarks"]
    return Grid(heads, [_standard(finding.key) for finding in outcome.findings])


def _standard(key: str) -> list[Cell]:
    terms = terms_of(key)
    remarks = [f"{scheme}: {why}" for scheme, why in terms.without.items()]
    remarks += sorted({f"{term.id}: {term.nearest}" for term in terms.terms if term.nearest})
    return [
        Cell(threat(key).title, threat(key).title),
        *(Cell(terms.text(scheme)) for scheme in VERSIONS),
        Cell("; ".join(terms.pointers)),
        Cell("; ".join(remarks) or "none"),
    ]

"""An assessment as one self-contained page."""

from __future__ import annotations

from asepsis.assess.briefing import briefing, not_covered
from asepsis.assess.figures import front_plot, harm_plot
from asepsis.assess.outcome import Outcome
from asepsis.assess.standards import NOT_ADVICE
from asepsis.assess.tables import (
    attacks_grid,
    candidates_grid,
    price_grid,
    price_words,
    standards_grid,
    threats_grid,
)
from asepsis.assess.words import borne_out, clean, sentence, utility_sentence
from asepsis.report.page import page


def render(outcome: Outcome, *, toml: str = "", full: str = "") -> str:
    """Return the page; the same outcome gives the same text.

    Args:
        outcome: what an assessment found.
        toml: the experiment with the recommended stack; empty leaves it out.
        full: where the full report of the last runs stands, relative to the page.
    """
    return page(
        "assessment.html.j2",
        title=f"{clean(outcome.name)}: what breaks it, and what to run",
        outcome=outcome,
        kind=clean(outcome.kind),
        brief=briefing(outcome),
        told=[f"{f.threat.title}: {sentence(f)}." for f in outcome.findings],
        threats=threats_grid(outcome),
        attacks=attacks_grid(outcome),
        price=price_grid(outcome),
        price_words=price_words(outcome),
        cost=utility_sentence(outcome),
        candidates=candidates_grid(outcome),
        standards=standards_grid(outcome),
        not_advice=NOT_ADVICE,
        uncovered=not_covered(outcome),
        notes=[clean(note) for note in outcome.notes],
        harm=[plot for plot in [harm_plot(outcome)] if plot],
        front=[plot for plot in [front_plot(outcome)] if plot],
        today=clean(outcome.today),
        recommended=clean(outcome.recommended),
        advised=borne_out(outcome) or not outcome.changes,
        toml=toml,
        full=full,
    )

"""What leaks, in one plain sentence an observer and stack: beside it, what a guess would reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

from asepsis.experiments.leaks import learned, observers
from asepsis.report.findings import Finding, Scenario


@dataclass(frozen=True, slots=True)
class Saying:
    """How one kind of evidence is told: figure, its guesses, words, unit, which way is more."""

    figure: str
    guesses: tuple[str, ...]
    words: str
    unit: str = "%"
    guess: float = math.nan
    sign: int = 1


SAYINGS = {
    "membership": Saying(
        "held-out/auc",
        ("held-out/blind",),
        "told patients trained on from others in {} of pairs",
        guess=0.5,
    ),
    "inversion": Saying(
        "psnr",
        ("prior/mean/psnr", "prior/nearest/psnr"),
        "rebuilt training inputs, likeness (PSNR) {}",
        " dB",
    ),
    "labels": Saying("exact", ("chance_exact",), "read all training labels right in {} of cases"),
    "property": Saying(
        "error",
        ("baseline_error", "prior_error"),
        "guessed how common a diagnosis is with an error of {}",
        sign=-1,
    ),
    "attribute": Saying(
        "accuracy/members",
        ("imputed/members", "majority/members"),
        "guessed a hidden column right in {} of patients",
    ),
    "classes": Saying(
        "psnr_mean",
        ("prior_psnr_mean",),
        "drew what a class looks like, likeness (PSNR) {}",
        " dB",
    ),
    "isolation": Saying(
        "isolated", (), "singled one hospital's update out in {} of attempts", guess=0.0
    ),
}


def leaks(told_of: list[Scenario]) -> list[str]:
    """Tell what every observer learned through every stack, the most beyond a guess first."""
    found = [
        told
        for scenario in told_of
        for finding in scenario.findings
        for by, kind in observers(finding.group).items()
        if kind in SAYINGS and (told := _told(finding, by, SAYINGS[kind]))
    ]
    ranked = sorted(found, key=lambda item: -item[0])
    return list(dict.fromkeys(text for _, text in ranked))


def _told(finding: Finding, by: str, saying: Saying) -> tuple[float, str] | None:
    value = learned(finding.group, by, saying.figure).mean
    if not math.isfinite(value):
        return None
    known = [learned(finding.group, by, name).mean for name in saying.guesses]
    guesses = [guess for guess in [*known, saying.guess] if math.isfinite(guess)]
    best = max(guesses, key=lambda guess: saying.sign * guess, default=math.nan)
    who = finding.attack if by == "attack" else by
    ahead = saying.sign * (value - best)
    mine, guess = _written(value, saying), _written(best, saying)
    if guesses and ahead <= 0:
        did = f"did no better than a blind guess ({mine}; the guess: {guess})"
    else:
        beside = f" (a blind guess: {guess})" if guesses else ""
        did = f"{saying.words.format(mine)}{beside}"
    text = f"through {finding.defense}, {who} {did}"
    gained = ahead if math.isfinite(ahead) else 0.0
    return gained / (100 if saying.unit == " dB" else 1), text


def _written(value: float, saying: Saying) -> str:
    return f"{value:.1f}{saying.unit}" if saying.unit != "%" else f"{100 * value:.0f}%"

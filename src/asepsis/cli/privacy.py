"""``asepsis epsilon`` and ``audit-dp``: plan differential privacy, and test what is promised."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import Annotated, Any

import typer

from asepsis.core.errors import ConfigError
from asepsis.core.privacy import written

NEIGHBORS = "add or remove one"
SAMPLING = "poisson"


class Unit(StrEnum):
    """What a promise is about."""

    RECORD = "record"
    PATIENT = "patient"
    HOSPITAL = "hospital"


def epsilon_(
    noise_multiplier: Annotated[
        float | None,
        typer.Option(
            "--noise-multiplier",
            help="Standard deviation of the noise over what one unit may change.",
        ),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option("--epsilon", help="The budget to find the noise for.")
    ] = None,
    sample_rate: Annotated[
        float,
        typer.Option("--sample-rate", help="Chance of every unit to be in a step; 1 for all."),
    ] = 1.0,
    steps: Annotated[int, typer.Option("--steps", help="How many steps are released.")] = 1,
    delta: Annotated[
        float, typer.Option("--delta", help="The chance that the bound does not hold.")
    ] = 1e-5,
    accountant: Annotated[
        str, typer.Option("--accountant", help="rdp, or the tighter and slower prv.")
    ] = "rdp",
    unit: Annotated[
        Unit, typer.Option("--unit", help="What one unit is; a patient takes --records.")
    ] = Unit.RECORD,
    records: Annotated[
        int | None, typer.Option("--records", help="Of how many records a unit consists.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what epsilon noise gives, or what noise a budget needs."""
    from asepsis.metrics import privacy

    _check_question(noise_multiplier, epsilon, unit, records)
    how: dict[str, Any] = {
        "sample_rate": sample_rate,
        "steps": steps,
        "delta": delta,
        "accountant": accountant,
        "records": 1 if records is None else records,
    }
    if epsilon is not None:
        noise_multiplier = privacy.noise_for(epsilon, **how)
    assert noise_multiplier is not None
    spent = privacy.epsilon(noise_multiplier=noise_multiplier, **how)
    found = {
        "epsilon": spent if math.isfinite(spent) else None,
        "noise_multiplier": noise_multiplier,
        **how,
        "unit": unit.value,
        "neighbors": NEIGHBORS,
        "sampling": SAMPLING if sample_rate < 1 else "all",
    }
    typer.echo(json.dumps(found, indent=1) if json_ else _text(found))


def _check_question(
    noise_multiplier: float | None, epsilon: float | None, unit: Unit, records: int | None
) -> None:
    """Refuse a question that has no answer, or several."""
    if (noise_multiplier is None) == (epsilon is None):
        raise ConfigError(
            "one of noise and budget is given, the other is found",
            place="epsilon",
            got="both" if epsilon is not None else "neither",
            fix="use either --noise-multiplier or --epsilon",
        )
    if unit is Unit.PATIENT and records is None:
        raise ConfigError(
            "a patient has one record or several, and epsilon depends on how many",
            place="records",
            fix="use --records with the most that a patient has (1: one record a patient)",
        )


def _text(found: dict[str, Any]) -> str:
    spent = math.inf if found["epsilon"] is None else found["epsilon"]
    several = found["records"] > 1
    parts = f" of up to {found['records']} records" if several else ""
    if found["unit"] == Unit.PATIENT and not several:
        parts = " of one record"
    whose = "record" if several else found["unit"]
    drawn = f"each by itself with rate {found['sample_rate']:g} (Poisson)"
    lines = {
        "epsilon": written(spent),
        "noise": f"multiplier {found['noise_multiplier']:.4g}, times what one {whose} may change",
        "unit": f"one {found['unit']}{parts}",
        "neighbors": found["neighbors"],
        "sampling": drawn if found["sample_rate"] < 1 else "all in every step: no amplification",
        "steps": str(found["steps"]),
        "delta": f"{found['delta']:g}",
        "accountant": found["accountant"],
    }
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items())


CODES = {"not refuted": 0, "fails": 1, "inconclusive": 3}


def audit_dp(
    experiment: Annotated[
        str, typer.Argument(help="An experiment file, or a built-in study: its first cell.")
    ],
    trials: Annotated[
        int, typer.Option("--trials", min=8, help="Repeated runs, for a promise to hospitals.")
    ] = 1000,
    canaries: Annotated[
        int, typer.Option("--canaries", min=10, help="Planted records, for a promise to records.")
    ] = 200,
    confidence: Annotated[
        float, typer.Option("--confidence", min=0.5, max=0.9999, help="Of every bound.")
    ] = 0.95,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of canaries and noise.")] = 0,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Which of a study's files.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Test a promise of differential privacy: print the claimed epsilon beside what canaries prove.

    Exit code 0: not refuted by a test that found something. 1: refuted. 3: inconclusive, nothing
    was found. 2: bad input.
    """
    from asepsis.experiments.dp_audit import audit_experiment, verdict_of
    from asepsis.experiments.plan import load_study, plan_study

    spec = plan_study(load_study(experiment, None, profile)).cells[0].spec
    found = audit_experiment(
        spec, trials=trials, canaries=canaries, confidence=confidence, seed=seed
    )
    if json_:
        typer.echo(json.dumps([one.record() for one in found], indent=1))
    else:
        typer.echo("\n\n".join("\n".join(one.lines()) for one in found))
    raise typer.Exit(CODES[verdict_of(found)])

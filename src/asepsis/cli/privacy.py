"""``asepsis epsilon``: plan differential privacy, from noise to budget and back."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import typer

from asepsis.core.errors import ConfigError
from asepsis.core.privacy import written

NEIGHBORS = "add or remove one"
SAMPLING = "poisson"


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
        str, typer.Option("--unit", help="What one unit is: record, patient, hospital.")
    ] = "record",
    records: Annotated[
        int, typer.Option("--records", help="Of how many records a unit consists.")
    ] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what epsilon noise gives, or what noise a budget needs."""
    from asepsis.metrics import privacy

    if (noise_multiplier is None) == (epsilon is None):
        raise ConfigError(
            "one of noise and budget is given, the other is found",
            place="epsilon",
            got="both" if epsilon is not None else "neither",
            fix="use either --noise-multiplier or --epsilon",
        )
    how: dict[str, Any] = {
        "sample_rate": sample_rate,
        "steps": steps,
        "delta": delta,
        "accountant": accountant,
        "records": records,
    }
    if epsilon is not None:
        noise_multiplier = privacy.noise_for(epsilon, **how)
    assert noise_multiplier is not None
    spent = privacy.epsilon(noise_multiplier=noise_multiplier, **how)
    found = {
        "epsilon": spent if math.isfinite(spent) else None,
        "noise_multiplier": noise_multiplier,
        **how,
        "unit": unit,
        "neighbors": NEIGHBORS,
        "sampling": SAMPLING if sample_rate < 1 else "all",
    }
    typer.echo(json.dumps(found, indent=1) if json_ else _text(found))


def _text(found: dict[str, Any]) -> str:
    spent = math.inf if found["epsilon"] is None else found["epsilon"]
    parts = "" if found["records"] == 1 else f" of up to {found['records']} records"
    whose = found["unit"] if found["records"] == 1 else "record"
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

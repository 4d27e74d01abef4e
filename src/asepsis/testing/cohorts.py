"""Cohorts that put components to the test: ordinary ones, and every hostile input we know."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from asepsis.core.contracts import Rule, Screen, ServerContext
from asepsis.core.rng import Streams
from asepsis.core.updates import Individual, Rows
from asepsis.defenses.aggregate.mean import Mean
from asepsis.defenses.pipeline import Named, Pipeline
from asepsis.defenses.transport.plain import Plain

DIMS = (1, 6)
STREAMS = Streams(0)
SMALL = 1e6
"""Finite rows up to this size are no reason to refuse a round, zeros and equal rows included."""


def rows(n: int, d: int, seed: int = 0) -> Tensor:
    """Return an ordinary cohort ``[n, d]``: rows around a common direction, no two alike."""
    rng = np.random.default_rng([seed, n, d])
    center, noise = rng.normal(size=d), rng.normal(size=(n, d))
    return torch.from_numpy(center + 0.5 * noise).float()


def delivery(matrix: Tensor) -> Individual:
    """Return rows as a plain channel delivers them; the claimed counts differ."""
    n = len(matrix)
    counts = 20.0 + torch.arange(n, dtype=torch.float64)
    losses = 1.0 + torch.arange(n, dtype=torch.float64) / 10
    return Individual(tuple(range(n)), Rows(matrix), counts, {"loss": losses})


def context(spent: int = 0) -> ServerContext:
    """Return a context with a fresh generator, the same every time."""
    return ServerContext(0, np.random.default_rng(0), spent)


def hostile_cohorts(n: int, d: int) -> dict[str, Tensor]:
    """Name the cohorts ``[n, d]`` that must end in a finite aggregate or a recorded refusal."""
    singles = {"NaN": np.nan, "+Inf": np.inf, "-Inf": -np.inf, "1e38": 1e38, "-1e38": -1e38}
    cohorts = {f"one {name} row": _with_row(n, d, value) for name, value in singles.items()}
    one_value = rows(n, d)
    if n:
        one_value[n // 2, d - 1] = np.nan
    return {
        **cohorts,
        "one NaN coordinate": one_value,
        "all rows NaN": torch.full((n, d), np.nan),
        "all rows 1e38": torch.full((n, d), 1e38),
        "1e38 and -1e38 in turn": torch.full((n, d), 1e38) * _signs(n),
        "all zeros": torch.zeros(n, d),
        "one zero row": _with_row(n, d, 0.0),
        "denormal rows": torch.full((n, d), 1e-45),
        "all rows alike": rows(1, d).repeat(n, 1),
        "rows in pairs": rows((n + 1) // 2, d).repeat_interleave(2, dim=0)[:n],
    }


def must_go_on(matrix: Tensor) -> bool:
    """Return whether a cohort, odd as it is, must end in an aggregate."""
    return len(matrix) > 0 and bool((matrix.abs() <= SMALL).all())


def pipeline(*, rule: Rule[Any] | None = None, screen: Screen | None = None) -> Pipeline:
    """Return a stack of a rule or a screen that need not be registered."""
    transport, last = Plain(), Mean() if rule is None else rule
    screens = () if screen is None else (screen,)
    named = [Named("plain", "transport", transport), Named("rule", "aggregator", last)]
    named += [Named("screen", "screen", item) for item in screens]
    return Pipeline(transport=transport, rule=last, screens=screens, names=tuple(named))


def _with_row(n: int, d: int, value: float) -> Tensor:
    matrix = rows(n, d)
    matrix[-1:] = value
    return matrix


def _signs(n: int) -> Tensor:
    return torch.tensor([1.0 if i % 2 == 0 else -1.0 for i in range(n)])[:, None]

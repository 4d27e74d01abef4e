"""What a mechanism claims of differential privacy, and the facts that a claim rests on.

An epsilon alone says nothing: it belongs to a unit, a neighboring relation, somebody who is
trusted, a way of sampling, a delta and an accountant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Accountant = Literal["rdp", "prv"]
Sampling = Literal["poisson", "fixed", "all"]
Trust = Literal["local", "central", "distributed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyFacts:
    """What a run did, as far as an accountant must know it.

    Attributes:
        rounds: how many rounds were played.
        hospitals: how many hospitals there are.
        samples: training samples of every hospital, by id.
        records: most training samples of one patient at every hospital, by id.
        participation: share of hospitals drawn, or each one's chance, in every round.
        sampling: how they were drawn: so many at random, or each by itself with that chance.
        trained: in how many rounds each hospital trained, by id; left out, in all of them.
        honest: fewest honest hospitals that answered in a round; left out, enough of them.
    """

    rounds: int
    hospitals: int
    samples: Mapping[int, int]
    records: Mapping[int, int] = field(default_factory=dict)
    participation: float = 1.0
    sampling: Literal["fixed", "poisson"] = "fixed"
    trained: Mapping[int, int] | None = None
    honest: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyClaim:
    """An epsilon with everything that it means nothing without.

    ``hospital`` says whose records are meant, where the unit is one hospital's. ``also`` are
    claims of the same mechanism for other hospitals or other units; the claim itself is the worst
    of its unit. ``assumes`` are what the claim takes for public or for granted.

    Example:
        >>> claim = PrivacyClaim(mechanism="demo", unit="record", neighbors="add or remove one",
        ...     trust="local", sampling="poisson", accountant="rdp", epsilon=1.0354, delta=1e-5,
        ...     noise_multiplier=4.0, sample_rate=0.01, steps=10_000)
        >>> claim.sentence()[:65]
        'demo: epsilon 1.035 at delta 1e-05 for one record (add or remove '
    """

    mechanism: str
    unit: str
    neighbors: str
    trust: Trust
    sampling: Sampling
    accountant: Accountant
    epsilon: float
    delta: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    hospital: int | None = None
    assumes: tuple[str, ...] = ()
    also: tuple[PrivacyClaim, ...] = ()

    def sentence(self) -> str:
        """Return the claim as one sentence that leaves nothing out."""
        whose = "" if self.hospital is None else f" at hospital {self.hospital}"
        return (
            f"{self.mechanism}: epsilon {written(self.epsilon)} at delta {self.delta:g} for one "
            f"{self.unit}{whose} ({self.neighbors}); trust {self.trust}; sampling {self.sampling}, "
            f"rate {self.sample_rate:g}, {self.steps} steps; noise multiplier "
            f"{self.noise_multiplier:g}; accountant {self.accountant}"
        )

    def all(self) -> Iterator[PrivacyClaim]:
        """Yield this claim and those beside it."""
        yield self
        for claim in self.also:
            yield from claim.all()

    def record(self) -> dict[str, Any]:
        """Return the claim for a run's record; an infinite epsilon is ``None``."""
        return {
            "mechanism": self.mechanism,
            "epsilon": self.epsilon if math.isfinite(self.epsilon) else None,
            "delta": self.delta,
            "unit": self.unit,
            "hospital": self.hospital,
            "neighbors": self.neighbors,
            "trust": self.trust,
            "sampling": self.sampling,
            "accountant": self.accountant,
            "noise_multiplier": self.noise_multiplier,
            "sample_rate": self.sample_rate,
            "steps": self.steps,
            "assumes": list(self.assumes),
            "also": [claim.record() for claim in self.also],
        }


@runtime_checkable
class Claims(Protocol):
    """A trainer or a stage that promises differential privacy."""

    def privacy(self, facts: PrivacyFacts) -> PrivacyClaim:
        """Return what was promised to whom after these rounds."""
        ...


def written(epsilon: float) -> str:
    """Return an epsilon as text: three decimals, or that there is no bound.

    Example:
        >>> written(1.0354), written(math.inf)
        ('1.035', 'infinite')
    """
    return f"{epsilon:.3f}" if math.isfinite(epsilon) else "infinite"

"""Audit what a federation promises: the claimed epsilon beside what canaries prove against it.

An audit can refute a promise, and never prove one. It fails where something that leaves is not
covered by noise, where the noise is narrower than claimed, or where canaries prove an epsilon
above the claimed one. A bound of 0 is inconclusive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from asepsis.core.errors import ConfigError
from asepsis.core.privacy import PrivacyClaim, written
from asepsis.experiments.dp_canaries import hospital_bound, record_bound
from asepsis.experiments.dp_leaving import (
    OPPOSITE,
    Structure,
    examine,
    honest,
    hospital_pairs,
    hospital_play,
    record_play,
)
from asepsis.experiments.resolve import resolve
from asepsis.experiments.spec import Experiment
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation
from asepsis.federation.private import claims_of
from asepsis.metrics.dp_bounds import Bound

RECORDS = (OPPOSITE,) * 4
"""Pairs of canary records: the same input with opposite targets."""

Verdict = Literal["not refuted", "inconclusive", "fails"]


@dataclass(frozen=True, slots=True)
class Audit:
    """One promise, what canaries prove against it, and what leaves without protection."""

    claim: PrivacyClaim
    bound: Bound
    structure: Structure

    @property
    def verdict(self) -> Verdict:
        """``not refuted`` by a test that found something; never more than that."""
        if self.structure.findings or self.bound.epsilon > self.claim.epsilon:
            return "fails"
        return "not refuted" if self.bound.epsilon > 0 else "inconclusive"

    def record(self) -> dict[str, Any]:
        """Return the audit for a machine."""
        return {
            "verdict": self.verdict,
            "claim": self.claim.record(),
            "bound": {
                "epsilon": self.bound.epsilon,
                "largest": self.bound.largest,
                "canaries": self.bound.canaries,
                "confidence": self.bound.confidence,
                "method": self.bound.method,
            },
            "noise_multiplier": {
                "claimed": self.claim.noise_multiplier,
                "measured": min(self.structure.multiplier, 1e300),
            },
            "parts": list(self.structure.parts),
            "findings": [
                {"part": found.part, "problem": found.problem} for found in self.structure.findings
            ],
        }

    def lines(self) -> list[str]:
        """Return the audit as text."""
        claim, bound = self.claim, self.bound
        whose = "" if claim.hospital is None else f" at hospital {claim.hospital}"
        proven = "0 (inconclusive)" if bound.epsilon == 0 else f"at least {bound.epsilon:.3f}"
        return [
            f"mechanism    {claim.mechanism}, one {claim.unit}{whose} ({claim.neighbors}), trust "
            f"{claim.trust}",
            f"claimed      epsilon {written(claim.epsilon)} at delta {claim.delta:g}",
            f"audited      epsilon {proven}, with confidence {bound.confidence:g}",
            f"canaries     {bound.canaries} ({bound.method}); the most they could have found: "
            f"{bound.largest:.3f}",
            f"noise        multiplier {self.structure.multiplier:.3g} or less, claimed "
            f"{claim.noise_multiplier:.3g}",
            f"parts        {len(self.structure.parts)} leave, "
            f"{len(self.structure.findings)} unprotected",
            *(f"  {found.part}: {found.problem}" for found in self.structure.findings),
            f"verdict      {self.verdict}",
        ]


def audit(
    federation: Federation,
    *,
    canaries: int = 200,
    trials: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Audit]:
    """Audit everything that a federation promises.

    Args:
        federation: as it would run; nobody attacks.
        canaries: records planted at one hospital, for a promise to records.
        trials: repeated runs of the mechanism, for a promise to hospitals.
        confidence: of every bound.
        seed: of canaries and noise.

    Raises:
        ConfigError: nothing is promised, or too few canaries or trials.
    """
    claims = claims_of(federation)
    if not claims:
        raise ConfigError(
            "this experiment promises no differential privacy",
            place="audit-dp",
            fix='use trainer "dp-sgd", or the defenses "dp-fedavg" or "client-noise"',
        )
    return [_audited(federation, claim, canaries, trials, confidence, seed) for claim in claims]


def _audited(
    federation: Federation,
    claim: PrivacyClaim,
    canaries: int,
    trials: int,
    confidence: float,
    seed: int,
) -> Audit:
    if claim.hospital is not None:
        structure = examine(record_play(federation, claim.hospital, seed), claim, RECORDS)
        bound, claim = record_bound(federation, claim, canaries, confidence, seed)
        return Audit(claim, bound, structure)
    play = hospital_play(federation, honest(federation), claim, seed)
    structure = examine(play, claim, hospital_pairs(claim))
    bound = hospital_bound(federation, claim, trials, confidence, seed)
    return Audit(claim, bound, structure)


def verdict_of(audits: list[Audit]) -> Verdict:
    """Return the worst verdict."""
    order: list[Verdict] = ["not refuted", "inconclusive", "fails"]
    return max((one.verdict for one in audits), key=order.index)


def audit_experiment(spec: Experiment, **how: Any) -> list[Audit]:
    """Audit an experiment as it was written, without its attack and its observers."""
    quiet = spec.model_copy(update={"attack": None, "observe": []})
    parts, _ = resolve(quiet)
    federation, _ = assemble(replace(parts, observers={}))
    return audit(federation, **how)

"""Which scorer judges which kind of evidence."""

from __future__ import annotations

from asepsis.core.errors import ConfigError
from asepsis.core.threat import Evidence
from asepsis.federation.scoring import (
    attribute,
    classes,
    inversion,
    isolation,
    labels,
    membership,
    property,  # noqa: A004 (it is what the evidence is about)
)
from asepsis.federation.scoring.truth import Leak, Truth

KINDS = {
    "inversion": inversion.score,
    "membership": membership.score,
    "labels": labels.score,
    "property": property.score,
    "attribute": attribute.score,
    "classes": classes.score,
    "isolation": isolation.score,
}


def judged(evidence: Evidence, truth: Truth) -> Leak:
    """Score evidence against the truth.

    Raises:
        ConfigError: nobody knows how to judge this kind of evidence.
    """
    if evidence.kind not in KINDS:
        raise ConfigError(
            "unknown kind of evidence", got=evidence.kind, fix=f"use one of {', '.join(KINDS)}"
        )
    return KINDS[evidence.kind](evidence, truth)

"""Which scorer judges which kind of evidence."""

from __future__ import annotations

import importlib

from asepsis.core.errors import ConfigError
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.truth import Leak, Truth

KINDS = ("inversion", "membership", "labels", "property", "attribute", "classes", "isolation")


def judged(evidence: Evidence, truth: Truth) -> Leak:
    """Score evidence against the truth.

    Raises:
        ConfigError: nobody knows how to judge this kind of evidence.
    """
    if evidence.kind not in KINDS:
        raise ConfigError(
            "unknown kind of evidence", got=evidence.kind, fix=f"use one of {', '.join(KINDS)}"
        )
    scorer = importlib.import_module(f"asepsis.federation.scoring.{evidence.kind}")
    made: Leak = scorer.score(evidence, truth)
    return made

"""What a federation promises of differential privacy, and the facts that the promises rest on."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from asepsis.core.errors import MissingExtraError
from asepsis.core.privacy import Claims, PrivacyClaim, PrivacyFacts

if TYPE_CHECKING:
    from asepsis.federation.federation import Federation


def promising(federation: Federation) -> list[Claims]:
    """Return the trainer and the stages that promise something, in the order of a round."""
    stack = federation.pipeline
    parts = (federation.plan.trainer, *stack.clients, *stack.stages)
    return [part for part in parts if isinstance(part, Claims)]


def facts_of(federation: Federation, rounds: int | None = None) -> PrivacyFacts:
    """Return what an accountant must know of so many rounds; of all when left out.

    Who trains in which round is drawn without a look at data, so the draws themselves count.
    """
    count = federation.schedule.rounds if rounds is None else rounds
    trained = dict.fromkeys(sorted(federation.plan.weights), 0)
    for round_ in range(count):
        for hospital in federation.cohort(round_).present:
            trained[hospital] += 1
    records = {
        hospital.id: int(np.unique(hospital.train.groups, return_counts=True)[1].max(initial=0))
        for hospital in federation.hospitals
    }
    return PrivacyFacts(
        rounds=count,
        hospitals=len(federation.hospitals),
        samples={h.id: len(federation.plan.shards[h.id, "clean"]) for h in federation.hospitals},
        records=records,
        participation=federation.schedule.participation,
        sampling=federation.schedule.sampling,
        trained=trained,
    )


def claims_of(federation: Federation, rounds: int | None = None) -> list[PrivacyClaim]:
    """Return everything that is promised after so many rounds.

    Raises:
        MissingExtraError: something is promised, and Opacus is not there to account for it.
        ConfigError: the accountant cannot compute it.
    """
    parts = promising(federation)
    if not parts:
        return []
    if find_spec("opacus") is None:
        raise MissingExtraError("opacus", "privacy")
    facts = facts_of(federation, rounds)
    return [part.privacy(facts) for part in parts]

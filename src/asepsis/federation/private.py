"""What a federation promises of differential privacy, and the facts that the promises rest on."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.core.privacy import Claims, PrivacyClaim, PrivacyFacts
from asepsis.core.stages import Transport
from asepsis.core.updates import Summed

if TYPE_CHECKING:
    from asepsis.defenses.pipeline import Pipeline
    from asepsis.federation.federation import Federation, Schedule
    from asepsis.federation.parts import Parts


def check_promised(parts: Parts, size: int) -> None:
    """Refuse a promise that who takes part, or how hospitals train, would make false.

    Raises:
        ConfigError: naming the stage, and what would do.
    """
    stack = parts.pipeline
    protocol = stack.transport.delivers is Summed and not stack.transport.ideal
    if protocol and isinstance(stack.rule, Claims):
        _check_never_void(
            stack.name_of(stack.rule),
            stack.name_of(stack.transport),
            _voids(stack.transport, parts.schedule, size),
        )
    if isinstance(parts.trainer, Claims):
        _check_blind(stack)


def _check_blind(stack: Pipeline) -> None:
    """What a private trainer made may be changed, but not with another look at its samples."""
    for name, stage in stack.at_hospitals:
        if getattr(stage, "looks_at_data", False):
            raise ConfigError(
                f"{name} looks at the samples that the trainer promises to hide",
                place="defenses",
                fix=f"leave {name} out, or use another trainer",
            )


def _check_never_void(rule: str, transport: str, why: str | None) -> None:
    """A round that is void for want of one hospital tells exactly that it was not there."""
    if why is not None:
        raise ConfigError(
            f"{rule} hides whether a hospital was there, and {transport} tells it by a void round",
            place="federation",
            got=why,
            fix="use secure-sum, which is ideal and never void; or draw more hospitals of a fixed "
            "number, without dropout",
        )


def _voids(transport: Transport, schedule: Schedule, size: int) -> str | None:
    """Say why a round can be void for want of one hospital of a cohort of so many."""
    if schedule.sampling == "poisson":
        return 'sampling = "poisson"'
    if schedule.dropout > 0:
        return f"dropout = {schedule.dropout:g}"
    late = float(getattr(transport, "late_dropout", 0.0))
    if late > 0:
        return f"late_dropout = {late:g}"
    return None if _does_without_one(transport, size) else f"{size} hospitals: one hospital less"


def _does_without_one(transport: Transport, size: int) -> bool:
    """Whether one fewer may be drawn, and one that was drawn may stay away."""
    check, shape = getattr(transport, "check_cohort", None), getattr(transport, "shape_of", None)
    try:
        if check is not None:
            check(size - 1)
        return shape is None or bool(shape(size).quorum < size)
    except ConfigError:
        return False


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
    honest: list[int] = []
    for round_ in range(count):
        present = federation.cohort(round_).present
        honest.append(len(set(present) - set(federation.threat.clients)))
        for hospital in present:
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
        # Where nobody honest answered, nothing of theirs is published.
        honest=min((n for n in honest if n), default=None),
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

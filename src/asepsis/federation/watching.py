"""Who will watch a federation, and what they are asked about: checked before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from asepsis.core.contracts import ModelAttack, ServerAttack
from asepsis.core.errors import ConfigError
from asepsis.core.samples import Kind, Prepare, Samples
from asepsis.core.threat import Role, Setting
from asepsis.federation.candidates import draw_candidates
from asepsis.federation.desk import joined
from asepsis.federation.federation import RUNS_OWN, Federation, Watch
from asepsis.federation.observing import tampers

if TYPE_CHECKING:
    from asepsis.federation.parts import Parts


def watched(parts: Parts, prepare: Prepare) -> dict[str, Any]:
    """Return who watches, an attack by the server too, and what they are asked about."""
    observers = dict(parts.observers)
    if isinstance(parts.attack, ServerAttack | ModelAttack):
        overhears = parts.threat.role is Role.EAVESDROPPER
        sees: Literal["delivery", "messages"] = "messages" if overhears else "delivery"
        observers[RUNS_OWN] = Watch(parts.attack, parts.threat.when, sees)
    if not observers:
        return {}
    public = public_samples(parts)
    return {
        "observers": observers,
        "candidates": draw_candidates(parts.hospitals, parts.candidates, prepare, parts.streams),
        "public": prepare(public) if len(public) else None,
    }


def public_samples(parts: Parts) -> Samples:
    """Return the validation patients' samples, but for those that the server defends itself with.

    The server's own root data shape the model, so that they are not nobody's.
    """
    public = joined([hospital.validation for hospital in parts.hospitals])
    if parts.root is None:
        return public
    return public.take(~np.isin(public.ids, parts.root[0].ids))


def check_observers(parts: Parts) -> None:
    """Refuse whoever cannot watch this federation.

    Raises:
        ConfigError: it takes other data, tampers, or counts on colluders that nobody gave it.
    """
    if parts.threat.role is not Role.SERVER and parts.threat.clients:
        _check_colluders(parts)
    for name, watch in parts.observers.items():
        if tampers(watch.attack):
            raise ConfigError(
                "this attack changes what the server sends: it cannot only watch",
                place="observe",
                got=name,
                fix="write it as attack = ..., at most one to a run; others may watch beside it",
            )
        kinds = getattr(watch.attack, "kinds", frozenset(Kind))
        if parts.facts.kind not in kinds:
            raise ConfigError(
                f"this observer does not work on data of kind '{parts.facts.kind}'",
                place="observe",
                got=name,
                fix=f"it works on: {', '.join(sorted(kinds))}",
            )


def check_fit(federation: Federation) -> None:
    """Refuse whoever looks and does not fit the model or the protocol.

    Raises:
        ConfigError: as the attack has it.
    """
    plan = federation.plan
    setting = Setting(
        learner=federation.learner,
        row=plan.layout.flatten(plan.module),
        scale=plan.trainer.gradient_scale,
        recipe=plan.trainer.recipe,
        samples=tuple(len(hospital.train) for hospital in federation.hospitals),
    )
    for name, watch in federation.observers.items():
        fits = getattr(watch.attack, "check", None)
        if fits is None:
            continue
        try:
            fits(setting)
        except ConfigError as error:
            place = "attack" if name == RUNS_OWN else f"observe {name}"
            raise ConfigError(error.message, place=place, got=error.got, fix=error.fix) from error


def _check_colluders(parts: Parts) -> None:
    watching = {name: watch.attack for name, watch in parts.observers.items()}
    for name, attack in {**watching, RUNS_OWN: parts.attack}.items():
        if getattr(attack, "colludes", False):
            raise ConfigError(
                f"hospitals are in league with whoever attacks, and that is not {name}",
                place="threat.role",
                got=f"{parts.threat.role} with {len(parts.threat.clients)} hostile hospitals",
                fix='set role = "server" and no attack by hospitals, or leave the observer out',
            )
